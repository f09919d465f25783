"""Heartbeats at a table of peers, and whom they are of."""

from collections.abc import Iterable
from math import inf

from strategies import a16, endpoint

from gateway.protocol.packet import Endpoint
from gateway.protocol.peer_changes import Refused, Registered
from gateway.protocol.peers import PeerTable

A, B, C = endpoint("203.0.113.1"), endpoint("203.0.113.2"), endpoint("2001:db8::3")
X, Y, Z = a16("192.168.123.2"), a16("192.168.123.3"), a16("fd00::2")
SERVER = a16("198.51.100.1")


def never(_: int) -> float:
    return -inf


def heartbeat(
    table: PeerTable,
    addresses: Iterable[bytes],
    where: Endpoint,
    now: float,
    *,
    authenticated: bool = False,
    local: bytes = SERVER,
) -> Registered | Refused:
    return table.register(
        addresses, where, local, now, authenticated=authenticated, data_seen=never
    )


def let_in(table: PeerTable, addresses: Iterable[bytes], where: Endpoint, now: float) -> Registered:
    result = heartbeat(table, addresses, where, now)
    assert isinstance(result, Registered)
    return result
