"""How long a peer may stay silent: a lease, learned from the gaps between its heartbeats.

Stock clients do not say how often they will call, so the server watches:

* length = 3 times the longest of the last four gaps; gaps under 1 s are not counted
  (a copied datagram, a burst of probes);
* never under 35 s until four gaps were seen: 3 of GOST's default periods and a bit;
* never under 3 s after;
* a peer that registered once and never again has its keepalive off: it lives until
  nothing at all came from it for `IDLE_LIMIT`. Three copies of one heartbeat are
  still one registration; a fourth is a client that calls more often than every second.

Before a lease ends the owner of the table looks at the peer's receive counters and
renews it if they moved. Times are seconds of one clock, given by the caller (I11).
"""

from dataclasses import dataclass, replace
from heapq import heappop, heappush
from math import inf

IDLE_LIMIT = 3600.0
PERIODS = 3
GAPS_KEPT = 4
SHORTEST_GAP = 1.0
FLOOR_WHILE_LEARNING = 35.0
FLOOR = 3.0
COPIES = 3


def lease_length(gaps: tuple[float, ...], heartbeats: int, idle_limit: float = IDLE_LIMIT) -> float:
    """Seconds of silence allowed after `heartbeats` that lay `gaps` (newest last) apart."""
    if not gaps and heartbeats <= COPIES:
        return idle_limit
    floor = FLOOR if len(gaps) >= GAPS_KEPT else FLOOR_WHILE_LEARNING
    return max(floor, PERIODS * max(gaps[-GAPS_KEPT:], default=0.0))


@dataclass
class Lease:
    """One endpoint's heartbeats: when the last came, how far apart, and how long it may rest."""

    last: float
    until: float
    gaps: tuple[float, ...] = ()
    heartbeats: int = 1
    idle_limit: float = IDLE_LIMIT

    @classmethod
    def first(cls, now: float, idle_limit: float = IDLE_LIMIT) -> "Lease":
        """The lease of a first heartbeat."""
        return cls(last=now, until=now + lease_length((), 1, idle_limit), idle_limit=idle_limit)

    @property
    def length(self) -> float:
        """Seconds of silence allowed."""
        return lease_length(self.gaps, self.heartbeats, self.idle_limit)

    @property
    def period(self) -> float | None:
        """The longest recent gap: the peer's period as far as we know; None before two."""
        return max(self.gaps, default=None)

    def copy(self) -> "Lease":
        """The same lease, to go its own way."""
        return replace(self)

    def heartbeat(self, now: float) -> None:
        """One more heartbeat: count the gap and begin anew."""
        gap = now - self.last
        if gap >= SHORTEST_GAP:
            self.gaps = (*self.gaps, gap)[-GAPS_KEPT:]
        self.heartbeats += 1
        self.last = now
        self.renew(now)

    def renew(self, now: float) -> None:
        """The peer is there, though not by a heartbeat: begin anew."""
        self.until = now + self.length


class Reminders:
    """When leases end: a heap with at least one reminder per key and none too late.

    A lease is renewed far more often than it ends, so a renewal touches nothing here: a
    reminder may come too early, and whoever gets it watches the key anew.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._watched: dict[int, float] = {}

    def watch(self, key: int, until: float) -> None:
        """Remind of `key` at `until`, or earlier."""
        if until >= self._watched.get(key, inf):
            return
        self._watched[key] = until
        heappush(self._heap, (until, key))
        if len(self._heap) > 2 * len(self._watched) + 64:
            self._heap = sorted((until, key) for key, until in self._watched.items())

    def forget(self, key: int) -> None:
        """Never mind `key` any more."""
        self._watched.pop(key, None)

    def due(self) -> float | None:
        """When to look next; None: nothing is watched."""
        while self._heap and self._watched.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now: float) -> list[int]:
        """The keys whose reminder has come; none of them is watched any more."""
        taken: list[int] = []
        while (due := self.due()) is not None and due <= now:
            key = heappop(self._heap)[1]
            del self._watched[key]
            taken.append(key)
        return taken
