"""How long to wait before the next try: twice as long each time, and never all at once."""

from collections.abc import Callable

SHORTEST = 0.25
LONGEST = 30.0


class Backoff:
    """Waits of one who tries again. `random` gives floats from [0, 1).

    A wait is between half of its step and the whole, so that many who lost one server do
    not come back to it in one moment.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self.failures = 0

    def failed(self) -> float:
        """Seconds to wait after one more failure."""
        step = min(LONGEST, SHORTEST * 2.0 ** min(self.failures, 16))
        self.failures += 1
        return step * (0.5 + self._random() / 2)

    def succeeded(self) -> None:
        """The next failure is the first again."""
        self.failures = 0
