"""The life of the children: forked, watched, missed, replaced.

    starting ── Ready ──> running ── pulse late ──> late ── pulse ──> running
        │                    │                        │
        └────────────────────┴── death ───────────────┴──> restarting ── fork ──> starting

A death is noticed by its pidfd in the same turn. What a child shared lives on in the
supervisor (descriptors, rings, counters), so a successor goes on where it stopped; it
is forked only after the former one was reaped (I1). Dying too often ends the program;
a bridge that does is replaced more and more slowly instead, since the trouble of one carrier
must not end services that do without it.

A host may have no room for a process, or no descriptor, for a while. The fork then leaves
nothing behind and is tried again after a pause, for as long as it takes: nobody died of it, and
the service goes on with the children it has, degraded. At a start, which nobody would miss, it
is an error.

A child whose pulse stops for long is told to
dump its stack (SIGABRT), then killed. So is at once who sends what is no message, or
what cannot be true: `Spec.on_message` may raise ChannelGarbledError. A child that was taken
over must not end the supervisor.
"""

import contextlib
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Literal

from gateway.errors import NO_ROOM, CrashLoop, NoRoomError, remedy
from gateway.fastpath.counters import Page
from gateway.linux.channel import (
    ChannelClosedError,
    ChannelGarbledError,
    SupervisorEnd,
    channel_pair,
)
from gateway.linux.process import exit_text
from gateway.linux.shared import Arena
from gateway.log import RateLimiter, event, get_logger
from gateway.protocol.messages import FromChild, Ready, Snapshot, SnapshotPlease, Stop
from gateway.supervisor.feed import Feed
from gateway.supervisor.forking import fork
from gateway.supervisor.loop import READ, WRITE, Loop
from gateway.workers.base import Child, Place

Kind = Literal["tun-reader", "udp-worker", "bridge", "resolver"]
State = Literal["running", "starting", "restarting", "late"]

RESTARTS = 5
RESTART_PERIOD = 30.0
"""More than `RESTARTS` deaths within this many seconds are a crash loop."""
PACED: frozenset[Kind] = frozenset({"bridge"})
"""Kinds whose crash loop is no reason to end the program."""
SHORTEST_PACE = 0.1
LONGEST_PACE = 5.0
"""Seconds until a paced child is replaced: at once at first, then twice as long each time."""
LATE = 3.0
STUCK = 20.0
ABORT_PATIENCE = 2.0
WATCH_INTERVAL = 0.5
FORK_PAUSE = 2.0
"""Seconds until the next attempt where the host has no room for a process."""
LOG_INTERVAL = 60.0
"""Seconds between two words in the log about one child that cannot be replaced."""
STOP_PATIENCE = 2.0
MESSAGES_PER_TURN = 64

_log = get_logger("children")


@dataclass(frozen=True)
class Spec:
    """What a child is, and how to build it again."""

    name: str
    service: str
    kind: Kind
    cpus: tuple[int, ...]
    page: Page
    arena: Arena
    build: Callable[[Place], Child]
    on_message: Callable[[FromChild], None]
    """Raises ChannelGarbledError for what no child of ours would say."""
    snapshot: Callable[[], Iterable[Snapshot]]
    messages_per_turn: int = MESSAGES_PER_TURN
    on_ready: Callable[[], None] = lambda: None
    """Called in each of its lives, when it begins to work."""
    on_end: Callable[[], None] = lambda: None
    """Called when it is dead, before it is replaced."""
    home: contextlib.AbstractContextManager[object] = field(default_factory=contextlib.nullcontext)
    """Entered to fork it: the network namespace it lives in."""


@dataclass
class Running:
    """One life of a child. `since`: the fork, or the end of a pause of all processes."""

    process: ForkProcess
    pidfd: int
    channel: SupervisorEnd
    feed: Feed
    since: float
    oom_kills: int
    ready: bool = False
    abort_at: float | None = None
    hung_up: bool = False
    garbled: bool = False


@dataclass
class Member:
    """A child through all its lives."""

    spec: Spec
    life: Running | None = None
    restarts: int = 0
    last_exit: str = ""
    hindrance: str = ""
    """Why there is no successor yet, if the host has no room for one."""
    deaths: deque[float] = field(default_factory=deque)
    stopping: bool = False

    @property
    def pid(self) -> int:
        """The present process, 0 if there is none."""
        return (self.life.process.pid or 0) if self.life else 0

    def lately(self, now: float) -> int:
        """How often it died within `RESTART_PERIOD`."""
        while self.deaths and now - self.deaths[0] > RESTART_PERIOD:
            self.deaths.popleft()
        return len(self.deaths)

    def loops(self, now: float) -> bool:
        """Whether it dies again and again."""
        return self.lately(now) > RESTARTS

    def starts_late(self, now: float) -> bool:
        """Whether it has a pulse and still does not say that it works."""
        life = self.life
        return life is not None and not life.ready and now - life.since > LATE

    def pulse_age(self, now: float) -> float | None:
        """Seconds since its last turn, or `since` if that is later; None: no process."""
        if self.life is None:
            return None
        return max(0.0, now - max(self.spec.page.pulse() / 1e9, self.life.since))

    def state(self, now: float) -> State:
        """As the status shows it."""
        age = self.pulse_age(now)
        if self.life is None or age is None:
            return "restarting"
        if age > LATE:
            return "late"
        return "running" if self.life.ready else "starting"


class Children:
    """All of them. `forget` runs in each child and wipes what it must not know."""

    def __init__(self, loop: Loop, forget: Callable[[], None]) -> None:
        self.members: list[Member] = []
        self._loop = loop
        self._forget = forget
        self._looked = loop.now
        self._limiter = RateLimiter(LOG_INTERVAL)
        loop.call_every(WATCH_INTERVAL, self._watch_pulses)

    def start(self, spec: Spec) -> Member:
        """Fork a new child and keep it alive from now on. NoRoomError where there is none."""
        member = Member(spec)
        self.members.append(member)
        self._fork(member, first=True)
        return member

    def stop(self, kind: Kind) -> None:
        """End all children of a kind: Stop, then SIGKILL. Returns when they are reaped."""
        members = [member for member in self.members if member.spec.kind == kind]
        for member in members:
            member.stopping = True
            if member.life is not None:
                member.life.feed.put(Stop())
                self._watch_channel(member, member.life)
        gone = lambda: all(member.life is None for member in members)  # noqa: E731
        if self._loop.run_until(gone, STOP_PATIENCE):
            return
        for member in members:
            self._kill(member, signal.SIGKILL)
        self._loop.run_until(gone, STOP_PATIENCE)

    def _fork(self, member: Member, *, first: bool = False) -> None:
        try:
            life = self._begin(member.spec)
        except OSError as error:
            if error.errno not in NO_ROOM:
                self._missed(member, f"could not be forked: {error.strerror}", FORK_PAUSE)
            elif first:
                raise NoRoomError(_no_room(member.spec, error)) from None
            else:
                self._wait(member, error)
            return
        member.life = life
        if member.hindrance:
            member.hindrance = ""
            _tell(logging.INFO, "child-replaced", member)
        life.feed.refresh()
        self._loop.watch(life.pidfd, lambda _: self._on_death(member, life))
        self._watch_channel(member, life)

    def _begin(self, spec: Spec) -> Running:
        """A new life. OSError leaves nothing of it."""
        with contextlib.ExitStack() as stack:
            ours, theirs = channel_pair()
            stack.callback(ours.close)
            with contextlib.closing(theirs):
                child = spec.build(
                    Place(
                        name=spec.name,
                        title=f"gateway: {spec.service} {spec.name}".replace(":  ", ": "),
                        channel=theirs,
                        page=spec.page,
                        arena=spec.arena,
                        cpus=spec.cpus,
                        supervisor=os.getpid(),
                        forget=self._forget,
                    )
                )
                process, pidfd = fork(child.run, spec.name, spec.home)
            stack.pop_all()
        return Running(
            process=process,
            pidfd=pidfd,
            channel=ours,
            feed=Feed(ours, spec.snapshot),
            since=time.monotonic(),
            oom_kills=_oom_kills(),
        )

    def _watch_channel(self, member: Member, life: Running) -> None:
        if life.hung_up:
            return
        events = READ | WRITE if life.feed.waiting else READ
        self._loop.watch(
            life.channel.fileno(), lambda ready: self._on_channel(member, life, ready), events
        )

    def _on_channel(self, member: Member, life: Running, ready: int) -> None:
        if ready & WRITE:
            life.feed.flush()
        if ready & READ:
            self._read(member, life, member.spec.messages_per_turn)
        self._watch_channel(member, life)

    def publish_done(self) -> None:
        """After updates: wait for room where a channel was full."""
        for member in self.members:
            if member.life is not None and member.life.feed.waiting:
                self._watch_channel(member, member.life)

    def _read(self, member: Member, life: Running, limit: int) -> None:
        try:
            for _ in range(limit):
                message = life.channel.receive()
                if message is None:
                    return
                self._on_message(member, life, message)
        except ChannelClosedError as error:
            life.hung_up = True
            self._loop.unwatch(life.channel.fileno())
            if isinstance(error, ChannelGarbledError):
                life.garbled = True
                self._kill(member, signal.SIGKILL)

    def _on_message(self, member: Member, life: Running, message: FromChild) -> None:
        if isinstance(message, Ready):
            life.ready = True
            _tell(logging.DEBUG, "child-ready", member, pid=message.pid)
            member.spec.on_ready()
            return
        if isinstance(message, SnapshotPlease):
            life.feed.refresh()
            return
        member.spec.on_message(message)

    def _on_death(self, member: Member, life: Running) -> None:
        life.process.join()
        if not life.hung_up:
            self._read(member, life, 1 << 30)  # what it said before it died still counts
        self._loop.unwatch(life.pidfd)
        self._loop.unwatch(life.channel.fileno())
        os.close(life.pidfd)
        life.channel.close()
        code = life.process.exitcode or 0
        life.process.close()
        member.life = None
        member.spec.on_end()
        if member.stopping:
            return
        out_of_memory = _oom_kills() > life.oom_kills
        reason = exit_text(code, out_of_memory=out_of_memory)
        if life.garbled:
            reason = f"sent what is no message, {reason}"
        elif life.abort_at is not None:
            reason = f"was stuck, ended by the supervisor: {reason}"
        self._missed(member, reason)

    def _missed(self, member: Member, reason: str, pause: float = 0.0) -> None:
        member.last_exit = reason
        member.restarts += 1
        now = self._loop.now
        member.deaths.append(now)
        paced = member.spec.kind in PACED
        if paced:
            pause = max(pause, pace(member.lately(now)))
        _tell(logging.ERROR, "child-died", member, reason=reason, again_in=round(pause, 1) or None)
        if member.loops(now) and not paced:
            raise CrashLoop(
                f"{member.spec.service} {member.spec.name} died {len(member.deaths)} times within "
                f"{RESTART_PERIOD:.0f} s, the last time: {reason}"
            )
        self._loop.call_in(pause, lambda: self._replace(member))

    def _wait(self, member: Member, error: OSError) -> None:
        member.hindrance = f"could not be forked: {error.strerror}"
        held = self._limiter.allow((member.spec.service, member.spec.name), self._loop.now)
        if held is not None:
            _tell(
                logging.ERROR, "child-missing", member, reason=member.hindrance,
                again_in=FORK_PAUSE, text=remedy(error), held_back=held or None,
            )  # fmt: skip
        self._loop.call_in(FORK_PAUSE, lambda: self._replace(member))

    def _replace(self, member: Member) -> None:
        if member.life is None and not member.stopping:
            self._fork(member)

    def _watch_pulses(self) -> None:
        self._excuse_after_pause()
        for member in self.members:
            age = member.pulse_age(self._loop.now)
            if member.life is None or age is None or age < STUCK:
                continue
            if member.life.abort_at is None:
                member.life.abort_at = self._loop.now
                _tell(logging.ERROR, "child-stuck", member, seconds=age)
                self._kill(member, signal.SIGABRT)
            elif self._loop.now - member.life.abort_at >= ABORT_PATIENCE:
                self._kill(member, signal.SIGKILL)

    def _excuse_after_pause(self) -> None:
        """A container, or a job, is paused and goes on as a whole: nobody was stuck."""
        now = self._loop.now
        if now - self._looked > LATE:
            for member in self.members:
                if member.life is not None:
                    member.life.since = now
        self._looked = now

    def _kill(self, member: Member, number: signal.Signals) -> None:
        if member.life is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(member.life.pidfd, number)


def pace(deaths: int) -> float:
    """Seconds until the next life of one that died as often lately."""
    return 0.0 if deaths < 2 else min(LONGEST_PACE, SHORTEST_PACE * 2.0 ** min(deaths - 2, 16))


def _tell(level: int, name: str, member: Member, **fields: object) -> None:
    spec = member.spec
    event(_log, level, name, child=spec.name, service=spec.service or None, **fields)


def _no_room(spec: Spec, error: OSError) -> str:
    service = f"service {spec.service}: " if spec.service else ""
    return f"{service}no room to start {spec.name} ({error.strerror}); {remedy(error)}"


def _oom_kills() -> int:
    """Processes the kernel killed for want of memory since boot, 0 if it does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
