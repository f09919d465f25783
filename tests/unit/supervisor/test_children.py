"""Children that were paused or stopped, that always die, and one that talks nonsense."""

import errno
import os
import select
import signal
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import NoReturn

import msgspec
import pytest
from forked import Babbling, Quiet, spec
from instance import wait_for

from gateway.errors import CrashLoop
from gateway.fastpath import pump
from gateway.fastpath.fib import Fib
from gateway.linux.channel import ChannelGarbledError
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
from gateway.supervisor.children import Children
from gateway.supervisor.loop import Loop
from gateway.supervisor.report import Reporter
from gateway.workers.base import Child, Place
from gateway.workers.plane import DataChild
from gateway.workers.replica import Replica

encode = msgspec.msgpack.encode
NETWORKS = [bytes([32, 1, *bytes(13), last]) for last in range(64)]


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


@pytest.fixture
def loop() -> Iterator[Loop]:
    with closing(Loop()) as loop:
        yield loop


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


class Awaited(DataChild):
    """Attaches as soon as somebody writes to `start`, an eventfd."""

    def __init__(self, place: Place, start: int) -> None:
        super().__init__(place, (start,))
        self._start = start

    def attach(self, fib: Fib) -> None:
        while not select.select([self._start], [], [], 0.01)[0]:
            self.page.beat()

    def turns(self, timeout: float) -> int:
        self.page.beat()
        return pump.CHANNEL if self.channel.wait(timeout) else 0


def test_who_works_on_tables_is_ready_when_it_has_them_and_its_socket(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then it listens to nobody; one that stays so is a problem though its pulse goes on."""
    monkeypatch.setattr(children, "LATE", 0.5)
    monkeypatch.setattr(children, "WATCH_INTERVAL", 0.02)
    start = os.eventfd(0)
    begun: list[int] = []
    tables: list[Snapshot] = []
    found = Children(loop, lambda: None)
    awaited = replace(
        spec([]),
        build=lambda place: Awaited(place, start),
        snapshot=lambda: tables,
        on_ready=lambda: begun.append(1),
    )

    def problems() -> list[str]:
        said: list[str] = []
        Reporter("hub", "nobody").process(member, "service hub: ", said, loop.now)
        return said

    member = found.start(awaited)
    try:
        assert problems() == []
        waits = ["service hub: babbler is starting"]
        assert loop.run_until(lambda: problems() == waits, 10.0)
        assert not begun, "it has no tables"

        tables.append(Snapshot(1, 0, 1))
        assert member.life is not None
        member.life.feed.refresh()
        beaten = member.spec.page.pulse()
        assert loop.run_until(lambda: member.spec.page.pulse() - beaten > 5e8, 10.0)
        assert not begun, "it has not attached"

        os.eventfd_write(start, 1)
        assert loop.run_until(lambda: bool(begun) and not problems(), 10.0)
    finally:
        found.stop("resolver")
        os.close(start)


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
