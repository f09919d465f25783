"""Programs started for a lab: their output, their end, and waiting for a state.

Every process is ended by its own pid and reaped here, so that none outlives the
lab that started it. Output goes to a file, not to a pipe: a program that writes
more than a pipe holds never stops, and the text is still there after its death.
"""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

STOP_SECONDS = 10.0
"""How long a process may take to end after SIGTERM before it is killed."""


class NotReachedError(Exception):
    """A state that was waited for did not come about in time."""


def wait_for(
    predicate: Callable[[], T], deadline: float = 5.0, what: str = "", every: float = 0.02
) -> T:
    """Call `predicate` until it returns something true, and return that.

    `deadline` is in seconds. `what` completes the sentence "waited ... s for".
    Raises NotReachedError with that sentence and the last value seen.
    """
    end = time.monotonic() + deadline
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= end:
            wish = what or getattr(predicate, "__name__", "a state")
            raise NotReachedError(f"waited {deadline:g} s for {wish}; last seen: {value!r}")
        time.sleep(every)


class Managed:
    """A process running on a lab host. `output()` is what it wrote so far, both streams."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.log = log
        with log.open("wb") as sink:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id; valid until it has been waited for."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """What it wrote so far, standard output and errors together."""
        return self.log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send a signal; a process that has ended already is no error."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def wait(self, deadline: float = STOP_SECONDS) -> int:
        """The exit status, once it has ended. Raises NotReachedError with its output."""
        try:
            return self._process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise NotReachedError(
                f"waited {deadline:g} s for {self.name} to end; it wrote:\n{self.output()}"
            ) from None

    def stop(self, deadline: float = STOP_SECONDS) -> int:
        """SIGTERM, and SIGKILL when that does not end it within `deadline` seconds."""
        if self.status is None:
            self.send(signal.SIGTERM)
            self.send(signal.SIGCONT)
        try:
            return self.wait(deadline)
        except NotReachedError:
            self.send(signal.SIGKILL)
            return self.wait()

    def expect_running(self) -> None:
        """Raises NotReachedError with status and output if it has ended."""
        if self.status is not None:
            raise NotReachedError(
                f"{self.name} ended with {self.status}; it wrote:\n{self.output()}"
            )


def listening(process: Managed, port: int, protocol: str = "tcp") -> bool:
    """Whether the network `process` lives in has a socket bound to (listening on) `port`."""
    process.expect_running()
    wanted = "0A" if protocol == "tcp" else "07"
    for table in (protocol, protocol + "6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f"/proc/{process.pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == wanted and int(fields[1].rpartition(":")[2], 16) == port:
                    return True
    return False


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back SIGINT, SIGTERM and SIGHUP until the block is done."""
    held = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def exit_on_signals() -> None:
    """Turn SIGTERM and SIGHUP into SystemExit, so that context managers clean up."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)
