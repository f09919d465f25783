"""Several sources as one table, against a model that merges whole tables."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.messages import Prefix
from gateway.sources.layers import CredentialLayers, RouteLayers
from gateway.sources.model import AUTHER_ORDER
from gateway.sources.tables import CredentialRow, GatewayRow, SourceCredentials, SourceRoutes

A, B, C = (bytes([n]) * 16 for n in (1, 2, 3))


def told(source, rows=(), removed=(), *, fresh=False, part=0, parts=1) -> SourceCredentials:
    changed = tuple(CredentialRow(*row) for row in rows)
    return SourceCredentials("staff", source, part, parts, fresh, changed, tuple(removed))


def test_a_later_source_overwrites_an_earlier_one() -> None:
    layers = CredentialLayers()
    assert layers.apply(told("http", [(A, b"http")], fresh=True)).set == {A: b"http"}

    assert layers.apply(told("file", [(A, b"file"), (B, b"b")], fresh=True)).set == {B: b"b"}
    assert layers.get(A) == b"http"
    assert layers.apply(told("http", removed=[A])).set == {A: b"file"}
    assert layers.apply(told("file", removed=[A])).removed == [A]
    assert dict(layers.items()) == {B: b"b"}


@pytest.mark.parametrize("told_in", list(permutations(["inline", "file", "redis", "http"])))
def test_every_source_of_credentials_has_its_rank(told_in) -> None:
    """GOST's: each overwrites those before it, whenever they were read."""
    layers = CredentialLayers()
    for source in told_in:
        layers.apply(told(source, [(A, source.encode())], fresh=True))
    for source in ("http", "redis", "file", "inline"):
        assert layers.get(A) == source.encode()
        layers.apply(told(source, removed=[A]))
    assert layers.get(A) is None


@pytest.mark.parametrize("told_in", list(permutations(["inline", "file", "redis", "http"])))
def test_every_source_of_routes_has_its_rank(told_in) -> None:
    """GOST's: of equal prefixes the first in its list, whenever they were read."""
    layers, key = RouteLayers(), (A, 128)
    gateways = {source: bytes([n]) * 16 for n, source in enumerate(told_in)}
    for source, gateway in gateways.items():
        rows = (GatewayRow(A, 128, gateway),)
        layers.apply(SourceRoutes("lans", source, 0, 1, True, rows, ()))
    for source in ("inline", "file", "redis", "http"):
        assert layers.get(key) == gateways[source]
        layers.apply(SourceRoutes("lans", source, 0, 1, False, (), (Prefix(A, 128),)))
    assert layers.get(key) is None


def test_of_equal_prefixes_the_earlier_source_wins() -> None:
    layers = RouteLayers()
    key = (A, 128)

    def told(source, gateway, *, removed=False) -> SourceRoutes:
        rows = () if removed else (GatewayRow(A, 128, gateway),)
        gone = (Prefix(A, 128),) if removed else ()
        return SourceRoutes("lans", source, 0, 1, False, rows, gone)

    assert layers.apply(told("http", B)).set == {key: B}
    assert layers.apply(told("inline", C)).set == {key: C}
    assert layers.apply(told("redis", A)).set == {}
    assert layers.apply(told("inline", C, removed=True)).set == {key: A}
    assert layers.get(key) == A


def test_a_source_that_said_nothing_is_not_loaded() -> None:
    layers = CredentialLayers()
    assert not layers.loaded("file")
    layers.apply(told("file", fresh=True))
    assert layers.loaded("file")


def test_a_fresh_table_removes_what_it_does_not_name_with_its_last_part() -> None:
    layers = CredentialLayers()
    layers.apply(told("file", [(A, b"a"), (B, b"b")], fresh=True))

    first = layers.apply(told("file", [(C, b"c")], fresh=True, part=0, parts=2))
    assert (first.set, first.removed) == ({C: b"c"}, [])
    last = layers.apply(told("file", [(A, b"a")], fresh=True, part=1, parts=2))
    assert (last.set, last.removed) == ({}, [B])


def test_a_fresh_table_that_broke_off_is_forgotten_by_the_next() -> None:
    layers = CredentialLayers()
    layers.apply(told("file", [(A, b"a"), (B, b"b")], fresh=True))
    layers.apply(told("file", [(B, b"new")], fresh=True, part=0, parts=2))

    assert layers.apply(told("file", [(A, b"a")], fresh=True)).removed == [B]
    assert dict(layers.items()) == {A: b"a"}


def test_no_repr_shows_a_password() -> None:
    assert "hunter2" not in repr(told("file", [(A, b"hunter2")]))


keys = st.sampled_from([A, B, C])
tables = st.dictionaries(keys, st.sampled_from([b"x", b"y"]))


@given(st.lists(st.tuples(st.sampled_from(AUTHER_ORDER), tables, st.booleans()), max_size=12))
def test_layers_are_the_merged_tables(steps) -> None:
    layers, model = CredentialLayers(), {}
    before: dict[bytes, bytes] = {}
    for source, table, fresh in steps:
        old = model.get(source, {})
        gone = [] if fresh else [key for key in old if key not in table]
        model[source] = table
        changes = layers.apply(told(source, table.items(), gone, fresh=fresh))

        merged: dict[bytes, bytes] = {}
        for kind in reversed(AUTHER_ORDER):
            merged |= model.get(kind, {})
        assert dict(layers.items()) == merged
        assert {key: layers.get(key) for key in merged} == merged
        assert changes.set == {k: v for k, v in merged.items() if before.get(k) != v}
        assert set(changes.removed) == before.keys() - merged.keys()
        before = merged
