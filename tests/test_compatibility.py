"""docs/compatibility.md: every option of GOST's is on it, and tests that exist hold its rows."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "compatibility.md"
ROWS = re.findall(
    r"^\| (.+) \| (same|better|not) \| (.+) \| (.*)\|$", PAGE.read_text(), re.MULTILINE
)
NAMED = re.compile(r"`([a-z_/]+\.py)::(test_\w+)`")

SERVICE = """
    keepAlive ttl token passphrase p2p bufferSize net name mtu gw route routes router peer dns guid
    interface so_mark netns netns.out preUp postUp preDown postDown
    nodes backup weight strategy maxFails failTimeout limiter admission bypass
"""
"""Of handler, listener, service and forwarder, as far as a TUN of GOST 3.3 reads them."""

AUTHER = "name auths username password reload file path redis addr db key http url timeout plugin"
ROUTER = "name routes dst net gateway reload file redis http plugin"
PLUGIN = "type addr token timeout tls secure serverName caFile certFile keyFile"
STRATEGIES = "round random fifo hash parallel lowestlatency"
FLAGS = "-L -C -O -D -DD -V -api -metrics -R --"


@cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((TESTS / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def words(heading: str) -> set[str]:
    """What stands in the first column of a part of the page, in backticks, in words."""
    part = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    firsts = [row.partition(" | ")[0] for row in part.splitlines()]
    quoted = [text for first in firsts for text in re.findall(r"`([^`]+)`", first)]
    found = {word for text in quoted for word in text.split()}
    return found | {word for text in found for word in re.split(r"\.|\[\]", text) if word}


def test_every_row_is_read() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert len(ROWS) == len([line for line in lines if not line.startswith("| Option ")])


@pytest.mark.parametrize(("option", "kind", "how", "tests"), ROWS)
def test_a_row_is_held_by_tests(option: str, kind: str, how: str, tests: str) -> None:
    assert how.strip(), option
    if kind == "not":
        assert not tests.strip(), option
        return
    named = NAMED.findall(tests)
    assert named, option
    assert ", ".join(f"`{path}::{name}`" for path, name in named) == tests.strip(), option
    for path, name in named:
        assert name in functions_of(path), option


@pytest.mark.parametrize(
    ("heading", "options"),
    [
        (
            "Options of a service",
            SERVICE,
        ),
        ("Authers", f"{AUTHER} {PLUGIN} handler.auther handler.authers handler.auth skipauth"),
        ("Routers", ROUTER),
        ("Options of a service", STRATEGIES),
        ("URLs, files, flags", FLAGS),
    ],
)
def test_every_option_is_on_the_page(heading: str, options: str) -> None:
    assert set(options.split()) - words(heading) == set()
