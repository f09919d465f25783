"""One command of the user's, run to its end: bounded in time, its output line by line.

It is a session of its own, so that a Ctrl-C for us is none for it, and so that all it
started can be ended with it. What it leaves running in the background is left alone, but
nobody reads its output any more.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping

import msgspec

from gateway.linux.process import exit_text

SHELL = "/bin/sh"
LINE_BYTES = 4096
READ_BYTES = 1 << 16


class Outcome(msgspec.Struct, frozen=True):
    """How it ended. `problem` is a phrase, empty when all was well; `code` as the shell's $?."""

    code: int
    problem: str = ""


class _Lines:
    """Bytes come in, lines go out."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._tell(line)
        if len(self._rest) > LINE_BYTES:
            self.end()

    def end(self) -> None:
        rest, self._rest = self._rest, b""
        self._tell(rest)

    def _tell(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            self._on_line(text)


def run(
    text: str,
    environment: Mapping[str, str],
    seconds: float,
    on_line: Callable[[str], None],
    cancel: int = -1,
) -> Outcome:
    """Run `text` by the shell. Waits; ends it when `cancel`, a descriptor, is readable.

    When the time is over, or at `cancel`, its whole process group gets SIGKILL.
    """
    lines = _Lines(on_line)
    try:
        process = subprocess.Popen(
            [SHELL, "-c", text],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return Outcome(126, f"{SHELL} cannot be started: {error.strerror}")
    if process.stdout is None:  # it is a pipe: for the type checker
        return Outcome(126, "no output")
    pidfd = os.pidfd_open(process.pid)
    output = process.stdout.fileno()
    os.set_blocking(output, False)
    try:
        stopped = _wait(pidfd, output, cancel, seconds, lines)
        if stopped:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        _read(output, lines)
    finally:
        process.stdout.close()
        os.close(pidfd)
    lines.end()
    if stopped:
        return Outcome(128 + signal.SIGKILL, stopped)
    return Outcome(code if code >= 0 else 128 - code, "" if code == 0 else exit_text(code))


def _wait(pidfd: int, output: int, cancel: int, seconds: float, lines: _Lines) -> str:
    """Until it ended; why it must be ended, if it must."""
    until = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(pidfd, selectors.EVENT_READ)
        selector.register(output, selectors.EVENT_READ)
        if cancel >= 0:
            selector.register(cancel, selectors.EVENT_READ)
        while True:
            left = until - time.monotonic()
            if left <= 0:
                return f"did not end within {seconds:g} s and was killed"
            ready = {key.fd for key, _ in selector.select(left)}
            if output in ready and not _read(output, lines):
                selector.unregister(output)
            if pidfd in ready:
                return ""
            if cancel in ready:
                return "was killed: the gateway is stopping"


def _read(output: int, lines: _Lines) -> bool:
    """Take what is there, but not for ever; False at the end of the output."""
    with contextlib.suppress(BlockingIOError):
        data = os.read(output, READ_BYTES)
        lines.feed(data)
        return bool(data)
    return True
