"""docs/compatibility.md: what it says is the same or better is held by a test that exists."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "compatibility.md"
ROWS = re.findall(
    r"^\| (.+) \| (same|better|not) \| (.+) \| (.*)\|$", PAGE.read_text(), re.MULTILINE
)


def test_every_row_is_read() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert len(ROWS) == len([line for line in lines if not line.startswith("| Option ")])


@pytest.mark.parametrize(("option", "kind", "how", "test"), ROWS)
def test_a_row_is_held_by_a_test(option: str, kind: str, how: str, test: str) -> None:
    assert how.strip(), option
    found = re.fullmatch(r"`([a-z_/]+\.py)::(test_\w+)` ", test)
    if kind == "not":
        assert not test.strip(), option
        return
    assert found is not None, option
    tree = ast.parse((TESTS / found[1]).read_text())
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert found[2] in names, option
