"""The peer table: who is behind which tunnel address, and for how long (I7).

A peer is known by its endpoint. A heartbeat from a new endpoint that claims every
address of a peer continues that peer there: same slot, same counters (roaming). One
that claims only some of a peer's addresses is a peer of its own and takes those. An
address leaves its holder in three ways only: the holder's own heartbeat leaves it out,
somebody else claims it and `takeover` allows that, or the lease ends.

Slots number the peers for counters and FIBs. The slot that has been free longest is
used next, and every use of a slot has an incarnation number that never comes back, so
that a packet queued for a former user is told from one for the present user.

The table decides nothing about passphrases and `net`: whoever calls `register` has checked
them. What an address went through before, and who of two may have it, `histories` knows.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from gateway.protocol.forwarding import Refusal
from gateway.protocol.histories import Claim, Histories
from gateway.protocol.leases import IDLE_LIMIT, Lease, Reminders
from gateway.protocol.messages import Prefix, RouteEntry
from gateway.protocol.packet import Endpoint, unpack_address
from gateway.protocol.peer import HOST_LENGTH, STATE_VERSION, Peer, PeerRecord, PeerState
from gateway.protocol.peer_changes import Changes, Refused, Registered
from gateway.protocol.takeover import Holder

CAPACITY = 16384


class PeerTable:
    """All peers of one service, at most `capacity`."""

    def __init__(self, capacity: int = CAPACITY, idle_limit: float = IDLE_LIMIT) -> None:
        self.capacity = capacity
        self._idle_limit = idle_limit
        self._free = deque(range(capacity))
        self._last_incarnation = 0
        self._slots: dict[int, Peer] = {}
        self._endpoints: dict[Endpoint, Peer] = {}
        self._addresses: dict[bytes, Peer] = {}
        self._histories = Histories(capacity)
        self._reminders = Reminders()  # by slot

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Peer]:
        """All peers, by slot; the table may change meanwhile."""
        return iter([self._slots[slot] for slot in sorted(self._slots)])

    def at_slot(self, slot: int) -> Peer | None:
        """The peer that uses this slot now."""
        return self._slots.get(slot)

    def at_endpoint(self, endpoint: Endpoint) -> Peer | None:
        """The peer that registered from there."""
        return self._endpoints.get(endpoint)

    def at_address(self, address: bytes) -> Peer | None:
        """The peer that holds this tunnel address (a16)."""
        return self._addresses.get(address)

    def register(
        self,
        addresses: Iterable[bytes],
        endpoint: Endpoint,
        local: bytes,
        now: float,
        *,
        authenticated: bool,
        data_seen: Callable[[int], float],
        credential: bytes = b"",
    ) -> Registered | Refused:
        """Let a heartbeat in, or say why not.

        `addresses` (a16, at least one) have passed `check_claim`. `authenticated`: the
        heartbeat has proved its claim. `data_seen` gives the time at which a slot's
        receive counters last moved, -inf if never; asked when an address may move only.
        """
        claimed = tuple(dict.fromkeys(addresses))
        peer = self._endpoints.get(endpoint)
        if peer is not None and set(peer.addresses) == set(claimed):
            return self._renew(peer, claimed, local, now, credential)

        claims = self._judge(claimed, endpoint, now, authenticated, data_seen)
        refused = [claim for claim in claims if not claim.ruling.granted]
        if refused:
            return self._refuse(refused, endpoint, now)
        peer = peer or self._continued(claimed)
        if peer is None and not self._free:
            return Refused(Refusal.TABLE_FULL, f"{self.capacity} peers fill the peer table")
        return self._admit(
            peer, claims, claimed, now, endpoint=endpoint, local=local, credential=credential
        )

    def expire(self, now: float, moved: Callable[[int], bool]) -> tuple[list[Peer], Changes]:
        """Remove the peers whose lease has ended, unless data came from them.

        `moved(slot)` tells whether the slot's receive counters moved since the caller
        last said so for this slot, or since the peer came. Asked at a lease's end only.
        """
        self._histories.prune(now)
        removed: list[Peer] = []
        changes = Changes()
        for slot in self._reminders.take(now):
            peer = self._slots[slot]
            if peer.lease.until <= now and moved(slot):
                peer.lease.renew(now)
            if peer.lease.until > now:
                self._reminders.watch(slot, peer.lease.until)
                continue
            self._remove(peer, changes)
            removed.append(peer)
        return removed, changes

    def due(self) -> float | None:
        """When `expire` may next have something to do; None: there are no peers."""
        return self._reminders.due()

    def remove(self, peer: Peer) -> Changes:
        """Take a peer out at once: what let it in does not hold any more."""
        changes = Changes()
        self._remove(peer, changes)
        return changes

    def export(self, now: float) -> PeerState:
        """What a restart shall find again."""
        return PeerState(tuple(peer.record(now) for peer in self))

    def restore(
        self,
        state: PeerState,
        now: float,
        *,
        accept: Callable[[PeerRecord], bool],
        down: float = 0.0,
    ) -> Changes:
        """Take up the peers of a former run, as far as `accept` lets each in again.

        `down`: seconds to take off every lease for the time in between. Damaged records,
        and those that contradict an earlier one, are left out. ValueError for a version
        that is not ours.
        """
        if state.version != STATE_VERSION:
            raise ValueError(f"the state has version {state.version}, not {STATE_VERSION}")
        changes = Changes()
        for record in state.peers:
            if not self._free or not record.sound() or record.left <= down:
                continue
            if record.endpoint in self._endpoints:
                continue
            if any(address in self._addresses for address in record.addresses):
                continue
            if not accept(record):
                continue
            lease = record.lease(now, down, self._idle_limit)
            peer = self._add(record.endpoint, record.local, lease, now - down - record.age)
            peer.credential = record.credential
            peer.heartbeats = record.heartbeats
            peer.advertised = record.advertised
            peer.moves = record.moves
            changes.peers.append(peer.entry())
            self._assign(peer, record.addresses, changes)
        return changes

    def _renew(
        self, peer: Peer, claimed: tuple[bytes, ...], local: bytes, now: float, credential: bytes
    ) -> Registered:
        changes = Changes()
        peer.addresses = claimed
        peer.credential = credential
        self._count(peer, now)
        if peer.local != local:
            peer.local = local
            changes.peers.append(peer.entry())
        return Registered(peer, changes)

    def _judge(
        self,
        claimed: tuple[bytes, ...],
        endpoint: Endpoint,
        now: float,
        authenticated: bool,
        data_seen: Callable[[int], float],
    ) -> list[Claim]:
        claims: list[Claim] = []
        for address in claimed:
            other = self._addresses.get(address)
            if other is None or other.endpoint == endpoint:
                continue
            heard = max(other.lease.last, data_seen(other.slot))
            holder = Holder(other.endpoint, other.lease, heard)
            claims.append(
                self._histories.judge(address, endpoint, holder, now, authenticated=authenticated)
            )
        return claims

    def _refuse(self, refused: list[Claim], endpoint: Endpoint, now: float) -> Refused:
        for claim in refused:
            self._histories.apply(claim, endpoint, now)
            self._addresses[claim.address].conflict_at = now
        first = refused[0]
        address, silence = unpack_address(first.address), now - first.holder.heard
        return Refused(
            Refusal.CONFLICT,
            f"{address} is held by another host, who was heard {silence:.1f} s ago",
            first.holder.endpoint,
        )

    def _admit(
        self,
        peer: Peer | None,
        claims: list[Claim],
        claimed: tuple[bytes, ...],
        now: float,
        *,
        endpoint: Endpoint,
        local: bytes,
        credential: bytes,
    ) -> Registered:
        new = peer is None
        former = None
        before = peer.entry() if peer is not None else None
        lease = self._histories.lease(claimed, endpoint, now)
        lease = lease or Lease.first(now, self._idle_limit)
        for claim in claims:
            self._histories.apply(claim, endpoint, now)
        for address in claimed:
            if address not in self._addresses:
                self._histories.take_up(address, endpoint, now)

        if peer is None:
            peer = self._add(endpoint, local, lease, now)
        elif peer.endpoint == endpoint:
            peer.moves += bool(claims)
            self._count(peer, now)
        else:
            former = peer.endpoint
            self._move(peer, endpoint, lease)
        peer.local = local
        peer.credential = credential
        conflict = any(claim.ruling.conflict for claim in claims)
        if conflict:
            peer.conflict_at = now

        changes = Changes()
        if peer.entry() != before:
            changes.peers.append(peer.entry())
        self._assign(peer, claimed, changes)
        return Registered(peer, changes, new, former, conflict)

    def _continued(self, claimed: tuple[bytes, ...]) -> Peer | None:
        """The peer that a new endpoint continues: the first whose every address is claimed."""
        wanted = set(claimed)
        for address in claimed:
            holder = self._addresses.get(address)
            if holder is not None and wanted.issuperset(holder.addresses):
                return holder
        return None

    def _count(self, peer: Peer, now: float) -> None:
        peer.heartbeats += 1
        peer.lease.heartbeat(now)
        self._reminders.watch(peer.slot, peer.lease.until)

    def _add(self, endpoint: Endpoint, local: bytes, lease: Lease, since: float) -> Peer:
        self._last_incarnation += 1
        peer = Peer(
            slot=self._free.popleft(),
            incarnation=self._last_incarnation,
            endpoint=endpoint,
            local=local,
            addresses=(),
            lease=lease,
            since=since,
        )
        self._slots[peer.slot] = peer
        self._endpoints[endpoint] = peer
        self._reminders.watch(peer.slot, lease.until)
        return peer

    def _move(self, peer: Peer, endpoint: Endpoint, lease: Lease) -> None:
        del self._endpoints[peer.endpoint]
        self._endpoints[endpoint] = peer
        peer.endpoint = endpoint
        peer.lease = lease
        peer.heartbeats += 1
        peer.moves += 1
        self._reminders.watch(peer.slot, lease.until)

    def _assign(self, peer: Peer, claimed: tuple[bytes, ...], changes: Changes) -> None:
        """Give the peer exactly these addresses; a holder left with none goes."""
        for address in peer.addresses:
            if address not in claimed:
                del self._addresses[address]
                changes.withdrawn.append(Prefix(address, HOST_LENGTH))
        for address in claimed:
            holder = self._addresses.get(address)
            if holder is peer:
                continue
            self._addresses[address] = peer
            changes.routes.append(RouteEntry(address, HOST_LENGTH, peer.slot))
            if holder is not None:
                holder.addresses = tuple(kept for kept in holder.addresses if kept != address)
                if not holder.addresses:
                    self._remove(holder, changes)
        peer.addresses = claimed

    def _remove(self, peer: Peer, changes: Changes) -> None:
        for address in peer.addresses:
            del self._addresses[address]
            changes.withdrawn.append(Prefix(address, HOST_LENGTH))
        del self._endpoints[peer.endpoint]
        del self._slots[peer.slot]
        self._reminders.forget(peer.slot)
        self._free.append(peer.slot)
        changes.gone.append(peer.slot)
