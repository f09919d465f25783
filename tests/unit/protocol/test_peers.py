"""Who becomes a peer, what it takes over, and that a replica can follow."""

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from strategies import a16, endpoint
from unit.protocol.peer_tables import SERVER, A, B, C, X, Y, Z, heartbeat, let_in

from gateway.protocol.forwarding import Refusal
from gateway.protocol.messages import PeerEntry, Prefix, RouteEntry, Update
from gateway.protocol.packet import ANY, Endpoint
from gateway.protocol.peer_changes import Changes, Refused, Registered
from gateway.protocol.peers import PeerTable


def test_a_first_heartbeat_makes_a_peer_and_its_routes() -> None:
    table = PeerTable()

    result = let_in(table, [X, Z], A, 5)

    assert result.new
    assert result.changed
    assert result.changes == Changes(
        peers=[PeerEntry(0, 1, A.address, A.port, 0, SERVER)],
        routes=[RouteEntry(X, 128, 0), RouteEntry(Z, 128, 0)],
    )
    assert table.at_slot(0) is table.at_endpoint(A) is table.at_address(X) is result.peer
    assert result.peer.since == result.peer.last_heartbeat == 5
    assert result.peer.routes() == (RouteEntry(X, 128, 0), RouteEntry(Z, 128, 0))
    assert len(table) == 1


def test_changes_fit_an_update() -> None:
    changes = let_in(PeerTable(), [X], A, 0).changes

    update = Update(
        7,
        tuple(changes.peers),
        tuple(changes.gone),
        tuple(changes.routes),
        tuple(changes.withdrawn),
    )

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(update), type=Update) == update


@pytest.mark.parametrize("again", [[X, Y], [Y, X], [X, Y, X]])
def test_a_renewal_changes_nothing(again: list[bytes]) -> None:
    table = PeerTable()
    let_in(table, [X, Y], A, 0)

    result = let_in(table, again, A, 10)

    assert not result.new
    assert not result.changed
    assert result.peer.heartbeats == 2
    assert result.peer.last_heartbeat == 10
    assert result.peer.lease.until == 45


def test_another_local_address_is_a_change() -> None:
    table = PeerTable()
    let_in(table, [X], A, 0)

    result = heartbeat(table, [X], A, 10, local=ANY)

    assert isinstance(result, Registered)
    assert result.changes == Changes(peers=[PeerEntry(0, 1, A.address, A.port, 0, ANY)])


def test_a_roaming_peer_keeps_its_slot() -> None:
    table = PeerTable()
    let_in(table, [X, Y], A, 0)

    result = let_in(table, [X, Y], B, 10)

    assert result.former == A
    assert result.changes == Changes(peers=[PeerEntry(0, 1, B.address, B.port, 0, SERVER)])
    assert table.at_endpoint(A) is None
    assert (result.peer.since, result.peer.heartbeats, result.peer.moves) == (0, 2, 1)
    assert result.peer.lease.until == 10 + 3600  # its keepalive may be off there


def test_an_endpoint_that_comes_back_brings_its_gaps() -> None:
    table = PeerTable()
    for now in (0, 10, 20):
        let_in(table, [X], A, now)
    let_in(table, [X], B, 25)

    peer = let_in(table, [X], A, 30).peer

    assert peer.lease.gaps == (10, 10, 10)
    assert peer.heartbeats == 5


def test_an_address_set_replaces_the_former_one() -> None:
    table = PeerTable()
    let_in(table, [X, Y], A, 0)

    result = let_in(table, [Y, Z], A, 10)

    assert result.changes == Changes(routes=[RouteEntry(Z, 128, 0)], withdrawn=[Prefix(X, 128)])
    assert result.peer.addresses == (Y, Z)
    assert table.at_address(X) is None


def test_a_part_of_a_peers_addresses_goes_to_a_peer_of_its_own() -> None:
    table = PeerTable()
    first = let_in(table, [X, Y], A, 0).peer

    result = let_in(table, [Y], B, 10)

    assert result.new
    assert result.changes == Changes(
        peers=[PeerEntry(1, 2, B.address, B.port, 0, SERVER)], routes=[RouteEntry(Y, 128, 1)]
    )
    assert first.addresses == (X,)
    assert table.at_endpoint(A) is first


def test_a_holder_left_without_addresses_goes() -> None:
    table = PeerTable()
    let_in(table, [X], A, 0)
    let_in(table, [Y], B, 1)

    result = let_in(table, [X, Y], C, 10)

    assert result.peer.slot == 0
    assert result.former == A
    assert result.changes == Changes(
        peers=[PeerEntry(0, 1, C.address, C.port, 0, SERVER)],
        gone=[1],
        routes=[RouteEntry(Y, 128, 0)],
    )
    assert len(table) == 1


def test_a_known_peer_may_take_another_address_over() -> None:
    table = PeerTable()
    let_in(table, [X], A, 0)
    let_in(table, [Y], B, 1)

    result = let_in(table, [Y], A, 10)

    assert result.changes == Changes(
        gone=[1], routes=[RouteEntry(Y, 128, 0)], withdrawn=[Prefix(X, 128)]
    )
    assert table.at_endpoint(B) is None
    assert result.peer.moves == 1


def test_one_refused_address_refuses_the_whole_heartbeat() -> None:
    table = PeerTable()
    let_in(table, [X], A, 0)
    let_in(table, [X], B, 1)
    let_in(table, [X], A, 2)
    before = table.export(3)

    result = heartbeat(table, [Y, X], C, 3)

    assert isinstance(result, Refused)
    assert result.refusal is Refusal.CONFLICT
    assert table.export(3) == before
    assert table.at_address(Y) is None
    assert table.at_endpoint(C) is None


def test_a_full_table_refuses_strangers_only() -> None:
    table = PeerTable(capacity=2)
    let_in(table, [X], A, 0)
    let_in(table, [Y], B, 0)

    full = heartbeat(table, [Z], C, 1)

    assert full == Refused(Refusal.TABLE_FULL, "2 peers fill the peer table")
    assert not let_in(table, [Y], B, 2).changed
    assert let_in(table, [X], C, 2).peer.slot == 0


def test_the_slot_free_longest_is_used_next_with_a_new_incarnation() -> None:
    table = PeerTable(capacity=3)
    peers = [let_in(table, [a], e, 0).peer for a, e in ((X, A), (Y, B), (Z, C))]
    table.remove(peers[1])
    table.remove(peers[0])

    used = [
        let_in(table, [address], where, 1).peer
        for address, where in ((X, endpoint("203.0.113.7")), (Y, endpoint("203.0.113.8")))
    ]

    assert [(peer.slot, peer.incarnation) for peer in used] == [(1, 4), (0, 5)]


def test_removal_withdraws_the_routes() -> None:
    table = PeerTable()
    peer = let_in(table, [X, Z], A, 0).peer

    assert table.remove(peer) == Changes(gone=[0], withdrawn=[Prefix(X, 128), Prefix(Z, 128)])
    assert len(table) == 0
    assert table.due() is None


ADDRESSES = [a16(f"10.0.0.{number}") for number in range(1, 6)]
ENDPOINTS = [endpoint(f"203.0.113.{number}", 1000 + number) for number in range(1, 6)]


class Life(RuleBasedStateMachine):
    """Heartbeats and expiries at random, and a replica that hears of the changes only."""

    def __init__(self) -> None:
        super().__init__()
        self.table = PeerTable(capacity=3)
        self.now = 0.0
        self.slots: dict[int, PeerEntry] = {}
        self.routes: dict[bytes, int] = {}
        self.incarnations: set[int] = set()

    def apply(self, changes: Changes) -> None:
        assert not {entry.slot for entry in changes.peers}.intersection(changes.gone)
        for slot in changes.gone:
            del self.slots[slot]
        for prefix in changes.withdrawn:
            del self.routes[prefix.prefix]
        for entry in changes.peers:
            self.slots[entry.slot] = entry
        for route in changes.routes:
            self.routes[route.prefix] = route.target

    @rule(
        claimed=st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=3),
        where=st.sampled_from(ENDPOINTS),
        authenticated=st.booleans(),
        local=st.sampled_from([SERVER, ANY]),
    )
    def heartbeat(
        self, claimed: list[bytes], where: Endpoint, authenticated: bool, local: bytes
    ) -> None:
        before = self.table.export(self.now)
        result = heartbeat(
            self.table, claimed, where, self.now, authenticated=authenticated, local=local
        )
        if isinstance(result, Refused):
            assert self.table.export(self.now) == before
            assert not authenticated or result.refusal is Refusal.TABLE_FULL
            return
        if result.new:
            assert result.peer.incarnation not in self.incarnations
            self.incarnations.add(result.peer.incarnation)
        assert set(result.peer.addresses) == set(claimed)
        assert result.peer.endpoint == where
        self.apply(result.changes)

    @rule(pause=st.sampled_from([0.125, 1, 10, 40, 4000]), moved=st.booleans())
    def wait(self, pause: float, moved: bool) -> None:
        self.now += pause
        removed, changes = self.table.expire(self.now, lambda _: moved)
        assert not (moved and removed)
        self.apply(changes)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if len(self.table):
            self.apply(self.table.remove(data.draw(st.sampled_from(list(self.table)))))

    @rule()
    def restart(self) -> None:
        state = self.table.export(self.now)
        self.table = PeerTable(capacity=3)
        self.slots, self.routes, self.incarnations = {}, {}, set()
        self.apply(self.table.restore(state, self.now, accept=lambda _: True))
        assert self.table.export(self.now) == state

    @invariant()
    def the_replica_equals_the_table(self) -> None:
        assert self.slots == {peer.slot: peer.entry() for peer in self.table}
        assert self.routes == {
            address: peer.slot for peer in self.table for address in peer.addresses
        }

    @invariant()
    def indices_agree(self) -> None:
        for peer in self.table:
            assert peer.addresses
            assert self.table.at_endpoint(peer.endpoint) is peer
            assert all(self.table.at_address(address) is peer for address in peer.addresses)
            assert peer.lease.until > self.now
        due = self.table.due()
        assert (due is None) == (len(self.table) == 0)
        assert due is None or due <= min(peer.lease.until for peer in self.table)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=200, stateful_step_count=30)
