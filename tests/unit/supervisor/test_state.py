import stat
from bisect import bisect_left
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starving import raised_again

from gateway.log import setup
from gateway.protocol.peer import PeerState
from gateway.supervisor.loop import Loop
from gateway.supervisor.state import WRITE_DELAY, WRITE_GAP, StateFile, Writing, state_directory


def test_written_and_read_again(tmp_path: Path) -> None:
    """The same key, the same peers, little time between."""
    first = StateFile(tmp_path / "deep", "fd00::1", None)
    first.save({"tun": PeerState(())}, last=True)
    second = StateFile(tmp_path / "deep", "fd00::1", None)

    assert second.key == first.key
    assert second.peers_of("tun") == PeerState(())
    assert second.peers_of("other") is None
    assert 0 <= second.down() < 60
    [file] = (tmp_path / "deep").iterdir()
    assert file.suffix == ".json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600, "the key of the digests is in it"
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_damaged_is_no_state(tmp_path: Path) -> None:
    """It is said, and a fresh file begins."""
    path = tmp_path / "x.json"
    for content in ("", "{", '{"key":"AA==","written":1,"services":{}}', "[1]"):
        path.write_text(content)
        state = StateFile(tmp_path, "x", None)

        assert state.saved is None
        assert len(state.key) == 32


def test_unusable_directory_is_survived(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Peers are then lost at a restart, nothing else; it is said once."""
    setup("info")
    (tmp_path / "file").write_text("")
    state = StateFile(tmp_path / "file" / "deep", "x", None)
    state.save({})

    assert state.saved is None
    assert capfd.readouterr().err.count("event=no-state") == 1


def test_a_write_without_descriptors_is_not_the_last(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Said once, until one was written."""
    setup("info")
    state = StateFile(tmp_path, "x", None)
    for _ in range(2):
        with raised_again() as limit:
            limit(0)
            state.save({})
            state.save({})
        assert list(tmp_path.iterdir()) == []
        assert capfd.readouterr().err.count("event=no-state") == 1
        state.save({})
        (file,) = tmp_path.iterdir()
        file.unlink()


def test_where() -> None:
    """Ours, systemd's, the default."""
    assert state_directory({"GATEWAY_STATE_DIR": "/a", "STATE_DIRECTORY": "/b"}) == Path("/a")
    assert state_directory({"STATE_DIRECTORY": "/b:/c"}) == Path("/b")
    assert state_directory({}) == Path("/var/lib/gateway")


class Hours:
    """A loop whose time is told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._due: list[tuple[float, Callable[[], None]]] = []

    def call_in(self, seconds: float, call: Callable[[], None]) -> None:
        self._due.append((self.now + seconds, call))

    def go_on(self, to: float) -> None:
        """Call what is due until then."""
        while (due := min(self._due, default=(to, None))) < (to,):
            self._due.remove(due)
            self.now, call = due
            call()
        self.now = to


@given(st.lists(st.floats(0, 30), min_size=1, max_size=200))
def test_written_soon_after_a_change_and_not_too_often(times: list[float]) -> None:
    hours = Hours()
    written: list[float] = []
    writing = Writing(cast("Loop", hours), lambda: written.append(hours.now))
    changes = [hours.now + time for time in sorted(times)]
    for change in changes:
        hours.go_on(change)
        writing.changed()
    hours.go_on(hours.now + 100.0)

    assert written[0] == changes[0] + WRITE_DELAY
    assert all(after - before > WRITE_GAP - 1e-6 for before, after in pairwise(written))
    for change in changes:
        after = written[bisect_left(written, change)]
        assert after - change < WRITE_GAP + 1e-6
    assert len(written) <= len(changes), "nothing is written that did not change"
