"""Children that cannot be forked, that were paused, and one that talks nonsense."""

import errno
import logging
import os
import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import NoReturn

import msgspec
import psutil
import pytest
from instance import wait_for
from starving import open_descriptors, raised_again

from gateway.errors import CrashLoop, HostError, NoRoomError
from gateway.fastpath.counters import Page
from gateway.fastpath.fib import Fib
from gateway.linux.channel import ChannelGarbledError
from gateway.linux.shared import Arena
from gateway.protocol.messages import (
    Asked,
    FromChild,
    PuntedDatagram,
    Punts,
    RouteEntry,
    Snapshot,
    Stop,
    Update,
)
from gateway.supervisor import children, forking
from gateway.supervisor.children import Children, Member, Spec
from gateway.supervisor.loop import Loop
from gateway.workers.base import Child, Place
from gateway.workers.replica import Replica

encode = msgspec.msgpack.encode
NETWORKS = [bytes([32, 1, *bytes(13), last]) for last in range(64)]


class Babbling(Child):
    """Sends what is no message, and goes on as if nothing had been."""

    def __init__(self, place: Place, said: bytes = b"\xc1 is no message") -> None:
        super().__init__(place, ())
        self._said = said

    def work(self) -> None:
        os.write(self.channel.fileno(), self._said)
        while True:
            self.channel.wait(1.0)
            self.channel.receive()


class Quiet(Child):
    """Does nothing but beat its pulse."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, ())

    def work(self) -> None:
        while not self.stopping:
            self.page.beat()
            self.channel.wait(0.01)
            self.stopping = self.receive() is not None


class Mirror(Child):
    """Tells the generation its replica is at, and where each of `NETWORKS` leads there."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, ())
        self._replica = Replica(Fib(1))

    def work(self) -> None:
        while not self.stopping:
            self.page.beat()
            self.channel.wait(0.01)
            while (message := self.receive()) is not None:
                if isinstance(message, Update | Snapshot):
                    please = self._replica.apply(message)
                    self.send(please or Asked(self._seen()))
                self.stopping = self.stopping or isinstance(message, Stop)

    def _seen(self) -> tuple[bytes, ...]:
        targets = (self._replica.fib.lookup(network) for network in NETWORKS)
        return tuple(number.to_bytes(16) for number in (self._replica.generation, *targets))


def spec(heard: list[FromChild]) -> Spec:
    arena = Arena([Page.bytes_for(1)])
    page = Page(arena.carve(Page.bytes_for(1)), 1)
    cpus = tuple(os.sched_getaffinity(0))
    return Spec("babbler", "tun", "resolver", cpus, page, arena, Babbling, heard.append, list)


def without_room(*_: object) -> NoReturn:
    """In place of what asks the kernel."""
    raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))


@pytest.fixture
def loop() -> Iterator[Loop]:
    with closing(Loop()) as loop:
        yield loop


def without_processes(*_: object) -> NoReturn:
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def tried(monkeypatch: pytest.MonkeyPatch) -> list[Spec]:
    """Who is forked from now on, or would be."""
    tries: list[Spec] = []
    begin = Children._begin

    def noted(self: Children, spec: Spec) -> children.Running:
        tries.append(spec)
        return begin(self, spec)

    monkeypatch.setattr(Children, "_begin", noted)
    return tries


def running(loop: Loop, found: Children, child: Spec) -> Member:
    member = found.start(child)
    assert loop.run_until(lambda: member.state(loop.now) == "running", 10.0)
    return member


def test_a_host_without_room_is_not_asked_in_a_hurry(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But again and again: nobody dies of it, so it never is a crash loop."""
    found = Children(loop, lambda: None)
    member = running(loop, found, replace(spec([]), build=Quiet))
    tries = tried(monkeypatch)
    try:
        with monkeypatch.context() as full:
            full.setattr(forking._context.Process, "start", without_processes)
            os.kill(member.pid, signal.SIGKILL)
            assert loop.run_until(lambda: bool(member.hindrance), 10.0)
            assert not loop.run_until(lambda: len(tries) > 1, 0.1)
            full.setattr(children, "FORK_PAUSE", 0.001)
            member.hindrance = ""
            found._replace(member)
            assert member.hindrance == "could not be forked: Resource temporarily unavailable"
            assert member.state(loop.now) == "restarting"
            assert loop.run_until(lambda: len(tries) > 3 * children.RESTARTS, 10.0)
            assert member.lately(loop.now) == 1
        assert loop.run_until(lambda: member.state(loop.now) == "running", 10.0)
    finally:
        found.stop("resolver")
    assert (member.restarts, member.last_exit, member.hindrance) == (1, "killed by SIGKILL", "")


def test_what_is_lacking_is_said_now_and_then(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At first, then once a minute; and when there is a successor."""
    caplog.set_level(logging.INFO, "gateway")
    monkeypatch.setattr(children, "FORK_PAUSE", 0.001)
    found = Children(loop, lambda: None)
    member = running(loop, found, replace(spec([]), build=Quiet))
    tries = tried(monkeypatch)
    try:
        with monkeypatch.context() as full:
            full.setattr(forking._context.Process, "start", without_processes)
            os.kill(member.pid, signal.SIGKILL)
            assert loop.run_until(lambda: len(tries) == 8, 10.0)
            assert caplog.text.count("child-missing") == 1
            assert "raise the limit of processes" in caplog.text
            found._limiter.interval = 1e-9
            assert loop.run_until(lambda: len(tries) == 10, 10.0)
            assert caplog.text.count("child-missing") == 3
            assert "held-back=7" in caplog.text
        assert "child-replaced" not in caplog.text
        assert loop.run_until(lambda: member.state(loop.now) == "running", 10.0)
    finally:
        found.stop("resolver")
    assert caplog.text.count("child-replaced") == 1
    assert caplog.text.count("child-died") == 1


@pytest.mark.parametrize("room", range(6))
def test_a_host_without_descriptors_is_asked_again(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, room: int
) -> None:
    """Two for the channel, four while it forks: whichever is lacking, nothing leaks."""
    monkeypatch.setattr(children, "FORK_PAUSE", 0.01)
    caplog.set_level(logging.INFO, "gateway")
    left: list[set[int]] = []
    found = Children(loop, lambda: None)
    with raised_again() as limit:

        def ended() -> None:
            if not left:
                left.append(open_descriptors())
                limit(room)

        member = running(loop, found, replace(spec([]), build=Quiet, on_end=ended))
        before = open_descriptors()
        tries = tried(monkeypatch)
        os.kill(member.pid, signal.SIGKILL)
        waited = loop.run_until(lambda: len(tries) == 2 + children.RESTARTS, 10.0)
        left.append(open_descriptors())
    try:
        assert waited
        assert left[0] == left[1]
        assert member.hindrance == "could not be forked: Too many open files"
        assert member.state(loop.now) == "restarting"
        assert caplog.text.count("child-died") == 1
        assert loop.run_until(lambda: member.state(loop.now) == "running", 10.0)
        assert len(open_descriptors()) == len(before)
    finally:
        found.stop("resolver")
    assert member.restarts == 1


def test_a_child_that_cannot_be_watched_is_ended(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was forked, but there is no pidfd: neither it nor its channel stays."""
    monkeypatch.setattr(children, "FORK_PAUSE", 0.01)
    found = Children(loop, lambda: None)
    member = running(loop, found, replace(spec([]), build=Quiet))
    before = open_descriptors()
    tries = tried(monkeypatch)
    try:
        with monkeypatch.context() as full:
            full.setattr(os, "pidfd_open", without_room)
            os.kill(member.pid, signal.SIGKILL)
            assert loop.run_until(lambda: len(tries) == 3, 10.0)
            assert member.hindrance == "could not be forked: Too many open files in system"
            assert psutil.Process().children() == []
            assert len(open_descriptors()) == len(before) - 4
        assert loop.run_until(lambda: member.state(loop.now) == "running", 10.0)
    finally:
        found.stop("resolver")


def test_a_child_that_cannot_be_built_is_built_later(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it needs may have to be opened too; its channel does not stay."""
    monkeypatch.setattr(children, "FORK_PAUSE", 0.01)
    builders: list[Callable[[Place], Child]] = [Quiet]

    def build(place: Place) -> Child:
        return builders[-1](place)

    found = Children(loop, lambda: None)
    member = running(loop, found, replace(spec([]), build=build))
    before = open_descriptors()
    tries = tried(monkeypatch)
    try:
        builders.append(without_room)
        os.kill(member.pid, signal.SIGKILL)
        assert loop.run_until(lambda: len(tries) == 3, 10.0)
        assert len(open_descriptors()) == len(before) - 4
        builders.pop()
        assert loop.run_until(lambda: member.state(loop.now) == "running", 10.0)
    finally:
        found.stop("resolver")


def test_a_start_without_processes_says_so(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves none of the pipes that the standard library has made by then."""
    monkeypatch.setattr(os, "fork", without_processes)
    before = open_descriptors()
    with pytest.raises(NoRoomError) as refused:
        Children(loop, lambda: None).start(spec([]))

    assert open_descriptors() == before
    assert str(refused.value) == (
        "service tun: no room to start babbler (Resource temporarily unavailable); "
        "raise the limit of processes (ulimit -u, TasksMax= of the unit)"
    )


@pytest.mark.parametrize("room", range(6))
def test_a_start_without_descriptors_says_so(loop: Loop, room: int) -> None:
    """There is nothing yet that would have to go on."""
    before = open_descriptors()
    babbler = spec([])
    with raised_again() as limit:
        limit(room)
        with pytest.raises(HostError) as refused:
            Children(loop, lambda: None).start(babbler)
        assert open_descriptors() == before
    assert str(refused.value) == (
        "service tun: no room to start babbler (Too many open files); "
        "raise the limit of descriptors (ulimit -n, LimitNOFILE= of the unit)"
    )


def test_a_bridge_that_always_dies_does_not_end_the_program(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> NoReturn:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(forking._context.Process, "start", refused)
    monkeypatch.setattr(children, "FORK_PAUSE", 0.0)
    monkeypatch.setattr(children, "LONGEST_PACE", 0.001)
    found = Children(loop, lambda: None)
    bridge = found.start(replace(spec([]), kind="bridge"))

    assert loop.run_until(lambda: bridge.restarts > 3 * children.RESTARTS, 10.0)
    assert bridge.loops(loop.now)
    assert not bridge.loops(loop.now + children.RESTART_PERIOD + 1.0)
    found.start(spec([]))
    with pytest.raises(CrashLoop):
        loop.run_until(lambda: False, 10.0)


def test_the_pace_of_a_bridge() -> None:
    """At once the first time, then slower, and never more than some seconds."""
    paces = [children.pace(deaths) for deaths in range(1, 40)]

    assert paces[:3] == [0.0, children.SHORTEST_PACE, 2 * children.SHORTEST_PACE]
    assert paces == sorted(paces)
    assert paces[-1] == children.LONGEST_PACE


@pytest.mark.parametrize(
    "said",
    [
        b"\xc1 is no message",
        b"\x92\xa5\xff\xff\xff\xff\xff\x01",
        encode(Punts((PuntedDatagram(bytes(15), 1, 0, bytes(16), b""),))),
        encode(Asked(())),
    ],
    ids=["no message", "no text", "no address", "not from him"],
)
def test_who_talks_nonsense_is_replaced(loop: Loop, said: bytes) -> None:
    """And nobody else: it may have been taken over."""
    heard: list[FromChild] = []

    def hear(message: FromChild) -> None:
        if isinstance(message, Asked):
            raise ChannelGarbledError
        heard.append(message)

    found = Children(loop, lambda: None)
    babbler = replace(spec([]), build=lambda place: Babbling(place, said), on_message=hear)
    member = found.start(babbler)
    other = found.start(replace(spec([]), kind="bridge", build=Quiet))
    try:
        assert loop.run_until(lambda: member.restarts == 1, 10.0)
    finally:
        found.stop("resolver")
        found.stop("bridge")

    assert member.last_exit == "sent what is no message, killed by SIGKILL"
    assert not heard
    assert not other.restarts


@pytest.mark.parametrize("together", [True, False])
def test_who_was_paused_with_the_supervisor_is_not_stuck(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    """A container that is frozen for a while; a child that stops alone is ended."""
    monkeypatch.setattr(children, "LATE", 0.5)
    monkeypatch.setattr(children, "STUCK", 1.5)
    monkeypatch.setattr(children, "ABORT_PATIENCE", 0.1)
    monkeypatch.setattr(children, "WATCH_INTERVAL", 0.02)
    heard: list[FromChild] = []
    found = Children(loop, lambda: None)
    member = found.start(replace(spec(heard), build=Quiet))
    try:
        assert loop.run_until(lambda: member.state(loop.now) == "running", 10.0)
        os.kill(member.pid, signal.SIGSTOP)
        if together:
            wait_for(lambda: (member.pulse_age(time.monotonic()) or 0.0) > 1.6, "a long pause")
            loop.turn(0.0)
            os.kill(member.pid, signal.SIGCONT)
            assert loop.run_until(lambda: member.state(loop.now) == "running", 10.0)
        assert loop.run_until(lambda: member.restarts > 0, 0.3 if together else 10.0) != together
    finally:
        found.stop("resolver")
    stuck = "was stuck, ended by the supervisor: killed by SIGKILL"
    assert member.last_exit == ("" if together else stuck)


def test_who_begins_to_work_is_told_of_in_each_life(loop: Loop) -> None:
    """Ready is no message of the child's own."""
    begun: list[int] = []
    ended: list[int] = []
    heard: list[FromChild] = []
    found = Children(loop, lambda: None)
    watched = replace(
        spec(heard),
        build=Quiet,
        on_ready=lambda: begun.append(member.pid),
        on_end=lambda: ended.append(len(begun)),
    )
    member = found.start(watched)
    try:
        assert loop.run_until(lambda: len(begun) == 1, 10.0)
        os.kill(member.pid, signal.SIGKILL)
        assert loop.run_until(lambda: len(begun) == 2, 10.0)
    finally:
        found.stop("resolver")
    assert begun[0] != begun[1]
    assert ended == [1, 2]
    assert not heard


def test_what_is_kept_for_a_child_that_is_stopped(loop: Loop) -> None:
    """Little, however much changes; and when it goes on, it soon knows the table as it is."""
    changes = 3000
    generation = 0
    heard: list[FromChild] = []

    def routes() -> tuple[RouteEntry, ...]:
        """Each table is all new: what is kept of one is its own memory."""
        return tuple(
            RouteEntry(bytes(bytearray(network)), 128, generation + index)
            for index, network in enumerate(NETWORKS)
        )

    def present() -> Asked:
        numbers = (generation, *(generation + index for index in range(len(NETWORKS))))
        return Asked(tuple(number.to_bytes(16) for number in numbers))

    def known() -> bool:
        return heard[-1:] == [present()]

    mirror = replace(
        spec(heard), build=Mirror, snapshot=lambda: [Snapshot(generation, 0, 1, (), routes())]
    )
    found = Children(loop, lambda: None)
    member = found.start(mirror)
    try:
        assert loop.run_until(known, 10.0)
        os.kill(member.pid, signal.SIGSTOP)
        tracemalloc.start()
        for _ in range(changes):
            generation += 1
            if member.life is not None:
                member.life.feed.put(Update(generation, routes=routes()))
            found.publish_done()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        os.kill(member.pid, signal.SIGCONT)

        assert most < 3_000_000, "all updates together have ten times as much"
        assert loop.run_until(known, 10.0)
        assert member.restarts == 0
    finally:
        tracemalloc.stop()
        found.stop("resolver")
