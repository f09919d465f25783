"""Who may speak to the supervisor how often: a flood costs its sender alone (I13).

Sanitizers' target `punts` has the same with a clock of its own, to the last datagram.
"""

import socket
from contextlib import closing

import pytest
from fastpath.rig import Rig

from gateway.protocol.forwarding import Role

HEARTBEAT = b"GOST" + bytes(28)
PEER, PLACE, STRANGERS, TURN = 32, 200, 32, 64
"""At once: of one peer, of strangers at one address, of strangers in a turn, of all in a turn."""
ALL_KNOWN, ALL_STRANGERS = 4000, 1000
HOSTS = 20
LEFT = HOSTS - 3
"""Of so many addresses, these at least share no place in the table with one given address."""


@pytest.fixture
def rig():
    with Rig() as made:
        yield made


def flood(rig, slot, count):
    """At least so many heartbeats, a turn's worth at a time."""
    for _ in range(count // TURN + 1):
        rig.send(slot, *[HEARTBEAT] * TURN, grouped=True)
        rig.work()


def punted(rig, address):
    """How many came through from this port or IPv4 address."""
    return sum(address in (punt[1], socket.inet_ntoa(punt[0][-4:])) for punt in rig.punts)


def say_once(rig, host):
    """One heartbeat of a stranger at this address."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind((host, 0))
        sock.sendto(HEARTBEAT, ("127.0.0.1", rig.udp.getsockname()[1]))
    rig.sent += 1
    rig.work()


def stranger(rig, slot, host="127.0.0.1"):
    """Somebody who is in no slot; `rig.send` still speaks for him by this number."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    rig.closing.callback(sock.close)
    peer = rig.peer(slot)
    peer.sock, peer.port = sock, sock.getsockname()[1]
    rig.fib.drop_peer(slot)
    return peer


def test_a_peers_flood_leaves_the_others_their_tokens(rig):
    rig.peer(0)
    other = rig.peer(1)
    flood(rig, 0, 2 * ALL_KNOWN)

    rig.send(1, *[HEARTBEAT] * PEER, grouped=True)
    rig.work()

    assert punted(rig, other.port) == PEER
    assert rig.drops().keys() == {"punt_limited"}
    rig.check_sums()


def test_a_peers_flood_leaves_room_in_its_turn(rig):
    rig.peer(0)
    other = rig.peer(1)
    rig.send(0, *[HEARTBEAT] * TURN, grouped=True)
    rig.send(1, HEARTBEAT)

    rig.work()

    assert punted(rig, other.port) == 1
    assert rig.drops() == {"punt_limited": TURN - PEER}


def test_a_slots_next_peer_finds_it_full(rig):
    peer = rig.peer(0)
    rig.send(0, *[HEARTBEAT] * TURN, grouped=True)
    rig.work()
    rig.admit(0, incarnation=2)

    rig.send(0, *[HEARTBEAT] * TURN, grouped=True)
    rig.work()

    assert punted(rig, peer.port) == 2 * PEER


def test_strangers_leave_room_in_their_turn(rig):
    known = rig.peer(0)
    for slot in (1, 2):
        stranger(rig, slot, f"127.0.0.{slot + 1}")
        rig.send(slot, *[HEARTBEAT] * TURN, grouped=True)
    rig.send(0, *[HEARTBEAT] * PEER, grouped=True)

    rig.work()

    assert punted(rig, known.port) == PEER
    assert rig.drops() == {"punt_limited": 2 * TURN - STRANGERS}


def test_a_strangers_flood_leaves_other_addresses_theirs(rig):
    stranger(rig, 1, "127.0.0.2")
    flood(rig, 1, 3 * ALL_STRANGERS)
    hosts = [f"127.0.1.{number}" for number in range(1, HOSTS + 1)]
    for host in hosts:
        say_once(rig, host)

    assert sum(punted(rig, host) for host in hosts) >= LEFT
    assert punted(rig, "127.0.0.2") >= PLACE
    rig.check_sums()


def test_a_stranger_gains_nothing_by_other_ports(rig):
    for number in range(12):
        stranger(rig, 1, "127.0.0.2")
        flood(rig, 1, PLACE if number == 0 else 0)
    limited = rig.drops()["punt_limited"]

    assert limited > 11 * STRANGERS
    rig.check_sums()


def test_streams_of_a_bridge_are_told_apart_by_port(rig):
    """They all come from the very address that they reach."""
    stranger(rig, 1)
    flood(rig, 1, 3 * ALL_STRANGERS)
    before = punted(rig, "127.0.0.1")
    for _ in range(HOSTS):
        say_once(rig, "127.0.0.1")

    assert punted(rig, "127.0.0.1") - before >= LEFT


def test_a_client_hears_all_that_its_server_says():
    with Rig(role=Role.CLIENT) as rig:
        rig.peer(0)
        rig.send(0, *[HEARTBEAT] * TURN, grouped=True)

        rig.work()

        assert len(rig.punts) == TURN
        assert rig.drops() == {}
