"""Stock GOST clients on our server."""

import pytest
from gost import (
    KEPT,
    ONE,
    ONE_6,
    QUICK,
    SERVER,
    SERVER_6,
    TWO,
    TWO_6,
    gost_client,
    linked,
    nets,
)
from networks import misses, reaches
from programs import wait_for
from streams import exchange, transfer
from traffic import ping


@pytest.mark.parametrize("two", [False, True], ids=["one-address", "two-addresses"])
@pytest.mark.parametrize("keepalive", [True, False], ids=["keepalive", "no-keepalive"])
def test_with_our_server_and_our_client(stock, keepalive, two):
    """Client to client between the two programs, too."""
    net = stock(2)
    server = net.server(net=nets(1, two=two))
    gost_client(net, 1, KEPT + QUICK if keepalive else "", two=two)
    net.client(2, net=nets(3, two=two), keepalive=keepalive)
    linked(net, SERVER, ONE, TWO)
    if two:
        linked(net, SERVER_6, ONE_6, TWO_6)
    peer = server.peer(ONE)
    assert peer["addresses"] == ([ONE, ONE_6] if two else [ONE])
    assert not peer["conflict"]
    if keepalive:
        wait_for(lambda: server.peer(ONE)["heartbeats"] >= 3, 5.0, "heartbeats of the stock client")
    else:
        assert peer["heartbeats"] == 1
    drops = server.service()["drops"]
    assert drops["spoofed_source"] == 0
    assert drops["bad_control"] == 0


def test_two_stock_clients_meet(stock):
    net = stock(2)
    net.server()
    gost_client(net, 1)
    gost_client(net, 2)
    linked(net, SERVER, ONE, TWO)


@pytest.mark.parametrize("offload", ["on", "off"])
def test_our_offload_is_nothing_to_it(stock, offload):
    """It gets plain datagrams, of full size too, and sends plain ones."""
    net = stock(2)
    net.server(f"&offload={offload}")
    gost_client(net, 1)
    net.client(2, f"&offload={offload}")
    one, two = net.lab.clients
    linked(net, SERVER, ONE, TWO)
    for host, address in ((one, SERVER), (one, TWO), (two, ONE), (net.lab.server, ONE)):
        assert ping(host, address, count=3, interval=0.3, size=1392, fragment=False).received == 3
    exchange(two, one, ONE, flows=8)


def test_over_ipv6(stock):
    net = stock(2)
    server = net.server()
    gost_client(net, 1, server="[2001:db8:1234::4]")
    net.client(2)
    linked(net, SERVER, ONE, TWO)
    assert server.peer(ONE)["endpoint"].startswith("[2001:db8:1::2]:")


@pytest.mark.parametrize("keepalive", [True, False], ids=["keepalive", "no-keepalive"])
def test_passphrases(stock, keepalive):
    """The right one is let in; the wrong one gets nothing, and is counted."""
    net = stock(2)
    url = "tun://192.168.123.2:userpass1@:8421?net=192.168.123.1/24"
    server = net.gateway(net.lab.server, "-L", url).expect_ready()
    options = KEPT + QUICK if keepalive else ""
    gost_client(net, 1, f"{options}&passphrase=userpass1")
    reaches(net.lab.clients[0], SERVER)
    gost_client(net, 2, f"{options}&passphrase=userpass1")  # another's
    wait_for(
        lambda: server.service()["refusals"]["unknown_address"] >= (3 if keepalive else 1),
        15.0,
        "the second client to be refused",
    )
    misses(net.lab.clients[1], SERVER)
    misses(net.lab.clients[1], ONE)
    misses(net.lab.server, TWO)
    linked(net, SERVER, ONE)
    assert server.peer(TWO) == {}


def test_a_wrong_passphrase(stock):
    net = stock(1)
    url = "tun://192.168.123.2:userpass1@:8421?net=192.168.123.1/24"
    server = net.gateway(net.lab.server, "-L", url).expect_ready()
    wrong = gost_client(net, 1, f"{KEPT}{QUICK}&passphrase=userpass2")
    wait_for(lambda: server.service()["refusals"]["wrong_passphrase"] >= 2, 15.0, "two refusals")
    misses(net.lab.clients[0], SERVER)
    assert server.service()["peers"] == []
    wrong.stop()
    gost_client(net, 1, f"{KEPT}&passphrase=userpass1")
    linked(net, SERVER, ONE)


def test_our_server_restarts_under_load(stock):
    """It remembers its peers, so that the stock client need not notice."""
    net = stock(2)
    server = net.server()
    gost_client(net, 1, "")
    net.client(2, QUICK)
    one, two = net.lab.clients
    linked(net, SERVER, ONE, TWO)
    running = transfer(two, one, ONE)
    wait_for(lambda: running.received() > 1 << 20, 20.0, "the transfer to run")
    assert server.stop() == 0
    server.restart()
    server.expect_ready()
    seen = running.received()
    # TCP, which doubles its pauses, may wait once more for as long as the outage was.
    wait_for(lambda: running.received() > seen + (4 << 20), 60.0, "the transfer to go on")
    running.expect_whole()


def test_a_server_without_memory_is_found_again(stock):
    """The next heartbeat of the stock client lets it in again."""
    net = stock(1)
    server = net.server()
    gost_client(net, 1, KEPT + QUICK)
    one = net.lab.clients[0]
    reaches(one, SERVER)
    server.stop()
    for file in net.state_directory.iterdir():
        file.unlink()
    server.restart()
    server.expect_ready()
    assert "peers-restored" not in server.process.output()
    reaches(one, SERVER, deadline=40.0)
    reaches(net.lab.server, ONE)


def test_the_stock_client_restarts(stock):
    """It comes back from another port, and is the same peer."""
    net = stock(2)
    server = net.server()
    first = gost_client(net, 1)
    net.client(2)
    linked(net, SERVER, ONE, TWO)
    former = server.peer(ONE)["endpoint"]
    first.stop()
    gost_client(net, 1)
    linked(net, SERVER, ONE, TWO)
    peer = server.peer(ONE)
    assert peer["endpoint"] != former
    assert peer["moves"] == 1
    assert not peer["conflict"]
