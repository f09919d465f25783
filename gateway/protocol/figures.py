"""Round trip and loss of an uplink, from when heartbeats left and acks came.

A heartbeat is settled by the next ack, or by a later one's.
"""

from collections import deque

LOSS_WINDOW = 20
RTT_GAIN = 1 / 8
"""Weight of a new sample in the smoothed RTT (RFC 6298, 2.3)."""


class Figures:
    """`rtt` is smoothed, `rtt_last` the latest sample, both in seconds; None before the first."""

    def __init__(self) -> None:
        self.rtt: float | None = None
        self.rtt_last: float | None = None
        self._outstanding: list[tuple[float, bool]] = []  # when sent, whether it counts
        self._settled: deque[bool] = deque(maxlen=LOSS_WINDOW)

    @property
    def loss(self) -> float | None:
        """Share of the last heartbeats that counted and were not answered; None before any."""
        if not self._settled:
            return None
        return self._settled.count(False) / len(self._settled)

    def sent(self, now: float, *, counts: bool) -> None:
        """A heartbeat left; `counts`: for the loss."""
        self._outstanding.append((now, counts))

    def answered(self, now: float) -> None:
        """The newest heartbeat was answered, earlier ones were not.

        Which one an ack belongs to is only known when one is outstanding.
        """
        if not self._outstanding:
            return
        if len(self._outstanding) == 1:
            self._sample(now - self._outstanding[0][0])
        _, counts = self._outstanding.pop()
        self.reconnected()
        if counts:
            self._settled.append(True)

    def reconnected(self) -> None:
        """No ack can come any more for what is outstanding."""
        self._settled.extend(False for _, counts in self._outstanding if counts)
        self._outstanding.clear()

    def forget_rtt(self) -> None:
        """The server is another one."""
        self.rtt = None

    def _sample(self, rtt: float) -> None:
        self.rtt_last = rtt
        self.rtt = rtt if self.rtt is None else self.rtt + RTT_GAIN * (rtt - self.rtt)
