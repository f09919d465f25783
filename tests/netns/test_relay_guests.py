"""What guests and servers may try where the tunnel is inside a carrier.

Nothing dies, nobody gets where he may not or is taken for another, and memory is bounded.
"""

import random
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address

import psutil
import pytest
from netns.forge import PORT, Port, heartbeat, inner, socket_on
from netns.relaying import MEGABYTE, OK, REQUEST, counters, dial, expect_unharmed, memory, read
from netns.test_chains import ONE, SERVER, TWO, chain_client, relay_server
from networks import reaches
from programs import wait_for

from gateway.fastpath.frames import pack
from gateway.protocol.relay import Address, Request, Status

ELSEWHERE = [
    Request(Address(host, port), udp)
    for udp in (True, False)
    for host, port in (
        ("127.0.0.1", 7007),
        ("localhost", 7007),
        ("", 7007),
        ("0.0.0.0", 7007),
        ("::1", 7007),
        ("::ffff:127.0.0.1", 7007),
        ("::127.0.0.1", 7007),
        ("1.2.3.4", 7007),
        ("server.example", 7007),
        ("169.254.169.254", 80),
        ("198.18.2.2", PORT),
        ("224.0.0.1", 7007),
        ("255.255.255.255", 7007),
        ("", 0),
        ("127.0.0.1", 0),
        ("127.0.0.1", 7008),
        ("::ffff:127.0.0.1", 443),
    )
] + [
    Request(Address("", PORT), udp=False),
    Request(Address("127.0.0.1", PORT), udp=False),
    *(Request(Address("", PORT), command=command) for command in (2, 3)),
    *(Request(Address("127.0.0.1", 7009), udp=False, command=command) for command in (2, 3)),
]


def test_a_relay_leads_nowhere_but_home_and_to_what_is_listed(network):
    net = network(2)
    with ExitStack() as stack:
        inside = net.lab.server
        secret = stack.enter_context(Port(inside, "127.0.0.1", 7007))
        secret_tcp = stack.enter_context(socket_on(inside, socket.AF_INET, socket.SOCK_STREAM))
        secret_tcp.bind(("127.0.0.1", 7007))
        secret_tcp.listen()
        secret_tcp.setblocking(False)
        listed = stack.enter_context(Port(inside, "127.0.0.1", 7009))
        server = relay_server(net, "relay+tcp://:443?allow=127.0.0.1:7009")
        for request in ELSEWHERE:
            with dial(net.lab.clients[0]) as sock:
                sock.sendall(request.build() + pack(b"secret", 0))
                assert read(sock, 5) == bytes((1, Status.FORBIDDEN, 0, 0)), request
        for host in ("127.0.0.1", "::ffff:127.0.0.1"):
            with dial(net.lab.clients[0]) as sock:
                sock.sendall(Request(Address(host, 7009)).build() + pack(b"listed", 0))
                assert read(sock, 4) == OK
                wait_for(listed.received, 3.0, "what is listed to be reached")
        assert secret.received() == []
        with pytest.raises(BlockingIOError):
            secret_tcp.accept()
        wait_for(lambda: counters(server).get("forbidden") == len(ELSEWHERE), 5.0, "the count")
        expect_unharmed(server)


class Guest:
    """A stream of a relay client that the test itself holds."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    @classmethod
    def enter(cls, host) -> "Guest | None":
        """None: there is no port for it."""
        sock = dial(host)
        sock.sendall(REQUEST)
        if read(sock, 4) == OK:
            return cls(sock)
        sock.close()
        return None

    def say(self, *parts: bytes) -> None:
        self.sock.sendall(b"".join(pack(part, 0) for part in parts))

    def join(self, address: str) -> "Guest":
        self.say(heartbeat([address]))
        assert self.hear().startswith(b"GOST")
        return self

    def hear(self) -> bytes:
        size = int.from_bytes(read(self.sock, 2), "big")
        return read(self.sock, size)

    def close(self) -> None:
        self.sock.close()


def test_who_gets_the_port_of_one_that_left_is_not_taken_for_him(network):
    """There are two ports for streams, so every new one gets one that was used before."""
    net = network(2)
    server = relay_server(net, "relay+tcp://:443?bridges=1")
    net.lab.server.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40001")
    stolen = inner(ONE, SERVER)
    used = []

    def enter() -> Guest:
        """As soon as a port has rested."""
        return wait_for(lambda: Guest.enter(net.lab.clients[0]), 10.0, "a port")

    for _ in range(4):
        guest = enter().join(ONE)
        used.append(server.peer(ONE)["endpoint"])
        guest.close()
        heir = enter()
        heir.say(*[stolen] * 10)
        heir.join(TWO)
        used.append(server.peer(TWO)["endpoint"])
        wait_for(lambda: server.peer(ONE) == {}, 3.0, "the peer to be withdrawn")
        heir.close()
        wait_for(lambda: server.service()["peers"] == [], 3.0, "both to be withdrawn")
    assert set(used) == {"127.0.0.1:40000", "127.0.0.1:40001"}
    wait_for(lambda: server.service()["drops"]["unknown_endpoint"] >= 40, 3.0, "the drops")
    assert server.service()["counters"]["delivered_packets"] == 0
    expect_unharmed(server)


def test_many_who_come_at_once_all_stay(network):
    """The supervisor has a long turn then, and its clock stands still."""
    net = network(1)
    server = relay_server(net, "relay+tcp://:443?bridges=1", options=",10.123.0.1/16")
    socks = [dial(net.lab.clients[0]) for _ in range(300)]
    for number, sock in enumerate(socks):
        address = str(ip_address("10.123.1.0") + number)
        sock.sendall(REQUEST + pack(heartbeat([address]), 0))
    for sock in socks:
        assert read(sock, 6)[:4] == OK
    assert len(server.service()["peers"]) == len(socks)
    for sock in socks:
        sock.close()
    wait_for(lambda: server.service()["peers"] == [], 5.0, "all to be withdrawn")
    expect_unharmed(server, lines=250)


def test_a_guest_who_does_not_read_costs_little_and_holds_up_nobody(network):
    net = network(2)
    server = relay_server(net, "relay+tcp://:443?bridges=1")
    chain_client(net, 2, "relay+tcp://1.2.3.4:443")
    reaches(net.lab.clients[1], SERVER)
    guest = Guest.enter(net.lab.clients[0]).join(ONE)
    before = memory(server)
    payload = bytes(1300)

    def lost() -> int:
        found = counters(server)
        return sum(found.get(name, 0) for name in ("overflow", "late", "unread"))

    with Port(net.lab.server) as flood:

        def pour() -> bool:
            for _ in range(5000):
                flood.send(payload, ONE, 9)
            return lost() > 10_000

        wait_for(pour, 20.0, "datagrams to be dropped")
        reaches(net.lab.clients[1], SERVER, deadline=2.0)
        pour()
    assert memory(server) - before < 16 * MEGABYTE
    guest.close()
    wait_for(lambda: server.peer(ONE) == {}, 5.0, "the guest to be withdrawn")
    expect_unharmed(server)


def floods(piece: bytes) -> Callable[[socket.socket], None]:
    def flood(sock: socket.socket) -> None:
        for _ in range(400):
            sock.sendall(piece)

    return flood


def says(words: bytes) -> Callable[[socket.socket], None]:
    return lambda sock: sock.sendall(words)


EVIL = {
    "nothing": says(b""),
    "another version": says(b"\2\0\0\0"),
    "a long answer": says(b"\1\0\xff\xff" + bytes(1 << 17)),
    "a refusal": says(b"\1\3\0\0"),
    "an unknown status": says(b"\1\xee\0\0"),
    "a frame too long": says(OK + b"\xff\xff" + bytes(1 << 17)),
    "empty frames": floods(OK + bytes(1 << 18)),
    "small frames": floods(OK + b"\0\1x" * (1 << 16)),
    "large frames": floods(OK + (b"\xff\xe3" + bytes(65507)) * 4),
    "noise": floods(random.Random(3).randbytes(1 << 18)),
}


@contextmanager
def evil_server(host, behaviour: Callable[[socket.socket], None]) -> Iterator[list[int]]:
    """Listens on S and does this to whoever comes; how often it was there."""
    visits: list[int] = []
    stop = threading.Event()
    with socket_on(host, socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("1.2.3.4", 443))
        listener.listen()
        listener.setblocking(False)

        def serve() -> None:
            with selectors.DefaultSelector() as selector:
                selector.register(listener, selectors.EVENT_READ)
                while not stop.is_set():
                    if not selector.select(0.1):
                        continue
                    sock, _ = listener.accept()
                    visits.append(1)
                    with sock, suppress(OSError):
                        sock.settimeout(3.0)
                        sock.recv(4096)
                        behaviour(sock)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield visits
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize("kind", EVIL)
def test_a_server_that_means_harm(network, kind):
    """Our client lives, keeps little, tries again, and is there once the server is honest."""
    net = network(1)
    with evil_server(net.lab.server, EVIL[kind]) as visits:
        client = chain_client(net, 1, "relay+tcp://1.2.3.4:443")
        (bridge,) = [psutil.Process(each["pid"]) for each in client.service()["chain"]["processes"]]
        before = bridge.memory_info().rss
        wait_for(lambda: len(visits) >= 3, 20.0, "the client to come again")
        assert bridge.memory_info().rss - before < 16 * MEGABYTE
        wait_for(lambda: client.status()["health"] == "degraded", 20.0, "it to be told")
    assert client.service()["chain"]["processes"][0]["restarts"] == 0
    relay_server(net, "relay+tcp://:443")
    reaches(net.lab.clients[0], SERVER, deadline=40.0)
    text = client.process.output()
    assert "Traceback" not in text
    assert len(text.splitlines()) < 60, text
