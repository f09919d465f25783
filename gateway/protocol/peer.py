"""One peer, in memory and in the state file.

In the file times are ages and remainders in seconds: no clock of ours survives a
restart, and the wall clock is the caller's affair. The file's structs grow by addition
only: a new field goes last and has a default.
"""

from dataclasses import dataclass
from math import inf, isfinite

import msgspec

from gateway.protocol.leases import Lease
from gateway.protocol.messages import PeerEntry, Prefix, RouteEntry
from gateway.protocol.packet import ADDRESS_SIZE, Endpoint
from gateway.protocol.routes import is_prefix

CONFLICT_SHOWN = 60.0
"""Seconds for which a peer is shown in conflict after the last sign of it."""

HOST_LENGTH = 8 * ADDRESS_SIZE
"""Prefix length of a single address."""

STATE_VERSION = 1


@dataclass(eq=False)
class Peer:
    """One peer. Times are the table's; `credential` is a digest of what let it in.

    `advertised` are the networks that it says are behind it, accepted or not.
    """

    slot: int
    incarnation: int
    endpoint: Endpoint
    local: bytes
    addresses: tuple[bytes, ...]
    lease: Lease
    since: float
    credential: bytes = b""
    heartbeats: int = 1
    moves: int = 0
    conflict_at: float = -inf
    advertised: tuple[Prefix, ...] = ()

    @property
    def last_heartbeat(self) -> float:
        """When it last registered."""
        return self.lease.last

    def in_conflict(self, now: float) -> bool:
        """Whether another host claimed one of its addresses lately, too."""
        return now - self.conflict_at < CONFLICT_SHOWN

    def entry(self) -> PeerEntry:
        """Its row of the FIB."""
        return PeerEntry(self.slot, self.incarnation, *self.endpoint, self.local)

    def routes(self) -> tuple[RouteEntry, ...]:
        """The host routes to it."""
        return tuple(RouteEntry(address, HOST_LENGTH, self.slot) for address in self.addresses)

    def record(self, now: float) -> "PeerRecord":
        """What the state file keeps of it."""
        return PeerRecord(
            addresses=self.addresses,
            address=self.endpoint.address,
            port=self.endpoint.port,
            scope=self.endpoint.scope,
            local=self.local,
            credential=self.credential,
            age=now - self.since,
            silence=now - self.lease.last,
            left=self.lease.until - now,
            gaps=self.lease.gaps,
            lease_heartbeats=self.lease.heartbeats,
            heartbeats=self.heartbeats,
            moves=self.moves,
            advertised=self.advertised,
        )


class PeerRecord(msgspec.Struct, frozen=True):
    """A peer. `local` and `address` are a16; `left` is what remained of its lease."""

    addresses: tuple[bytes, ...]
    address: bytes
    port: int
    scope: int
    local: bytes
    credential: bytes
    age: float
    silence: float
    left: float
    gaps: tuple[float, ...]
    lease_heartbeats: int
    heartbeats: int
    moves: int
    advertised: tuple[Prefix, ...] = ()

    @property
    def endpoint(self) -> Endpoint:
        """Where the peer was."""
        return Endpoint(self.address, self.port, self.scope)

    def sound(self) -> bool:
        """Whether the record can be one of ours: it comes from a disk."""
        packed = (*self.addresses, self.address, self.local)
        times = (self.age, self.silence, self.left, *self.gaps)
        return (
            bool(self.addresses)
            and len(set(self.addresses)) == len(self.addresses)
            and all(len(address) == ADDRESS_SIZE for address in packed)
            and all(is_prefix(network.prefix, network.length) for network in self.advertised)
            and 0 < self.port <= 0xFFFF
            and self.scope >= 0
            and all(isfinite(seconds) for seconds in times)
        )

    def lease(self, now: float, down: float, idle_limit: float) -> Lease:
        """The lease as it stands after `down` seconds."""
        return Lease(
            last=now - down - self.silence,
            until=now - down + self.left,
            gaps=self.gaps,
            heartbeats=self.lease_heartbeats,
            idle_limit=idle_limit,
        )


class PeerState(msgspec.Struct, frozen=True):
    """The table."""

    peers: tuple[PeerRecord, ...]
    version: int = STATE_VERSION
