"""Whoever floods the server with heartbeats keeps only himself from his acks (I13)."""

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest
from instance import Gateway, Peer, wait_for

SOL_UDP, UDP_SEGMENT = 17, 103
GROUP = 64
ROUNDS = 20
WAVES, WAVE = 10, 4
"""A flood is some waves of groups. A socket's buffer holds one."""
TRIES = 3
"""Of one address: two others may have the same place in the table, by chance."""
OWNER, THIEF = "192.168.123.2", "192.168.123.3"


class Flood:
    """Heartbeats from one peer's port. What follows the last wave is right behind it."""

    def __init__(self, gateway: Gateway, peer: Peer) -> None:
        self._gateway = gateway
        self._peer = peer
        claim = bytes(10) + b"\xff\xff" + socket.inet_aton(peer.address)
        self._heartbeat = b"GOST" + peer.passphrase.ljust(16, b"\0") + claim
        self._sent = 0

    def rise(self) -> None:
        """WAVES * WAVE * GROUP heartbeats."""
        segments = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", len(self._heartbeat)))]
        for _ in range(WAVES):
            wait_for(lambda: self._received() >= self._sent, "the last wave is received")
            for _ in range(WAVE):
                self._peer.sock.sendmsg([self._heartbeat * GROUP], segments)
            self._sent += WAVE * GROUP

    def _received(self) -> int:
        return self._gateway.service().counters["udp_received_packets"]


@pytest.fixture
def server(start: Callable[..., Gateway]) -> Gateway:
    credentials = [[OWNER, "userpass1"], [THIEF, "userpass2"]]
    return start(workers=1, credentials=credentials).wait_running()


@pytest.fixture
def thief(server: Gateway) -> Iterator[Peer]:
    """Somebody at another address of this host, who has no passphrase."""
    peer = Peer(THIEF, server.port, b"wrong")
    peer.sock.close()
    peer.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.sock.bind(("127.0.0.2", 0))
    peer.sock.connect(("127.0.0.1", server.port))
    yield peer
    peer.close()


def test_a_peers_flood_costs_no_other_peer_an_ack(server: Gateway) -> None:
    with (
        closing(Peer(OWNER, server.port, b"userpass1").register()) as honest,
        closing(Peer(THIEF, server.port, b"userpass2").register()) as peer,
    ):
        flood = Flood(server, peer)
        for _ in range(ROUNDS):
            flood.rise()
            honest.register()
    counters, drops = server.service().counters, server.service().drops

    assert drops["punt_limited"] > ROUNDS * WAVES * WAVE * GROUP / 2
    assert {name for name, number in drops.items() if number} == {"punt_limited"}
    assert counters["punted_packets"] + drops["punt_limited"] == counters["udp_received_packets"]


def test_a_strangers_flood_keeps_nobody_from_roaming(server: Gateway, thief: Peer) -> None:
    """A peer comes from a new port each time, where it is a stranger itself."""
    flood = Flood(server, thief)
    for _ in range(ROUNDS):
        assert any(acked_from_a_new_port(server, flood) for _ in range(TRIES))

    assert server.service().drops["punt_limited"]
    assert [peer.addresses for peer in server.service().peers] == [(OWNER,)]


def acked_from_a_new_port(server: Gateway, flood: Flood) -> bool:
    with closing(Peer(OWNER, server.port, b"userpass1")) as owner:
        flood.rise()
        owner.sock.settimeout(2.0)
        with suppress(TimeoutError):
            owner.register()
            return True
    return False
