"""Answers instead of black holes: a tunnel narrower than its clients' devices."""

import pytest
from networks import PORT, misses, reaches
from programs import wait_for
from streams import exchange
from traffic import ping

SERVER, ONE, TWO = "192.168.123.1", "192.168.123.2", "192.168.123.3"
SIX = {SERVER: "fd00::1", ONE: "fd00::2", TWO: "fd00::3"}


def dual(address: str) -> str:
    return f"{address}/24,{SIX[address]}/64"


@pytest.fixture
def narrow(network):
    """A server with MTU 1300 between two clients that have the usual one."""
    net = network(2)
    server = net.server("&mtu=1300&mss=off", net=dual(SERVER))
    for number, address in ((1, ONE), (2, TWO)):
        url = f"tun://:0/1.2.3.4:{PORT}?net={dual(address)}&keepAlive=true&mss=off"
        net.gateway(net.lab.clients[number - 1], "-L", url).expect_ready()
    reaches(net.lab.clients[0], TWO)
    reaches(net.lab.clients[0], SIX[TWO])
    return net, server


@pytest.mark.parametrize("family", [4, 6])
def test_a_wide_packet_is_answered_with_the_mtu(narrow, family):
    net, server = narrow
    one = net.lab.clients[0]
    target, headers = (TWO, 28) if family == 4 else (SIX[TWO], 48)
    before = server.service()["drops"]["too_big"]

    shown = one.run(
        "ping", "-n", "-c", "2", "-W", "1", "-i", "0.2", "-M", "do", "-s", str(1400 - headers),
        target, check=False,
    ).stdout + one.run("ip", "route", "get", target).stdout  # fmt: skip

    assert "mtu 1300" in shown or "mtu = 1300" in shown or "mtu=1300" in shown, shown
    assert server.service()["drops"]["too_big"] == before + 1, "the second one was not sent"
    reaches(one, target, size=1300 - headers, fragment=False)


def test_what_may_be_fragmented_goes_on(narrow):
    net, server = narrow
    net.lab.clients[0].run("ping", "-n", "-c", "1", "-W", "2", "-M", "dont", "-s", "1372", TWO)
    assert server.service()["drops"]["too_big"] == 0


@pytest.mark.parametrize("family", [4, 6])
def test_tcp_adapts_itself(narrow, family):
    """Nothing clamps the MSS here: it is the answers alone."""
    net, server = narrow
    one, two = net.lab.clients
    exchange(one, two, TWO if family == 4 else SIX[TWO], flows=2)
    assert server.service()["drops"]["too_big"] > 0


def test_out_of_the_tunnel_every_size_is_taken(narrow):
    """The host is a router of its own."""
    net, server = narrow
    assert ping(net.lab.clients[0], SERVER, size=1372, fragment=False).received == 1
    assert server.service()["drops"]["too_big"] == 0


def test_a_host_that_is_not_there(narrow):
    net, server = narrow
    one = net.lab.clients[0]
    misses(one, "192.168.123.77", count=1)
    wait_for(lambda: server.service()["drops"]["no_peer"] > 0, 3.0, "the drop to be counted")
    shown = one.run("ping", "-n", "-c", "1", "-W", "1", "192.168.123.77", check=False).stdout
    assert f"From {SERVER} icmp_seq=1 Destination Host Unreachable" in shown
