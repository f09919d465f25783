"""An uplink that is answered: heartbeats, silence, round trips, and no watch (`uplink_world`)."""

from itertools import pairwise
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.protocol.uplink_world import E1, E2, OUTSIDE, S1, S2, perform, state_of, world

from gateway.protocol.packet import Endpoint
from gateway.protocol.probing import PROBE_INTERVAL, PROBE_JITTER
from gateway.protocol.uplink import FIRST_SILENCE, SHORTEST_SILENCE, State, Uplink
from gateway.protocol.uplink_actions import Connect, Resolve, SendHeartbeat


def beat(uplink: Uplink, now: float) -> None:
    """What is due by now is done."""
    uplink.advance(now)
    perform(uplink, now)


def test_it_registers_and_is_up() -> None:
    it = world().start()
    assert state_of(it) == "resolving"

    it.run(0.015)
    assert state_of(it) == "registering"
    assert it.uplink.endpoint == E1
    assert it.uplink.target == S1

    it.run(1)
    assert state_of(it) == "up"
    assert it.uplink.observed == OUTSIDE
    assert it.uplink.state_since == pytest.approx(100.03)
    assert it.ports == 0


def test_a_heartbeat_at_start_and_every_ttl() -> None:
    it = world(ttl=10).start().run(35)

    assert [at for at, _ in it.sent] == pytest.approx([100.01, 110.01, 120.01, 130.01])
    assert (it.uplink.heartbeats, it.uplink.acks, it.uplink.reconnects) == (4, 4, 0)
    assert it.uplink.rtt == pytest.approx(0.02)
    assert it.uplink.rtt_last == pytest.approx(0.02)
    assert it.uplink.loss == 0


@pytest.mark.parametrize(
    ("ttl", "times"),
    [(10, [0, 0.5, 1.5, 3.5, 7.5, 15.5, 25.5]), (1, [0, 0.5, 1.5, 2.5]), (0.5, [0, 0.5, 1])],
)
def test_the_first_heartbeat_is_repeated_sooner(ttl: float, times: list[float]) -> None:
    it = world(ttl=ttl, answering=set(), resolve_time=0).start().run(3 * ttl - 0.01)

    assert [at - 100 for at, _ in it.sent] == pytest.approx(times)
    assert state_of(it) == "registering"


def test_a_first_heartbeat_that_was_lost_costs_half_a_second() -> None:
    it = world(ttl=10, answering=set()).start().run(0.3)
    it.answering.add(E1)

    it.run(0.3)
    assert state_of(it) == "up"

    begin = it.now
    it.run(30)
    assert len(it.sent_since(begin)) == 3
    assert it.uplink.loss == 0


@pytest.mark.parametrize("ttl", [1, 10])
def test_silence_for_three_periods_is_loss(ttl: float) -> None:
    it = world(ttl=ttl).start().run(0.5 * ttl)
    last_ack = it.uplink.last_ack
    assert last_ack is not None
    it.answering.clear()

    it.run(2.4 * ttl)
    assert state_of(it) == "up"

    it.run(1 * ttl)
    assert state_of(it) == "lost"
    assert it.uplink.state_since == pytest.approx(last_ack + 3 * ttl)


def test_a_server_that_never_answers_is_lost_too() -> None:
    it = world(ttl=10, answering=set()).start().run(29)
    assert state_of(it) == "registering"

    it.run(2)
    assert state_of(it) == "lost"


def test_without_keepalive_one_heartbeat_and_no_watch() -> None:
    it = world(keepalive=False).start().run(10_000)

    assert state_of(it) == "unwatched"
    assert len(it.sent) == 1
    assert it.uplink.due() is None
    assert it.uplink.acks == 1
    assert it.uplink.rtt == pytest.approx(0.02)


def test_without_keepalive_silence_means_nothing() -> None:
    it = world(keepalive=False, answering=set()).start().run(10_000)

    assert state_of(it) == "unwatched"
    assert len(it.sent) == 1


@pytest.mark.parametrize("what", ["refused", "source_gone"])
def test_without_keepalive_trouble_is_probed_until_something_is_heard(what: str) -> None:
    it = world(keepalive=False).start().run(10)
    it.answering.clear()
    it.event(getattr(it.uplink, what))
    assert state_of(it) == "lost"
    it.run(10)
    assert 17 <= it.ports <= 26
    it.answering.add(E1)

    it.run(1)
    ports = it.ports
    it.run(1000)

    assert state_of(it) == "unwatched"
    assert it.uplink.reconnects == 1
    assert it.ports == ports


def test_a_suspended_host_does_each_thing_once() -> None:
    it = world(ttl=10).start().run(5)
    it.now += 3600

    it.uplink.advance(it.now)

    assert [type(action) for action in it.uplink.actions()] == [Resolve, Connect, SendHeartbeat]


def test_rtt_is_the_median_of_a_few_and_then_smoothed() -> None:
    """What the first of all took besides is no seed for an average."""
    uplink = Uplink((S1,), 10, keepalive=True, random=Random(1).random)
    uplink.start(0)
    uplink.resolved(0, S1, [E1])
    perform(uplink, 0)
    found = []
    for number, rtt in enumerate((0.8, 0.1, 0.2, 0.3)):
        beat(uplink, 10.0 * number)
        uplink.ack(10 * number + rtt, OUTSIDE)
        found.append(uplink.rtt)
    assert found == pytest.approx([0.8, 0.1, 0.2, 0.2 + 0.1 / 8])


def test_rtt_is_only_taken_of_a_lone_heartbeat() -> None:
    uplink = Uplink((S1,), 10, keepalive=True, random=Random(1).random)
    uplink.start(0)
    uplink.resolved(0, S1, [E1])
    perform(uplink, 0)
    uplink.ack(0.1, OUTSIDE)
    beat(uplink, 10)
    uplink.ack(10.2, OUTSIDE)

    assert uplink.rtt_last == pytest.approx(0.2)

    beat(uplink, 20)
    beat(uplink, 30)
    uplink.ack(30.1, OUTSIDE)
    assert uplink.rtt_last == pytest.approx(0.2), "which one was answered?"

    uplink.ack(30.2, OUTSIDE)
    assert uplink.rtt_last == pytest.approx(0.2), "none is outstanding"

    beat(uplink, 40)
    uplink.ack(40.3, OUTSIDE)
    assert uplink.rtt_last == pytest.approx(0.3)


def test_acks_that_nobody_listened_for_tell_no_rtt() -> None:
    """They waited in the socket, for a worker that was not there yet, or not any more."""
    uplink = Uplink((S1,), 10, keepalive=True, random=Random(1).random)
    uplink.start(0)
    uplink.resolved(0, S1, [E1])
    perform(uplink, 0, heard=False)
    uplink.ack(0.8, OUTSIDE)
    assert uplink.rtt is None

    beat(uplink, 10)
    uplink.unheard()
    uplink.ack(10.8, OUTSIDE)
    assert uplink.rtt is None

    beat(uplink, 20)
    uplink.ack(20.1, OUTSIDE)
    assert uplink.rtt == pytest.approx(0.1)


def test_a_heartbeat_that_did_not_leave_is_not_counted() -> None:
    it = world(ttl=1).start().run(2)
    sent = it.uplink.heartbeats
    it.unreachable = True

    it.run(10)
    assert it.uplink.heartbeats == sent
    assert len(it.sent) > sent + 10


def test_a_way_longer_than_three_short_periods_is_none_to_lose() -> None:
    """GOST's own ttl may be as short; only the first ack takes its time."""
    it = world(ttl=0.1, rtt=0.8).start().run(60)

    assert state_of(it) == "up"
    assert it.uplink.reconnects == 0
    it.answering.clear()
    it.run(0.85)
    heard = it.uplink.last_ack
    it.run(2)
    assert state_of(it) == "lost"
    assert it.uplink.state_since == pytest.approx(heard + SHORTEST_SILENCE)


def test_a_first_ack_may_take_longer() -> None:
    it = world(ttl=0.1, rtt=FIRST_SILENCE - 0.1).start().run(FIRST_SILENCE)
    assert state_of(it) == "up"

    it = world(ttl=0.1, answering=set(), resolve_time=0).start().run(FIRST_SILENCE + 1)
    assert it.uplink.state_since == pytest.approx(100 + FIRST_SILENCE)


def test_loss_is_of_the_last_twenty() -> None:
    uplink = Uplink((S1,), 10, keepalive=True, random=Random(1).random)
    uplink.start(0)
    assert uplink.loss is None
    uplink.resolved(0, S1, [E1])
    perform(uplink, 0)
    uplink.ack(0.1, OUTSIDE)
    for number in range(1, 40):
        beat(uplink, number * 10)
        if number % 2:
            uplink.ack(number * 10 + 0.1, OUTSIDE)

    assert uplink.loss == pytest.approx(0.5)
    assert uplink.state is State.UP


def test_a_server_that_is_away_has_no_loss() -> None:
    """Nor does what was lost with it count when it is back."""
    it = world(ttl=1).start().run(5.5)
    assert it.uplink.loss == 0
    it.answering.clear()
    it.run(10)
    assert state_of(it) == "lost"
    assert it.uplink.loss is None

    it.answering.add(E1)
    it.run(0.7)
    assert state_of(it) == "up"
    assert it.uplink.loss is None
    it.run(5)
    assert it.uplink.loss == 0


def test_events_before_anything_was_sent_are_nothing() -> None:
    uplink = Uplink((S1,), 10, keepalive=True, random=Random(1).random)
    uplink.start(0)
    uplink.actions()
    uplink.ack(0.1, OUTSIDE)
    uplink.refused(0.2)
    uplink.source_gone(0.3)
    uplink.renewed(0.4)

    assert uplink.state is State.RESOLVING
    assert uplink.actions() == []
    assert uplink.acks == 0


def test_an_answer_for_a_foreign_target_is_an_error() -> None:
    uplink = Uplink((S1,), 10, keepalive=True, random=Random(1).random)

    with pytest.raises(ValueError, match=r"two\.example:8421"):
        uplink.resolved(0, S2, [E2])


events = st.lists(
    st.tuples(
        st.sampled_from(("ack", "refused", "source_gone", "resolved", "resolve_failed", "pass")),
        st.sampled_from((0.0, 0.01, 0.3, 0.5, 1.0, 3.0, 11.0)),
    ),
    max_size=80,
)


@given(events, st.booleans(), st.integers(1, 2))
def test_whatever_happens_it_neither_spins_nor_sleeps(
    happenings: list[tuple[str, float]], keepalive: bool, count: int
) -> None:
    """To one endpoint heartbeats never come faster than probes; who watches has a next time."""
    targets = (S1, S2)[:count]
    uplink = Uplink(targets, 2, keepalive, Random(3).random)
    now, sent, asked = 0.0, [], {S1: -inf, S2: -inf}
    connected: Endpoint | None = None

    def drain() -> None:
        nonlocal connected
        for action in uplink.actions():
            match action:
                case SendHeartbeat():
                    assert connected
                    sent.append((connected, now))
                    uplink.sent(now)
                case Connect(endpoint):
                    connected = endpoint
                case Resolve(target):
                    assert now - asked[target] >= 1 - 1e-9
                    asked[target] = now

    uplink.start(now)
    drain()
    for what, pause in happenings:
        match what:
            case "ack":
                uplink.ack(now, OUTSIDE)
            case "resolved":
                uplink.resolved(now, targets[-1], [E1, E2])
            case "resolve_failed":
                uplink.resolve_failed(now, targets[0])
            case "pass":
                pass
            case _:
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
        assert uplink.due() is not None or uplink.state is State.UNWATCHED
        assert uplink.heartbeats == len(sent)

    for endpoint in (E1, E2):
        gaps = [b - a for a, b in pairwise(at for where, at in sent if where == endpoint)]
        assert all(gap >= PROBE_INTERVAL - PROBE_JITTER - 1e-9 for gap in gaps)
