import io

import pytest

from gateway.ctl.terminal import ENDLESS, LEAST_WIDTH, Look, look_at, redrawn


class Screen(io.StringIO):
    """A terminal without a size, or a pipe."""

    def __init__(self, *, tty: bool, encoding: str = "utf-8") -> None:
        super().__init__()
        self._tty = tty
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._tty


UTF8 = {"LC_ALL": "en_GB.UTF-8"}


def test_a_pipe() -> None:
    assert look_at(Screen(tty=False), UTF8) == Look()


def test_a_pipe_of_watch() -> None:
    assert look_at(Screen(tty=False), {**UTF8, "COLUMNS": "97"}) == Look(width=97)


@pytest.mark.parametrize("columns", ["", "0", "-1", "wide"])
def test_impossible_columns(columns: str) -> None:
    assert look_at(Screen(tty=False), {**UTF8, "COLUMNS": columns}).width == ENDLESS


@pytest.mark.parametrize("columns", ["1", "10", "39"])
def test_a_screen_too_narrow_for_any_name(columns: str) -> None:
    """Where a name does not fit it would be cut, and with a sign that is not ASCII."""
    assert look_at(Screen(tty=False), {**UTF8, "COLUMNS": columns}).width == LEAST_WIDTH


def test_a_terminal_without_a_size() -> None:
    assert look_at(Screen(tty=True), UTF8) == Look(width=80, colour=True, on_screen=True)


@pytest.mark.parametrize("setting", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour(setting: dict[str, str]) -> None:
    assert not look_at(Screen(tty=True), {**UTF8, **setting}).colour


@pytest.mark.parametrize(
    ("environ", "encoding", "ascii_only"),
    [
        ({"LC_ALL": "de_DE.utf8"}, "utf-8", False),
        ({"LANG": "de_DE.UTF-8"}, "utf-8", False),
        ({"LC_ALL": "C", "LANG": "de_DE.UTF-8"}, "utf-8", True),
        ({"LANG": "de_DE.ISO-8859-1"}, "iso8859-1", True),
        ({"LANG": "de_DE.UTF-8"}, "ascii", True),
        ({}, "utf-8", True),
    ],
)
def test_characters(environ: dict[str, str], encoding: str, ascii_only: bool) -> None:
    assert look_at(Screen(tty=True, encoding=encoding), environ).ascii_only is ascii_only


def test_redrawing_a_pipe_adds_an_empty_line() -> None:
    assert redrawn(b"a\n", Look()) == b"a\n\n"


def test_redrawing_a_screen_clears_what_was_there() -> None:
    page = redrawn(b"a\nb\n", Look(80, 24, on_screen=True))
    assert page == b"\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J"


def test_a_page_higher_than_the_screen_keeps_its_beginning() -> None:
    page = redrawn(b"1\n2\n3\n4\n5\n", Look(80, 4, on_screen=True))
    assert page == b"\x1b[H1\x1b[K\n2\x1b[K\n(3 more lines)\x1b[K\n\x1b[J"
