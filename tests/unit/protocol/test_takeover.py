"""One address, several claimants: what the peer table makes of each sequence.

A step is "time claimant outcome": `A` and `B` are hosts with one endpoint each, `t1`,
`t2`... are one thief's ports. Outcomes: `new`, `renew`, `move`, `refuse`, `flap` (moves,
shown as a conflict), and `data`: no heartbeat, but data from whoever holds the address.
"""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import a16, endpoint

from gateway.protocol.forwarding import Refusal
from gateway.protocol.leases import Lease
from gateway.protocol.packet import ANY, Endpoint
from gateway.protocol.peer_changes import Refused, Registered
from gateway.protocol.peers import PeerTable
from gateway.protocol.takeover import CONTEST_MEMORY, DISPLACED_LIMIT, History, Holder, Ruling

ADDRESS = a16("192.168.123.2")


def endpoint_of(claimant: str) -> Endpoint:
    if claimant.startswith("t"):
        return endpoint("203.0.113.66", 40_000 + int(claimant[1:]))
    return endpoint(f"203.0.113.{ord(claimant)}", 8421)


class Play:
    """One address in a table of its own."""

    def __init__(self, *, authenticated: bool) -> None:
        self.table = PeerTable()
        self.authenticated = authenticated
        self.data_at = -inf

    def step(self, now: float, claimant: str) -> str:
        if claimant == "data":
            self.data_at = now
            return "data"
        if claimant == "expire":
            removed, _ = self.table.expire(now, lambda _: False)
            return "gone" if removed else "stay"
        result = self.table.register(
            [ADDRESS],
            endpoint_of(claimant),
            ANY,
            now,
            authenticated=self.authenticated,
            data_seen=lambda _: self.data_at,
        )
        if isinstance(result, Refused):
            assert result.refusal is Refusal.CONFLICT
            return "refuse"
        assert result.peer is self.table.at_address(ADDRESS)
        assert result.peer.in_conflict(now) or not result.conflict
        if result.conflict:
            return "flap"
        return "new" if result.new else "move" if result.former else "renew"

    def holder(self) -> Endpoint:
        peer = self.table.at_address(ADDRESS)
        assert peer is not None
        return peer.endpoint


SEQUENCES = {
    "keepalive": "0 A new, 10 A renew, 20 A renew",
    "roaming": "0 A new, 10 A renew, 15 B move, 25 B renew",
    "one return is roaming": "0 A new, 10 A renew, 15 B move, 20 A move, 30 A renew",
    "roaming on and on, never back": "0 A new, 3 B move, 6 C move, 9 D move, 12 E move",
    "two hosts": (
        "0 A new, 5 B move, 10 A move, 15 B refuse, 20 A renew, 25 B refuse, 30 A renew,"
        "35 B refuse, 40 A renew, 45 B refuse"
    ),
    "a third one waits as well": "0 A new, 5 B move, 10 A move, 11 C refuse, 12 D refuse",
    "the holder falls silent, its period unknown": (
        "0 A new, 1 B move, 2 A move, 11.9 B refuse, 12.1 B move"
    ),
    "the holder falls silent, its period known": (
        "0 A new, 10 A renew, 11 B move, 20 A move, 34.9 B refuse, 35 B move"
    ),
    "a host with long periods is waited for": (
        "0 A new, 60 A renew, 61 B move, 120 A move, 150 B refuse, 209 B refuse, 211 B move"
    ),
    "a silence of the thief makes no difference to who was first": (
        "0 A new, 60 A renew, 61 B move, 120 A move, 121 B refuse, 180 A renew, 181 t1 refuse"
    ),
    "its period is learned though it was displaced between": (
        "0 A new, 1 B move, 60 A move, 80 B refuse, 120 A renew, 150 B refuse, 180 A renew"
    ),
    "data is a sign of life": (
        "0 A new, 10 A renew, 11 B move, 20 A move, 34 data data, 40 B refuse, 49 B move"
    ),
    "who was first may come back after a silence too": (
        "0 A new, 10 A renew, 11 B move, 20 A move, 40 B move, 41 A move, 42 B refuse"
    ),
    "a thief changes his port each time": (
        "0 A new, 10 A renew, 11 t1 move, 20 A move, 21 t2 refuse, 22 t3 refuse, 29 t4 refuse,"
        "30 A renew, 31 t5 refuse, 40 A renew, 44 t6 refuse, 50 A renew"
    ),
    "a thief changes his port before the host is back": (
        "0 A new, 10 A renew, 11 t1 move, 12 t2 move, 13 t3 move, 20 A move, 21 t4 refuse,"
        "22 t1 refuse, 23 t2 refuse, 24 t3 refuse"
    ),
    "a thief plays A, B, A alone": (
        "0 A new, 10 A renew, 11 t1 move, 12 t2 move, 13 t1 move, 14 t2 refuse, 20 A move,"
        "21 t1 refuse, 22 t2 refuse, 23 t3 refuse"
    ),
    "a thief lets his lease end to wipe the traces": (
        "0 A new, 1 t1 move, 2 t1 renew, 3 t1 renew, 4 t1 renew, 5 t1 renew, 9 expire gone,"
        "10 A new, 11 t2 refuse, 12 t3 refuse, 20 A renew"
    ),
    "a contest is forgotten when nobody tried for long": (
        "0 A new, 5 B move, 10 A move, 300 A renew, 601 B refuse, 900 A renew, 1190 A renew,"
        "1200 B refuse, 1500 A renew, 1799 A renew, 1801 B move"
    ),
    "whoever is first keeps it, the thief too": "0 t1 new, 1 A move, 2 t1 move, 10 A refuse",
}


def steps(text: str) -> list[tuple[float, str, str]]:
    rows = [step.split() for step in text.split(",")]
    return [(float(now), claimant, outcome) for now, claimant, outcome in rows]


@pytest.mark.parametrize("name", SEQUENCES)
def test_without_auth(name: str) -> None:
    play = Play(authenticated=False)
    wanted = steps(SEQUENCES[name])

    assert [(now, who, play.step(now, who)) for now, who, _ in wanted] == wanted


WITH_AUTH = {
    "roaming": "0 A new, 10 A renew, 15 B move, 25 B renew",
    "one return is roaming": "0 A new, 10 A renew, 15 B move, 20 A move",
    "the newest wins, the flapping is shown": (
        "0 A new, 5 B move, 10 A move, 15 B flap, 20 A move, 25 B flap"
    ),
    "ports do not hide it": "0 A new, 5 t1 move, 10 A move, 15 t2 flap, 20 A move, 21 t3 flap",
    "not after a silence": "0 A new, 5 B move, 10 A move, 30 B move",
}


@pytest.mark.parametrize("name", WITH_AUTH)
def test_with_auth(name: str) -> None:
    play = Play(authenticated=True)
    wanted = steps(WITH_AUTH[name])

    assert [(now, who, play.step(now, who)) for now, who, _ in wanted] == wanted


def test_a_conflict_is_shown_and_fades() -> None:
    play = Play(authenticated=False)
    for now, who in ((0, "A"), (5, "B"), (10, "A"), (15, "B")):
        play.step(now, who)
    peer = play.table.at_address(ADDRESS)

    assert peer is not None
    assert peer.in_conflict(16)
    assert not peer.in_conflict(16 + 60)


def test_a_refusal_says_who_holds_it() -> None:
    play = Play(authenticated=False)
    for now, who in ((0, "A"), (5, "B"), (10, "A")):
        play.step(now, who)
    play.data_at = 12.5

    result = play.table.register(
        [ADDRESS],
        endpoint_of("B"),
        ANY,
        15,
        authenticated=False,
        data_seen=lambda _: play.data_at,
    )

    assert result == Refused(
        Refusal.CONFLICT,
        "192.168.123.2 is held by another host, who was heard 2.5 s ago",
        endpoint_of("A"),
    )


@given(
    st.lists(st.floats(0.05, 4), min_size=1, max_size=60),
    st.integers(1, 70),
    st.floats(0, 9.9),
)
def test_a_thief_never_gets_more_than_one_period(
    pauses: list[float], ports: int, begin: float
) -> None:
    """However he times his tries and picks his ports: once the host came back, he is out."""
    play = Play(authenticated=False)
    tries = []
    now = 20 + begin
    for number, pause in enumerate(pauses):
        tries.append((now, f"t{number % ports}"))
        now += pause
    host = [(at, "A") for at in range(0, int(now) + 20, 10)]
    for now, who in sorted([*host, *tries]):
        outcome = play.step(now, who)
        if now >= 30 and who.startswith("t"):
            assert outcome == "refuse"
        if who == "A":
            assert outcome != "refuse"

    assert play.holder() == endpoint_of("A")


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.floats(0.1, 30)), max_size=40))
def test_with_auth_nobody_is_ever_refused(moves: list[tuple[str, float]]) -> None:
    play = Play(authenticated=True)
    now = 0.0
    for who, pause in moves:
        now += pause
        assert play.step(now, who) != "refuse"
        assert play.holder() == endpoint_of(who)


def holder_at(claimant: str, now: float, gaps: int = 0) -> Holder:
    lease = Lease(last=now, until=now + 35, gaps=(10.0,) * gaps)
    return Holder(endpoint_of(claimant), lease, now)


def test_the_memory_is_bounded_and_keeps_who_was_there_longest() -> None:
    history = History()
    history.apply(Ruling.MOVE, endpoint_of("t0"), holder_at("A", 0, gaps=1), 0)
    for number in range(1000):
        history.apply(Ruling.MOVE, endpoint_of(f"t{number + 1}"), holder_at(f"t{number}", 1), 1)

    assert len(history.displaced) == DISPLACED_LIMIT
    assert history.remembered(endpoint_of("A"), 2) is not None
    assert history.rule(endpoint_of("A"), holder_at("t1000", 2), 2, authenticated=False) is (
        Ruling.RETURN
    )


def test_of_equals_the_eldest_are_kept() -> None:
    history = History()
    for number in range(100):
        history.apply(Ruling.MOVE, endpoint_of(f"t{number + 1}"), holder_at(f"t{number}", 1), 1)

    assert history.remembered(endpoint_of("t0"), 2) is not None
    assert history.remembered(endpoint_of("t98"), 2) is None


def test_a_history_is_idle_when_all_is_over() -> None:
    history = History()
    assert history.idle(0)
    history.apply(Ruling.MOVE, endpoint_of("B"), holder_at("A", 0, gaps=1), 0)
    assert not history.idle(34)
    assert history.idle(35)
    history.apply(Ruling.RETURN, endpoint_of("A"), holder_at("B", 1, gaps=1), 1)
    assert not history.idle(CONTEST_MEMORY)
    assert history.idle(CONTEST_MEMORY + 1)


def test_ruling_changes_nothing_by_itself() -> None:
    history = History()
    history.apply(Ruling.MOVE, endpoint_of("B"), holder_at("A", 0), 0)
    before = repr(history)
    history.rule(endpoint_of("A"), holder_at("B", 1), 2, authenticated=False)

    assert repr(history) == before


def test_registered_tells_where_the_peer_was() -> None:
    play = Play(authenticated=False)
    play.step(0, "A")
    result = play.table.register(
        [ADDRESS], endpoint_of("B"), ANY, 5, authenticated=False, data_seen=lambda _: -inf
    )

    assert isinstance(result, Registered)
    assert result.former == endpoint_of("A")
    assert not result.new
    assert result.peer.moves == 1
