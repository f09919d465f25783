"""What -t sees of this host and of files."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gateway import check, users
from gateway.config.build import build
from gateway.config.sources import read_tree
from gateway.config.tree import Report

FILE = """\
services:
- name: hub
  addr: :8421
  handler: {type: tun, auther: staff}
  listener: {type: tun, metadata: {net: 192.168.123.1/24, router: lans}}
- name: second
  addr: :8422
  handler: {type: tun, auther: staff}
  listener: {type: tun, metadata: {net: "192.168.124.1/24,fd00::1/64", router: lans}}
authers: [{name: staff, file: {path: people}}]
routers: [{name: lans, file: {path: lans}}]
"""


@pytest.fixture
def look(tmp_path, monkeypatch):
    """The lines about a file g.yaml or a URL, without the folder in them. Not as root."""
    monkeypatch.setattr(check.os, "geteuid", lambda: 1000)

    def look(*listens: str, text: str = "", forwards: tuple[str, ...] = ()) -> list[str]:
        (tmp_path / "g.yaml").write_text(text)
        report = Report()
        tree = read_tree(listens, [str(tmp_path / "g.yaml")] if text else [], report, forwards)
        return [line.replace(f"{tmp_path}/", "") for line in check.look(build(tree, report))]

    return look


def test_nothing_to_see(look, tmp_path):
    (tmp_path / "people").write_text("# ours\n192.168.123.2 a\n192.168.124.2 a\nfd00::2 b\n")
    (tmp_path / "lans").write_text("10.1.0.0/16 192.168.124.2 # there\n")
    assert look(text=FILE) == []
    assert look("tun://:8421?net=10.0.0.1/24&interface=lo&user=root") == []


@pytest.mark.parametrize(
    ("user", "file", "folder", "line"),
    [
        ("", 0o604, 0o701, ""),
        ("", 0o600, 0o701, "{}/people: the gateway becomes nobody, who may not read it: {}"),
        ("", 0o604, 0o700, "{}/people: the gateway becomes nobody, who may not pass {}: {}"),
        (
            "54321987",
            0o600,
            0o701,
            "{}/people: the gateway becomes 54321987, who may not read it: {}",
        ),
        ("0", 0o600, 0o700, ""),
    ],
)
def test_who_reads_the_files_when_root_is_left(look, monkeypatch, user, file, folder, line):
    """What most often goes wrong: root made the file, and root can read everything."""
    monkeypatch.setattr(users, "DEFAULT_USERS", ("nobody",))
    monkeypatch.setattr(check.os, "geteuid", lambda: 0)
    with tempfile.TemporaryDirectory() as room:  # pytest's own folders are closed
        people = Path(room, "people")
        people.write_text("192.168.123.2 a\n")
        people.chmod(file)
        Path(room).chmod(folder)
        text = FILE.replace("path: people", f"path: {people}").replace(", router: lans", "")
        text = text.replace("net: 192", f"user: '{user}', net: 192") if user else text
        found = [each for each in look(text=text) if "becomes" in each]
    places = (room, room) if "pass" in line else (room,)
    remedy = "give it to that user or group, or set user="
    assert found == ([line.format(*places, remedy)] if line else [])


def test_malformed_entries_a_line_each(look, tmp_path):
    (tmp_path / "people").write_text("192.168.123.2 geheim\nbob geheim\n\n192.168.123.3\n")
    (tmp_path / "lans").write_text("10.1.0.0/16\n10.2.0.0/16 fd00::2\nx 192.168.123.2\n")
    assert look(text=FILE) == [
        "people:2: the username is not an IP address",
        "people:4: there is no password: nobody could use it",
        'lans:1: "10.1.0.0/16" has no gateway: write NETWORK GATEWAY',
        'lans:2: "fd00::2" is a gateway of the other IP version',
        'lans:3: "x" is not a network: write ADDRESS/LENGTH',
    ]


def test_entries_nobody_can_use(look, tmp_path):
    (tmp_path / "people").write_text(
        "# ours\n192.168.123.1 a\n192.168.124.0 a\n192.168.124.1 a\n10.9.9.9 a\nfd00::5 a\n"
    )
    (tmp_path / "lans").write_text(
        "10.1.0.0/16 192.168.123.1\n\nfd07::/64 fd09::1\n10.2.0.0/16 192.168.123.255\n"
    )
    nobody = "no client can have it"
    assert look(text=FILE) == [
        "people:2: 192.168.123.1 is the server's own address",
        f"people:3: 192.168.124.0 is the network or its broadcast address: {nobody}",
        "people:4: 192.168.124.1 is the server's own address",
        f"people:5: 10.9.9.9 is not inside net: {nobody}",
        "lans:1: 10.1.0.0/16: 192.168.123.1 is this host itself",
        f"lans:3: fd07::/64: fd09::1 is not inside net: {nobody}",
        f"lans:4: 10.2.0.0/16: 192.168.123.255 is the network or its broadcast address: {nobody}",
    ]


def test_files_that_cannot_be_read(look, tmp_path):
    (tmp_path / "lans").mkdir()
    assert look(text=FILE) == [
        "people: cannot be read: No such file or directory",
        "lans: cannot be read: Is a directory",
    ]


def test_many_are_counted(look, tmp_path):
    (tmp_path / "people").write_text("bob\n" * 25 + "".join(f"10.0.0.{n} x\n" for n in range(30)))
    (tmp_path / "lans").write_text("")
    lines = look(text=FILE)
    assert len(lines) == 42
    assert (lines[20], lines[41]) == (
        "people: and 5 more like these",
        "people: and 10 more like these",
    )


def test_this_host(look, monkeypatch, tmp_path):
    monkeypatch.setattr(check, "NAMESPACES", tmp_path)
    monkeypatch.setattr(check.shutil, "which", {}.get)
    (tmp_path / "blue").write_text("")
    url = "tun://:0/hub:1?net=10.0.0.2/24&dns=1.1.1.1&user=no-such-user&interface=no0"
    assert look(f"{url}&netns=blue") == [
        'user: "no-such-user" is no user of this host',
        "-L #1: interface: there is no device no0 here",
        "-L #1: dns: needs resolvectl (systemd-resolved), which is not here",
    ]
    assert look(
        "tun://:1?net=10.0.0.1/24&netns=red&netns.out=/proc/none&interface=no0&user=12345"
    ) == [
        "-L #1: netns: there is no network namespace red here",
        "-L #1: netns.out: there is no network namespace /proc/none here",
    ]


def test_packages_that_are_missing(look, monkeypatch):
    monkeypatch.setattr(check.importlib.util, "find_spec", {}.get)
    text = FILE.replace("file: {path: people}", 'redis: {addr: h}, http: {url: "http://h"}')
    text = text.replace("file: {path: lans}", 'plugin: {type: http, addr: "http://h"}')
    assert look(text=text) == [
        f"{whose} needs the Python package {package}, an extra: install it with: pip install "
        f"'tun-gateway[{extra}]'"
        for whose, package, extra in (
            ('auther "staff"', "redis", "redis"),
            ('auther "staff"', "aiohttp", "http"),
            ('router "lans"', "aiohttp", "http"),
        )
    ]


STRICT = """\
services:
- name: hub
  addr: :8421
  handler: {type: tun, auther: staff}
  listener:
    type: tun
    metadata:
      net: 192.168.123.1/24
      router: lans
      routes: [10.8.0.0/16 192.168.123.2, 10.9.0.0/16 192.168.123.9]
authers: [{name: staff, file: {path: people}}]
routers:
- name: lans
  routes: [{dst: 10.3.0.0/16, gateway: 192.168.123.8}]
  file: {path: lans}
"""


def test_gateways_without_a_credential(look, tmp_path):
    """Where all credentials can be read here, nobody else can be a peer."""
    (tmp_path / "people").write_text("192.168.123.2 a\n")
    (tmp_path / "lans").write_text("10.1.0.0/16 192.168.123.2\n10.2.0.0/16 192.168.123.7\n")
    without = "has no credential: no client can have it"
    assert look(text=STRICT) == [
        f"g.yaml:2:3: route: 10.9.0.0/16: 192.168.123.9 {without}",
        f'router "lans": 10.3.0.0/16: 192.168.123.8 {without}',
        f"lans: 10.2.0.0/16: 192.168.123.7 {without}",
    ]
    elsewhere = 'redis: {addr: "127.0.0.1"}'
    assert look(text=STRICT.replace("file: {path: people}", elsewhere)) == []
    assert look(text=STRICT.replace(", auther: staff", "")) == []


def test_what_carriers_lack(look, tmp_path):
    """Files and values that the start would refuse; a certificate of its own is no file yet."""
    (tmp_path / "bad.pem").write_text("no certificate")
    server = "tun://:8421?net=192.168.123.1/24"
    assert look(server, "relay+wss://:443", "relay+kcp://:443") == []
    lines = look(server, f"relay+tls://:443?cert={tmp_path}/bad.pem", "relay+quic://:444?ca=/x")
    assert lines == [
        "-L #2: certFile=bad.pem: expected a PEM certificate and its key, which has no password",
        (
            "-L #3: caFile=/x: a quic listener cannot ask for client certificates; use an auther, "
            "or tls, wss or grpc"
        ),
    ]
    client = "tun://:0/:8421?net=192.168.123.2/24"
    forwards = (f"relay+tls://h:1?ca={tmp_path}/none", "relay+tls://h:1", "relay+ws://h:1")
    assert look(client, forwards=forwards) == [
        "-F #1: caFile=none: no such file or directory",
    ]
    (line,) = look(client, forwards=("relay+quic://h:1?cipherKey=short",))
    assert line == "-F #1: quic.cipherKey: it has 5 bytes, not 16, 24 or 32"


@pytest.mark.parametrize(
    ("carrier", "package"),
    [("grpc", "hpack"), ("quic", "qh3"), ("kcp", "cramjam")],
)
def test_a_carrier_whose_extra_is_missing(carrier, package):
    program = f"import sys; sys.modules[{package!r}] = None; import gateway.cli as cli; cli.main()"
    urls = ("-L", "tun://:0/:1?net=10.0.0.2/24", "-F", f"relay+{carrier}://h:1")
    remedy = f"an extra: install it with: pip install 'tun-gateway[{carrier}]'"
    line = f"-F #1: {carrier} needs the Python package {package}, {remedy}"
    done = subprocess.run(
        [sys.executable, "-c", program, "-t", *urls], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.splitlines()[0]) == (0, f"gateway: warning: {line}")
