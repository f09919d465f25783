"""The one place where the supervisor waits (I8).

One thread, one selector: signals (by a wake-up socket), children's ends (pidfds),
channels, timers, the control socket. Handlers do their work and return; none of them
waits. The clocks are read once per turn and everybody uses those readings (I11).
"""

import contextlib
import heapq
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import FrameType

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

LONGEST_WAIT = 1.0
"""Seconds. A timer on CLOCK_BOOTTIME may come due while the host sleeps, unseen by epoll."""


@dataclass(order=True)
class Timer:
    """Something to be called once; `cancel` forgets it."""

    when: float
    order: int
    call: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        """It will not be called, and holds nothing, although it is kept until its time."""
        self.cancelled = True
        self.call = _nothing


class Loop:
    """The supervisor's."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._order = 0
        self._signals: dict[int, Callable[[], None]] = {}
        self._former: dict[int, object] = {}
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self.stopping = False
        self._read_clocks()
        self.watch(self._wake.fileno(), lambda _: self._on_wake())

    @property
    def now(self) -> float:
        """CLOCK_MONOTONIC, of this turn."""
        return self._now

    @property
    def boot(self) -> float:
        """CLOCK_BOOTTIME, of this turn."""
        return self._boot

    def watch(self, fd: int, call: Callable[[int], None], events: int = READ) -> None:
        """Call with the events whenever `fd` is ready. Watching again changes the events."""
        if fd in self._selector.get_map():
            self._selector.modify(fd, events, call)
        else:
            self._selector.register(fd, events, call)

    def unwatch(self, fd: int) -> None:
        """Forget `fd`; to be called before it is closed."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)

    def call_in(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call once, `seconds` from this turn on."""
        self._order += 1
        timer = Timer(self.now + seconds, self._order, call)
        heapq.heappush(self._timers, timer)
        return timer

    def call_every(self, seconds: float, call: Callable[[], None]) -> None:
        """Call again and again; late calls are not made up for."""

        def again() -> None:
            call()
            self.call_in(seconds, again)

        self.call_in(seconds, again)

    def drop_timers(self) -> None:
        """Nothing that was to be called in time is: those who wanted it are gone."""
        self._timers.clear()

    def inside(self, place: AbstractContextManager[object]) -> "Loop":
        """The same loop, which calls what is registered through it inside `place`."""
        return _Inside(self, place)

    def on_signal(self, number: int, call: Callable[[], None]) -> None:
        """Call in a later turn, never inside the signal handler."""
        self._signals[number] = call
        self._former[number] = signal.signal(number, _ignore)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)

    def stop(self) -> None:
        """Let `run` return after this turn."""
        self.stopping = True

    def run(self) -> None:
        """Turn until `stop`."""
        while not self.stopping:
            self.turn(LONGEST_WAIT)

    def run_until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Turn until `done` or the time is over; whether it was done."""
        self._read_clocks()  # the last turn may be long ago
        end = self.now + seconds
        while not done():
            if self.now >= end:
                return False
            self.turn(min(LONGEST_WAIT, end - self.now))
        return True

    def turn(self, longest: float) -> None:
        """Wait once, then call what is ready and what is due."""
        wait = longest
        if self._timers:
            wait = min(wait, max(0.0, self._timers[0].when - time.monotonic()))
        ready = self._selector.select(wait)
        self._read_clocks()
        for key, events in ready:
            # An earlier handler of this turn may have closed this one's descriptor.
            if self._selector.get_map().get(key.fd) is key:
                key.data(events)
        while self._timers and self._timers[0].when <= self.now:
            timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                timer.call()

    def close(self) -> None:
        """Give back the signals and the descriptors."""
        signal.set_wakeup_fd(-1)
        for number, former in self._former.items():
            signal.signal(number, former)  # type: ignore[arg-type]
        self._selector.close()
        self._wake.close()
        self._waker.close()

    def _read_clocks(self) -> None:
        self._now = time.monotonic()
        self._boot = time.clock_gettime(time.CLOCK_BOOTTIME)

    def _on_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in dict.fromkeys(self._wake.recv(4096)):
                call = self._signals.get(number)
                if call is not None:
                    call()


class _Inside(Loop):
    """Somebody's view of the loop: to wait with, not to turn."""

    def __init__(self, loop: Loop, place: AbstractContextManager[object]) -> None:
        self._loop = loop
        self._place = place

    @property
    def now(self) -> float:
        return self._loop.now

    @property
    def boot(self) -> float:
        return self._loop.boot

    def watch(self, fd: int, call: Callable[[int], None], events: int = READ) -> None:
        def inside(ready: int) -> None:
            with self._place:
                call(ready)

        self._loop.watch(fd, inside, events)

    def unwatch(self, fd: int) -> None:
        self._loop.unwatch(fd)

    def call_in(self, seconds: float, call: Callable[[], None]) -> Timer:
        def inside() -> None:
            with self._place:
                call()

        return self._loop.call_in(seconds, inside)


def _nothing() -> None:
    """What a cancelled timer would call."""


def _ignore(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor has the number already."""
