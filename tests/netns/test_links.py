"""Hosts reach each other through a gateway: every direction, family, size and offload state."""

import re

import pytest
from networks import misses, reaches
from programs import wait_for
from streams import echoed, exchange
from traffic import ping

SERVER, ONE, TWO = "192.168.123.1", "192.168.123.2", "192.168.123.3"
SERVER_6, ONE_6, TWO_6 = "fd12:3456::1", "fd12:3456::2", "fd12:3456::3"

ICMP_HEADERS = {4: 28, 6: 48}


def both(number: int) -> str:
    """The `net` of a host with an address of each family; the server is number 1."""
    return f"192.168.123.{number}/24,fd12:3456::{number}/64"


def all_reach(network, *addresses: str) -> None:
    """The server and both clients reach each other at `addresses`, of S, C1 and C2."""
    hosts = [network.lab.server, *network.lab.clients]
    for host, own in zip(hosts, addresses, strict=True):
        for address in addresses:
            if address != own:
                reaches(host, address)


@pytest.mark.smoke
def test_ping_and_tcp_every_way(network):
    net = network(2)
    net.server()
    net.client(1)
    net.client(2)
    server, one, two = net.lab.server, *net.lab.clients
    all_reach(net, SERVER, ONE, TWO)
    exchange(one, server, SERVER, flows=1)
    exchange(server, two, TWO, flows=1)
    exchange(one, two, TWO, flows=1)
    misses(one, "192.168.123.9", count=1)


@pytest.mark.parametrize("outer", ["1.2.3.4", "[2001:db8:1234::4]"], ids=["over-ipv4", "over-ipv6"])
def test_both_families_inside(network, outer):
    net = network(2)
    net.server(net=both(1))
    net.client(1, net=both(2), server=outer)
    net.client(2, net=both(3), server=outer)
    one, two = net.lab.clients
    all_reach(net, SERVER, ONE, TWO)
    all_reach(net, SERVER_6, ONE_6, TWO_6)
    for address in (SERVER, SERVER_6):
        exchange(one, net.lab.server, address, flows=2)
    for address in (TWO, TWO_6):
        exchange(one, two, address, flows=2)


def test_clients_over_different_families_meet(network):
    net = network(2)
    server = net.server(net=both(1))
    net.client(1, net=both(2))
    net.client(2, net=both(3), server="[2001:db8:1234::4]")
    one, two = net.lab.clients
    all_reach(net, SERVER, ONE, TWO)
    for address in (TWO, TWO_6):
        exchange(one, two, address, flows=4)
    assert server.peer(ONE)["endpoint"].startswith("198.18.1.2:")
    assert server.peer(TWO)["endpoint"].startswith("[2001:db8:2::2]:")


@pytest.mark.parametrize(
    ("server", "one", "two"),
    [
        ("on", "on", "on"),
        ("off", "off", "off"),
        ("auto", "auto", "auto"),
        ("on", "off", "on"),
        ("off", "on", "on"),
    ],
)
def test_parallel_flows_arrive_whole(network, server, one, two):
    net = network(2)
    hub = net.server(f"&offload={server}")
    net.client(1, f"&offload={one}")
    net.client(2, f"&offload={two}")
    first, second = net.lab.clients
    all_reach(net, SERVER, ONE, TWO)
    exchange(first, net.lab.server, SERVER)
    exchange(net.lab.server, second, TWO)
    exchange(first, second, TWO)
    exchange(second, first, ONE)
    drops = hub.service()["drops"]
    broken = ("truncated", "too_short", "not_ip", "bad_length", "bad_offload", "send_error")
    assert {name: drops[name] for name in broken} == dict.fromkeys(broken, 0)


@pytest.mark.parametrize("offload", ["on", "off"])
def test_datagrams_larger_than_the_tunnel(network, offload):
    """Fragments inside: of UDP, made and put together by the inner hosts."""
    sizes = (0, 1, 1392, 1393, 3000, 20_000, 65_507)
    net = network(2)
    net.server(f"&offload={offload}", net=both(1))
    net.client(1, f"&offload={offload}", net=both(2))
    net.client(2, f"&offload={offload}", net=both(3))
    one, two = net.lab.clients
    all_reach(net, SERVER, ONE, TWO)
    all_reach(net, SERVER_6, ONE_6, TWO_6)
    for address in (SERVER, SERVER_6):
        echoed(one, net.lab.server, address, sizes[:-1] if ":" in address else sizes)
    for address in (TWO, TWO_6):
        echoed(one, two, address, sizes)


@pytest.mark.parametrize(
    ("outer", "offload"),
    [("1.2.3.4", "off"), ("1.2.3.4", "on"), ("[2001:db8:1234::4]", "on")],
    ids=["over-ipv4-off", "over-ipv4-on", "over-ipv6-on"],
)
def test_full_mtu_and_one_byte_more(network, outer, offload):
    net = network(2)
    net.server(f"&offload={offload}", net=both(1))
    net.client(1, f"&offload={offload}", net=both(2), server=outer)
    net.client(2, f"&offload={offload}", net=both(3), server=outer)
    one = net.lab.clients[0]
    all_reach(net, SERVER, ONE, TWO)
    all_reach(net, SERVER_6, ONE_6, TWO_6)
    for address in (SERVER, TWO, SERVER_6, TWO_6):
        payload = 1420 - ICMP_HEADERS[6 if ":" in address else 4]
        full = ping(one, address, count=3, interval=0.3, size=payload, fragment=False)
        assert (full.sent, full.received) == (3, 3), address
        assert refused_locally(one, address, payload + 1) == 1420, address


def refused_locally(host, address: str, payload: int) -> int:
    """Send a ping with DF that is too big; the MTU of which the own host tells."""
    command = ("ping", "-c", "1", "-W", "0.1", "-M", "do", "-s", str(payload), address)
    done = host.run(*command, check=False)
    told = re.search(r"mtu[ =:]*(\d+)", (done.stdout + done.stderr).lower())
    assert told is not None, done.stdout + done.stderr
    return int(told[1])


@pytest.mark.parametrize("mtu", [1280, 1500, 9000])
def test_other_mtus(network, mtu):
    """Above the link's MTU the outer packets are fragmented, or sent one by one."""
    net = network(2)
    for gateway in (net.server, lambda o: net.client(1, o), lambda o: net.client(2, o)):
        assert gateway(f"&mtu={mtu}").service()["device"]["mtu"] == mtu
    one, two = net.lab.clients
    all_reach(net, SERVER, ONE, TWO)
    for host, address in ((net.lab.server, SERVER), (two, TWO)):
        full = ping(one, address, count=3, interval=0.3, size=mtu - 28, fragment=False)
        assert full.received == 3
        exchange(one, host, address, flows=2, size=1 << 20)


FIRST, SECOND = "1.2.3.4", "1.2.3.5"
FIRST_6, SECOND_6 = "2001:db8:1234::4", "2001:db8:1234::5"


@pytest.mark.parametrize("router", [True, False], ids=["one-link", "on-lo"])
@pytest.mark.parametrize(
    ("near", "far"), [(FIRST, SECOND), (f"[{FIRST_6}]", f"[{SECOND_6}]")], ids=["ipv4", "ipv6"]
)
def test_server_answers_from_the_address_it_was_reached_on(network, near, far, router):
    """At most one of the two addresses is the one the kernel would choose."""
    addresses = (FIRST, SECOND, FIRST_6, SECOND_6)
    net = network(2, router=router, server_addresses=addresses)
    server = net.server()
    clients = [net.client(1, server=near), net.client(2, server=far)]
    one, two = net.lab.clients
    all_reach(net, SERVER, ONE, TWO)
    for client in clients:
        assert client.service()["uplink"]["state"] == "up"
    exchange(net.lab.server, one, ONE, flows=2)
    exchange(one, two, TWO, flows=2)
    exchange(two, one, ONE, flows=2)
    assert server.peer(ONE)["local"] == near.strip("[]")
    assert server.peer(TWO)["local"] == far.strip("[]")


def test_server_bound_to_one_of_its_addresses(network):
    net = network(2, server_addresses=(FIRST, SECOND))
    url = f"tun://{SECOND}:8421?net=192.168.123.1/24"
    server = net.gateway(net.lab.server, "-L", url).expect_ready()
    net.client(1, server=FIRST, keepalive=False)
    net.client(2, server=SECOND)
    reaches(net.lab.clients[1], SERVER)
    misses(net.lab.clients[0], SERVER)
    assert server.service()["listen"] == f"{SECOND}:8421"


def test_hosts_without_ipv6(network):
    net = network(2)
    for host in (net.lab.server, *net.lab.clients):
        host.sysctl(
            ipv6__conf__all__disable_ipv6=1,
            ipv6__conf__default__disable_ipv6=1,
            ipv6__conf__lo__disable_ipv6=1,
        )
        assert not host.run("ip", "-6", "address").stdout
    net.server()
    net.client(1)
    net.client(2)
    all_reach(net, SERVER, ONE, TWO)
    exchange(net.lab.clients[0], net.lab.clients[1], TWO, flows=2)


def test_counters_of_a_peer_tell_its_traffic(network):
    net = network(2)
    server = net.server()
    client = net.client(1)
    net.client(2)
    one, two = net.lab.clients
    all_reach(net, SERVER, ONE, TWO)
    exchange(one, two, TWO, flows=1, size=4 << 20)
    for address in (ONE, TWO):
        peer = wait_for(lambda a=address: server.peer(a), 2.0, "the peer to be shown")
        assert peer["rx_bytes"] > 4 << 20
        assert peer["tx_bytes"] > 4 << 20
    assert client.service()["uplink"]["tx_bytes"] > 4 << 20


def test_an_address_that_nobody_has_is_answered(network):
    """Not a black hole: the ping fails at once, for a client and for the server itself."""
    net = network()
    net.server()
    net.client(1)
    reaches(net.lab.clients[0], "192.168.123.1")

    for host in (net.lab.clients[0], net.lab.server):
        done = host.run("ping", "-c", "1", "-W", "3", "192.168.123.77", check=False)

        assert "Destination Host Unreachable" in done.stdout
