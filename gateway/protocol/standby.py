"""The targets that are not in use: whether they answer, and when to move to one of them.

A client keeps the server it has until that is lost. Only where the strategy says that
another would be better it asks that one now and then, with a heartbeat from a socket of
its own, so that the traffic does not notice:

    any strategy   the targets that are no backups, while a backup is in use
    fifo           those before the one in use
    hash           the one the key leads to
    lowestlatency  all others, to compare round trips

It moves once such a target has answered three times in a row, a heartbeat's period
apart, which mirrors how a server is lost. For each time it was lost again soon after,
twice as many answers are needed: a server that comes and goes does not take its clients
along. For `lowestlatency` the round trip must also be clearly shorter, and once enough
is known the questions get rare.
"""

from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from statistics import median
from zlib import crc32

from gateway.protocol.packet import Endpoint
from gateway.protocol.selector import Selector
from gateway.protocol.targets import Known

ANSWERS = 3
"""In a row, before a target that was never lost is moved to."""
MOST_DOUBLINGS = 4
FORGIVEN_AFTER = 600.0
"""Seconds in use after which earlier losses are forgotten."""
SHORTEST_INTERVAL, LONGEST_INTERVAL = 1.0, 10.0
RARE_INTERVAL = 60.0
INTERVAL_JITTER = 0.1
"""Share of an interval that it may be shorter or longer."""
SAMPLES = 3
CLEARLY = 0.8
"""A round trip is shorter if it is less than this part of the present one,"""
CLEARLY_SECONDS = 0.002
"""and by more than this."""


class _Watch:
    """One target that is asked."""

    def __init__(self) -> None:
        self.due = -inf
        self.sent: float | None = None
        self.endpoint: Endpoint | None = None
        self.asked = 0
        self.answers = 0
        self.losses = 0
        self.used_since = 0.0
        self.samples: deque[float] = deque(maxlen=SAMPLES)


class Standby:
    """Asks and counts. `random` gives floats from [0, 1)."""

    def __init__(
        self,
        known: Sequence[Known],
        selector: Selector,
        key: bytes,
        ttl: float,
        random: Callable[[], float],
    ) -> None:
        self._known = known
        self._selector = selector
        self._key = key
        self._interval = min(max(ttl, SHORTEST_INTERVAL), LONGEST_INTERVAL)
        self._random = random
        self._watches = [_Watch() for _ in known]

    def begin(self, used: Known, now: float) -> None:
        """`used` is in use from now on; what was known of the others is old."""
        for watch in self._watches:
            watch.asked = 0
            watch.due = now + self._pause(watch, used)
            watch.sent = None
            watch.answers = 0
            watch.samples.clear()
        self._watches[used.index].used_since = now

    def lost(self, used: Known, now: float) -> None:
        """The one that was in use does not answer any more."""
        watch = self._watches[used.index]
        watch.losses = 0 if now - watch.used_since > FORGIVEN_AFTER else watch.losses
        watch.losses += 1

    def due(self, used: Known) -> float:
        """When `ask` is needed next; infinity: never, with this one in use."""
        return min((self._watches[index].due for index in self._better(used)), default=inf)

    def ask(self, used: Known, now: float) -> tuple[list[Known], list[tuple[Endpoint, bool]]]:
        """Targets to resolve, and endpoints to ask, each with whether from a new port."""
        names: list[Known] = []
        questions: list[tuple[Endpoint, bool]] = []
        for index in self._better(used):
            watch, known = self._watches[index], self._known[index]
            if now < watch.due:
                continue
            unanswered = watch.sent is not None
            if unanswered:
                self._selector.failed(index, now)
                watch.answers = 0
                watch.samples.clear()
            if (unanswered or not known.endpoints) and now >= known.askable():
                names.append(known)
            turns = known.beginning_with(watch.endpoint)
            if not turns:
                watch.due = now + self._interval
                continue
            watch.asked += 1
            watch.due = now + self._pause(watch, used)
            watch.endpoint = turns[1 % len(turns)] if unanswered else turns[0]
            watch.sent = now
            questions.append((watch.endpoint, unanswered))
        return names, questions

    def answered(self, known: Known, endpoint: Endpoint, now: float) -> None:
        """A target that is not in use answered."""
        watch = self._watches[known.index]
        self._selector.succeeded(known.index)
        if watch.sent is None or endpoint != watch.endpoint:
            return
        watch.answers += 1
        watch.samples.append(now - watch.sent)
        watch.sent = None
        self._selector.measured(known.index, median(watch.samples))

    def move(self, used: Known) -> tuple[Known, Endpoint] | None:
        """Where to go now, if anywhere."""
        found = [index for index in self._better(used) if self._is_due_to(index, used)]
        if not found:
            return None
        best = min(found, key=lambda index: (self._rank(index), index))
        endpoint = self._watches[best].endpoint
        return (self._known[best], endpoint) if endpoint is not None else None

    def _better(self, used: Known) -> list[int]:
        """Those that the strategy would rather have, if they were healthy."""
        nodes, at = self._selector.nodes, used.index
        if nodes[at].backup:
            regular = [index for index, node in enumerate(nodes) if not node.backup]
            if regular:
                return regular
        alike = [index for index, node in enumerate(nodes) if node.backup == nodes[at].backup]
        match self._selector.strategy:
            case "fifo":
                return [index for index in alike if index < at]
            case "hash":
                return [index for index in [alike[crc32(self._key) % len(alike)]] if index != at]
            case "lowestlatency":
                return [index for index in alike if index != at]
            case _:
                return []

    def _is_due_to(self, index: int, used: Known) -> bool:
        watch = self._watches[index]
        if watch.answers < ANSWERS << min(max(watch.losses - 1, 0), MOST_DOUBLINGS):
            return False
        nodes = self._selector.nodes
        if self._selector.strategy != "lowestlatency" or nodes[used.index].backup:
            return True
        present = self._selector.rtt(used.index)
        return present is not None and median(watch.samples) < min(
            present * CLEARLY, present - CLEARLY_SECONDS
        )

    def _rank(self, index: int) -> float:
        rtt = self._selector.rtt(index)
        compared = self._selector.strategy == "lowestlatency"
        return rtt if compared and rtt is not None else inf

    def _pause(self, watch: _Watch, used: Known) -> float:
        """Seconds to the next question."""
        interval = self._interval
        compares = self._selector.strategy == "lowestlatency"
        if compares and not self._selector.nodes[used.index].backup:
            interval = SHORTEST_INTERVAL if watch.asked < SAMPLES else RARE_INTERVAL
        return interval * (1 + (2 * self._random() - 1) * INTERVAL_JITTER)
