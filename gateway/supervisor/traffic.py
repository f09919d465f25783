"""What each peer sent and received, summed over the pages of all children (I6).

A slot's rows are never reset, as only their child may write them; so a new user of a
slot begins at a baseline. When a slot's counters last moved is found by looking at
some slots each second and at a slot whenever somebody asks.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import inf
from operator import sub

from gateway.fastpath.counters import PEER_NAMES, Page, peer_totals

SWEEP = 500
"""Slots looked at per sweep: a bound on the supervisor's time, whatever the table holds."""

_RX_PACKETS = PEER_NAMES.index("rx_packets")
_SINGLE_SENDS = PEER_NAMES.index("single_sends")
_NOTHING = (0,) * len(PEER_NAMES)


class Traffic:
    """Counters by slot, in the order of `PEER_NAMES`."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self._pages = tuple(pages)
        self._baseline: dict[int, tuple[int, ...]] = {}
        self._seen: dict[int, tuple[int, float]] = {}
        self._confirmed: dict[int, int] = {}
        self._sweep: Iterator[int] = iter(())

    def begin(self, slot: int) -> None:
        """The slot has a new user."""
        row = self._sum(slot)
        self._baseline[slot] = (*row[:_SINGLE_SENDS], 0, *row[_SINGLE_SENDS + 1 :])
        self._seen[slot] = (row[_RX_PACKETS], -inf)
        self._confirmed[slot] = row[_RX_PACKETS]

    def end(self, slots: Iterable[int]) -> None:
        """These slots have no user any more."""
        for slot in slots:
            self._baseline.pop(slot, None)
            self._seen.pop(slot, None)
            self._confirmed.pop(slot, None)

    def row(self, slot: int) -> tuple[int, ...]:
        """The present user's counters; the last one is a flag: any child sends singly."""
        return tuple(map(sub, self._sum(slot), self._baseline.get(slot, _NOTHING)))

    def last_moved(self, slot: int, now: float) -> float:
        """When something last came from the peer, as far as was looked; -inf: never."""
        return self._moved_at(slot, self._sum(slot)[_RX_PACKETS], now)

    def look(self, slot: int, now: float) -> tuple[tuple[int, ...], float]:
        """The row, and when something last came: one reading for both."""
        total = self._sum(slot)
        row = tuple(map(sub, total, self._baseline.get(slot, _NOTHING)))
        return row, self._moved_at(slot, total[_RX_PACKETS], now)

    def _moved_at(self, slot: int, packets: int, now: float) -> float:
        before, at = self._seen.get(slot, (packets, -inf))
        if packets != before:
            at = now
            self._seen[slot] = (packets, now)
        return at

    def confirm(self, slot: int) -> None:
        """A heartbeat came: whatever came before it does not renew the lease once more."""
        self._confirmed[slot] = self._sum(slot)[_RX_PACKETS]

    def moved(self, slot: int) -> bool:
        """Whether something came since the last heartbeat, or since this was last asked."""
        packets = self._sum(slot)[_RX_PACKETS]
        before = self._confirmed.get(slot, packets)
        self._confirmed[slot] = packets
        return packets != before

    def sweep(self, now: float) -> None:
        """Look at the next slots in turn."""
        for _ in range(min(SWEEP, len(self._baseline))):
            slot = next(self._sweep, None)
            if slot is None:
                self._sweep = iter(list(self._baseline))
                return
            if slot in self._baseline:
                self.last_moved(slot, now)

    def _sum(self, slot: int) -> tuple[int, ...]:
        return peer_totals(self._pages, slot)
