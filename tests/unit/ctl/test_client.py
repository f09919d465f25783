"""What a client is to run: read back by our own reader, and by the stock program."""

import json
import shutil
import subprocess
import sys
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
from gateway.ctl.invitation import Invitation, target_of
from gateway.ctl.main import main
from gateway.errors import ConfigError
from gateway.protocol.status import Answer, ClientFacts

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


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GATEWAY_RUN_DIR", str(tmp_path))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    return tmp_path


def load(listens: list[str], files: list[str]) -> Config:
    report = Report()
    return build(read_tree(listens, files, report), report)


def answer(facts: ClientFacts | None, error: str = "", kind: str = "") -> bytes:
    return encode(Answer(client=facts, error=error, kind=kind))


@pytest.mark.parametrize("facts", [FACTS, BOTH])
@pytest.mark.parametrize("passphrase", [None, "userpass1", 'q"u o&t+e%$`=:#'])
@pytest.mark.parametrize("form", ["url", "yaml"])
def test_our_own_reader_understands_it(facts, passphrase, form, tmp_path):
    invitation = Invitation(facts, target_of(facts, ""), passphrase)
    if form == "url":
        config = load([invitation.url], [])
    else:
        (tmp_path / "client.yaml").write_text(invitation.yaml)
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
    invitation = Invitation(BOTH, "[2001:db8::1]:8421", 'q"u o&t+e%$`=:#')
    (tmp_path / "client.yaml").write_text(invitation.yaml)
    said = ["-L", invitation.url] if form == "url" else ["-C", str(tmp_path / "client.yaml")]
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
        ("vpn.example.com", "", ("203.0.113.7",), "vpn.example.com:8421"),
        ("vpn.example.com:9000", "", (), "vpn.example.com:9000"),
        ("2001:db8::1", "", (), "[2001:db8::1]:8421"),
        ("[2001:db8::1]:9000", "", (), "[2001:db8::1]:9000"),
    ],
)
def test_where_the_server_is(said, listen, reached, target):
    assert target_of(replace(FACTS, listen=listen, reached=reached), said) == target


@pytest.mark.parametrize("said", ["a b", "a/b", "host:", "host:0", "host:65536", "[x]:1", "a&b=c"])
def test_what_is_no_host_is_said(said):
    with pytest.raises(ConfigError, match="HOST or HOST:PORT"):
        target_of(FACTS, said)


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
    invitation = Invitation(FACTS, "203.0.113.7:8421", "PASSPHRASE")
    text = invitation.url if what == "url" else invitation.yaml
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
