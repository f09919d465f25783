"""The width of the outer path: measured by clients, looked at by servers, never in the way."""

import select
import socket

import pytest
from needs import need
from netns.inside import inside
from networks import PORT, reaches
from programs import wait_for

from gateway.linux import icmp
from gateway.protocol.packet import checksum

SERVER, ONE = "192.168.123.1", "192.168.123.2"
OVERHEAD = {"1.2.3.4": 28, "[2001:db8:1234::4]": 48}


def uplink(client) -> dict:
    return client.service().get("uplink") or {}


def expect_measured(client, deadline: float = 10.0) -> dict:
    wait_for(lambda: uplink(client).get("mtu_fits") is not None, deadline, "the path to be known")
    return uplink(client)


def narrow(net, mtu: int) -> None:
    """The link between R and S, at both ends."""
    net.lab.server.mtu(mtu)
    net.lab.hub.mtu(mtu, "S")


@pytest.mark.parametrize("server", OVERHEAD)
def test_a_wide_path_is_fine(network, server):
    net = network(1)
    net.server()
    client = net.client(1, server=server)
    found = expect_measured(client, 3.0)
    assert found["mtu_fits"]
    assert found["path_mtu"] == 1420 + OVERHEAD[server]
    assert found["mtu_advice"] is None
    assert "mtu-too-big" not in client.process.output()
    assert "fit in one piece" in client.ctl("status", client.instance).stdout


@pytest.mark.parametrize("server", OVERHEAD)
def test_a_narrow_path_is_told_with_what_would_fit(network, server):
    """And nothing is held up by it: fragments arrive."""
    net = network(1)
    net.server()
    narrow(net, 1400)
    client = net.client(1, server=server)
    reaches(net.lab.clients[0], SERVER, size=1372)
    found = expect_measured(client, 5.0)
    assert not found["mtu_fits"]
    assert found["path_mtu"] == 1400
    advice = 1400 - OVERHEAD[server]
    assert found["mtu_advice"] == advice
    assert f"set mtu={advice} on all ends" in client.process.output()
    shown = client.ctl("status", client.instance)
    assert shown.returncode == 0
    assert "TOO NARROW" in shown.stdout
    client.stop()

    client = net.client(1, f"&mtu={advice}", server=server)
    assert expect_measured(client, 5.0)["mtu_fits"]


def test_a_link_of_its_own_that_is_narrow(network):
    """The kernel refuses to send: nobody on the way is asked in vain."""
    net = network(1)
    net.server()
    host = net.lab.clients[0]
    host.mtu(1380)
    net.lab.hub.mtu(1380, "C1")
    client = net.client(1)
    found = expect_measured(client)
    assert (found["path_mtu"], found["mtu_advice"]) == (1380, 1352)


def test_a_path_that_says_nothing_is_searched(network):
    """A black hole: large packets vanish, and so does every "too big"."""
    need("nft")
    net = network(1)
    net.server()
    net.lab.hub.run(
        "nft", "-f", "-",
        stdin="table ip hole { chain f { type filter hook forward priority 0;"
        " ip length > 1410 ip protocol icmp drop; }; }",
    )  # fmt: skip
    client = net.client(1)
    assert expect_measured(client, 20.0)["path_mtu"] == 1410


def test_a_server_that_answers_no_echo_is_not_judged(network):
    need("nft")
    net = network(1)
    net.server()
    net.lab.hub.run(
        "nft", "-f", "-",
        stdin="table ip quiet { chain f { type filter hook forward priority 0;"
        ' iifname "C1" ip protocol icmp counter name asked drop; };'
        " counter asked { }; }",
    )  # fmt: skip
    client = net.client(1, "&ttl=1s")
    reaches(net.lab.clients[0], SERVER)

    def asked() -> int:
        text = net.lab.hub.run("nft", "list", "counter", "ip", "quiet", "asked").stdout
        return int(text.split("packets ")[1].split()[0])

    wait_for(lambda: asked() >= 6, 10.0, "all its questions to be asked")
    found = uplink(client)
    assert (found["path_mtu"], found["mtu_fits"], found["mtu_advice"]) == (None, None, None)
    assert "mtu-too-big" not in client.process.output()


def test_errors_about_others_do_not_count(network):
    """Forged on the client's own loopback: only its own question, and only its size, is heard."""
    net = network(1)

    def forged() -> list:
        both = icmp.open_echoes()
        it = both[0]
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
            for ident, code, protocol in (
                (it._ident ^ 1, 4, 1), (it._ident, 1, 1), (it._ident, 4, 17), (it._ident, 4, 1),
            ):  # fmt: skip
                quoted = bytearray(28)
                quoted[0], quoted[9], quoted[20] = 0x45, protocol, 8
                quoted[24:28] = ident.to_bytes(2) + (5).to_bytes(2)
                body = bytearray(bytes((3, code)) + bytes(4) + (1400).to_bytes(2) + quoted)
                body[2:4] = checksum(bytes(body)).to_bytes(2)
                raw.sendto(body, ("127.0.0.1", 0))
        assert select.select([it], [], [], 2.0)[0]
        found = it.receive()
        for each in both:
            each.close()
        return found

    assert inside(net.lab.clients[0], forged) == [icmp.TooBig(5, 1400)]


def test_it_is_measured_again_after_a_reconnect(network):
    net = network(1)
    server = net.server()
    client = net.client(1, "&ttl=1s")
    assert expect_measured(client)["mtu_fits"]
    server.stop()
    wait_for(lambda: uplink(client).get("state") == "lost", 3.0, "the client to be refused")
    narrow(net, 1400)
    server.restart()
    server.expect_ready()
    wait_for(lambda: uplink(client).get("mtu_advice") == 1372, 8.0, "the new path to be known")


def test_a_server_looks_at_its_own_links(network):
    net = network(1)
    narrow(net, 1400)
    server = net.server()
    assert "set mtu=1352 on all ends" in server.process.output()  # over IPv6
    assert "set mtu=1372 on all ends" in server.process.output()
    server.stop()
    url = f"tun://:{PORT}?net={SERVER}/24&mtu=1352"
    wide = net.gateway(net.lab.server, "-L", url).expect_ready()
    assert "mtu-too-big" not in wide.process.output()
