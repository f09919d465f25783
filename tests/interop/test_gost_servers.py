"""Our clients on a stock GOST server."""

import pytest
from gost import (
    ONE,
    ONE_6,
    QUICK,
    SERVER,
    SERVER_6,
    TWO,
    TWO_6,
    gost_client,
    gost_server,
    linked,
    nets,
)
from networks import misses, reaches
from programs import wait_for
from streams import exchange
from traffic import ping


def uplink(client) -> dict:
    return client.service().get("uplink") or {}


def is_up(client) -> bool:
    return uplink(client).get("state") == "up"


@pytest.mark.parametrize("two", [False, True], ids=["one-address", "two-addresses"])
@pytest.mark.parametrize("keepalive", [True, False], ids=["keepalive", "no-keepalive"])
def test_our_client_and_a_stock_one(stock, keepalive, two):
    net = stock(2)
    gost_server(net, two=two)
    options = QUICK if keepalive else ""
    ours = net.client(1, options, net=nets(2, two=two), keepalive=keepalive)
    gost_client(net, 2, "&keepAlive=true" if keepalive else "", two=two)
    linked(net, SERVER, ONE, TWO)
    if two:
        linked(net, SERVER_6, ONE_6, TWO_6)
    if keepalive:
        wait_for(lambda: uplink(ours)["acks"] >= 3, 5.0, "acks of the stock server")
        assert is_up(ours)
    else:
        assert uplink(ours)["state"] == "unwatched"
        assert uplink(ours)["heartbeats"] == 1
    assert uplink(ours)["observed_address"] == "198.18.1.2"


@pytest.mark.parametrize("offload", ["on", "off"])
def test_our_offload_is_nothing_to_it(stock, offload):
    net = stock(2)
    gost_server(net)
    for number in (1, 2):
        net.client(number, f"&offload={offload}")
    one, two = net.lab.clients
    linked(net, SERVER, ONE, TWO)
    for host, address in ((one, SERVER), (one, TWO), (net.lab.server, ONE)):
        assert ping(host, address, count=3, interval=0.3, size=1392, fragment=False).received == 3
    exchange(one, two, TWO, flows=8)


def test_over_ipv6(stock):
    net = stock(1)
    gost_server(net)
    client = net.client(1, server="[2001:db8:1234::4]")
    linked(net, SERVER, ONE)
    assert uplink(client)["observed_address"] == "2001:db8:1::2"


def test_passphrases(stock):
    """The right one is let in; with the wrong one the server is silent, and so is `lost`."""
    net = stock(2)
    gost_server(net, users="192.168.123.2:userpass1@")
    right = net.client(1, f"{QUICK}&passphrase=userpass1")
    wrong = net.client(2, f"{QUICK}&passphrase=userpass1")
    linked(net, SERVER, ONE)
    assert is_up(right)
    wait_for(lambda: uplink(wrong)["state"] == "lost", 6.0, "the refused client to say so")
    misses(net.lab.clients[1], SERVER)
    assert wrong.ctl("status", wrong.instance).returncode == 1
    assert uplink(wrong)["acks"] == 0


def test_passphrase_is_cut_as_the_stock_client_cuts_it(stock):
    """Sixteen bytes are the limit of the wire; a whole one works."""
    net = stock(1)
    gost_server(net, users="192.168.123.2:0123456789abcdef@")
    client = net.client(1, f"{QUICK}&passphrase=0123456789abcdef")
    linked(net, SERVER, ONE)
    assert is_up(client)


def test_the_stock_server_restarts(stock):
    """It forgets its peers; our client notices by a refusal, and tells it again."""
    net = stock(2)
    server = gost_server(net)
    client = net.client(1, QUICK)
    net.client(2, QUICK)
    linked(net, SERVER, ONE, TWO)
    server.stop()
    wait_for(lambda: uplink(client)["state"] == "lost", 3.0, "our client to miss its server")
    gost_server(net)
    wait_for(lambda: is_up(client), 2.0, "our client to be back")
    linked(net, SERVER, ONE, TWO)
    assert uplink(client)["reconnects"] == 1


def test_without_keepalive_a_refusal_is_noticed(stock):
    """Traffic tells our client that nobody is there, which a stock one never learns."""
    net = stock(1)
    server = gost_server(net)
    client = net.client(1, keepalive=False)
    host = net.lab.clients[0]
    reaches(host, SERVER)
    server.stop()
    misses(host, SERVER)
    wait_for(lambda: uplink(client)["state"] == "lost", 3.0, "our client to miss its server")
    gost_server(net)
    reaches(net.lab.server, ONE, deadline=5.0)
    assert uplink(client)["state"] == "unwatched"


def test_our_client_restarts(stock):
    """A stock server believes the latest heartbeat."""
    net = stock(2)
    gost_server(net)
    first = net.client(1)
    gost_client(net, 2)
    linked(net, SERVER, ONE, TWO)
    first.stop()
    first.restart()
    first.expect_ready()
    linked(net, SERVER, ONE, TWO)
