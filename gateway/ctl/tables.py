"""Rows that keep their cells whole: as a table where it fits, else one card per row.

An address cut short is useless, and one folded in the middle cannot be copied. So a table
is as wide as its cells; where the screen is narrower, each row becomes a card: the first
cell alone on a line, the others below it, each with its column's title, wrapped between
cells and inside one only where it is a sentence longer than a line: at its blanks.

A server may have 16,384 peers, and the library takes a second for each 1,500 rows of its
own tables. So rows are drawn here, and it only colours them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from gateway.ctl.styles import ODD

INDENT = 2
GAP = 2
DIM = "dim"


@dataclass(frozen=True)
class Column:
    """`hide`: values that say nothing; a column of them is left out, and so is a card's."""

    title: str
    right: bool = False
    hide: tuple[str, ...] = ("",)


OneLine = str | Text
"""Of one style."""

Cell = OneLine | tuple[OneLine, ...]
"""A tuple is several lines, or none."""


@dataclass(frozen=True)
class Listing:
    """A row is as long as `columns`."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


Piece = tuple[str, str]
"""A text and its style."""

Line = list[Piece]

_style = itemgetter(1)


def fitted(listing: Listing, console: Console, indent: int = INDENT) -> RenderableType:
    """The listing for this console's width."""
    columns = listing.columns
    shown = [
        index
        for index, column in enumerate(columns)
        if any(_plain(row[index]) not in column.hide for row in listing.rows)
    ]
    widths = {
        index: max(len(columns[index].title), *(_cell_width(row[index]) for row in listing.rows))
        for index in shown
    }
    if indent + sum(width + GAP for width in widths.values()) - GAP > console.width:
        return _Drawn(line for row in listing.rows for line in _card(columns, row, console.width))
    return _Drawn(_table(listing, widths, indent))


def facts(pairs: Iterable[tuple[str, OneLine]]) -> RenderableType:
    """A label and a text on each line; a long text goes on below its own beginning."""
    grid = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in pairs:
        grid.add_row(Text(label, DIM), text if isinstance(text, Text) else Text(text))
    return Padding(grid, (0, 0, 0, INDENT), expand=False)


def reasons(rows: Iterable[tuple[int, str, str]]) -> RenderableType:
    """Number, name and sentence; a long sentence goes on below its own beginning."""
    grid = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column(no_wrap=True, style=ODD)
    grid.add_column(overflow="fold")
    for number, name, sentence in rows:
        grid.add_row(Text(f"{number:,}"), Text(name), Text(sentence))
    return Padding(grid, (0, 0, 0, INDENT), expand=False)


class _Drawn:
    """Lines as they are."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, _options: ConsoleOptions) -> RenderResult:
        for line in self._lines:
            for style, pieces in groupby(line, _style):
                text = "".join(text for text, _ in pieces)
                yield Segment(text, console.get_style(style) if style else None)
            yield Segment.line()


def _table(listing: Listing, widths: dict[int, int], indent: int) -> Iterator[Line]:
    titles = [Text(column.title, DIM) for column in listing.columns]
    for row in (titles, *listing.rows):
        cells = {index: _lines(row[index]) for index in widths}
        for number in range(max(map(len, cells.values()), default=0)):
            line: Line = [(" " * indent, "")]
            for index, lines in cells.items():
                text, style = lines[number] if number < len(lines) else ("", "")
                blanks = " " * (widths[index] - _width(text))
                if listing.columns[index].right:
                    line += ((blanks, ""), (text, style), (" " * GAP, ""))
                else:
                    line += ((text, style), (blanks + " " * GAP, ""))
            yield line


def _card(columns: Sequence[Column], row: Sequence[Cell], width: int) -> Iterator[Line]:
    yield [(" " * INDENT, ""), *_one_line(row[0])]
    line: Line = []
    used = 0
    for column, cell in zip(columns[1:], row[1:], strict=True):
        if _plain(cell) in column.hide:
            continue
        item = [(f"{column.title} ", DIM), *_one_line(cell)]
        for part in _folded(item, width - 3 * INDENT):
            room = sum(_width(text) for text, _ in part)
            if line and used + GAP + room <= width:
                line += ((" " * GAP, ""), *part)
                used += GAP + room
                continue
            if line:
                yield line
            line = [(" " * 3 * INDENT, ""), *part]
            used = 3 * INDENT + room
    if line:
        yield line


def _folded(item: Line, room: int) -> list[Line]:
    """A sentence in lines that fit; anything else as it is."""
    if sum(_width(text) for text, _ in item) <= room:
        return [item]
    words = [(word, style) for text, style in item for word in text.rstrip().split(" ")]
    if max(_width(word) for word, _ in words) > room:
        return [item]
    lines: list[Line] = [[]]
    used = 0
    for word, style in words:
        wanted = _width(word) + bool(lines[-1])
        if used + wanted > room:
            lines.append([])
            used, wanted = 0, _width(word)
        lines[-1].append((f" {word}" if lines[-1] else word, style))
        used += wanted
    return lines


def _one_line(cell: Cell) -> Line:
    first, *rest = _lines(cell)
    return [first, *(piece for line in rest for piece in ((", ", ""), line))]


def _lines(cell: Cell) -> list[Piece]:
    if isinstance(cell, str):
        return [(cell, "")]
    if isinstance(cell, Text):
        return [(cell.plain, str(cell.style))]
    return [piece for line in cell for piece in _lines(line)] or [("", "")]


def _plain(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell
    return cell.plain if isinstance(cell, Text) else "\n".join(map(_plain, cell))


def _cell_width(cell: Cell) -> int:
    if isinstance(cell, tuple):
        return max(map(_cell_width, cell), default=0)
    return _width(_plain(cell))


def _width(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)
