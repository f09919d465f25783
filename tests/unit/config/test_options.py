"""The table of options, and the table in the docs."""

from pathlib import Path

import pytest

from gateway.config.option import WHERE, nearest
from gateway.config.options import OPTIONS, find_option, nearest_option, used_options

DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_names_are_unique():
    names = [name.lower() for o in OPTIONS for name in (o.name, *o.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("key", ["net", "NET", "tun.net", "Tun.Net"])
def test_find(key):
    assert find_option(key).name == "net"


def test_find_nothing():
    assert find_option("tun") is None
    assert find_option("tun.tun.net") is None


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("keepalvie", "keepAlive"),
        ("rout", "route"),
        ("tun.mtuu", "mtu"),
        ("tokn", "token"),
        ("worker", "workers"),
        ("xyzzy", ""),
    ],
)
def test_the_nearest_name(key, name):
    assert nearest_option(key) == name


def test_nearest_of_nothing():
    assert nearest("x", []) == ""


def row(option):
    names = ", ".join(f"`{name}`" for name in (option.name, *option.aliases))
    where = f"`{WHERE[option.section]}`"
    side = "" if option.side == "both" else f" ({option.side})"
    return f"| {names}{side} | {where} | {option.kind} | {option.default} | {option.help} |"


def test_the_docs_have_every_option_as_it_is():
    text = DOCS.read_text()
    for option in used_options():
        assert row(option) in text


@pytest.mark.parametrize(
    ("standing", "start"),
    [
        ("useless", "Ignored with a warning: "),
        ("foreign", "Not supported: "),
    ],
)
def test_the_docs_name_every_other_option(standing, start):
    names = [f"`{o.name}`" for o in OPTIONS if o.standing == standing]
    assert f"{start}{', '.join(names)}.\n" in DOCS.read_text()
