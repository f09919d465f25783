"""The steward: the one process that stays root, for the commands of the configuration.

    supervisor ── "run number 3 for tun0" ──> steward ── /bin/sh -c ──> command
               <── how it ended ────────────

It is forked while the supervisor still is root, and only where there are commands. The list
of what it runs is fixed at the fork; all that can be said to it is a number of that list
and the device's name, which it checks and passes in the environment, never in a shell's
text. It has no other descriptors than its end and the standard streams, knows no
credentials, and ends when the supervisor does, killing what runs.
"""

import contextlib
import gc
import logging
import os
import re
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

import msgspec

from gateway.linux import command, process
from gateway.linux.command import Outcome
from gateway.log import event, get_logger
from gateway.supervisor.loop import Loop

DEVICE_VARIABLE = "GATEWAY_DEVICE"
LINES = 200
"""Of one run of a command that are logged."""
GRACE = 5.0
"""Seconds more than a command's own limit that the steward's answer may take."""
_MESSAGE_BYTES = 4096
_NOT_ITS_OWN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DEVICE = re.compile(r"[A-Za-z0-9_.@:+][A-Za-z0-9_.@:+-]{0,14}")
_GONE = Outcome(126, "cannot be run: the process that runs commands as root is gone")

_log = get_logger("steward")


@dataclass(frozen=True)
class Task:
    """One thing it can do: a text for the shell. `label` is how it is called in the log."""

    service: str
    label: str
    text: str = field(repr=False)
    seconds: float
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


class _Order(msgspec.Struct, frozen=True):
    number: int
    device: str


@dataclass
class _Waiting:
    order: _Order
    done: Callable[[Outcome], None]


class Steward:
    """The supervisor's end. One order at a time is on its way, the others wait here."""

    def __init__(
        self, loop: Loop, tasks: Sequence[Task], title: str, forget: Callable[[], None]
    ) -> None:
        """Fork it, as root. `forget` wipes credentials in the new process."""
        self._loop = loop
        self._tasks = tuple(tasks)
        self._waiting: deque[_Waiting] = deque()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_ITS_OWN)
        self._pid = os.fork()
        if self._pid == 0:
            _become_steward(theirs, self._tasks, title, forget)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _NOT_ITS_OWN)
        theirs.close()
        self._alive = True
        loop.watch(self._socket.fileno(), lambda _: self._on_answer())

    @property
    def pid(self) -> int:
        """The process, 0 once it has gone."""
        return self._pid if self._alive else 0

    def ask(self, task: Task, device: str, done: Callable[[Outcome], None]) -> None:
        """Have it run a task of the list; `done` is called in a later turn."""
        self._waiting.append(_Waiting(_Order(self._tasks.index(task), device), done))
        if len(self._waiting) == 1:
            self._send()

    def run(self, task: Task, device: str, *, give_up: Callable[[], bool] | None = None) -> Outcome:
        """The same, turning the loop until it is done, or `give_up` says so."""
        outcomes: list[Outcome] = []
        self.ask(task, device, outcomes.append)
        self._loop.run_until(
            lambda: bool(outcomes) or (give_up is not None and give_up()), task.seconds + GRACE
        )
        if not outcomes:
            self._interrupt()
            self._loop.run_until(lambda: bool(outcomes), GRACE)
        return outcomes[0] if outcomes else Outcome(126, "gave no sign of its end")

    def close(self) -> None:
        """End it, and what it runs."""
        self._hang_up()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def _interrupt(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.send(b"!")

    def _send(self) -> None:
        try:
            self._socket.send(msgspec.json.encode(self._waiting[0].order))
        except OSError:  # it has gone: the end of the file tells
            self._loop.call_in(0.0, self._on_end)

    def _on_answer(self) -> None:
        try:
            data = self._socket.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._on_end()
            return
        answered = self._waiting.popleft()
        if self._waiting:
            self._send()
        answered.done(msgspec.json.decode(data, type=Outcome))

    def _on_end(self) -> None:
        self._hang_up()
        while self._waiting:
            self._waiting.popleft().done(_GONE)

    def _hang_up(self) -> None:
        if self._alive:
            self._alive = False
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()


def _become_steward(
    end: socket.socket, tasks: Sequence[Task], title: str, forget: Callable[[], None]
) -> None:
    """In the new process; does not return."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in _NOT_ITS_OWN:
            # Not ignored: that would be inherited by the commands.
            signal.signal(number, _ignore)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _NOT_ITS_OWN)
        process.close_all_except((0, 1, 2, end.fileno()))
        process.forget_standard_input()
        gc.freeze()
        forget()
        process.name_process("gateway-steward", title)
        _serve(end, tasks)
        status = 0
    finally:
        os._exit(status)


def _serve(end: socket.socket, tasks: Sequence[Task]) -> None:
    while order := end.recv(_MESSAGE_BYTES):
        if order == b"!":
            continue  # what should have been interrupted has ended by itself
        outcome = _obey(end, tasks, order)
        end.send(msgspec.json.encode(outcome))


def _obey(end: socket.socket, tasks: Sequence[Task], data: bytes) -> Outcome:
    order = msgspec.json.decode(data, type=_Order)
    if not 0 <= order.number < len(tasks):
        return Outcome(126, "is not on the list of what may be run as root")
    task = tasks[order.number]
    if order.device and not _DEVICE.fullmatch(order.device):
        return Outcome(126, f"is not run for a device named {order.device!r}")
    environment = {**os.environ, **task.environment, DEVICE_VARIABLE: order.device}
    count = 0

    def on_line(line: str) -> None:
        nonlocal count
        count += 1
        if count <= LINES:
            event(
                _log, logging.INFO, "command-output", service=task.service, command=task.label,
                text=line,
            )  # fmt: skip

    outcome = command.run(task.text, environment, task.seconds, on_line, end.fileno())
    if count > LINES:
        event(
            _log, logging.WARNING, "command-output", service=task.service, command=task.label,
            text=f"{count - LINES} more lines are left out",
        )  # fmt: skip
    return outcome


def _ignore(number: int, frame: FrameType | None) -> None:
    """The supervisor ends it in order."""
