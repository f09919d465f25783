"""Whether every datagram leaves twice, which a path that loses them at random is worth.

The library's congestion control (Cubic) takes every loss for a full queue, and at some per
cent of random loss next to nothing is left. QUIC drops what it has had already, so the second
copy needs nobody's consent, and squares the loss: 5 % become 0.25 %. A full queue loses both
copies: then the loss does not fall, and it is left alone for long. Looked at once a second;
ever so often a second without it shows whether it is still needed.
"""

LOSSY = 0.02
"""The part lost from which on it is tried."""
LEAST = 200
"""Datagrams a second under which nothing is judged."""
SPELL = 10.0
RESPITE = 60.0


class Doubling:
    """Of one connection's datagrams. Times are the loop's."""

    def __init__(self) -> None:
        self.active = False
        self._sent = self._lost = 0
        self._before = 0.0
        self._until = 0.0

    def look(self, now: float, sent: int, lost: int) -> None:
        """`sent` and `lost` are counts since the beginning, a copy being none."""
        fresh, gone = sent - self._sent, lost - self._lost
        if fresh < LEAST:
            return
        self._sent, self._lost = sent, lost
        part = gone / fresh
        if not self.active:
            if part >= LOSSY and now >= self._until:
                self.active, self._before, self._until = True, part, now + SPELL
        elif part > self._before / 2:
            self.active, self._until = False, now + RESPITE
        elif now >= self._until:
            self.active = False
