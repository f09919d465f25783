"""What root opens for somebody else: nothing is given away by its name."""

import os
import stat
from pathlib import Path

import pytest
from needs import need

from gateway.linux.belongings import acting_as, claim_directory, read_file

NOBODY = (65534, 65534)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory that everybody may pass through."""
    need("root")
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_uid == 0 and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o755)
    return tmp_path


def test_what_is_made_belongs_to_its_user(place: Path) -> None:
    claim_directory(place / "deep" / "run", 0o700, NOBODY, named=True)

    made = (place / "deep" / "run").stat()
    assert (made.st_uid, stat.S_IMODE(made.st_mode)) == (65534, 0o700)
    assert (place / "deep").stat().st_uid == 0


def test_an_empty_directory_is_given(place: Path) -> None:
    (place / "run").mkdir()

    claim_directory(place / "run", 0o700, NOBODY, named=True)

    assert (place / "run").stat().st_uid == 65534


def test_somebody_elses_directory_is_refused(place: Path) -> None:
    (place / "file").touch()

    with pytest.raises(PermissionError, match="not empty and belongs to uid 0"):
        claim_directory(place, 0o700, NOBODY, named=True)

    assert place.stat().st_uid == 0


@pytest.mark.parametrize("how", ["symbolic", "hard"])
def test_a_link_to_roots_file_is_not_read(place: Path, how: str) -> None:
    """It stays root's, too."""
    secret = place / "secret"
    secret.write_text("for root only")
    secret.chmod(0o600)
    link = place / "state.json"
    link.symlink_to(secret) if how == "symbolic" else link.hardlink_to(secret)

    with pytest.raises(OSError, match=r"denied|symbolic|loop"):
        read_file(link, NOBODY)

    assert secret.stat().st_uid == 0


def test_only_plain_files_are_read(place: Path) -> None:
    os.mkfifo(place / "pipe", 0o666)
    (place / "pipe").chmod(0o666)

    with pytest.raises(OSError, match="not a plain file"):
        read_file(place / "pipe", NOBODY)


def test_root_is_root_again_afterwards(place: Path) -> None:
    groups = os.getgroups()

    with acting_as(NOBODY):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (65534, 65534, [])

    assert (os.geteuid(), os.getegid(), os.getgroups()) == (0, 0, groups)
