"""The FIB against a linear search."""

import random
import struct

import pytest
from fastpath.rig import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from models import SlowRoutes
from strategies import (
    a16,
    addresses,
    prefixes,
    targets,
    v4_addresses,
    v6_addresses,
)

from gateway.fastpath.fib import Fib
from gateway.protocol.forwarding import (
    NOTHING,
)
from gateway.protocol.packet import V4_MAPPED, Endpoint
from gateway.protocol.routes import Origin, RouteTable, prefix_of

PEERS = 6

near = st.one_of(v4_addresses, v6_addresses)
endpoints = st.builds(Endpoint, near, st.sampled_from((1, 8421, 65535)), st.just(0))


class RouteMachine(RuleBasedStateMachine):
    """Routes come, change and go; look-ups in between, so that the cache has a chance."""

    @initialize()
    def begin(self) -> None:
        self.fib, self.slow = Fib(PEERS), SlowRoutes()
        self.asked: list[bytes] = [a16("192.168.123.2"), a16("fd00::2")]

    @rule(prefix=prefixes(), leads_to=targets)
    def set(self, prefix: tuple[bytes, int], leads_to: int) -> None:
        self.fib.set_route(*prefix, leads_to)
        self.slow.set(*prefix, leads_to)

    @rule(prefix=prefixes())
    def drop(self, prefix: tuple[bytes, int]) -> None:
        assert self.fib.drop_route(*prefix) == self.slow.remove(*prefix)

    @rule(data=st.data())
    def drop_one_of_them(self, data: st.DataObject) -> None:
        if not self.slow.rows:
            return
        network = data.draw(st.sampled_from(self.slow.rows))[0]
        v4 = network.version == 4
        prefix = (V4_MAPPED if v4 else b"") + network.network_address.packed
        length = network.prefixlen + (96 if v4 else 0)
        assert self.fib.drop_route(prefix, length)
        assert self.slow.remove(prefix, length)

    @rule(address=addresses)
    def ask(self, address: bytes) -> None:
        self.asked = [*self.asked[-10:], address]

    @rule()
    def clear(self) -> None:
        self.fib.clear()
        self.slow = SlowRoutes()

    @invariant()
    def agree(self) -> None:
        for address in getattr(self, "asked", ()):
            assert self.fib.lookup(address) == self.slow.lookup(address)


TestRoutes = RouteMachine.TestCase
TestRoutes.settings = examples(100, stateful_step_count=30)


@given(
    st.dictionaries(prefixes(), targets, max_size=200),
    st.lists(addresses, min_size=1, max_size=50),
)
@examples(100)
def test_the_longest_prefix_wins(table, asked):
    fib, slow = Fib(PEERS), SlowRoutes()
    for prefix, target in table.items():
        fib.set_route(*prefix, target)
        slow.set(*prefix, target)

    for address in asked + [prefix for prefix, _ in table]:
        assert fib.lookup(address) == slow.lookup(address)


def test_many_routes_that_come_and_go_leave_no_trace():
    fib = Fib(PEERS)
    hosts = [V4_MAPPED + (10 << 24 | number).to_bytes(4) for number in range(5000)]
    for turn in range(3):
        for number, host in enumerate(hosts):
            fib.set_route(host, 128, number % PEERS)
        assert all(fib.lookup(host) == i % PEERS for i, host in enumerate(hosts)), turn
        for host in hosts[turn:]:
            assert fib.drop_route(host, 128)
        assert all(fib.lookup(host) == NOTHING for host in hosts[turn:])
        for host in hosts[:turn]:
            assert fib.drop_route(host, 128)


def test_a_large_table_that_is_halved_and_filled_again():
    """Of every length, so many that the table grows: hints and cache agree with the truth."""
    rng = random.Random(4)
    fib, truth = Fib(PEERS), RouteTable()
    table: dict[tuple[bytes, int], int] = {}
    for turn in range(3):
        for number in range(20_000):
            length = 96 + rng.randint(8, 32)
            base = 0x0A000000 | rng.getrandbits(24)
            prefix = prefix_of(V4_MAPPED + base.to_bytes(4), length), length
            table[prefix] = number % PEERS
            fib.set_route(*prefix, number % PEERS)
            truth.set(*prefix, number % PEERS, Origin.PEER)
        for prefix in rng.sample(list(table), len(table) // 2 if turn < 2 else 0):
            del table[prefix]
            assert fib.drop_route(*prefix)
            assert truth.remove(*prefix)
        asked = [V4_MAPPED + (0x0A000000 | rng.getrandbits(24)).to_bytes(4) for _ in range(3000)]
        asked += [prefix for prefix, _ in rng.sample(list(table), 3000)]
        expected = [truth.lookup(address) for address in asked]
        assert [fib.lookup(address) for address in asked] == expected
        assert list(struct.unpack("6000i", fib.lookup_all(b"".join(asked)))) == expected


def test_host_bits_of_a_prefix_do_not_matter():
    fib = Fib(PEERS)
    fib.set_route(a16("10.1.2.3"), 104, 4)

    assert fib.lookup(a16("10.200.0.1")) == 4
    assert fib.drop_route(a16("10.0.0.0"), 104)


def test_the_families_never_mix():
    fib = Fib(PEERS)
    fib.set_route(a16("::"), 0, 1)
    assert fib.lookup(a16("203.0.113.1")) == NOTHING

    fib.set_route(a16("0.0.0.0"), 96, 2)
    assert fib.lookup(a16("203.0.113.1")) == 2
    assert fib.lookup(a16("2001:db8::1")) == 1
    assert fib.lookup(a16("::fffe:203.0.113.1")) == 1


@pytest.mark.parametrize("length", [-1, 129])
def test_a_length_counts_over_128_bits(length):
    with pytest.raises(ValueError, match="0 to 128"):
        Fib(PEERS).set_route(bytes(16), length, 0)


def test_an_address_has_16_bytes():
    for wrong in (bytes(15), bytes(17), bytes(4)):
        with pytest.raises(ValueError, match="16 bytes"):
            Fib(PEERS).lookup(wrong)
        with pytest.raises(ValueError, match="16 bytes"):
            Fib(PEERS).lookup_all(wrong)


@pytest.mark.parametrize(("slot", "incarnation"), [(PEERS, 1), (0, 0)])
def test_a_peer_needs_a_slot_and_an_incarnation(slot, incarnation):
    with pytest.raises(ValueError, match="slot"):
        Fib(PEERS).set_peer(slot, incarnation, bytes(16), 1)


class EndpointMachine(RuleBasedStateMachine):
    """Peers come, move and go, in a table that is half full; a dictionary knows better."""

    SLOTS = 32

    @initialize()
    def begin(self) -> None:
        self.fib = Fib(self.SLOTS)
        self.slow: dict[Endpoint, int] = {}
        self.seen: set[Endpoint] = set()

    @rule(
        slot=st.integers(0, SLOTS - 1),
        endpoint=st.builds(
            Endpoint, addresses, st.integers(0, 65535), st.sampled_from((0, 0, 0, 2))
        )
        | endpoints,
    )
    def set(self, slot: int, endpoint: Endpoint) -> None:
        self.fib.set_peer(slot, 1, *endpoint)
        self.slow = {e: s for e, s in self.slow.items() if s != slot and e != endpoint}
        self.slow[endpoint] = slot
        self.seen.add(endpoint)

    @rule(slot=st.integers(0, SLOTS + 5))
    def drop(self, slot: int) -> None:
        self.fib.drop_peer(slot)
        self.slow = {e: s for e, s in self.slow.items() if s != slot}

    @invariant()
    def agree(self) -> None:
        for endpoint in getattr(self, "seen", ()):
            assert self.fib.peer_at(*endpoint) == self.slow.get(endpoint, -1)


TestEndpoints = EndpointMachine.TestCase
TestEndpoints.settings = examples(60, stateful_step_count=60)


def test_a_full_table_of_endpoints_moves_and_empties():
    count = 3000
    fib = Fib(count)
    place = {slot: (a16("198.51.100.1"), slot + 1) for slot in range(count)}
    for slot, at in place.items():
        fib.set_peer(slot, 1, *at)
    for slot in range(0, count, 3):
        place[slot] = (a16("2001:db8::1"), slot + 1)
        fib.set_peer(slot, 1, *place[slot])
    for slot in range(1, count, 3):
        fib.drop_peer(slot)
        del place[slot]

    assert all(fib.peer_at(*at) == slot for slot, at in place.items())
    assert all(fib.peer_at(a16("198.51.100.1"), slot + 1) == -1 for slot in range(0, count, 3))


def test_a_scope_is_part_of_an_endpoint():
    """In a table so full that look-ups pass each other's places."""
    fib, address = Fib(8), a16("fe80::1")
    for slot in range(8):
        fib.set_peer(slot, 1, address, 9, slot + 1)

    found = [fib.peer_at(address, 9, scope) for scope in range(1, 300)]
    assert found == [*range(8), *[-1] * 291]


@pytest.mark.parametrize("version", [4, 6])
def test_what_was_looked_up_long_ago_is_not_fresh_again(version):
    """However many changes lie between: the cache's epochs come round."""
    net = "10.0.0." if version == 4 else "fd00::"
    prefix, other = a16(net + "1"), a16(net + "2")
    for changes in range(1, 600):
        fib = Fib(PEERS)
        fib.set_route(prefix, 128, 0)
        assert fib.lookup(prefix) == 0
        fib.set_route(prefix, 128, 1)
        for _ in range(changes - 1):
            fib.set_route(other, 128, 2)
        assert fib.lookup(prefix) == 1, changes


def test_clear_forgets_everything():
    fib = Fib(PEERS)
    fib.set_peer(0, 1, a16("198.51.100.1"), 9)
    fib.set_route(a16("10.0.0.0"), 104, 0)
    assert fib.lookup(a16("10.0.0.1")) == 0

    fib.clear()

    assert fib.lookup(a16("10.0.0.1")) == NOTHING
    assert fib.peer_at(a16("198.51.100.1"), 9) == -1
