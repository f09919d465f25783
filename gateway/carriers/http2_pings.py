"""When an HTTP/2 connection is pinged, and when its peer is given up.

A ping is sent after `keepalive` seconds of silence; no answer within `timeout` is the end. A
server in Go lets a client ping once after each answer with data; of further pings less than
five minutes apart it forgives two. So one more is sent when something was written and nothing
came back; the rest keep the distance. Times are seconds of one clock (I11).
"""

from math import inf

from gateway.carriers.http2_call import Options

_PATIENCE_OF_GO = 301.0


class Pings:
    """One end's. Whoever reads and writes sets `heard`, `paid` and `wrote`."""

    def __init__(self, options: Options, now: float, *, client: bool) -> None:
        self.heard = now
        self.paid = True  # data came since the last ping
        self.wrote = False  # since the last ping
        self.rtt: float | None = None
        self._options = options
        self._client = client
        self._pinged: float | None = None  # not answered yet
        self._last_ping = -inf
        self._spare = True  # the one that is forgiven was not used

    @property
    def waiting(self) -> bool:
        """A ping waits for its answer."""
        return self._pinged is not None

    @property
    def deadline(self) -> float | None:
        """The next ping, or the end of patience; None: no pings."""
        if not self._options.keepalive:
            return None
        if self._pinged is not None:
            return self._pinged + self._options.timeout
        return max(self.heard + self._options.keepalive, self._next_ping)

    @property
    def _next_ping(self) -> float:
        if self.paid or not self._client or (self._spare and self.wrote):
            return self._last_ping
        return self._last_ping + _PATIENCE_OF_GO

    def send(self, now: float) -> bool:
        """Whether a ping is to be sent now; then it counts as sent."""
        if self._pinged is not None:
            if self.heard > self._pinged:
                self._pinged = None
            return False
        if self.deadline is None or now < self.deadline:
            return False
        self._spare = self.paid or (self._spare and now - self._last_ping >= _PATIENCE_OF_GO)
        self._pinged = self._last_ping = now
        self.paid = self.wrote = False
        return True

    def answered(self, now: float) -> None:
        """An answer came; one to nothing means nothing."""
        if self._pinged is not None:
            self.rtt = now - self._pinged
            self._pinged = None

    def silent(self, now: float) -> bool:
        """A ping was not answered, and nothing else came since."""
        if self._pinged is None or self.heard > self._pinged:
            return False
        return now - self._pinged >= self._options.timeout
