"""System routes on a host of a lab: as wanted, mended, and as they were afterwards."""

import os
import signal
import socket
import sys
from ipaddress import ip_address, ip_network

import msgspec
import pytest
from lab import SERVER_IPV4, SERVER_IPV6, Lab
from needs import need
from netns.inside import inside
from programs import wait_for

from gateway.linux import routing
from gateway.linux.route_plan import RouteRecord
from gateway.linux.routing import RouteMonitor, SystemRoutes

SERVERS = (ip_address(SERVER_IPV4), ip_address(SERVER_IPV6))
EVERYWHERE = ((ip_network("0.0.0.0/0"), None), (ip_network("::/0"), None))
SITE = ((ip_network("192.168.200.0/24"), None),)


@pytest.fixture
def lab():
    need("root", "netns", "ip")
    with Lab(1, tun=False) as made:
        make_tunnel(made.clients[0])
        yield made


@pytest.fixture
def client(lab):
    return lab.clients[0]


def make_tunnel(host) -> None:
    host.ip(
        "link add tun0 type veth peer name far0",
        "link set far0 up",
        "address add 192.168.123.2/24 dev tun0",
        "address add fd00:123::2/64 dev tun0 nodad",
        "link set tun0 up",
    )


def table(host) -> list[str]:
    """The routes of both families, in order."""
    lines = [
        line
        for family in ("-4", "-6")
        for line in host.run("ip", family, "route", "show").stdout.splitlines()
    ]
    return sorted(line.strip() for line in lines)


def ours(host) -> list[str]:
    return [line for line in table(host) if " proto 71 " in f"{line} "]


def way(host, address: str) -> str:
    """The device by which packets to an address leave, or `unreachable`."""
    done = host.run("ip", "route", "get", address, check=False)
    words = done.stdout.split()
    return words[words.index("dev") + 1] if "dev" in words else "unreachable"


def index(device: str = "tun0") -> int:
    return socket.if_nametoindex(device)


@pytest.fixture
def routes(client):
    """The routes of `tun0`; what was saved is in its attribute `saved`."""
    saved: list[RouteRecord] = []
    made = SystemRoutes(inside(client, index), saved.append)
    made.saved = saved
    yield made
    inside(client, made.close)


def test_networks_go_into_the_tunnel_and_away(client, routes):
    before = table(client)
    wanted = [*SITE, (ip_network("10.8.0.0/16"), ip_address("192.168.123.1"))]
    assert inside(client, routes.want, routes=wanted) == 2

    assert way(client, "192.168.200.7") == way(client, "10.8.1.1") == "tun0"
    assert any("10.8.0.0/16 via 192.168.123.1 dev tun0" in line for line in ours(client))
    assert inside(client, routes.ensure) == 0
    assert routes.saved == [], "what goes with the device needs no record"
    assert inside(client, routes.want, routes=SITE) == 1
    assert way(client, "10.8.1.1") == "unreachable"
    assert inside(client, routes.close) == ()
    assert table(client) == before


def test_everything_but_the_server_goes_into_the_tunnel(client, routes):
    before = table(client)
    inside(client, routes.want, routes=EVERYWHERE, endpoints=SERVERS)

    for address in ("8.8.8.8", "200.1.1.1", "2600::1", "a000::1"):
        assert way(client, address) == "tun0"
    for address in (SERVER_IPV4, SERVER_IPV6):
        assert way(client, address) == "wan0"
    assert client.run("ping", "-n", "-c", "1", "-W", "2", SERVER_IPV4).returncode == 0
    assert client.run("ping", "-n", "-c", "1", "-W", "2", SERVER_IPV6).returncode == 0
    assert routes.problems == ()
    assert inside(client, routes.ensure) == 0
    assert inside(client, routes.close) == ()
    assert table(client) == before


def test_another_server(client, routes):
    inside(client, routes.want, routes=EVERYWHERE, endpoints=SERVERS[:1])
    inside(client, routes.want, endpoints=[ip_address("1.2.3.99")])
    assert way(client, SERVER_IPV4) == "tun0"
    assert way(client, "1.2.3.99") == "wan0"


def test_a_server_on_the_same_link(client, routes):
    """Its network goes with the link, the guard does not."""
    inside(client, routes.want, routes=EVERYWHERE, endpoints=[ip_address("198.18.1.1")])
    assert way(client, "198.18.1.1") == "wan0"
    client.ip("link set wan0 down")
    assert way(client, "198.18.1.1") == "unreachable"


def test_the_link_gone_the_guard_stands(client, routes):
    """Nothing to the server ever enters the tunnel, not even before `ensure` is called."""
    inside(client, routes.want, routes=EVERYWHERE, endpoints=SERVERS)
    client.ip("link set wan0 down")
    for address in (SERVER_IPV4, SERVER_IPV6):
        assert way(client, address) == "unreachable"
    inside(client, routes.ensure)
    for address in (SERVER_IPV4, SERVER_IPV6):
        assert way(client, address) == "unreachable"

    client.ip(
        "link set wan0 up",
        "address replace 2001:db8:1::2/64 dev wan0 nodad",
        "route replace default via 198.18.1.1",
        "route replace default via 2001:db8:1::1",
    )
    assert inside(client, routes.ensure) > 0
    for address in (SERVER_IPV4, SERVER_IPV6):
        assert way(client, address) == "wan0"


def test_another_default_route_is_followed(client, routes):
    inside(client, routes.want, routes=EVERYWHERE, endpoints=SERVERS[:1])
    client.ip(
        "link add wan1 type veth peer name far1",
        "link set far1 up",
        "address add 198.18.9.2/24 dev wan1",
        "link set wan1 up",
        "route replace default via 198.18.9.1",
    )
    assert way(client, SERVER_IPV4) == "wan0"
    assert inside(client, routes.ensure) == 1
    assert way(client, SERVER_IPV4) == "wan1"


@pytest.fixture
def monitor(client):
    made = inside(client, RouteMonitor)
    yield made
    made.close()


def test_what_somebody_deletes_comes_back(client, routes, monitor):
    """The monitor tells of it; what does not concern us it keeps to itself."""
    inside(client, routes.want, routes=[*SITE, *EVERYWHERE], endpoints=SERVERS)
    other = SystemRoutes(9999, [].append)
    whole = ours(client)
    list(monitor.drain([]))

    for command in (
        "route del 192.168.200.0/24",
        "route del 0.0.0.0/1",
        f"route del {SERVER_IPV4}",
        f"route del unreachable {SERVER_IPV4}",
        "route replace 192.168.200.0/24 dev wan0",
    ):
        client.ip(command)
        told = wait_for(lambda: monitor.drain([routes, other]), 5.0, "news of the change")
        assert told == [routes]
        assert inside(client, routes.ensure) >= 1
        assert ours(client) == whole
        assert routes not in monitor.drain([other])

    client.ip("route add 10.77.0.0/16 dev wan0")
    assert inside(client, routes.ensure) == 0


def test_our_own_changes_are_no_news(client, routes, monitor):
    inside(client, routes.want, routes=SITE)
    assert monitor.drain([routes]) == []
    client.ip("route add 10.77.0.0/16 dev wan0", "route del 10.77.0.0/16")
    assert monitor.drain([routes]) == []


def test_a_device_made_again(client, routes):
    inside(client, routes.want, routes=SITE)
    client.ip("link del tun0")
    make_tunnel(client)
    inside(client, routes.want, device=inside(client, index))
    assert way(client, "192.168.200.7") == "tun0"


def test_a_route_of_somebody_elses_comes_back(client, routes):
    """With its gateway, source and metrics; also when it was displaced for a while only."""
    client.ip(
        "route add 192.168.200.0/24 via 198.18.1.1 src 198.18.1.2 mtu 1300 advmss 1200",
        "route add 192.168.201.0/24 nexthop via 198.18.1.1 weight 1 nexthop via 198.18.1.9",
    )
    before = table(client)
    wanted = [*SITE, (ip_network("192.168.201.0/24"), None)]
    inside(client, routes.want, routes=wanted)
    assert way(client, "192.168.200.7") == way(client, "192.168.201.7") == "tun0"
    assert len(routes.record.displaced) == 2
    assert routes.saved[-1] == routes.record
    assert inside(client, routes.ensure) == 0
    assert inside(client, routes.close) == ()
    assert table(client) == before
    assert routes.record.displaced == ()
    assert [len(record.displaced) for record in routes.saved] == [2, 0]


def test_nothing_happens_that_cannot_be_written_down(client, routes):
    def fail(record: RouteRecord) -> None:
        raise OSError(28, "no space left")

    before = table(client)
    routes._save = fail
    with pytest.raises(OSError, match="no space"):
        inside(client, routes.want, routes=EVERYWHERE, endpoints=SERVERS)
    assert table(client) == before
    routes._save = [].append


def test_a_network_of_the_hosts_own_is_not_taken(client, routes):
    before = table(client)
    wanted = [(ip_network("198.18.1.0/24"), None), (ip_network("192.168.123.0/24"), None)]
    inside(client, routes.want, routes=wanted)
    assert table(client) == before
    assert len(routes.problems) == 1
    assert "198.18.1.0/24" in routes.problems[0]


def test_a_gateway_that_is_nowhere_is_a_problem(client, routes):
    wanted = [(ip_network("10.9.0.0/16"), ip_address("172.31.0.1"))]
    inside(client, routes.want, routes=wanted)
    assert "inside the tunnel's net" in routes.problems[0]


RUN = """
import os, signal, socket, sys
from ipaddress import ip_address, ip_network
import msgspec
from gateway.linux import process
from gateway.linux.routing import SystemRoutes
device = socket.if_nametoindex("tun0")
def save(record):
    print(msgspec.json.encode(record).decode(), flush=True)
routes = SystemRoutes(device, save, persistent=sys.argv[1] == "persistent")
process.leave_root("nobody")
nets = [(ip_network(text), None) for text in ("0.0.0.0/0", "::/0", "192.168.200.0/24")]
routes.want(routes=nets, endpoints=[ip_address(text) for text in sys.argv[2:]])
assert not routes.problems, routes.problems
print("up", flush=True)
signal.pause()
"""


@pytest.mark.parametrize("kind", ["vanishes", "persistent"])
def test_kill_9_and_the_next_start(client, kind):
    """As nobody with CAP_NET_ADMIN; undone from the record, with and without the device."""
    client.ip("route add 192.168.200.0/24 via 198.18.1.1")
    before = table(client)
    process = client.spawn(
        sys.executable, "-c", RUN, kind, *map(str, SERVERS), environment=dict(os.environ)
    )
    wait_for(lambda: process.output().endswith("up\n"), 10.0, "the routes to be there")
    assert way(client, "8.8.8.8") == "tun0"
    process.send(signal.SIGKILL)
    process.wait()
    record = msgspec.json.decode(process.output().splitlines()[-2], type=RouteRecord)

    if kind == "vanishes":
        client.ip("link del tun0")
        before = [line for line in before if "tun0" not in line and "far0" not in line]
    assert inside(client, routing.undo, msgspec.structs.replace(record, place="else")) == ()
    assert ours(client) != []
    assert inside(client, routing.undo, record) == ()
    assert table(client) == before
    assert inside(client, routing.undo, record) == ()
    assert table(client) == before


def test_many_routes(client, routes):
    """Ten thousand at once, some of them taken away, all of them gone."""
    many = [(ip_network((0x0A000000 + (n << 8), 24)), None) for n in range(10000)]
    assert inside(client, routes.want, routes=many) == 10000
    assert len(ours(client)) == 10000
    assert inside(client, routes.want, routes=many[:9000]) == 1000
    assert inside(client, routes.ensure) == 0
    inside(client, routes.close)
    assert ours(client) == []
