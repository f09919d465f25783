"""How wide the way to a server is: what to send next, and what the answers mean.

Echo requests as large as the tunnel's packets with their outer headers. One that is
answered fits, and that is all. A router that says "too big" names what would fit, and
that is tried. Silence may be loss, a router that says nothing, or a server that answers
no echo at all: a small request tells the last two apart, and between the small and the
large one the largest that passes is found by halving.

Sizes are of whole IP packets. The machine does nothing itself: it takes events and the
time, and leaves `probes`.
"""

from dataclasses import dataclass
from math import inf

OVERHEAD = {4: 28, 6: 48}
"""IP and UDP headers around a packet of the tunnel."""
FLOOR = {4: 576, 6: 1280}
"""What every host takes (RFC 1122, 3.3.3; RFC 8200, 5)."""
TRIES = 3
LONG_TIMEOUT = 1.0
SHORT_TIMEOUT = 0.2
ROUND_TRIPS = 3.0
"""An answer that takes longer than so many known round trips is not waited for."""


@dataclass(frozen=True)
class Probe:
    """Send one echo request of this size that must not be fragmented."""

    size: int
    sequence: int


@dataclass(frozen=True)
class PathMtu:
    """`path` is the widest packet known to fit, at most what was asked for.

    None: nothing answered, so nobody knows.
    """

    wanted: int
    path: int | None

    @property
    def fits(self) -> bool | None:
        """Whether packets as wide as the tunnel's leave in one piece; None: not known."""
        return None if self.path is None else self.path >= self.wanted


class Measurement:
    """One measurement, from `Measurement(...)` until `result` is there."""

    def __init__(self, wanted: int, version: int, now: float, sequence: int = 0) -> None:
        self.wanted = wanted
        self.result: PathMtu | None = None
        self._floor = min(FLOOR[version], wanted)
        self._low: int | None = None  # the largest that was answered
        self._high = wanted  # the largest that may still fit
        self._told = False  # a router named `high`
        self._silent = 0  # this was not answered, and smaller ones were not tried yet
        self._sequence = sequence
        self._sent: dict[int, tuple[int, float]] = {}
        self._tries = 0
        self._timeout = LONG_TIMEOUT
        self._size = wanted
        self._due = now
        self._probes: list[Probe] = []
        self._ask(wanted, now)

    def probes(self) -> list[Probe]:
        """What is to be sent; each is given out once."""
        drained, self._probes = self._probes, []
        return drained

    def due(self) -> float | None:
        """When `advance` is needed next; None: it is done."""
        return None if self._due == inf else self._due

    def answered(self, now: float, sequence: int) -> None:
        """The echo came back."""
        size, sent = self._sent.pop(sequence, (0, now))
        if not size or self.result is not None:
            return
        self._timeout = min(max(SHORT_TIMEOUT, ROUND_TRIPS * (now - sent)), LONG_TIMEOUT)
        if size > (self._low or 0):
            self._low = size
            if self._silent > size:
                self._silent_is_too_big()
            self._high = max(self._high, size)
            self._go_on(now)

    def too_big(self, now: float, sequence: int, mtu: int) -> None:
        """A router, or this host's own link, says so; `mtu` 0 where it names none."""
        size, _ = self._sent.pop(sequence, (0, now))
        if not size or size > self._high or self.result is not None:
            return
        self._told = self._floor <= mtu < size
        self._high = mtu if self._told else size - 1
        self._go_on(now)

    def advance(self, now: float) -> None:
        """Do what time asks for."""
        if self.result is not None or now < self._due:
            return
        if self._tries < TRIES:
            self._send(now)
        elif self._low is None and self._size == self._floor:
            self._finish(self._high if self._told else None)
        elif self._low is None:
            self._silent = self._size
            self._ask(self._floor, now)
        else:
            self._silent = self._size
            self._silent_is_too_big()
            self._go_on(now)

    def _silent_is_too_big(self) -> None:
        self._high = min(self._high, self._silent - 1)
        self._told = False
        self._silent = 0

    def _go_on(self, now: float) -> None:
        """After something became known: ask for what is not, or finish."""
        if self._high < self._floor or (self._low or 0) >= self._high:
            self._finish(self._low)
        elif self._low is None:
            self._ask(self._high if self._told else self._floor, now)
        elif self._told:
            self._ask(self._high, now)
        else:
            self._ask((self._low + self._high + 1) // 2, now)

    def _ask(self, size: int, now: float) -> None:
        self._size = size
        self._tries = 0
        self._send(now)

    def _send(self, now: float) -> None:
        self._tries += 1
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._sent[self._sequence] = (self._size, now)
        self._probes.append(Probe(self._size, self._sequence))
        self._due = now + self._timeout

    def _finish(self, path: int | None) -> None:
        self._due = inf
        self.result = PathMtu(self.wanted, path)
