import os
import signal
import sys

import pytest

from gateway.linux import process


@pytest.mark.parametrize("keep", [(0, 1, 2), (0, 2, 7, 9), (1,), (5,)])
def test_close_all_except(keep: tuple[int, ...]) -> None:
    """Exactly the list stays open, whatever its gaps."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        report = 40
        os.dup2(writing, report)
        for fd in range(12):
            os.dup2(writing, fd)
        process.close_all_except((*keep, report))
        left = [fd for fd in range(64) if _is_open(fd)]
        os.write(report, repr(left).encode())
        os._exit(0)
    os.close(writing)
    answer = os.read(reading, 1000).decode()
    os.close(reading)
    os.waitpid(pid, 0)

    assert answer == repr([*keep, 40])


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_die_with_a_dead_parent() -> None:
    """Who finds his parent gone ends at once."""
    pid = os.fork()
    if pid == 0:
        process.die_with(parent=1 << 22)
        os._exit(9)
    _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 0


def test_wipe() -> None:
    """The bytes themselves are gone."""
    secret = bytes(bytearray(b"once-only-secret"))
    process.wipe(secret)

    assert secret == bytes(16)


@pytest.mark.parametrize("word", ["http://me:secret@h", "gehe\xefm", "se\u0107ret", "\U0001f511s"])
def test_wipe_text(word: str) -> None:
    """Characters of every width, and nothing beside them."""
    secret = "".join(list(word))
    process.wipe_text(secret)

    assert list(secret) == ["\0"] * len(word)
    assert sys.getrefcount(secret) < 10, "its head is whole"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "ended by itself (exit 0)"),
        (1, "ended with an error (exit 1)"),
        (-signal.SIGSEGV, "killed by SIGSEGV"),
        (-signal.SIGKILL, "killed by SIGKILL"),
        (-64, "killed by SIGRTMAX"),
    ],
)
def test_exit_text(code: int, text: str) -> None:
    """Signals have names."""
    assert process.exit_text(code) == text


def test_exit_text_out_of_memory() -> None:
    """A SIGKILL with the kernel's word for it."""
    text = process.exit_text(-signal.SIGKILL, out_of_memory=True)

    assert text == "killed by SIGKILL: the kernel ran out of memory"
