"""What `gateway-ctl client` prints is run as it is, and the client is in."""

import re
import shlex
from pathlib import Path

import pytest
from netns.test_chains import chain_client, relay_server
from networks import PORT, Network, reaches
from programs import wait_for

SERVER, ONE, TWO = "192.168.123.1", "192.168.123.2", "192.168.123.3"
RELAY = "relay+{}://user:secret@:443"


def page(server, *words: str) -> tuple[str, str]:
    """What it prints of the client at the first address, and what it says beside that."""
    shown = server.ctl("client", *words, "--instance", server.instance)
    assert shown.returncode == 0, shown.stderr
    assert "secret" not in shown.stdout + shown.stderr
    return shown.stdout, shown.stderr


def filled(text: str) -> str:
    """The placeholders replaced, as the notes say."""
    for placeholder, value in (
        ("SERVER-ADDRESS", "1.2.3.4"), ("USER", "user"), ("PASSWORD", "secret"),
        ("KCP-KEY", "hush"),
    ):  # fmt: skip
        text = text.replace(placeholder, value)
    return text


def words_of(text: str, program: str) -> list[str]:
    """The arguments of the one line that runs this program."""
    (line,) = re.findall(rf"^{program} (.*)$", filled(text), re.MULTILINE)
    return shlex.split(line)


def written(net: Network, text: str) -> Path:
    """The page's file, filled in."""
    file = net.lab.directory / "client.yaml"
    file.write_text(filled(text[text.index("services:") :]))
    return file


@pytest.mark.parametrize(
    "relay", ["wss", "tcp", "wss?path=/hidden", "mws?mux.version=2", "kcp?kcp.key=hush", "grpc"]
)
def test_the_command_of_who_comes_through_a_carrier(network, relay):
    net = network(1)
    carrier, mark, options = relay.partition("?")
    server = relay_server(net, RELAY.format(carrier) + mark + options)
    text, notes = page(server, ONE)
    assert "replace SERVER-ADDRESS" in notes
    assert "replace USER and PASSWORD" in notes
    assert ("pin=sha256:" in text) == (carrier in ("wss", "grpc"))
    net.gateway(net.lab.clients[0], *words_of(text, "gateway")).expect_ready()
    reaches(net.lab.clients[0], SERVER)
    assert server.peer(ONE)["user"] == "user"


@pytest.mark.parametrize("form", ["words", "file"])
def test_every_form(network, form):
    net = network(1)
    server = relay_server(net, RELAY.format("wss"))
    text, _ = page(server, ONE, "--host", "1.2.3.4")
    assert "SERVER-ADDRESS" not in text
    host = net.lab.clients[0]
    words = words_of(text, "gateway")
    if form == "file":
        words = ["-C", str(written(net, text))]
    net.gateway(host, *words).expect_ready()
    reaches(host, SERVER)
    wait_for(lambda: server.peer(ONE).get("carrier") == "wss", 5.0, "the peer by its carrier")


def test_an_ordinary_listener_with_a_relay_beside_it(network):
    """Who came through the relay was on this host's loopback, where nobody else can come."""
    net = network(2)
    url = f"tun://:{PORT}?net={SERVER}/24"
    server = net.gateway(net.lab.server, "-L", url, "-L", "relay+wss://:443").expect_ready()
    chain_client(net, 1, "relay+wss://1.2.3.4:443")
    reaches(net.lab.clients[0], SERVER)
    text, notes = page(server, TWO)
    assert f"tun://:0/SERVER-ADDRESS:{PORT}?" in text
    assert "-F" not in text
    assert "replace SERVER-ADDRESS" in notes
    net.gateway(net.lab.clients[1], *words_of(text, "gateway")).expect_ready()
    reaches(net.lab.clients[1], SERVER)
    text, notes = page(server, TWO)
    assert f"tun://:0/1.2.3.4:{PORT}?" in text
    assert notes == ""


def test_loopback_without_a_relay_is_said(network: Network):
    net = network(1)
    server = relay_server(net)
    text, notes = page(server, ONE)
    assert "127.0.0.1" not in text
    assert "listens on 127.0.0.1 only" in notes
