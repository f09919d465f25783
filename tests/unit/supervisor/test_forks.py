"""Children that cannot be forked: the host has no descriptor, or no room for a process."""

import errno
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import NoReturn

import psutil
import pytest
from forked import Quiet, running, spec
from starving import open_descriptors, raised_again

from gateway.errors import HostError, NoRoomError
from gateway.supervisor import children, forking
from gateway.supervisor.children import Children, Spec
from gateway.supervisor.loop import Loop
from gateway.workers.base import Child, Place


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
