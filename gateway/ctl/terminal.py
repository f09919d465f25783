"""What the reader's screen can show: its width, its colours, its characters."""

import os
import sys
from collections.abc import Mapping
from typing import NamedTuple, TextIO

ENDLESS = 10_000
LEAST_WIDTH = 40
"""The longest name with its number fits, so that nothing is cut; a terminal wraps the lines."""


class Look(NamedTuple):
    """The reader's screen. A pipe is as wide and high as it takes, without colours."""

    width: int = ENDLESS
    height: int = ENDLESS
    colour: bool = False
    ascii_only: bool = False
    on_screen: bool = False


def look_at(output: TextIO, environ: Mapping[str, str]) -> Look:
    """How to draw for this output. COLUMNS counts for a pipe too: watch(1) sets it."""
    on_screen = output.isatty()
    width, height = _size(output) if on_screen else (ENDLESS, ENDLESS)
    columns = environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        width = int(columns)
    return Look(
        width=max(width, LEAST_WIDTH),
        height=height,
        colour=on_screen and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb",
        ascii_only=not (_is_utf8(output.encoding) and _is_utf8(_locale(environ))),
        on_screen=on_screen,
    )


def redrawn(page: bytes, look: Look) -> bytes:
    """The page over the one before: no flicker, and its beginning where it is too high."""
    if not look.on_screen:
        return page + b"\n"
    lines = page.splitlines()
    if len(lines) >= look.height:
        kept = max(look.height - 2, 0)
        lines[kept:] = [f"({len(lines) - kept} more lines)".encode()]
    return b"\x1b[H" + b"".join(line + b"\x1b[K\n" for line in lines) + b"\x1b[J"


def _size(output: TextIO) -> tuple[int, int]:
    try:
        size = os.get_terminal_size(output.fileno())
    except (OSError, ValueError):
        return 80, ENDLESS
    return size.columns or 80, size.lines or ENDLESS


def _locale(environ: Mapping[str, str]) -> str:
    """The locale of characters that the user set.

    In the C locale Python itself writes LC_CTYPE=C.UTF-8 into its environment and encodes
    as UTF-8 (PEP 538, PEP 540), whatever the terminal makes of it. So LC_CTYPE counts for
    nothing where that may be its origin.
    """
    if environ.get("LC_ALL"):
        return environ["LC_ALL"]
    if sys.flags.utf8_mode and environ.get("LC_CTYPE") in ("C.UTF-8", "C.utf8", "UTF-8"):
        return environ.get("LANG", "")
    return environ.get("LC_CTYPE") or environ.get("LANG", "")


def _is_utf8(name: str) -> bool:
    return "utf8" in name.lower().replace("-", "")
