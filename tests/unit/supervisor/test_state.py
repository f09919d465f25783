import stat
from pathlib import Path

import pytest

from gateway.log import setup
from gateway.protocol.peer import PeerState
from gateway.supervisor.state import StateFile, state_directory


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


def test_where() -> None:
    """Ours, systemd's, the default."""
    assert state_directory({"GATEWAY_STATE_DIR": "/a", "STATE_DIRECTORY": "/b"}) == Path("/a")
    assert state_directory({"STATE_DIRECTORY": "/b:/c"}) == Path("/b")
    assert state_directory({}) == Path("/var/lib/gateway")
