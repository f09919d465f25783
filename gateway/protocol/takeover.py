"""Who gets an address that two endpoints claim.

A registration from elsewhere moves an address at once: hosts roam. One return to the
former endpoint (A, B, A) is roaming too. Alternating (A, B, A, B) is two hosts with one
address. Without auth the one who was there first keeps it; with auth the newest wins
and the flapping is shown. Per address we remember the endpoints it was taken from, for
the length of their leases, in order of arrival (seniority). A claim is then ruled:

    the claimant is senior to the holder              RETURN    a contest begins or goes on
    else the holder was silent for 1.5 of its periods SUCCEED   the contest is over
    else there is no contest                          MOVE      roaming
    else, with auth                                   FLAP      the newest wins, shown
    else                                              REFUSE    counted, shown

Silent means no heartbeat and no data. As long as fewer than four gaps show what the
holder's period is, it must be 10 s at least.
Seniority and not the mere fact of a return counts, else a thief with two ports could
play A, B, A alone and lock out the host he robbed. Whoever changes his port at every
try is a stranger each time: once the host he robbed has come back, all strangers wait.
A contest is forgotten `CONTEST_MEMORY` after the last try.

The memory is bounded: when it is full, the endpoint goes that showed the fewest
heartbeat gaps, the youngest of equals, so that fresh ports push out nobody.
"""

from dataclasses import dataclass, field
from enum import Enum
from math import inf

from gateway.protocol.leases import GAPS_KEPT, Lease
from gateway.protocol.packet import Endpoint

SILENT_PERIODS = 1.5
SILENCE_WHILE_LEARNING = 10.0
CONTEST_MEMORY = 600.0
DISPLACED_LIMIT = 16


class Ruling(Enum):
    """What becomes of a claim to a held address."""

    MOVE = "move"
    RETURN = "return"
    SUCCEED = "succeed"
    FLAP = "flap"
    REFUSE = "refuse"

    @property
    def granted(self) -> bool:
        """Whether the address moves."""
        return self is not Ruling.REFUSE

    @property
    def conflict(self) -> bool:
        """Whether two hosts evidently claim one address."""
        return self in (Ruling.FLAP, Ruling.REFUSE)


@dataclass(frozen=True)
class Holder:
    """Who has the address now. `heard`: when anything, data included, last came from it."""

    endpoint: Endpoint
    lease: Lease
    heard: float

    def silent(self, now: float) -> bool:
        """Whether it was quiet long enough to be succeeded by anybody."""
        patience = SILENT_PERIODS * (self.lease.period or 0.0)
        if len(self.lease.gaps) < GAPS_KEPT:
            patience = max(patience, SILENCE_WHILE_LEARNING)
        return now - self.heard >= patience


@dataclass(frozen=True)
class Displaced:
    """An endpoint the address was taken from; `until` it may claim to have been first."""

    lease: Lease
    arrived: int
    until: float


@dataclass
class History:
    """What one address went through lately. New: nothing, held by whoever was there first."""

    displaced: dict[Endpoint, Displaced] = field(default_factory=dict)
    holder_arrived: int = 0
    contested_until: float = -inf
    _arrivals: int = 0

    def rule(
        self, claimant: Endpoint, holder: Holder, now: float, *, authenticated: bool
    ) -> Ruling:
        """Judge a claim by somebody else than the holder. Changes nothing."""
        former = self.remembered(claimant, now)
        if former is not None and former.arrived < self.holder_arrived:
            return Ruling.RETURN
        if holder.silent(now):
            return Ruling.SUCCEED
        if now >= self.contested_until:
            return Ruling.MOVE
        return Ruling.FLAP if authenticated else Ruling.REFUSE

    def apply(self, ruling: Ruling, claimant: Endpoint, holder: Holder, now: float) -> None:
        """Note what was ruled. Unless it is REFUSE, the claimant holds the address now."""
        if ruling is Ruling.SUCCEED:
            self.contested_until = -inf
        elif ruling is not Ruling.MOVE:
            self.contested_until = now + CONTEST_MEMORY
        if ruling.granted:
            self._hand_over(claimant, holder, now, forget_juniors=ruling is Ruling.SUCCEED)

    def take_up(self, claimant: Endpoint, now: float) -> None:
        """The claimant gets the address that nobody holds now.

        For one that it was taken from this is a return: whoever took it may have let go
        only to wipe the traces.
        """
        former = self.remembered(claimant, now)
        if former is not None:
            self.contested_until = now + CONTEST_MEMORY
        self.displaced.pop(claimant, None)
        self._seat(former)

    def remembered(self, endpoint: Endpoint, now: float) -> Displaced | None:
        """The endpoint's entry, if the address was taken from it within its lease."""
        entry = self.displaced.get(endpoint)
        return entry if entry is not None and now < entry.until else None

    def idle(self, now: float) -> bool:
        """Whether nothing is left to remember, so that the history can go."""
        return now >= self.contested_until and all(
            now >= entry.until for entry in self.displaced.values()
        )

    def _hand_over(
        self, claimant: Endpoint, holder: Holder, now: float, *, forget_juniors: bool
    ) -> None:
        former = self.remembered(claimant, now)
        leaving = Displaced(holder.lease, self.holder_arrived, now + holder.lease.length)
        self.displaced = {
            endpoint: entry
            for endpoint, entry in self.displaced.items()
            if endpoint != claimant
            and now < entry.until
            and not (forget_juniors and entry.arrived > leaving.arrived)
        }
        self.displaced[holder.endpoint] = leaving
        if len(self.displaced) > DISPLACED_LIMIT:
            del self.displaced[min(self.displaced, key=self._worth)]
        self._seat(former)

    def _seat(self, former: Displaced | None) -> None:
        if former is not None:
            self.holder_arrived = former.arrived
        else:
            self._arrivals += 1
            self.holder_arrived = self._arrivals

    def _worth(self, endpoint: Endpoint) -> tuple[int, int]:
        entry = self.displaced[endpoint]
        return len(entry.lease.gaps), -entry.arrived
