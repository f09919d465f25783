"""The table of options, and the table in the docs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import shape
from gateway.config.carrier_options import OPTIONS as CARRIER_OPTIONS
from gateway.config.carrier_options import TLS_NAMES
from gateway.config.kcp_metadata import NAMES as KCP_NAMES
from gateway.config.option import SECRETS, WHERE, nearest, without_value
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


def test_every_secret_option_is_known_as_one():
    names = {name.lower() for o in OPTIONS if o.secret for name in (o.name, *o.aliases)}
    assert names
    assert names <= set(SECRETS)


@given(
    st.sampled_from(("", "tun.", "x.y.")),
    st.sampled_from((*SECRETS, "Passphrase")),
    st.text("SCRT-_.:= ", min_size=1),
)
def test_what_follows_a_secrets_name_is_not_shown(prefix, name, value):
    shown = without_value(f"{prefix}{name}{value}")
    assert shown.removesuffix("...").rstrip(":=") == f"{prefix}{name}"


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("net:1:2", "net:..."),
        ("net=1:2", "net=..."),
        ("net:1=2", "net:..."),
        ("passphrase", "passphrase"),
        ("kcp.key", "kcp.key"),
        ("kcp.key-x", "kcp.key..."),
        ("keepAliv", "keepAliv"),
        ("autherz", "autherz"),
        ("auth_x", "auth..."),
        ("passphrse", "passphrse"),
    ],
)
def test_a_name_without_its_value(key, shown):
    assert without_value(key) == shown


def test_known_names_are_shown_whole():
    shapes = [names for names in vars(shape).values() if isinstance(names, shape.Shape)]
    assert shapes
    options = [o for all_ in (OPTIONS, CARRIER_OPTIONS) for o in all_]
    known = [name for o in options for name in (o.name, *o.aliases)]
    known += [*TLS_NAMES, *KCP_NAMES, *(name for names in shapes for name in names)]
    assert [without_value(name) for name in known] == known


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
