"""One stream below, many on top: what the mux carriers and gRPC share.

A `Trunk` moves bytes between the stream below and a machine (protocol.multiplex) that knows
the frames. It gives the stream below only what it has room for, streams in turn, so that a
bulk flow waits in its own queue and the next packet of another stream is not behind it. What a
paused stream holds is bounded by the machine; then the stream below is paused.

As a layer it is ready once the peer has opened a stream, or has answered as a server. To the
listener he is a stranger until one of his streams was let in, and until then little is kept for
all of them together. Its end is the end of all its streams, for one reason.
"""

import asyncio
from collections.abc import Callable, Iterable

from gateway.carriers.branch import Branch
from gateway.carriers.layer import Done, Layer
from gateway.carriers.openings import Openings
from gateway.carriers.stream import Accept, CarrierError, Counts, Stream
from gateway.protocol.multiplex import Data, Ended, Event, Machine, Opened
from gateway.protocol.wire import WireError

IDLE_TIME = 60.0
"""Seconds an accepted session lives without a stream."""
STRANGER_KEPT = 16 * 1024
"""Bytes that may be kept for streams of which none was let in: then nothing more is read."""
_LOOK = 5.0
"""Seconds until the clock is looked at again, as a write may bring a ping forward."""
_OWED = 4
"""Times `high` that may wait below: only answers go there when it is full."""


class Trunk(Layer):
    """One end of a session over `lower`. `accept` None: the peer opens no streams."""

    def __init__(
        self,
        lower: Stream,
        machine: Machine,
        carrier: str,
        *,
        accept: Accept | None = None,
        counts: Counts | None = None,
    ) -> None:
        super().__init__(lower)
        self.carrier = carrier
        self.verified = lower.verified
        self.soon = self._loop.call_soon
        self.later = self._loop.call_later
        self.when_proven: Callable[[], None] = _nothing
        """Called when the first of its streams was let in."""
        if accept is not None:
            machine.keep_at_most(STRANGER_KEPT)
        self._machine = machine
        self._accept = accept
        self._counts = counts
        self._branches: dict[int, Branch] = {}
        self._waiting: set[Branch] = set()  # crowded, or closing
        self._let_in = 0  # of the branches
        self._proven = False
        self._stopped = False
        self._feeding = False
        self._openings = Openings(self._loop.time())
        self._next_tick: asyncio.TimerHandle | None = None
        self._idle_since: float | None = self._loop.time()

    def begin(self, done: Done) -> None:
        super().begin(done)
        self._watch()
        self._look_if_ready()

    @property
    def usable(self) -> bool:
        """A new stream may be opened here."""
        if self._ended is not None or self._closing or self._machine.full:
            return False
        return self._machine.fresh(self._loop.time())

    def open(self) -> Branch:
        """A new stream, held until it is started. The trunk ends with its last one."""
        branch = self._branch(self._machine.open())
        self._push()
        return branch

    # The layer below

    def _greet(self) -> None:
        self._push()

    def _take(self, data: bytes | bytearray | memoryview) -> None:
        self._feeding = True
        try:
            self._handle(self._machine.feed(data, self._loop.time()))
        except WireError as error:
            self._bad(error)
            return
        finally:
            self._feeding = False
        self._count_ignored()
        self._look_if_ready()
        self._push()

    def _bad(self, error: WireError) -> None:
        what = f"bad-{self.carrier}"
        if self._done:
            self._fail(CarrierError(f"{self.carrier} {self.remote}: {error}", what))
            return
        if self._counts is not None:
            self._counts.count(what)
        self._abandon(str(error))

    def _look_if_ready(self) -> None:
        if self._ready or not self._machine.ready or self._ended is not None:
            return
        self._ready = True
        done, self._done = self._done, None
        if done:
            done(None)

    def _give(self) -> None:
        """Nothing is kept here: the machine does that."""

    def on_room(self) -> None:
        self._push()

    def on_end(self, reason: str) -> None:
        parting = self._machine.parting
        super().on_end(f"{reason or 'ended'}: {parting}" if parting else reason)

    def _say_goodbye(self) -> None:
        last_word = self._machine.goodbye("")
        if last_word:
            self._lower.write(last_word)

    def _abandon(self, reason: str) -> None:
        """End it for the other end's fault, and tell him."""
        if self._ended is not None:
            return
        last_word = self._machine.goodbye(reason)
        if last_word:
            self._lower.write(last_word)
        self._finish(f"{self.carrier}: {reason}")

    def _finish(self, reason: str) -> None:
        if self._ended is not None:
            return
        super()._finish(reason)
        branches, self._branches = list(self._branches.values()), {}
        self._waiting.clear()
        for branch in branches:
            branch.finish(reason)

    def _let_go(self) -> None:
        if self._next_tick:
            self._next_tick.cancel()
        self.when_proven = _nothing  # who asked to be told refers to it

    # Events

    def _handle(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Data):
                branch = self._branches.get(event.sid)
                if branch:
                    branch.take(event.data)
            elif isinstance(event, Ended):
                self._ended_one(event)
            elif isinstance(event, Opened):
                self._accept_one(event.sid)

    def _accept_one(self, sid: int) -> None:
        self._openings.count(self._loop.time())
        branch = self._branch(sid)
        if self._accept is None:
            branch.abort()
            return
        # First the listener: the stranger has become a guest.
        self._look_if_ready()
        self._accept(branch)

    def _ended_one(self, event: Ended) -> None:
        branch = self._branches.get(event.sid)
        if branch:
            self._lose(branch)
            branch.finish(event.reason)

    def _branch(self, sid: int) -> Branch:
        branch = self._branches[sid] = Branch(self, sid, self.carrier)
        self._machine.pause(sid)
        self._idle_since = None
        return branch

    def _lose(self, branch: Branch) -> None:
        """Its place is free: the peer may use the id again."""
        self._waiting.discard(branch)
        if self._branches.pop(branch.sid, None) is None:
            return
        self._let_in -= branch.proven
        if self._branches:
            return
        self._idle_since = self._loop.time()
        if self._accept is None:
            self.soon(self._leave)

    def _leave(self) -> None:
        if not self._branches and self._ended is None:
            self._say_goodbye()
            self._finish("")

    def _count_ignored(self) -> None:
        ignored = self._machine.ignored
        if self._counts is not None:
            for what, times in ignored.items():
                for _ in range(times):
                    self._counts.count(what)
        ignored.clear()

    # What branches ask for

    @property
    def rtt(self) -> float | None:
        below = self._lower.rtt
        return self._machine.rtt if below is None else below

    def write(self, _data: bytes | bytearray | memoryview) -> None:
        """Nothing: bytes go on its streams."""

    def owed(self, sid: int) -> int:
        """What waits for this stream, with its share of what waits below."""
        return self._machine.backlog(sid) + self._lower.backlog // max(1, len(self._branches))

    def send(self, branch: Branch, data: bytes | bytearray | memoryview) -> None:
        """Send what there is room for, queue the rest."""
        lower = self._lower
        out = self._machine.write(branch.sid, data, lower.high + 1 - lower.backlog)
        if out:
            lower.write(out)
        if self._machine.backlog(branch.sid):
            self._push()
        if self.owed(branch.sid) > branch.high:
            self._waiting.add(branch)

    @property
    def is_idle(self) -> bool:
        """No stream in it was let in."""
        return not self._let_in

    def let_in(self) -> None:
        """One of its streams was: keep for all of them what the options say."""
        self._let_in += 1
        if self._proven or self._ended is not None:
            return
        self._proven = True
        self._machine.keep_at_most(None)
        self._lower.prove()
        self._push()
        self.when_proven()

    def hold(self, sid: int) -> None:
        """Push nothing of this stream for now."""
        self._machine.pause(sid)

    def release(self, branch: Branch) -> None:
        """Push what was kept, then what comes."""
        if branch.held or self._ended is not None:
            return
        self._handle(self._machine.resume(branch.sid))
        self._push()

    def end(self, branch: Branch, *, now: bool) -> None:
        """End a stream; its owner hears of it later."""
        if now:
            self._machine.abort(branch.sid)
            self._lose(branch)
            self.soon(branch.finish, "" if branch.is_closing else "aborted")
        else:
            self._machine.close(branch.sid)
            self._waiting.add(branch)
        self._push()

    # Out

    def _push(self) -> None:
        """Give the stream below what it has room for, then see who has room again."""
        if self._feeding or self._ended is not None:
            return  # once, after all events of a burst
        lower, machine = self._lower, self._machine
        while out := machine.flush(lower.high + 1 - lower.backlog):
            lower.write(out)
        if lower.backlog > _OWED * lower.high:
            self._abandon("the other end does not read")
            lower.abort()
            return
        if machine.blocked != self._stopped:
            self._stopped = machine.blocked
            if self._stopped:
                lower.pause()
            else:
                lower.resume()
        self._tell()

    def _tell(self) -> None:
        below_is_full = self._lower.backlog > self._lower.high
        for branch in list(self._waiting):
            if branch.is_closing:
                if branch.sid not in self._machine:
                    self._lose(branch)
                    self.soon(branch.finish, "")
            elif not below_is_full and self._machine.backlog(branch.sid) <= branch.low:
                self._waiting.discard(branch)
                branch.has_room()

    # Time

    def _watch(self) -> None:
        if self._ended is not None:
            return
        now = self._loop.time()
        if self._machine.silent(now):
            self._abandon("silent for too long")
            self._lower.abort()
            return
        self._machine.tick(now)
        if self._ready and self._accept and self._idle(now):
            self._leave()
            return
        self._push()
        again = [now + min(_LOOK, IDLE_TIME)]
        if self._machine.deadline is not None:
            again.append(max(self._machine.deadline, now + 0.01))
        self._next_tick = self._loop.call_at(min(again), self._watch)

    def _idle(self, now: float) -> bool:
        return self._idle_since is not None and now - self._idle_since >= IDLE_TIME


def _nothing() -> None:
    """Nobody wants to know."""
