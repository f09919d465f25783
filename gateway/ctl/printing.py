"""Writing to whoever reads: a page to standard output, a sentence to standard error."""

import os
import sys
from pathlib import Path
from typing import TextIO

from gateway.ctl.words import Words
from gateway.errors import HostError


def open_standard_streams() -> None:
    """Where a stream was closed, nobody reads: /dev/null."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def write(page: bytes) -> bool:
    """Whether somebody still reads. Raises HostError where nothing can be written."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(page)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
        return False
    except OSError as error:
        _discard(sys.stdout)
        raise HostError(f"standard output cannot be written: {error.strerror}") from None
    return True


def end(status: int) -> int:
    """The exit status after what argparse printed, which it leaves to the end of the program."""
    try:
        write(b"")
    except HostError as error:
        complain(str(error))
        status = error.exit_status
    try:
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)
    return status


def complain(sentence: str) -> None:
    """One line; the exit status tells the same to whoever cannot read it."""
    try:
        sys.stderr.buffer.write(line(f"gateway-ctl: {sentence}"))
        sys.stderr.buffer.flush()
    except OSError:
        _discard(sys.stderr)


def line(sentence: str) -> bytes:
    """On one line, and without anything a terminal obeys."""
    return Words().text(sentence).encode("utf-8", "backslashreplace") + b"\n"


def _discard(stream: TextIO) -> None:
    """What is still buffered must not fail once more when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
