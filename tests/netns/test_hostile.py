"""What strangers and dishonest peers send: nothing gets through, nothing dies, all is counted."""

import os
import random
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import repeat

import pytest
from needs import need
from netns.forge import INNER_PORT, PORT, Peer, Port, heartbeat, inner
from networks import Gateway, Network, reaches
from programs import wait_for

NETS = "192.168.123.1/24,fd00:123::1/64"
ADDRESSES = {
    "v4": ("192.168.123.2", "192.168.123.3", "192.168.123.1", "192.168.123.99", "192.168.100.10"),
    "v6": ("fd00:123::2", "fd00:123::3", "fd00:123::1", "fd00:123::99", "fd00:100::10"),
}
"""Of a dishonest peer, his victim, the server, nobody, and a host of some LAN."""
LINK_LOCAL = {"v4": "169.254.7.7", "v6": "fe80::7"}

COPIES = 50


@pytest.fixture(params=ADDRESSES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


class Scene:
    """A server, a dishonest peer on C1, his victim on C2, a receiver on the server."""

    def __init__(self, network: Network, family: str, options: str, stack: ExitStack) -> None:
        addresses = ADDRESSES[family]
        self.liar_address, self.victim_address, self.server_address = addresses[:3]
        self.server = network.server(f"&workers=2{options}", net=NETS)
        clients = network.lab.clients
        self.liar = stack.enter_context(Peer(clients[0])).join(self.liar_address)
        self.victim = stack.enter_context(Peer(clients[1])).join(self.victim_address)
        self.stranger = stack.enter_context(Peer(clients[0]))
        host = network.lab.server
        self.sink = stack.enter_context(Port(host, self.server_address, INNER_PORT))

    def attack(self, sender: Peer, source: str) -> None:
        """To the host and to the victim, COPIES of each."""
        for _ in range(COPIES):
            sender.say(inner(source, self.server_address))
            sender.say(inner(source, self.victim_address))

    def expect_dropped(self, reason: str, count: int) -> None:
        """Wait until this many were dropped, all for this reason; none got through."""
        wait_for(lambda: self.dropped(reason) >= count, 3.0, f"{count} drops: {reason}")
        service = self.server.service()
        drops = {name: number for name, number in service["drops"].items() if number}
        assert drops == {reason: count}
        assert service["counters"]["delivered_packets"] == 0
        assert service["counters"]["forwarded_packets"] == 0
        assert self.sink.received() == []
        assert self.victim.packets() == []

    def dropped(self, reason: str) -> int:
        return self.server.service()["drops"][reason]

    def expect_through(self, source: str) -> None:
        """See that this inner source gets to both."""
        for name, port, target in (
            ("server", self.sink, self.server_address),
            ("victim", self.victim, self.victim_address),
        ):
            self.liar.say(inner(source, target))
            wait_for(port.received, 3.0, f"a packet from {source} at the {name}")


@pytest.fixture
def scene(network: Callable[..., Network], family: str) -> Iterator[Callable[..., Scene]]:
    with ExitStack() as stack:
        yield lambda options="": Scene(network(), family, options, stack)


def test_a_stranger_gets_nothing_through(scene: Callable[..., Scene], family: str) -> None:
    made = scene()
    for source in ADDRESSES[family]:
        made.attack(made.stranger, source)
    made.expect_dropped("unknown_endpoint", 2 * COPIES * len(ADDRESSES[family]))
    made.expect_through(made.liar_address)


def test_a_peer_speaks_for_itself_only(scene: Callable[..., Scene], family: str) -> None:
    made = scene()
    others = ADDRESSES[family][1:]
    for source in others:
        made.attack(made.liar, source)
    made.expect_dropped("spoofed_source", 2 * COPIES * len(others))
    made.expect_through(made.liar_address)


def test_link_local_sources_have_a_reason_of_their_own(
    scene: Callable[..., Scene], family: str
) -> None:
    made = scene()
    made.attack(made.liar, LINK_LOCAL[family])
    made.expect_dropped("unroutable_source", 2 * COPIES)
    made.expect_through(made.liar_address)


def test_without_source_check_the_same_packets_arrive(
    scene: Callable[..., Scene], family: str
) -> None:
    """The control of the tests above: the packets are good enough for an open server."""
    scene("&sourceCheck=off").expect_through(ADDRESSES[family][4])


FLOOD = 100_000


def test_a_flood_of_spoofed_packets(network: Callable[..., Network]) -> None:
    """Half of it from a peer that poses as another, half from a stranger who does."""
    with ExitStack() as stack:
        scene = Scene(network(), "v4", "", stack)
        before = balance(scene.server)["received"]
        for target in (scene.server_address, scene.victim_address):
            packet = inner(scene.victim_address, target)
            throw(scene.liar, repeat(packet, FLOOD // 4))
            throw(scene.stranger, repeat(packet, FLOOD // 4))
        expect_balance(scene.server, before + FLOOD)
        service = scene.server.service()
        lost = sum(sock["dropped"] for sock in service["sockets"])
        drops = service["drops"]
        assert drops["spoofed_source"] + drops["unknown_endpoint"] == FLOOD - lost
        assert min(drops["spoofed_source"], drops["unknown_endpoint"]) > FLOOD // 10
        assert service["counters"]["delivered_packets"] == 0
        assert service["counters"]["forwarded_packets"] == 0
        assert scene.sink.received() == scene.victim.packets() == []
        scene.expect_through(scene.liar_address)


NOISE = 100_000


def noise(count: int) -> Iterator[bytes]:
    """Datagrams nobody ordered; every 500th is a large one. The same each time."""
    dice = random.Random(8421)
    block = dice.randbytes(1 << 16)
    packet = inner("192.168.123.2", "192.168.123.1", bytes(100))
    beat = heartbeat(["192.168.123.200"])
    for number in range(count):
        if number % 500 == 0:
            yield block[: dice.choice((16_385, 20_000, 40_000, 65_507))]
            continue
        cut = dice.randrange(1, len(beat))
        yield (
            b"",
            block[cut : cut + dice.randrange(1, 1400)],
            packet[:cut],
            packet + block[:cut],
            beat[:cut],
            beat + block[:cut],
            b"\x45" + block[:cut],
            b"\x60" + block[: 39 + cut],
        )[number % 8]


def balance(gateway: Gateway) -> dict[str, int]:
    """Segments received and what became of them, summed over the udp-workers (I14)."""
    sums = {"received": 0, "accounted": 0, "socket": 0}
    service = gateway.service()
    for process in service["processes"]:
        if process["kind"] != "udp-worker":
            continue
        counters = process["counters"]
        sums["received"] += counters["udp_received_packets"]
        sums["accounted"] += sum(
            number
            for name, number in counters.items()
            if name in ("delivered_packets", "forwarded_packets", "punted_packets")
            or name.startswith("drop_")
        )
    sums["socket"] = sum(sock["dropped"] for sock in service["sockets"])
    return sums


def expect_balance(gateway: Gateway, sent: int) -> None:
    """Wait until every datagram was received or dropped by a socket; see that sums agree."""

    def settled() -> bool:
        sums = balance(gateway)
        return sums["received"] + sums["socket"] >= sent

    wait_for(settled, 10.0, f"all of {sent} datagrams in {balance(gateway)}")
    sums = balance(gateway)
    assert sums["received"] == sums["accounted"]
    assert sums["received"] + sums["socket"] == sent


def pids(gateway: Gateway) -> list[int]:
    return [process["pid"] for process in gateway.service()["processes"]]


def throw(sender: Peer, datagrams: Iterable[bytes]) -> None:
    for datagram in datagrams:
        sender.say(datagram)


def test_noise_kills_nothing_and_is_counted(network: Callable[..., Network]) -> None:
    made = network()
    server = made.server("&workers=2")
    children, lines = pids(server), len(server.process.output().splitlines())
    with ExitStack() as stack:
        peer = stack.enter_context(Peer(made.lab.clients[0])).join("192.168.123.2")
        stranger = stack.enter_context(Peer(made.lab.clients[1]))
        throw(peer, noise(NOISE // 2))
        throw(stranger, noise(NOISE // 2))
        expect_balance(server, NOISE + 1)
        sink = stack.enter_context(Port(made.lab.server, "192.168.123.1", INNER_PORT))
        peer.say(inner("192.168.123.2", "192.168.123.1"))
        wait_for(sink.received, 3.0, "the peer's packet")
    assert pids(server) == children
    assert len(server.process.output().splitlines()) - lines < 20
    drops = server.service()["drops"]
    assert all(drops[name] for name in ("empty", "too_short", "not_ip", "bad_length"))
    assert server.service()["drops"]["bad_control"]


def test_a_port_scan_is_only_noise(network: Callable[..., Network]) -> None:
    need("nmap")
    made = network(1)
    server = made.server()
    children = pids(server)
    scanner = made.lab.clients[0]
    for options in ("-sV --host-timeout 3s", "--max-retries 0 --data-length 20"):
        scan = f"nmap -sU -Pn -n -T5 -p {PORT} {options} 1.2.3.4"
        scanner.run(*scan.split())
    received = balance(server)["received"]
    assert received >= 2
    expect_balance(server, received)
    assert pids(server) == children
    made.client(1)
    reaches(scanner, "192.168.123.1")


def test_what_sockets_drop_is_shown(network: Callable[..., Network]) -> None:
    """A worker that does not read loses datagrams in the kernel; they are counted there."""
    made = network(1)
    server = made.server("&workers=1")
    worker = next(p["pid"] for p in server.service()["processes"] if p["kind"] == "udp-worker")
    count = 40_000
    with Peer(made.lab.clients[0]) as stranger:
        os.kill(worker, signal.SIGSTOP)
        throw(stranger, (bytes(100) for _ in range(count)))
        lost = server.service()["sockets"][0]["dropped"]
        os.kill(worker, signal.SIGCONT)
    assert 0 < lost < count
    expect_balance(server, count)


def test_a_client_survives_noise_from_its_server(network: Callable[..., Network]) -> None:
    """Somebody else sits on the server's port for a while. A client hears nobody else."""
    made = network(1)
    server = made.server()
    client = made.client(1, keepalive=False)
    reaches(made.lab.server, "192.168.123.2")
    children, before = pids(client), balance(client)["received"]
    number = int(server.peer("192.168.123.2")["endpoint"].rpartition(":")[2])
    assert server.stop() == 0
    with Port(made.lab.server, "1.2.3.4", PORT) as liar:
        for datagram in noise(NOISE // 10):
            liar.send(datagram, made.lab.clients[0].ipv4, number)
    expect_balance(client, before + NOISE // 10)
    assert pids(client) == children
    server.restart()
    server.expect_ready()
    reaches(made.lab.server, "192.168.123.2")
