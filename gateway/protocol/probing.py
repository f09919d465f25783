"""Looking for a server that answers: whom to ask next, and how long to wait for it.

A refused probe is followed at once by one elsewhere, but not twice for one endpoint of a
loss: a host that refuses is asked as seldom as one that is silent.

The last good endpoint comes first, then the others of its target. The target has failed
with that; when it has failed as often as the selector allows, the next one has its turn,
and when all rest, the one that failed longest ago.

A probe's ack cannot reach a port that was given up already, so the pause between
probes follows a known round trip over the usual half second; while none is known,
every fourth pause is a long one, in case the way is longer than that.
"""

from collections.abc import Callable, Sequence

from gateway.protocol.packet import Endpoint
from gateway.protocol.selector import Selector
from gateway.protocol.targets import Known

PROBE_INTERVAL = 0.5
PROBE_JITTER = 0.1
"""Seconds that a pause between probes may be shorter or longer."""
PROBE_ROUND_TRIPS = 1.5
LONGEST_PROBE_INTERVAL = 3.0
PATIENT_PROBE_INTERVAL = 1.0
PATIENT_EVERY = 4
PATIENT_AFTER = 20
"""Probes without an answer, and with no round trip known, before some pauses get longer."""


class Probing:
    """`count`: probes since the loss. `random` gives floats from [0, 1)."""

    def __init__(
        self,
        known: Sequence[Known],
        selector: Selector,
        key: bytes,
        random: Callable[[], float],
    ) -> None:
        self.count = 0
        self._known = known
        self._selector = selector
        self._key = key
        self._random = random
        self._turn: list[Endpoint] = []
        self._ahead: tuple[Known, Endpoint] | None = None
        self._refusing: set[Endpoint | None] = set()

    def begin(self) -> None:
        """The server was lost just now."""
        self.count = 0
        self._ahead = None
        self._refusing.clear()

    def refused(self, used: Known, endpoint: Endpoint | None, now: float) -> bool:
        """The host said that nobody is at the endpoint: whether the next one need not wait."""
        if not self.count or self._ahead is not None or endpoint in self._refusing:
            return False
        self._refusing.add(endpoint)
        self._ahead = self.next(used, endpoint, now)
        return self._ahead[1] not in self._refusing

    def next(self, used: Known, endpoint: Endpoint | None, now: float) -> tuple[Known, Endpoint]:
        """Whom to ask after `used` at `endpoint`. Some target has an endpoint."""
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return ahead
        if self.count == 0:
            self._turn = used.beginning_with(endpoint)
        self.count += 1
        self._turn = [each for each in self._turn if each in used.endpoints]
        if not self._turn:
            self._selector.failed(used.index, now)
            if self._selector.resting(used.index, now):
                used = self._next_target(now)
            self._turn = list(used.endpoints)
        return used, self._turn.pop(0)

    def others(self, used: Known, now: float) -> list[Endpoint]:
        """One endpoint of each other target that may be asked at the same time."""
        usable = self._usable()
        found = self._selector.candidates(now, usable) or usable
        return [
            self._known[index].endpoints[self.count % len(self._known[index].endpoints)]
            for index in found
            if index != used.index
        ]

    def pause(self, rtt: float | None) -> float:
        """Seconds to the next probe."""
        jitter = (2 * self._random() - 1) * PROBE_JITTER
        if rtt is not None:
            wanted = min(rtt * PROBE_ROUND_TRIPS, LONGEST_PROBE_INTERVAL)
            return max(PROBE_INTERVAL, wanted) + jitter
        if self.count > PATIENT_AFTER and self.count % PATIENT_EVERY == 0:
            return PATIENT_PROBE_INTERVAL + jitter
        return PROBE_INTERVAL + jitter

    def _next_target(self, now: float) -> Known:
        usable = self._usable()
        chosen = self._selector.select(now, self._key, usable)
        if chosen is None:
            chosen = min(usable, key=self._selector.failed_at)
        return self._known[chosen]

    def _usable(self) -> list[int]:
        return [known.index for known in self._known if known.endpoints]
