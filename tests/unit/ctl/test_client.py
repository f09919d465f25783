"""What a client is to run: read back by our own reader, and by the stock program."""

import json
import shutil
import subprocess
import sys
import types
from collections.abc import Sequence
from ipaddress import ip_interface
from pathlib import Path

import pytest
from msgspec.json import encode
from msgspec.structs import replace
from unit.ctl.fake_gateway import fake_gateway

from gateway.config.build import build
from gateway.config.model import Config
from gateway.config.sources import read_tree
from gateway.config.tree import Report
from gateway.ctl.invitation import Invitation, invitation, notes
from gateway.ctl.main import main
from gateway.errors import ConfigError
from gateway.protocol.status import Answer, ClientFacts, RelayFacts

FACTS = ClientFacts(
    service="tun",
    interfaces=("192.168.123.2/24",),
    known="credential",
    auth=True,
    listen="",
    port=8421,
    reached=("203.0.113.7", "198.51.100.1"),
    routes=("192.168.101.0/24", "192.168.102.0/24"),
    left_out=0,
    mtu=1420,
)
BOTH = replace(
    FACTS, interfaces=("192.168.123.2/24", "fd00::2/64"), routes=("fd12::/48",), mtu=1400
)


RELAY = RelayFacts(
    name="service-1",
    carrier="wss",
    listen="",
    port=443,
    auth=True,
    tls=True,
    pin=f"sha256:{32 * '0f'}",
    wants_certificate=False,
    server_name="",
    options={"path": "/q u&o"},
)
BEHIND = replace(FACTS, listen="127.0.0.1", reached=(), relays=(RELAY,))


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GATEWAY_RUN_DIR", str(tmp_path))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    return tmp_path


def load(listens: list[str], files: list[str], forwards: Sequence[str] = ()) -> Config:
    report = Report()
    return build(read_tree(listens, files, report, forwards), report)


def answer(facts: ClientFacts | None, error: str = "", kind: str = "") -> bytes:
    return encode(Answer(client=facts, error=error, kind=kind))


@pytest.mark.parametrize("facts", [FACTS, BOTH])
@pytest.mark.parametrize("passphrase", [None, "userpass1", 'q"u o&t+e%$`=:#'])
@pytest.mark.parametrize("form", ["url", "yaml"])
def test_our_own_reader_understands_it(facts, passphrase, form, tmp_path):
    made = invitation(facts, "", passphrase)
    if form == "url":
        config = load([made.url], [])
    else:
        (tmp_path / "client.yaml").write_text(made.yaml)
        config = load([], [str(tmp_path / "client.yaml")])
    service = config.services[0]
    assert config.warnings == ()
    assert service.nets == tuple(map(ip_interface, facts.interfaces))
    assert service.keepalive
    assert service.mtu == facts.mtu
    assert [str(route.network) for route in service.routes] == list(facts.routes)
    assert bytes(service.passphrase) == (passphrase or "").encode()
    assert [(target.host, target.port) for target in service.targets] == [("203.0.113.7", 8421)]


@pytest.mark.skipif(shutil.which("gost") is None, reason="needs the stock program")
@pytest.mark.parametrize("form", ["url", "yaml"])
def test_the_stock_program_understands_it(form, tmp_path):
    made = Invitation(BOTH, "[2001:db8::1]:8421", 'q"u o&t+e%$`=:#')
    (tmp_path / "client.yaml").write_text(made.yaml)
    said = ["-L", made.url] if form == "url" else ["-C", str(tmp_path / "client.yaml")]
    shown = subprocess.run(
        ["gost", *said, "-O", "json"], check=True, capture_output=True, text=True, timeout=20
    )
    service = json.loads(shown.stdout)["services"][0]
    metadata = service["handler"]["metadata"] | service["listener"]["metadata"]
    assert (service["handler"]["type"], service["listener"]["type"]) == ("tun", "tun")
    assert metadata["passphrase"] == 'q"u o&t+e%$`=:#'
    assert metadata["net"] == "192.168.123.2/24,fd00::2/64"
    assert metadata["route"] == "fd12::/48"
    assert str(metadata["keepalive"]).lower() == "true"
    assert str(metadata["mtu"]) == "1400"
    assert service["forwarder"]["nodes"][0]["addr"] == "[2001:db8::1]:8421"


@pytest.mark.parametrize(
    ("said", "listen", "reached", "target"),
    [
        ("", "", ("203.0.113.7",), "203.0.113.7:8421"),
        ("", "", ("2001:db8::7",), "[2001:db8::7]:8421"),
        ("", "198.51.100.1", (), "198.51.100.1:8421"),
        ("", "", (), "SERVER-ADDRESS:8421"),
        ("", "::", (), "SERVER-ADDRESS:8421"),
        ("", "0.0.0.0", (), "SERVER-ADDRESS:8421"),
        ("", "", ("127.0.0.1", "198.51.100.1"), "198.51.100.1:8421"),
        ("", "::1", (), "SERVER-ADDRESS:8421"),
        ("vpn.example.com", "127.0.0.1", (), "vpn.example.com:8421"),
        ("vpn.example.com", "", ("203.0.113.7",), "vpn.example.com:8421"),
        ("vpn.example.com:9000", "", (), "vpn.example.com:9000"),
        ("2001:db8::1", "", (), "[2001:db8::1]:8421"),
        ("[2001:db8::1]:9000", "", (), "[2001:db8::1]:9000"),
    ],
)
def test_where_the_server_is(said, listen, reached, target):
    made = invitation(replace(FACTS, listen=listen, reached=reached), said, None)
    assert made.target == target
    assert made.hop is None


@pytest.mark.parametrize(
    ("said", "relays", "server"),
    [
        ("", (RELAY,), "SERVER-ADDRESS:443"),
        ("", (replace(RELAY, listen="198.51.100.1"),), "198.51.100.1:443"),
        ("", (replace(RELAY, listen="::1"),), "SERVER-ADDRESS:443"),
        ("", (replace(RELAY, listen="::1"), replace(RELAY, port=444)), "SERVER-ADDRESS:444"),
        ("vpn.example.com", (RELAY, replace(RELAY, port=444)), "vpn.example.com:443"),
        ("[2001:db8::1]:9000", (RELAY,), "[2001:db8::1]:9000"),
    ],
)
def test_where_the_relay_is(said, relays, server):
    made = invitation(replace(BEHIND, relays=relays), said, None)
    assert made.target == ":8421"
    assert made.hop is not None
    assert made.hop.server == server
    assert f'addr: "{server}"' in made.yaml


def test_a_relay_beside_an_open_listener_is_not_needed():
    assert invitation(replace(FACTS, relays=(RELAY,)), "", None).hop is None


@pytest.mark.parametrize("form", ["url", "yaml"])
def test_our_own_reader_understands_the_relay(form, tmp_path):
    relay = replace(RELAY, server_name="vpn.example.com")
    made = invitation(replace(BEHIND, relays=(relay,)), "203.0.113.7", "userpass1")
    if form == "url":
        config = load([made.url], [], [made.hop.url])
    else:
        (tmp_path / "client.yaml").write_text(made.yaml)
        config = load([], [str(tmp_path / "client.yaml")])
    (service,) = config.services
    assert config.warnings == ()
    assert [(target.host, target.port) for target in service.targets] == [("", 8421)]
    ((node,),) = [hop.nodes for hop in service.chain.hops]
    assert node.label == "wss 203.0.113.7:443"
    assert (node.user.username, bytes(node.user.password)) == (b"USER", b"PASSWORD")
    assert (node.tls.pin, node.tls.server_name) == (RELAY.pin, "vpn.example.com")
    assert node.options == {"ws.path": "/q u&o"}


@pytest.mark.skipif(shutil.which("gost") is None, reason="needs the stock program")
@pytest.mark.parametrize("form", ["url", "yaml"])
def test_the_stock_program_understands_the_relay(form, tmp_path):
    made = invitation(BEHIND, "203.0.113.7", None)
    (tmp_path / "client.yaml").write_text(made.yaml)
    urls = ["-L", made.url, "-F", made.hop.url]
    said = urls if form == "url" else ["-C", str(tmp_path / "client.yaml")]
    shown = subprocess.run(
        ["gost", *said, "-O", "json"], check=True, capture_output=True, text=True, timeout=20
    )
    config = json.loads(shown.stdout)
    (chain,) = config["chains"]
    assert config["services"][0]["handler"]["chain"] == chain["name"]
    (node,) = chain["hops"][0]["nodes"]
    assert node["addr"] == "203.0.113.7:443"
    assert node["connector"]["type"] == "relay"
    assert node["connector"]["auth"] == {"username": "USER", "password": "PASSWORD"}
    assert node["dialer"]["type"] == "wss"
    assert node["dialer"]["metadata"]["path"] == "/q u&o"


def test_what_of_the_relay_nobody_may_tell_is_to_be_added():
    relay = replace(RELAY, pin="", wants_certificate=True, options={"kcp.key": ""})
    made = invitation(replace(BEHIND, relays=(relay,)), "", None)
    assert made.hop.url == "relay+wss://USER:PASSWORD@SERVER-ADDRESS:443?kcp.key=KCP-KEY"
    said = "\n".join(notes(made))
    for part in (
        "replace SERVER-ADDRESS", "replace USER and PASSWORD", "replace KCP-KEY",
        "secure=true, ca= or pin=", "add cert= and key=",
    ):  # fmt: skip
        assert part in said
    plain = replace(relay, auth=False, tls=False, wants_certificate=False, options={})
    made = invitation(replace(BEHIND, auth=False, relays=(plain,)), "vpn.example.com", None)
    assert made.hop.url == "relay+wss://vpn.example.com:443"
    assert notes(made) == []


def test_loopback_that_nothing_leads_to_is_said():
    made = invitation(replace(BEHIND, relays=()), "", None)
    assert any("the server listens on 127.0.0.1 only" in note for note in notes(made))
    made = invitation(replace(BEHIND, relays=(replace(RELAY, listen="::1"),)), "", None)
    assert any("the relay listener service-1 listens on ::1 only" in each for each in notes(made))
    assert not any("only" in note for note in notes(invitation(BEHIND, "", None)))


@pytest.mark.parametrize("said", ["a b", "a/b", "host:", "host:0", "host:65536", "[x]:1", "a&b=c"])
def test_what_is_no_host_is_said(said):
    with pytest.raises(ConfigError, match="HOST or HOST:PORT"):
        invitation(FACTS, said, None)


def test_the_page(run_dir, capfd):
    with fake_gateway(run_dir, "hub", answer(FACTS)) as hub:
        assert main(["client", "192.168.123.2"]) == 0
    out, err = capfd.readouterr()
    url = (
        "tun://:0/203.0.113.7:8421?net=192.168.123.2/24&keepalive=true"
        "&route=192.168.101.0/24,192.168.102.0/24&passphrase=PASSPHRASE"
    )
    assert f'gateway -L "{url}"\n' in out
    assert f'gost -L "{url}"\n' in out
    assert 'passphrase: "PASSPHRASE"' in out
    assert err == (
        "gateway-ctl: replace PASSPHRASE by the passphrase of the address,"
        " or name a file that holds it with --passphrase-file\n"
    )
    assert hub.requests[0].command == "client"
    assert hub.requests[0].addresses == ("192.168.123.2",)


def test_the_page_of_who_comes_through_a_relay(run_dir, capfd):
    with fake_gateway(run_dir, "hub", answer(replace(BEHIND, auth=False, routes=()))):
        assert main(["client", "192.168.123.2", "--host", "vpn.example.com"]) == 0
    out, err = capfd.readouterr()
    arguments = (
        '-L "tun://:0/:8421?net=192.168.123.2/24&keepalive=true"'
        ' -F "relay+wss://USER:PASSWORD@vpn.example.com:443'
        f'?pin={RELAY.pin}&path=/q%20u%26o"'
    )
    assert "of service tun, through service-1\n" in out
    assert f"\ngateway {arguments}\n" in out
    assert f"\ngost {arguments}\n" in out
    assert "    chain: relay\n" in out
    assert err == (
        "gateway-ctl: replace USER and PASSWORD by those of a user of the relay listener"
        " service-1\n"
    )


def test_a_code_has_both_urls(run_dir, monkeypatch):
    drawn: list[str] = []
    module = types.ModuleType("gateway.ctl.qr")
    module.drawn = lambda text, **_: drawn.append(text) or b""
    monkeypatch.setitem(sys.modules, "gateway.ctl.qr", module)
    with fake_gateway(run_dir, "hub", answer(BEHIND)):
        assert main(["client", "192.168.123.2", "--qr"]) == 0
        assert main(["client", "192.168.123.2", "--qr", "yaml"]) == 0
    made = invitation(BEHIND, "", "PASSPHRASE")
    assert drawn == [f'-L "{made.url}" -F "{made.hop.url}"', made.yaml]


def test_a_server_that_knows_of_no_relays(run_dir, capfd):
    """An older one, whose answer lacks the field."""
    told = json.loads(answer(BEHIND))
    del told["client"]["relays"]
    with fake_gateway(run_dir, "hub", encode(told)):
        assert main(["client", "192.168.123.2"]) == 0
    assert "tun://:0/SERVER-ADDRESS:8421?" in capfd.readouterr().out


def test_without_auth_there_is_no_passphrase(run_dir, capfd):
    with fake_gateway(run_dir, "hub", answer(replace(FACTS, auth=False))):
        assert main(["client", "192.168.123.2", "--host", "vpn.example.com"]) == 0
    out, err = capfd.readouterr()
    assert "passphrase" not in out
    assert "vpn.example.com:8421" in out
    assert err == ""


def test_notes_about_what_is_missing(run_dir, capfd):
    facts = replace(FACTS, known="network", reached=(), left_out=7)
    with fake_gateway(run_dir, "hub", answer(facts)):
        assert main(["client", "192.168.123.2"]) == 0
    err = capfd.readouterr().err
    assert "SERVER-ADDRESS" in err
    assert "no credential names this address yet" in err
    assert "7 more networks" in err


def test_a_passphrase_from_a_file(run_dir, capfd):
    secret = run_dir / "secret"
    secret.write_text("open sesame\nmore\n")
    with fake_gateway(run_dir, "hub", answer(FACTS)):
        assert main(["client", "192.168.123.2", "--passphrase-file", str(secret)]) == 0
        out, err = capfd.readouterr()
        assert "passphrase=open%20sesame" in out
        assert 'passphrase: "open sesame"' in out
        assert err == ""
        for text, status in (("x" * 17, 2), ("\nx", 2), ("", 2)):
            secret.write_text(text)
            assert main(["client", "192.168.123.2", "--passphrase-file", str(secret)]) == status
        secret.write_bytes(b"\xff")
        assert main(["client", "192.168.123.2", "--passphrase-file", str(secret)]) == 2
        secret.unlink()
        assert main(["client", "192.168.123.2", "--passphrase-file", str(secret)]) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert "x" * 17 not in err


def test_the_first_that_knows_the_address_answers(run_dir, capfd):
    with (
        fake_gateway(run_dir, "a", answer(None, "this instance is no server")),
        fake_gateway(run_dir, "b", answer(FACTS)),
    ):
        assert main(["client", "192.168.123.2"]) == 0
        assert "203.0.113.7" in capfd.readouterr().out
        assert main(["client", "192.168.123.2", "--instance", "a"]) == 1
    assert "instance a: it says: this instance is no server" in capfd.readouterr().err


def test_what_a_server_says_counts_more_than_what_clients_say(run_dir, capfd):
    client = answer(None, "this instance is no server", "no-server")
    with (
        fake_gateway(run_dir, "a", client),
        fake_gateway(run_dir, "b", answer(None, "10.9.9.9: not in the network of this server")),
        fake_gateway(run_dir, "c", client),
    ):
        assert main(["client", "10.9.9.9"]) == 1
    assert "instance b: it says: 10.9.9.9: not in the network" in capfd.readouterr().err


def test_nobody_to_ask(run_dir, capfd):
    assert main(["client", "192.168.123.2"]) == 3
    assert "no gateway is running" in capfd.readouterr().err


@pytest.mark.parametrize("what", ["url", "yaml"])
def test_a_code_is_what_a_camera_reads(what, run_dir, capfd):
    """The very dots of the library, light where a terminal is dark and the other way round."""
    segno = pytest.importorskip("segno")
    with fake_gateway(run_dir, "hub", answer(FACTS)):
        assert main(["client", "192.168.123.2", "--qr", what]) == 0
    lines = capfd.readouterr().out.splitlines()
    made = Invitation(FACTS, "203.0.113.7:8421", "PASSPHRASE")
    text = made.url if what == "url" else made.yaml
    dark = [
        [bool(dot) for dot in row]
        for row in segno.make(text, error="l", micro=False).matrix_iter(border=2)
    ]
    upper = [[sign in (" ", "▄") for sign in line] for line in lines]
    lower = [[sign in (" ", "▀") for sign in line] for line in lines]
    drawn = [row for pair in zip(upper, lower, strict=True) for row in pair]
    assert drawn[: len(dark)] == dark


@pytest.mark.parametrize("words", [["--qr", "192.168.123.2"], ["192.168.123.2", "--qr"]])
def test_a_code_before_or_behind_the_address(run_dir, capfd, words):
    pytest.importorskip("segno")
    with fake_gateway(run_dir, "hub", answer(FACTS)) as hub:
        assert main(["client", *words]) == 0
    assert hub.requests[0].addresses == ("192.168.123.2",)
    assert "█" in capfd.readouterr().out


def test_without_the_library_the_code_is_refused(run_dir, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "segno", None)
    monkeypatch.delitem(sys.modules, "gateway.ctl.qr", raising=False)
    with fake_gateway(run_dir, "hub", answer(FACTS)):
        assert main(["client", "192.168.123.2", "--qr"]) == 3
    assert "pip install 'tun-gateway[qr]'" in capfd.readouterr().err
