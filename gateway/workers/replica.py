"""A child's copy of the route table, kept by generation (I7).

An update is applied only if its generation is the next one; after a gap the replica
asks for a snapshot and ignores updates until one is complete. So a lost or skipped
message heals without acknowledgements. A snapshot comes in parts and replaces what was
there from its first part on: better a moment of missing routes than wrong ones.
"""

from collections.abc import Iterable

from gateway.fastpath.fib import Fib
from gateway.protocol.messages import (
    PeerEntry,
    RouteEntry,
    Snapshot,
    SnapshotPlease,
    Update,
)


class Replica:
    """A FIB and the generation it is at. Generation 0 is the empty table."""

    def __init__(self, fib: Fib) -> None:
        self.fib = fib
        self.generation = 0
        self.complete = False
        self._next_part = 0
        self._asked = False

    def apply(self, message: Update | Snapshot) -> SnapshotPlease | None:
        """Take up a message; the request to send back if there was a gap."""
        if isinstance(message, Snapshot):
            return self._apply_snapshot(message)
        if not self.complete:
            return None
        if message.generation == self.generation + 1:
            self._apply_update(message)
            return None
        if message.generation <= self.generation:
            return None
        return self._gap()

    def _apply_update(self, update: Update) -> None:
        # What goes comes first: a slot or an endpoint may have a new owner in one update.
        for prefix in update.withdrawn:
            self.fib.drop_route(prefix.prefix, prefix.length)
        for slot in update.gone:
            self.fib.drop_peer(slot)
        self._add(update.peers, update.routes)
        self.generation = update.generation

    def _apply_snapshot(self, snapshot: Snapshot) -> SnapshotPlease | None:
        if snapshot.part == 0:
            self.fib.clear()
            self.complete = False
            self.generation = snapshot.generation
            self._next_part = 0
        if snapshot.part != self._next_part or snapshot.generation != self.generation:
            return self._gap()
        self._add(snapshot.peers, snapshot.routes)
        self._next_part += 1
        if self._next_part == snapshot.parts:
            self.complete = True
            self._asked = False
        return None

    def _add(self, peers: Iterable[PeerEntry], routes: Iterable[RouteEntry]) -> None:
        for peer in peers:
            self.fib.set_peer(
                peer.slot, peer.incarnation, peer.address, peer.port, peer.scope, peer.local
            )
        for route in routes:
            self.fib.set_route(route.prefix, route.length, route.target)

    def _gap(self) -> SnapshotPlease | None:
        self.complete = False
        if self._asked:
            return None
        self._asked = True
        return SnapshotPlease(self.generation)
