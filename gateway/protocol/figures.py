"""Round trip and loss of an uplink, from when heartbeats left and acks came.

A heartbeat is settled by the next ack, or by a later one's. While nobody listens for acks they
wait in the socket: what was asked then tells nothing of the way. The first round trip still has
much beside the way in it (both ends are cold, neighbours are looked up), so that of a few the
median is taken, and only then the average goes on from there.
"""

from collections import deque
from dataclasses import dataclass
from statistics import median_low

LOSS_WINDOW = 20
FIRST_SAMPLES = 3
RTT_GAIN = 1 / 8
"""Weight of a new sample in the smoothed RTT (RFC 6298, 2.3)."""


@dataclass
class _Outstanding:
    """A heartbeat without an ack: when it left, and what its ack will tell."""

    at: float
    counts: bool
    timed: bool


class Figures:
    """`rtt` is smoothed, `rtt_last` the latest sample, both in seconds; None before the first."""

    def __init__(self) -> None:
        self.rtt: float | None = None
        self.rtt_last: float | None = None
        self._first: list[float] = []
        self._outstanding: list[_Outstanding] = []
        self._settled: deque[bool] = deque(maxlen=LOSS_WINDOW)

    @property
    def loss(self) -> float | None:
        """Share of the last heartbeats that counted and were not answered; None before any."""
        if not self._settled:
            return None
        return self._settled.count(False) / len(self._settled)

    @property
    def steady(self) -> bool:
        """Whether `rtt` is of more than a few samples, and may be compared."""
        return len(self._first) >= FIRST_SAMPLES

    def sent(self, now: float, *, counts: bool, timed: bool) -> None:
        """A heartbeat left; `counts`: for the loss; `timed`: for the round trip."""
        self._outstanding.append(_Outstanding(now, counts, timed))

    def answered(self, now: float) -> None:
        """The newest heartbeat was answered, earlier ones were not.

        Which one an ack belongs to is only known when one is outstanding.
        """
        if not self._outstanding:
            return
        newest = self._outstanding[-1]
        if len(self._outstanding) == 1 and newest.timed:
            self._sample(now - newest.at)
        self._outstanding.pop()
        self.reconnected()
        if newest.counts:
            self._settled.append(True)

    def unheard(self) -> None:
        """Acks wait in the socket: nobody listens for a while."""
        for each in self._outstanding:
            each.timed = False

    def reconnected(self) -> None:
        """No ack can come any more for what is outstanding."""
        self._settled.extend(False for each in self._outstanding if each.counts)
        self._outstanding.clear()

    def forget_rtt(self) -> None:
        """The server is another one."""
        self.rtt = None
        self._first.clear()

    def forget_loss(self) -> None:
        """The server was away, or is another one: what was lost with it says nothing of now."""
        self._settled.clear()

    def _sample(self, rtt: float) -> None:
        self.rtt_last = rtt
        if self.rtt is not None and self.steady:
            self.rtt += RTT_GAIN * (rtt - self.rtt)
            return
        self._first.append(rtt)
        self.rtt = median_low(self._first)
