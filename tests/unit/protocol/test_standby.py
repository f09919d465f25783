"""Several targets: who is used, who takes over, who comes back, and that nothing flaps."""

from itertools import pairwise
from random import Random
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import endpoint
from unit.protocol.uplink_world import E1, E2, OUTSIDE, S1, S2, Server, World, state_of, world

from gateway.protocol.probing import PROBE_INTERVAL, PROBE_JITTER
from gateway.protocol.selector import STRATEGIES, Node, Selector
from gateway.protocol.targets import Target
from gateway.protocol.uplink import Uplink
from gateway.protocol.uplink_actions import Check, Connect, SendHeartbeat

S3, E4 = Server("three.example"), endpoint("203.0.113.4")
NAMES: dict[Target, list] = {S1: [E1], S2: [E2], S3: [E4]}
ALL = {E1, E2, E4}


def several(strategy: str, *backups: Server, **options: object) -> World:
    state = {"answering": set(ALL), "ttl": 1, **options}
    return world(S1, S2, S3, strategy=strategy, backups=backups, names=dict(NAMES), **state)  # type: ignore[arg-type]


def states(it: World) -> list[str]:
    return [standing.state for standing in it.uplink.standings()]


def lose(it: World, *endpoints: object) -> World:
    """These answer no more, and that was noticed."""
    it.answering -= set(endpoints)
    return it.run(3.1)


@pytest.mark.parametrize("strategy", ["round", "fifo", "lowestlatency", "parallel"])
def test_the_first_is_used_and_the_next_takes_over(strategy):
    """Within three periods and two probes."""
    it = several(strategy).start().run(1.5)
    assert (state_of(it), it.uplink.target) == ("up", S1)
    assert states(it)[0] == "used"

    begin = it.now
    it.answering.discard(E1)
    it.run(3 + 2 * (PROBE_INTERVAL + PROBE_JITTER) + 0.1)

    assert state_of(it) == "up"
    assert it.uplink.target != S1
    assert it.uplink.reconnects == 1
    assert states(it)[0] == "failed"
    assert [where for at, where in it.sent if at > begin].count(E1) <= 5


def test_a_backup_is_the_last():
    it = lose(several("round", S1).start().run(2), E2)
    assert it.uplink.target == S3
    assert all(where != E1 for _, where in it.sent)
    lose(it.run(2), E4).run(3)
    assert (state_of(it), it.uplink.target) == ("up", S1)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_backup_is_left_when_another_answers_three_times(strategy):
    it = lose(several(strategy, S3).start().run(2), E1, E2).run(3)
    assert (state_of(it), it.uplink.target) == ("up", S3)
    it.answering.add(E2)
    it.run(2)
    assert it.uplink.target == S3
    it.run(3)
    assert (state_of(it), it.uplink.target) == ("up", S2)
    assert states(it) == ["failed", "used", "healthy"]


def test_fifo_goes_back_to_the_first():
    it = lose(several("fifo").start().run(2), E1).run(1)
    assert it.uplink.target == S2
    checks = len(it.checks)
    it.run(10)
    assert 9 <= len(it.checks) - checks <= 12, "once a period"
    it.answering.add(E1)
    begin, reconnects = it.now, it.uplink.reconnects

    it.run(1.9)
    assert it.uplink.target == S2, "one or two answers are not enough"
    it.run(2.5)

    assert (state_of(it), it.uplink.target) == ("up", S1)
    assert it.uplink.reconnects == reconnects + 1
    checks = len(it.checks)
    assert not [at for at, _ in it.checks if at > begin + 5]
    it.run(100)
    assert len(it.checks) == checks, "nobody is better than the first"


def test_hash_goes_back_to_its_own():
    key = next(text for text in (b"%d" % number for number in range(99)) if crc32(text) % 3 == 1)
    it = several("hash", key=key).start().run(2)
    assert it.uplink.target == S2
    lose(it, E2).run(2)
    assert it.uplink.target in (S1, S3)
    it.answering.add(E2)
    it.run(5)
    assert it.uplink.target == S2


@pytest.mark.parametrize("strategy", ["round", "random", "parallel"])
def test_the_others_stay_where_they_are(strategy):
    it = several(strategy).start().run(2)
    first = it.uplink.target
    lose(it, *NAMES[first]).run(2)
    second = it.uplink.target
    assert second != first
    it.answering = set(ALL)
    checks = len(it.checks)
    it.run(1000)
    assert it.uplink.target == second
    assert len(it.checks) == checks


def test_a_first_that_comes_and_goes_does_not_take_its_clients_along():
    """Up for ten seconds of every thirty."""
    it = several("fifo").start().run(2)
    for _ in range(60):
        it.answering.discard(E1)
        it.run(20)
        it.answering.add(E1)
        it.run(10)
    assert it.uplink.reconnects <= 6
    it.run(120)
    assert it.uplink.target == S1


def test_what_was_lost_long_ago_is_forgiven():
    it = several("fifo").start()
    for _ in range(5):
        lose(it.run(700), E1).run(2)
        assert it.uplink.target == S2
        it.answering.add(E1)
        it.run(4.5)
        assert it.uplink.target == S1


def test_the_quickest_is_used():
    rtts = {E1: 0.050, E2: 0.048, E4: 0.010}
    it = several("lowestlatency", rtts=rtts).start().run(1)
    assert it.uplink.target == S1
    it.run(6)
    assert (state_of(it), it.uplink.target) == ("up", S3)
    assert [standing.rtt for standing in it.uplink.standings()] == pytest.approx(
        [0.050, 0.048, 0.010], rel=0.01
    )
    begin = it.now
    it.run(600)
    checks = [at for at, _ in it.checks if at > begin]
    assert len(checks) <= 30, "questions get rare"
    it.rtts[E2] = 0.009
    it.run(600)
    assert it.uplink.target == S3, "not clearly quicker"
    it.rtts[E2] = 0.001
    it.run(300)
    assert it.uplink.target == S2
    assert it.uplink.reconnects == 2


def test_a_slow_first_answer_is_no_reason_to_leave():
    """Both ends are cold then. One that stays slow is left as soon as that is known."""
    rtts = {E1: 0.050, E2: 0.005, E4: 0.006}
    it = several("lowestlatency", rtts=dict(rtts), ttl=10).start().run(1)
    it.rtts[E1] = 0.004
    it.run(300)
    assert (it.uplink.target, it.uplink.reconnects) == (S1, 0)

    it = several("lowestlatency", rtts=dict(rtts), ttl=10).start().run(19)
    assert it.uplink.target == S1
    it.run(5)
    assert it.uplink.target == S2


def test_parallel_takes_who_answers_first():
    rtts = {E1: 0.200, E2: 0.040, E4: 0.080}
    it = several("parallel", rtts=rtts).start().run(0.5)
    assert (state_of(it), it.uplink.target) == ("up", S2)
    assert it.uplink.reconnects == 0
    lose(it, E2).run(1)
    assert (state_of(it), it.uplink.target) == ("up", S3)


def test_one_of_several_that_never_answers_is_left_sooner():
    it = several("fifo", ttl=10, answering={E2}).start().run(5.0)
    assert it.uplink.target == S1
    it.run(2)
    assert (state_of(it), it.uplink.target) == ("up", S2)


def test_one_that_answers_only_questions_is_left_soon():
    """Its way is broken for the socket in use: two seconds, and more patience after that."""
    it = lose(several("fifo").start().run(2), E1).run(1)
    begin = it.now
    for _ in range(300):
        it.run(1)
        it.event(lambda now: it.uplink.checked(now, E1))
    away = [at for at, where in it.sent if at > begin and where == E1]
    assert 2 < len(away) < 60
    assert it.uplink.reconnects < 10


def test_names_of_the_others_are_asked_when_they_are_needed():
    it = several("fifo").start().run(1)
    assert [target for _, target in it.asked] == [S1]
    lose(it, E1).run(2)
    assert it.uplink.target == S2
    it.names[S1] = [E4]
    it.run(12)
    assert (it.uplink.target, it.uplink.endpoint) == (S1, E4)


def test_answers_of_strangers_are_nothing():
    it = several("fifo").start().run(1)
    it.event(lambda now: it.uplink.checked(now, endpoint("192.0.2.1")))
    it.event(lambda now: it.uplink.checked(now, E2))
    assert it.uplink.target == S1


happenings = st.lists(
    st.tuples(
        st.sampled_from(("ack", "refused", "source_gone", "one", "two", "three", "pass", "pass")),
        st.sampled_from((0.0, 0.01, 0.3, 0.5, 1.0, 3.0, 11.0)),
    ),
    max_size=80,
)


@given(happenings, st.sampled_from(STRATEGIES), st.booleans(), st.integers(0, 3), st.booleans())
def test_whatever_happens_it_neither_spins_nor_sleeps(story, strategy, keepalive, backups, random):
    """At most one heartbeat beside those that time asks for, for each that answered, or refused."""
    nodes = [Node(backup=index >= 3 - backups) for index in range(3)]
    generator = Random(3 if random else 4).random
    selector = Selector(strategy, nodes, generator, fail_timeout=3.0)
    uplink = Uplink((S1, S2, S3), 2, keepalive, generator, selector, b"key")
    now, sent, moves, refusals, checks = 0.0, [], 0, 0, 0
    connected = None

    def drain() -> None:
        nonlocal connected, checks
        for action in uplink.actions():
            match action:
                case SendHeartbeat():
                    assert connected == uplink.endpoint
                    sent.append(now)
                    uplink.sent(now)
                case Connect(where, _):
                    connected = where
                case Check(where, _):
                    assert where != connected
                    checks += 1

    uplink.start(now)
    drain()
    for target, found in NAMES.items():
        uplink.resolved(now, target, found)
        drain()
    for what, pause in story:
        where = {"one": E1, "two": E2, "three": E4}.get(what)
        before = uplink.endpoint
        refusals += what == "refused"
        if where is not None:
            uplink.checked(now, where)
            moves += uplink.endpoint != before
        elif what == "ack":
            uplink.ack(now, OUTSIDE)
        elif what != "pass":
            getattr(uplink, what)(now)
        drain()
        end = now + pause
        while (due := uplink.due()) is not None and due <= end:
            now = max(now, due)
            uplink.advance(now)
            drain()
            again = uplink.due()
            assert again is None or again > now
        now = end
        assert uplink.due() is not None or state_of_uplink(uplink) == "unwatched"
    short = [b - a for a, b in pairwise(sent) if b - a < PROBE_INTERVAL - PROBE_JITTER - 1e-9]
    assert len(short) <= 2 * (moves + refusals)
    assert checks <= 2 * len(sent) + 3 * now + 4


def state_of_uplink(uplink: Uplink) -> str:
    return uplink.state.value
