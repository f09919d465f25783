"""The fixed targets of a relay listener, and which of them the next stream leads to."""

from collections.abc import Sequence
from dataclasses import replace

from gateway.protocol.relay_access import Way
from gateway.protocol.selector import Selector


class Forward:
    """Leads nowhere if there are no `ways`. Without a selector there is one at most."""

    def __init__(self, ways: Sequence[Way], selector: Selector | None) -> None:
        self._ways = tuple(ways)
        self._selector = selector

    def choose(self, now: float, key: bytes, *, udp: bool) -> Way | None:
        """The target for a stream; where all have failed lately, who rested longest.

        `key` is what the strategy `hash` goes by.
        """
        if not self._ways:
            return None
        chosen = 0
        if self._selector is not None:
            found = self._selector.select(now, key)
            every = range(len(self._ways))
            chosen = min(every, key=self._selector.failed_at) if found is None else found
        return replace(self._ways[chosen], udp=udp)

    def note(self, way: Way, now: float, *, reached: bool) -> None:
        """What came of it. Ways that are none of these are nothing to us."""
        if self._selector is None:
            return
        for index, own in enumerate(self._ways):
            if own.address == way.address and reached:
                self._selector.succeeded(index)
            elif own.address == way.address:
                self._selector.failed(index, now)
