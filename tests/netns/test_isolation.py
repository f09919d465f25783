"""One peer's trouble touches no other (I13).

The links end at the server itself (no router), so that what is wrong with one peer's
link is met by the server's own socket:

    C1 198.18.1.2 ──C1── S ──C2── 198.18.2.2 C2       C1 has the trouble
                         └───C3── 198.18.3.2 C3
"""

import re
import signal
import socket
from contextlib import closing, contextmanager, suppress

import pytest
from needs import need
from netns.forge import INNER_PORT, Peer, socket_on
from networks import reaches
from programs import wait_for
from traffic import ping, tcp

SERVER, ONE, TWO, THREE = (f"192.168.123.{n}" for n in range(1, 5))
PINGS = 150
LATE = 50
"""Pings that follow, which nobody counts: `ping` ends one interval after its last answer, and calls
what a busy machine delivers later than that lost."""


@pytest.fixture
def star(network):
    """Make three clients on links of their own; returns the network and the server."""

    def make(options="&workers=2"):
        made = network(3, router=False)
        server = made.server(options)
        for number in (1, 2, 3):
            made.client(number, "&ttl=1s", server=made.lab.near_address(number))
            reaches(made.lab.clients[number - 1], SERVER)
        return made, server

    return make


def pings(host, address):
    """Start PINGS pings that count, ten milliseconds apart."""
    return host.spawn("ping", "-n", "-c", str(PINGS + LATE), "-i", "0.01", address)


def lost(run) -> int:
    """How many of the first PINGS had no answer."""
    text = run.output()
    assert f"{PINGS + LATE} packets transmitted" in text
    answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", text)}
    return len(set(range(1, PINGS + 1)) - answered)


def others_lose(made, server) -> list[int]:
    """Ping between all but C1, while the server's host sends to C1; how many were lost."""
    host, (_, two, three) = made.lab.server, made.lab.clients
    runs = [pings(two, SERVER), pings(three, TWO), pings(host, THREE)]

    def done() -> bool:
        burden(source)
        return all(run.status is not None for run in runs)

    with to_client_one(host) as source:
        wait_for(done, 30.0, "the pings to end", every=0.01)
    assert {process["restarts"] for process in server.service()["processes"]} == {0}
    return [lost(run) for run in runs]


@contextmanager
def to_client_one(host):
    """A socket of the server's host that is connected to C1 through the tunnel."""
    with closing(socket_on(host, socket.AF_INET)) as source:
        source.bind((SERVER, 0))
        source.connect((ONE, INNER_PORT))
        yield source


def burden(source) -> None:
    """Some large datagrams at once, half a link's burst."""
    for _ in range(40):
        with suppress(ConnectionRefusedError):
            source.send(bytes(1300))


def heartbeats(server) -> list[int]:
    return [server.peer(address)["heartbeats"] for address in (TWO, THREE)]


def test_a_slow_link_slows_only_its_own_peer(star):
    """C1's link takes a tenth of what is sent there; C2 and C3 lose nothing."""
    need("tc")
    made, server = star()
    host = made.lab.server
    shape = "tc qdisc add dev C1 root tbf rate 2mbit burst 3000 limit 20000"
    host.run(*shape.split())
    before = heartbeats(server)
    assert others_lose(made, server) == [0, 0, 0]
    queue = host.run("tc", "-s", "qdisc", "show", "dev", "C1").stdout
    assert int(re.search(r"dropped (\d+)", queue)[1]) > 1000
    assert all(now > then for now, then in zip(heartbeats(server), before, strict=True))
    for client in made.gateways[2:]:
        assert client.service()["uplink"]["state"] == "up"


def test_acks_leave_while_a_link_is_stuck(star):
    """A queue longer than the send buffer: the worker's socket is full, acks have their own."""
    need("tc")
    made, server = star("&workers=1")
    host, client = made.lab.server, made.lab.clients[1]
    shape = "tc qdisc add dev C1 root tbf rate 8kbit burst 1600 limit 20000000"
    host.run(*shape.split())
    with to_client_one(host) as source, Peer(client, made.lab.near_address(2)) as peer:

        def full() -> int:
            burden(source)
            return server.service()["drops"]["send_full"]

        wait_for(full, 15.0, "the send buffer to be full", every=0.0)
        for number in range(20, 30):
            peer.join(f"192.168.123.{number}")
    assert made.gateways[2].service()["uplink"]["state"] == "up"


@pytest.mark.parametrize("router", [False, True])
def test_a_narrow_path_slows_only_its_own_peer(network, router):
    """C1's path takes 1400 bytes, less than a full tunnel packet in its datagram."""
    need("iperf3")
    made = network(2, router=router)
    server = made.server("&workers=2")
    one, two = made.lab.clients
    made.lab.hub.mtu(1400, "C1")
    one.mtu(1400)
    for number in (1, 2):
        made.client(number, server=made.lab.near_address(number))
    reaches(one, SERVER)
    reaches(two, SERVER)
    rates = {
        ONE: tcp(one, made.lab.server, SERVER, source=ONE, seconds=1.0, reverse=True),
        TWO: tcp(two, made.lab.server, SERVER, source=TWO, seconds=1.0, reverse=True),
    }
    tcp(two, one, ONE, source=TWO, seconds=1.0)
    assert 1e6 < rates[ONE] < rates[TWO]
    assert not server.peer(TWO)["single_sends"]
    if not router:  # a router cuts in silence what the server's own link refuses
        assert server.peer(ONE)["single_sends"]
        assert server.service()["offload"]["fallbacks"]
    assert ping(one, SERVER, size=1392, fragment=False).received == 1
    assert ping(two, SERVER, size=1392, fragment=False).received == 1


FILTER = """\
table inet lab {
    chain out { type filter hook output priority 0; ip daddr 198.18.1.2 udp sport 8421 drop; }
}
"""


@contextmanager
def filtered(host):
    """The server's own firewall drops what goes to C1's endpoint: sends fail with EPERM."""
    need("nft")
    host.run("nft", "-f", "-", stdin=FILTER)
    yield
    host.run("nft", "delete", "table", "inet", "lab")


@contextmanager
def unrouted(host):
    """The server has no route to C1's endpoint: sends fail with EHOSTUNREACH."""
    host.ip("route add unreachable 198.18.1.2")
    yield
    host.ip("route delete unreachable 198.18.1.2")


@pytest.mark.parametrize("trouble", [filtered, unrouted])
def test_an_unreachable_peer_is_alone_with_it(star, trouble):
    made, server = star("&workers=1")
    host, one = made.lab.server, made.lab.clients[0]
    with trouble(host):
        assert others_lose(made, server) == [0, 0, 0]
        assert server.service()["drops"]["send_error"] > 100
    reaches(one, SERVER)


def test_a_peer_whose_port_is_closed_is_alone_with_it(star):
    """Its host answers everything with an ICMP refusal, which reaches the server."""
    made, server = star("&workers=1")
    made.gateways[1].process.send(signal.SIGKILL)
    made.gateways[1].process.wait()
    assert others_lose(made, server) == [0, 0, 0]
    counts = made.lab.server.run("cat", "/proc/net/snmp").stdout
    names, values = (line.split() for line in counts.splitlines() if line.startswith("Icmp:"))
    assert int(dict(zip(names, values, strict=True))["InDestUnreachs"]) > 0
