"""Rows that keep their cells whole: as a table where it fits, else one card per row.

An address cut short is useless, and one folded in the middle cannot be copied. So a table
is as wide as its cells; where the screen is narrower, each row becomes a card: the first
cell alone on a line, the others below it, each with its column's title, wrapped between
cells and inside one only where it is a sentence longer than a line: at its blanks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gateway.ctl.styles import ODD

INDENT = 2
GAP = 2


@dataclass(frozen=True)
class Column:
    """`hide`: values that say nothing; a column of them is left out, and so is a card's."""

    title: str
    right: bool = False
    hide: tuple[str, ...] = ("",)


Cell = str | Text


@dataclass(frozen=True)
class Listing:
    """A row is as long as `columns`. A cell may hold several lines."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


def fitted(listing: Listing, console: Console, indent: int = INDENT) -> RenderableType:
    """The listing for this console's width."""
    columns = listing.columns
    cells = [[_text(cell) for cell in row] for row in listing.rows]
    shown = [
        index
        for index, column in enumerate(columns)
        if any(row[index].plain not in column.hide for row in cells)
    ]
    widths = [_width(column, (row[index] for row in cells)) for index, column in enumerate(columns)]
    if indent + sum(widths[index] + GAP for index in shown) - GAP > console.width:
        return Group(*(_card(columns, row, console) for row in cells))
    # Widths are given, since the library measures every cell twice to find them.
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    for index in shown:
        table.add_column(
            columns[index].title,
            justify="right" if columns[index].right else "left",
            no_wrap=True,
            width=widths[index],
        )
    for row in cells:
        table.add_row(*(row[index] for index in shown))
    return Padding(table, (0, 0, 0, indent), expand=False)


def facts(pairs: Iterable[tuple[str, Cell]]) -> RenderableType:
    """A label and a text on each line; a long text goes on below its own beginning."""
    grid = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in pairs:
        grid.add_row(Text(label, "dim"), _text(text))
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


def flowed(items: Iterable[Text], width: int, indent: int, gap: str = "  ") -> Text:
    """Items side by side, new lines between them only, indented."""
    lines: list[Text] = []
    for item in items:
        if lines and cell_len(lines[-1].plain) + len(gap) + cell_len(item.plain) <= width:
            lines[-1].append(gap).append_text(item)
        else:
            lines.append(Text(" " * indent).append_text(item))
    return Text("\n").join(lines)


def _width(column: Column, cells: Iterable[Text]) -> int:
    lines = (line for cell in cells for line in cell.plain.split("\n"))
    return max(cell_len(column.title), *map(cell_len, lines), 0)


def _card(columns: Sequence[Column], row: Sequence[Text], console: Console) -> Text:
    head, *rest = (_one_line(cell) for cell in row)
    card = Text(" " * INDENT).append_text(head)
    items = [
        Text.assemble((f"{column.title} ", "dim"), cell)
        for column, cell in zip(columns[1:], rest, strict=True)
        if cell.plain not in column.hide
    ]
    if not items:
        return card
    room = console.width - 3 * INDENT
    parts = [part for item in items for part in _folded(item, room, console)]
    return card.append("\n").append_text(flowed(parts, console.width, 3 * INDENT))


def _folded(item: Text, room: int, console: Console) -> Sequence[Text]:
    """A sentence in lines that fit; anything else as it is."""
    if cell_len(item.plain) <= room or max(map(cell_len, item.plain.split(" "))) > room:
        return (item,)
    lines = list(item.wrap(console, room))
    for line in lines:
        line.rstrip()
    return lines


def _one_line(cell: Text) -> Text:
    return Text(", ").join(cell.split("\n"))


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)
