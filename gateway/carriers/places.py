"""Who is at a listener: strangers, bounded in time and in number, and guests.

Whoever comes is a stranger until a stream of his was let in (`Stream.prove`). First he shakes
hands, then he says what he wants, and for each he has a time. When there are too many strangers,
the one that came first has to go: so a flood of them costs the flood its own oldest ones, keeps
no new one out, and never touches a guest.

Guests have places of their own. When these are taken, a guest without a stream that was let in
has to go for a new one; if there is none, the new one goes.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_Since = tuple[float, float]
"""When he came, and until when he has time."""


class Places(Generic[T]):
    """`drop` ends somebody who is forgotten here by then, and counts him by the name given.

    `seconds`: for the handshakes, and then for saying what he wants. `is_idle`: whether a guest
    has no stream that was let in.
    """

    def __init__(
        self,
        *,
        most_strangers: int,
        most_guests: int,
        seconds: tuple[float, float],
        drop: Callable[[T, str], None],
        is_idle: Callable[[T], bool] = lambda _: False,
    ) -> None:
        self._most = max(1, most_strangers)
        self._most_guests = max(1, most_guests)
        self._seconds = seconds
        self._drop = drop
        self._is_idle = is_idle
        self._shaking: dict[T, _Since] = {}
        self._asking: dict[T, _Since] = {}
        self._guests: dict[T, None] = {}
        self._loop = asyncio.get_running_loop()
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def shaking(self) -> int:
        """How many are in their handshakes."""
        return len(self._shaking)

    @property
    def asking(self) -> int:
        """How many are through them, and were not let in so far."""
        return len(self._asking)

    @property
    def guests(self) -> int:
        """How many were let in."""
        return len(self._guests)

    def __iter__(self) -> Iterator[T]:
        """The strangers."""
        return iter([*self._shaking, *self._asking])

    def __contains__(self, who: T) -> bool:
        """Whether he is a stranger."""
        return who in self._shaking or who in self._asking

    def close(self) -> None:
        """Watch nobody's time any more."""
        if self._sweep:
            self._sweep.cancel()

    def enter(self, who: T) -> None:
        """A new stranger. Another one may have to go."""
        if len(self._shaking) + len(self._asking) >= self._most:
            self.evict()
        now = self._loop.time()
        self._shaking[who] = now, now + self._seconds[0]
        self._watch()

    def shaken(self, who: T) -> None:
        """He is through his handshakes."""
        since = self._shaking.pop(who, None)
        if since is not None:
            self._asking[who] = since[0], self._loop.time() + self._seconds[1]
            self._watch()

    def prove(self, who: T) -> None:
        """He was let in."""
        if who not in self:
            return
        self.forget(who)
        if len(self._guests) >= self._most_guests:
            gone = next((guest for guest in self._guests if self._is_idle(guest)), who)
            self._guests.pop(gone, None)
            self._drop(gone, "full" if gone is who else "idle-evicted")
            if gone is who:
                return
        self._guests[who] = None

    def forget(self, who: T) -> bool:
        """He is gone, or no more our affair. Gives whether he was a stranger."""
        self._guests.pop(who, None)
        was_shaking = self._shaking.pop(who, None) is not None
        return self._asking.pop(who, None) is not None or was_shaking

    def evict(self) -> bool:
        """The stranger that came first has to go; false: there is none."""
        heads = [next(iter(each.items())) for each in (self._shaking, self._asking) if each]
        if not heads:
            return False
        oldest, _ = min(heads, key=lambda head: head[1][0])
        self.forget(oldest)
        self._drop(oldest, "half-open-evicted")
        return True

    def _watch(self) -> None:
        """See to the first whose time ends: all of a kind have the same."""
        firsts = [next(iter(each.values())) for each in (self._shaking, self._asking) if each]
        if not firsts:
            return
        due = min(until for _, until in firsts)
        if self._sweep is not None:
            if self._sweep.when() <= due:
                return
            self._sweep.cancel()
        self._sweep = self._loop.call_at(due, self._expire)

    def _expire(self) -> None:
        self._sweep = None
        now = self._loop.time()
        for each, what in ((self._shaking, "handshake-timeout"), (self._asking, "unproven")):
            while each:
                oldest, (_, until) = next(iter(each.items()))
                if until > now:
                    break
                self.forget(oldest)
                self._drop(oldest, what)
        self._watch()
