"""How many streams a peer may open on one trunk or connection: each costs us more than him.

A stream that ended is not given back, so a peer that opens and ends them in turn is no better
off. Times are seconds of one clock, given by the caller (I11).
"""

from gateway.protocol.wire import WireError

MOST_OPENED, OPENED_A_SECOND = 4096, 100
"""Streams a peer may open at once, and how many more with time."""


class Openings:
    """What one peer may still open."""

    def __init__(self, now: float) -> None:
        self._left = float(MOST_OPENED)
        self._counted_at = now

    def count(self, now: float) -> None:
        """One stream was opened. WireError: that was too many."""
        gained = (now - self._counted_at) * OPENED_A_SECOND
        self._left = min(MOST_OPENED, self._left + gained) - 1
        self._counted_at = now
        if self._left < 0:
            raise WireError("opens too many streams")
