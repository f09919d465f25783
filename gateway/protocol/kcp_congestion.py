"""How many KCP segments may be under way: as many as the path takes without a long queue.

The wire knows nothing of this, each end decides for itself. Stock KCP halves its window at
every loss, which random loss alone brings to nothing. Here losses count only when they are
more than `tolerance`; otherwise the window follows the
queue: the mean round trip of a round, above the smallest of the last seconds.

A round is the time until something sent after its beginning was acknowledged. Segments are
numbered by transmission, so that a round needs no clock.
"""

FLOOR = 32
"""What stock KCP sends unasked. Below it there is no queue worth the name."""
START = 64
SPARE = 0.005
"""Seconds of queue that are always fine: smaller ones are the hosts', not the path's."""

_MEMORY = 10.0
_JUDGED, _MOST_JUDGED = 128, 2048
"""Segments of which the lost ones are counted, at least; four windows, and at most. A host's own
links carry up to 45 as one and lose them as one: few of these shall not look like many."""


class Congestion:
    """The window of one direction of one session. Times in seconds."""

    def __init__(self, limit: int, *, patience: float = 0.0, tolerance: float = 0.15) -> None:
        """`patience`: how long the other end may wait with an answer."""
        self._patience = patience
        self.window = min(START, limit)
        self._limit = limit
        self._tolerance = tolerance
        self._starting = True
        self._limited = False
        self._round_ends = 0
        self._sum = 0.0
        self._samples = 0
        self._floors = (0.0, 0.0)
        self._floors_since = 0.0
        self._acked = 0
        self._lost = 0

    def acked(self, segments: int) -> None:
        """These arrived."""
        self._acked += segments

    def measured(self, rtt: float, now: float) -> None:
        """One round trip, of a segment that was sent once."""
        self._sum += rtt
        self._samples += 1
        former, latter = self._floors
        if now - self._floors_since > _MEMORY:
            self._floors = (latter, rtt)
            self._floors_since = now
        elif not latter or rtt < latter:
            self._floors = (former, rtt)

    def answered_at_once(self) -> None:
        """The other end has said that it does not wait."""
        self._patience = 0.0

    def lost(self, segments: int) -> None:
        """These did not."""
        self._lost += segments

    def timed_out(self) -> None:
        """Nothing came back for so long that everything under way was given up."""
        self.window = min(FLOOR, self._limit)
        self._starting = True

    def rested(self) -> None:
        """Nothing was under way for a while: what was known of the queue is stale."""
        self.window = min(self.window, max(START, self.window // 2))

    def limiting(self) -> None:
        """More could have been sent but for the window."""
        self._limited = True

    def turn(self, newest: int, following: int) -> None:
        """Transmission `newest` has arrived; the next one will be `following`."""
        if newest < self._round_ends:
            return
        self._round_ends = following
        self._judge_losses()
        if self._lost > (self._acked + self._lost) * self._tolerance:
            self._limited = False
        if self._samples:
            self._judge_queue(self._sum / self._samples)
        self._sum = 0.0
        self._samples = 0
        self._limited = False

    def _judge_losses(self) -> None:
        total = self._acked + self._lost
        if total < min(max(_JUDGED, 4 * self.window), _MOST_JUDGED):
            return
        if self._lost > total * self._tolerance:
            self._narrow(max(0.5, 1 - self._lost / total))
        self._acked = self._lost = 0

    def _judge_queue(self, rtt: float) -> None:
        floor = min(seen for seen in self._floors if seen)
        queue = rtt - floor
        spare = max(SPARE, floor / 4) + self._patience
        if queue > spare:
            self._narrow(max(0.7, 1 - 0.5 * (queue - spare) / queue))
        elif self._limited and self._starting:
            self.window = min(self.window * 2, self._limit)
        elif self._limited:
            self.window = min(self.window + max(4, self.window // 16), self._limit)

    def _narrow(self, factor: float) -> None:
        self._starting = False
        self.window = min(max(int(self.window * factor), FLOOR), self._limit)
