"""Whose name is asked for next, as long as none of the targets is known.

One target after the other, the chosen one first, one a second: another name may be answered
faster. Nobody waits for an answer; a question without one is asked again when it is `askable`.
"""

from collections.abc import Sequence
from math import inf

from gateway.protocol.targets import RESOLVE_INTERVAL, Known


class Asking:
    """`due`: when `next` is needed again; infinity: nothing is asked any more."""

    def __init__(self) -> None:
        self.due = inf
        self._order: Sequence[Known] = ()
        self._turn = 0

    def begin(self, order: Sequence[Known]) -> None:
        """Ask these, at least one, in this order."""
        self._order = order
        self._turn = 0

    def next(self, now: float) -> Known | None:
        """The one to ask for now, if any is askable; it counts as asked."""
        asked = None
        for step in range(len(self._order)):
            place = (self._turn + step) % len(self._order)
            if now >= self._order[place].askable():
                self._turn = place + 1
                asked = self._order[place]
                asked.ask(now)
                break
        self.due = max(now + RESOLVE_INTERVAL, self._askable())
        return asked

    def failed(self, now: float) -> None:
        """A name means nothing now: go on as soon as one may be asked for."""
        self.due = max(now, self._askable())

    def stop(self) -> None:
        """One is known."""
        self.due = inf

    def _askable(self) -> float:
        return min(known.askable() for known in self._order)
