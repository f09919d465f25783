"""Children that cannot be forked, that were paused, and one that talks nonsense."""

import errno
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import NoReturn

import msgspec
import pytest
from instance import wait_for

from gateway.errors import CrashLoop
from gateway.fastpath.counters import Page
from gateway.linux.channel import ChannelGarbledError
from gateway.linux.shared import Arena
from gateway.protocol.messages import Asked, FromChild, PuntedDatagram, Punts
from gateway.supervisor import children
from gateway.supervisor.children import Children, Spec
from gateway.supervisor.loop import Loop
from gateway.workers.base import Child, Place

encode = msgspec.msgpack.encode


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


def spec(heard: list[FromChild]) -> Spec:
    arena = Arena([Page.bytes_for(1)])
    page = Page(arena.carve(Page.bytes_for(1)), 1)
    cpus = tuple(os.sched_getaffinity(0))
    return Spec("babbler", "tun", "resolver", cpus, page, arena, Babbling, heard.append, list)


@pytest.fixture
def loop() -> Iterator[Loop]:
    with closing(Loop()) as loop:
        yield loop


def test_a_host_without_room_is_not_asked_in_a_hurry(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the program would give up in the turn in which a limit was reached."""
    tries = 0

    def full(*_: object) -> NoReturn:
        nonlocal tries
        tries += 1
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(children._fork.Process, "start", full)
    monkeypatch.setattr(children, "FORK_PAUSE", 0.05)
    found = Children(loop, lambda: None)
    member = found.start(spec([]))
    loop.turn(0.0)

    assert tries == 1
    assert member.last_exit == "could not be forked: Resource temporarily unavailable"
    assert member.state(loop.now) == "restarting"
    assert loop.run_until(lambda: tries > 1, 5.0), "but it is asked again"


def test_a_bridge_that_always_dies_does_not_end_the_program(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(children._fork.Process, "start", full)
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
