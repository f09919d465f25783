"""A confined process harms no file and nobody; what was open stays usable."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import prctl
import pytest
from needs import need

from gateway.linux import landlock

FORBIDDEN = 13


def confined(action: Callable[[], object]) -> int:
    """How a confined process ends that does `action`; FORBIDDEN if it was not let."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            prctl.set_no_new_privs(1)
            landlock.confine()
            action()
            code = 0
        except PermissionError:
            code = FORBIDDEN
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    need("landlock")
    file = tmp_path / "state.json"
    file.write_text("ours")
    return file


@pytest.mark.parametrize(
    "action",
    [
        lambda file: file.write_text("theirs"),
        lambda file: file.with_name("new").write_text("theirs"),
        lambda file: file.unlink(),
        lambda file: file.rename(file.with_name("moved")),
        lambda file: file.with_name("folder").mkdir(),
        lambda file: file.with_name("link").symlink_to(file),
        lambda file: os.truncate(file, 0),
        lambda file: os.mkfifo(file.with_name("pipe")),
        lambda file: os.execv("/bin/true", [str(file)]),
    ],
    ids=["write", "make", "remove", "move", "folder", "link", "truncate", "fifo", "run"],
)
def test_files_are_out_of_reach(file: Path, action: Callable[[Path], object]) -> None:
    assert confined(lambda: action(file)) == FORBIDDEN
    assert file.read_text() == "ours"
    assert list(file.parent.iterdir()) == [file]


def test_reading_and_what_is_open_stay(file: Path) -> None:
    with file.open("a") as stream:
        assert confined(lambda: (file.read_text(), stream.write("!"), stream.flush())) == 0
    assert file.read_text() == "ours!"


def test_nobody_outside_is_signalled() -> None:
    need("landlock-signals")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        assert confined(lambda: os.kill(victim.pid, signal.SIGTERM)) == FORBIDDEN
        assert confined(lambda: os.kill(os.getpid(), 0)) == 0
        assert victim.poll() is None
        victim.kill()


def test_a_kernel_without_it_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "_CREATE_RULESET", 1 << 20)

    assert landlock.confine() is False


def test_an_old_kernel_is_asked_for_what_it_knows() -> None:
    """Bits a version does not know are refused by it, all of them."""
    assert landlock._of(landlock._FILES, 1) == 0x1FF3
    assert landlock._of(landlock._FILES, 2) == 0x3FF3
    assert landlock._of(landlock._FILES, 3) == 0x7FF3
    assert landlock._of(landlock._SCOPES, 5) == 0
