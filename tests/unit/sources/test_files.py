"""Files that are there, are not, are forbidden, or are no files."""

import errno
import os
from pathlib import Path

import pytest

from gateway.sources.errors import REASON_LIMIT, SourceError, system_reason
from gateway.sources.files import read_file

NOBODY = 65534


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_bytes(b"x" * 100)
    assert read_file(str(file), limit=100) == b"x" * 100


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _: None, "cannot be read: No such file or directory"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        (os.mkfifo, "it is not a regular file"),
        (lambda path: path.write_bytes(b"x" * 101), "is larger than 100 bytes"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ],
)
def test_what_is_no_such_file(tmp_path: Path, make, reason: str) -> None:
    make(tmp_path / "users")
    before = descriptors()

    with pytest.raises(SourceError, match=reason):
        read_file(str(tmp_path / "users"), limit=100)
    assert descriptors() == before


def test_a_path_no_system_has() -> None:
    with pytest.raises(SourceError, match="NUL"):
        read_file("/etc\0/users")


def test_a_forbidden_file_names_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.touch(0o000)
    euid = os.geteuid()
    if euid == 0:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(
            SourceError, match=rf"permission denied for uid {os.geteuid()}, .*user="
        ):
            read_file(str(file))
    finally:
        os.seteuid(euid)


def test_an_error_is_one_short_printable_line() -> None:
    shown = str(SourceError("a\nb\x1b[31m" + "x" * 1000))
    assert shown.isprintable()
    assert len(shown) == REASON_LIMIT


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed"), "Connection refused"),
        (OSError(None, "no address"), "no address"),
        (OSError(-2, "Name unknown"), "Name unknown"),
        (OSError("something"), "something"),
        (OSError(), "OSError"),
    ],
)
def test_the_systems_words(error: OSError, words: str) -> None:
    assert system_reason(error) == words


def test_nothing_is_imported_late(tmp_path: Path, late_imports) -> None:
    file = tmp_path / "users"
    file.write_text("10.0.0.2 a\n")
    assert late_imports(f"file=FileSpec({str(file)!r})") == []
