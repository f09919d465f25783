from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from models import SlowRoutes
from strategies import SPECIAL_ADDRESSES, a16, addresses, prefixes, routes, targets

from gateway.protocol.forwarding import LOCAL, NOTHING, VOID
from gateway.protocol.packet import pack_network
from gateway.protocol.routes import Origin, Route, RouteTable, prefix_of


def net(text: str) -> tuple[bytes, int]:
    return pack_network(ip_network(text))


def test_longest_prefix_wins_whatever_came_first() -> None:
    rows = [("0.0.0.0/0", 1), ("10.0.0.0/8", 2), ("10.1.0.0/16", VOID), ("10.1.2.3/32", LOCAL)]
    for order in (rows, rows[::-1]):
        table = RouteTable()
        for network, target in order:
            table.set(*net(network), target, Origin.SERVICE)

        assert table.lookup(a16("11.0.0.1")) == 1
        assert table.lookup(a16("10.2.0.1")) == 2
        assert table.lookup(a16("10.1.2.4")) == VOID
        assert table.lookup(a16("10.1.2.3")) == LOCAL


def test_families_are_apart() -> None:
    table = RouteTable()
    table.set(*net("::/0"), 6, Origin.SERVICE)

    assert table.lookup(a16("10.0.0.1")) == NOTHING

    table.set(*net("0.0.0.0/0"), 4, Origin.SERVICE)

    assert table.lookup(a16("10.0.0.1")) == 4
    assert table.lookup(a16("fd00::1")) == 6
    assert table.lookup(a16("::")) == 6


def test_one_prefix_has_one_target() -> None:
    table = RouteTable()
    table.set(*net("10.0.0.0/8"), 1, Origin.SERVICE)
    table.set(*net("10.0.0.0/8"), 2, Origin.PEER)

    assert list(table.items()) == [Route(*net("10.0.0.0/8"), 2, Origin.PEER)]
    assert table.get(*net("10.0.0.0/8")) == Route(*net("10.0.0.0/8"), 2, Origin.PEER)
    assert len(table) == 1


def test_remove_tells_whether_there_was_one() -> None:
    table = RouteTable()
    table.set(*net("10.0.0.0/8"), 1, Origin.SERVICE)

    assert not table.remove(*net("10.0.0.0/9"))
    assert table.remove(*net("10.0.0.0/8"))
    assert not table.remove(*net("10.0.0.0/8"))
    assert table.lookup(a16("10.0.0.1")) == NOTHING
    assert table.get(*net("10.0.0.0/8")) is None


@pytest.mark.parametrize(
    ("prefix", "length"),
    [(a16("10.0.0.1"), 120), (a16("fd00::1"), 127), (b"1234", 32), (a16("::"), 129)],
)
def test_a_prefix_that_is_none(prefix: bytes, length: int) -> None:
    table = RouteTable()
    for act in (
        lambda: table.set(prefix, length, 0, Origin.PEER),
        lambda: table.remove(prefix, length),
    ):
        with pytest.raises(ValueError, match="prefix"):
            act()


def test_items_are_in_order() -> None:
    texts = ["10.0.0.0/8", "10.0.0.0/16", "192.168.0.0/16", "::/0", "fd00::/8", "fd00::/64"]
    table = RouteTable()
    for text in reversed(texts):
        table.set(*net(text), 0, Origin.SERVICE)

    assert [(route.prefix, route.length) for route in table.items()] == [net(t) for t in texts]


@given(addresses, st.integers(0, 128))
def test_prefix_of_clears_the_host_bits(address: bytes, length: int) -> None:
    prefix = prefix_of(address, length)

    assert prefix_of(prefix, length) == prefix
    assert int.from_bytes(prefix) ^ int.from_bytes(address) < 1 << (128 - length)


@given(routes, st.lists(addresses, max_size=20))
def test_lookup_as_the_slow_twin(
    rows: list[tuple[tuple[bytes, int], int]], wanted: list[bytes]
) -> None:
    fast, slow = RouteTable(), SlowRoutes()
    for (prefix, length), target in rows:
        fast.set(prefix, length, target, Origin.SERVICE)
        slow.set(prefix, length, target)

    for address in [*wanted, *(prefix for (prefix, _), _ in rows), *SPECIAL_ADDRESSES]:
        assert fast.lookup(address) == slow.lookup(address)


class Comings(RuleBasedStateMachine):
    """Routes come and go in both tables; both must always agree."""

    def __init__(self) -> None:
        super().__init__()
        self.fast, self.slow = RouteTable(), SlowRoutes()
        self.seen: list[tuple[bytes, int]] = []

    @rule(prefix=prefixes(), to=targets)
    def add(self, prefix: tuple[bytes, int], to: int) -> None:
        self.fast.set(*prefix, to, Origin.PEER)
        self.slow.set(*prefix, to)
        self.seen.append(prefix)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        prefix = data.draw(st.sampled_from(self.seen) if self.seen else prefixes())
        assert self.fast.remove(*prefix) == self.slow.remove(*prefix)

    @rule(address=addresses)
    def look_up(self, address: bytes) -> None:
        assert self.fast.lookup(address) == self.slow.lookup(address)

    @invariant()
    def same_size(self) -> None:
        assert len(self.fast) == len(self.slow.rows) == len(list(self.fast.items()))


TestComings = Comings.TestCase
