"""The table of events in docs/operations.md has what the program logs, and nothing else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from gateway.protocol.approval import Standing
from gateway.protocol.uplink import State

ROOT = Path(__file__).resolve().parents[2]
WORD = re.compile(r"[a-z]+(-[a-z]+)*")
BUILT = {
    *(f"uplink-{state.value}" for state in State),
    *(f"network-{standing.name.lower()}" for standing in Standing),
    "network-withdrawn", "log", "log-lost",
}  # fmt: skip
"""Whose names are made from others, or by the log itself."""


def logged() -> set[str]:
    """Every name that is given to `event`, or to a `_tell` before it."""
    files = (ROOT / "gateway").rglob("*.py")
    return {name for file in files for name in _names(ast.parse(file.read_text()))}


def _names(tree: ast.AST) -> Iterator[str]:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    for call in calls:
        function = call.func
        name = getattr(function, "id", getattr(function, "attr", ""))
        given = call.args[2:3] if name == "event" else call.args[:2] if name == "_tell" else ()
        for each in given:
            for part in ast.walk(each):
                if isinstance(part, ast.Constant) and WORD.fullmatch(str(part.value)):
                    yield str(part.value)


def written() -> set[str]:
    """`a`, `-b` in one cell means a and the b of its kind."""
    text = (ROOT / "docs/operations.md").read_text()
    rows = text.partition("| Event | When |")[2].partition("\n\n")[0].splitlines()
    found = set()
    for row in rows:
        kind = ""
        for word in re.findall(r"`([a-z-]+)`", row.split("|")[1] if "|" in row else ""):
            kind = kind or word.partition("-")[0]
            found.add(kind + word if word.startswith("-") else word)
    return found


def test_every_event_is_in_the_table() -> None:
    assert sorted(written()) == sorted(logged() | BUILT)
