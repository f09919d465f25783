"""How long peers are kept: leases, restarts, damaged records, histories."""

from math import inf, nan

import msgspec
import pytest
from strategies import a16
from unit.protocol.peer_tables import SERVER, A, B, C, X, Y, Z, heartbeat, let_in, never

from gateway.protocol.messages import Prefix
from gateway.protocol.peer import PeerRecord, PeerState
from gateway.protocol.peer_changes import Changes
from gateway.protocol.peers import PeerTable


def test_a_lease_ends() -> None:
    table = PeerTable()
    peer = let_in(table, [X], A, 0).peer
    let_in(table, [X], A, 10)

    assert table.expire(44, lambda _: False) == ([], Changes())
    assert table.expire(45, lambda _: False) == (
        [peer],
        Changes(gone=[0], withdrawn=[Prefix(X, 128)]),
    )
    assert list(table) == []


def test_data_renews_a_lease() -> None:
    table = PeerTable()
    let_in(table, [X], A, 0)
    let_in(table, [X], A, 10)
    asked: list[int] = []

    def moved(slot: int) -> bool:
        asked.append(slot)
        return len(asked) == 1

    assert table.expire(45, moved) == ([], Changes())
    assert table.due() == 80
    assert table.expire(79, moved) == ([], Changes())
    assert asked == [0]
    assert len(table.expire(80, moved)[0]) == 1


def test_a_peer_without_keepalive_lives_an_hour() -> None:
    table = PeerTable()
    let_in(table, [X], A, 0)

    assert table.expire(3599, lambda _: False) == ([], Changes())
    assert len(table.expire(3600, lambda _: False)[0]) == 1


def test_a_lease_that_shortens_ends_in_time() -> None:
    table = PeerTable()
    for now in range(5):
        let_in(table, [X], A, now)

    assert len(table.expire(7, lambda _: False)[0]) == 1


def test_due_is_never_later_than_the_first_end() -> None:
    table = PeerTable()
    assert table.due() is None
    let_in(table, [X], A, 0)
    let_in(table, [Y], B, 5)
    let_in(table, [Y], B, 15)

    assert table.due() == 50


def test_a_table_survives_a_restart() -> None:
    table = PeerTable()
    for now in (0, 10, 20):
        let_in(table, [X, Z], A, now)
    let_in(table, [Y], C, 20)
    table.register([Y], C, SERVER, 21, authenticated=True, data_seen=never, credential=b"digest")
    written = msgspec.msgpack.encode(table.export(25))

    state = msgspec.msgpack.decode(written, type=PeerState)
    after = PeerTable()
    changes = after.restore(state, 1000, accept=lambda _: True, down=5)

    assert [peer.addresses for peer in after] == [(X, Z), (Y,)]
    first, second = after
    assert (first.endpoint, first.local, first.heartbeats) == (A, SERVER, 3)
    assert (first.since, first.last_heartbeat) == (970, 990)
    assert first.lease.until == 990 + 35
    assert second.credential == b"digest"
    assert second.endpoint == C
    assert len(changes.peers) == 2
    assert len(changes.routes) == 3
    assert not let_in(after, [X, Z], A, 1000).changed
    assert first.lease.gaps == (10, 10, 10)


def test_restoring_leaves_out_what_ended_or_is_not_let_in() -> None:
    table = PeerTable()
    let_in(table, [X], A, 0)
    let_in(table, [X], A, 10)
    let_in(table, [Y], B, 10)
    state = table.export(10)

    after = PeerTable()
    after.restore(state, 0, accept=lambda _: True, down=35)
    nobody = PeerTable()
    changes = nobody.restore(state, 0, accept=lambda record: Y not in record.addresses, down=34)

    assert [peer.addresses for peer in after] == [(Y,)]
    assert [peer.addresses for peer in nobody] == [(X,)]
    assert nobody.due() == 1
    assert len(changes.peers) == 1


def record(**changes: object) -> PeerRecord:
    table = PeerTable()
    let_in(table, [X], A, 0)
    return msgspec.structs.replace(table.export(1).peers[0], **changes)


@pytest.mark.parametrize(
    "damage",
    [
        {"addresses": ()},
        {"addresses": (X, X)},
        {"addresses": (b"1234",)},
        {"address": b""},
        {"local": b"1"},
        {"port": 0},
        {"port": 65536},
        {"scope": -1},
        {"left": nan},
        {"left": inf},
        {"left": 0.0},
        {"age": nan},
        {"silence": inf},
        {"gaps": (nan,)},
    ],
)
def test_damaged_records_are_left_out(damage: dict[str, object]) -> None:
    table = PeerTable()

    assert not table.restore(PeerState((record(**damage),)), 0, accept=lambda _: True)
    assert len(table) == 0


def test_records_that_contradict_an_earlier_one_are_left_out() -> None:
    table = PeerTable(capacity=2)
    state = PeerState(
        (
            record(),
            record(addresses=(Y,)),  # the same endpoint
            record(address=B.address),  # the same address
            record(address=B.address, addresses=(Y,)),
            record(address=C.address, addresses=(Z,)),  # no slot left
        )
    )

    table.restore(state, 0, accept=lambda _: True)

    assert [(peer.endpoint, peer.addresses) for peer in table] == [(A, (X,)), (B, (Y,))]


def test_a_state_of_another_version_is_an_error() -> None:
    with pytest.raises(ValueError, match="version 99"):
        PeerTable().restore(PeerState((), version=99), 0, accept=lambda _: True)


def test_histories_are_bounded_and_pruned() -> None:
    table = PeerTable(capacity=4)
    for number in range(20):
        address = a16(f"10.0.0.{number + 1}")
        for where in (A, B):
            heartbeat(table, [address], where, number, authenticated=True)
    assert len(table._histories) == 4

    table.expire(10_000, lambda _: False)

    assert len(table._histories) == 0
