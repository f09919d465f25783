import os
import time
from pathlib import Path

import pytest

from gateway.linux import command
from gateway.linux.command import Outcome

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def run(text: str, seconds: float = 10.0, cancel: int = -1, **environment: str):
    lines: list[str] = []
    outcome = command.run(text, {**ENVIRONMENT, **environment}, seconds, lines.append, cancel)
    return outcome, lines


def alive(pid: int) -> bool:
    """Not a zombie either."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def gone(pid: int) -> bool:
    end = time.monotonic() + 5.0
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not alive(pid)


@pytest.mark.parametrize(
    ("text", "code", "problem"),
    [
        ("true", 0, ""),
        ("exit 7", 7, "ended with an error (exit 7)"),
        ("kill -TERM $$", 143, "killed by SIGTERM"),
        ("no-such-program-here", 127, "ended with an error (exit 127)"),
    ],
)
def test_how_it_ended(text: str, code: int, problem: str) -> None:
    assert run(text)[0] == Outcome(code, problem)


def test_what_it_said_line_by_line() -> None:
    """Both streams, whatever the bytes, without a last newline, and only what was said."""
    _, lines = run(r"printf 'one\n\n two\377\n' >&2; printf three")
    assert lines == ["one", " two\ufffd", "three"]
    _, lines = run("head -c 300000 /dev/zero | tr '\\0' x")
    assert "".join(lines) == "x" * 300_000
    assert len(lines) > 1


def test_it_reads_nothing_and_has_its_environment() -> None:
    assert run('cat; echo "$MINE"', MINE="this one")[1] == ["this one"]


def test_a_long_output_holds_up_nobody() -> None:
    outcome, lines = run("yes | head -n 100000")
    assert outcome.code == 0
    assert len(lines) == 100_000


def test_too_long_and_it_is_killed_with_all_it_started() -> None:
    outcome, lines = run("sleep 1000 & echo $!; sleep 1000", seconds=0.3)
    assert outcome == Outcome(137, "did not end within 0.3 s and was killed")
    assert gone(int(lines[0]))


def test_cancelled() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"!")
    outcome, _ = run("sleep 1000", cancel=reading)
    assert outcome.problem == "was killed: the gateway is stopping"
    for fd in (reading, writing):
        os.close(fd)


def test_what_it_leaves_in_the_background_is_left_alone() -> None:
    """Nobody waits for it, though it holds the output open."""
    outcome, lines = run("sleep 1000 & echo $!")
    pid = int(lines[0])
    assert outcome.code == 0
    assert alive(pid)
    os.kill(pid, 9)
