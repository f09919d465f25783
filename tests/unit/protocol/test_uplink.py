"""The uplink against a pretended world (`uplink_world`)."""

from itertools import pairwise
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.protocol.uplink_world import E1, E2, E3, OUTSIDE, S1, S2, state_of, world

from gateway.protocol.packet import Endpoint
from gateway.protocol.probing import PROBE_INTERVAL, PROBE_JITTER
from gateway.protocol.targets import Target
from gateway.protocol.uplink import State, Uplink
from gateway.protocol.uplink_actions import Connect, Resolve, SendHeartbeat


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


def test_lost_probes_twice_a_second_each_from_a_new_port() -> None:
    it = world(ttl=1).start().run(2)
    it.answering.clear()
    it.run(5)
    before, ports, begin = len(it.sent), it.ports, it.now

    it.run(20)

    probes = it.sent_since(begin)
    gaps = [b - a for a, b in pairwise(probes)]
    assert 36 <= len(probes) <= 44
    assert len(it.sent) - before == it.ports - ports
    assert len({round(gap, 3) for gap in gaps}) > 5
    assert all(PROBE_INTERVAL - 0.101 <= gap <= PROBE_INTERVAL + 0.101 for gap in gaps)


def test_it_is_back_within_a_second_and_then_as_before() -> None:
    it = world(ttl=1).start().run(2)
    it.answering.clear()
    it.run(60)
    it.answering.add(E1)

    it.run(1)

    assert state_of(it) == "up"
    assert it.uplink.reconnects == 1
    begin = it.now
    it.run(10)
    assert 9 <= len(it.sent_since(begin)) <= 10


def test_a_refusal_is_loss_at_once_and_does_not_spin() -> None:
    it = world(ttl=10).start().run(3)
    it.answering.clear()
    it.refusing.add(E1)
    begin = it.now

    it.event(it.uplink.refused)

    assert state_of(it) == "lost"
    it.run(10)
    assert 17 <= len(it.sent_since(begin)) <= 26
    it.answering.add(E1)
    it.run(1)
    assert state_of(it) == "up"


def test_refusals_in_a_hail_do_not_hasten_the_probes() -> None:
    it = world(ttl=10).start().run(3)
    it.answering.clear()
    begin = it.now
    for _ in range(1000):
        it.event(it.uplink.refused)
        it.event(it.uplink.source_gone)
        it.run(0.01)

    assert 17 <= len(it.sent_since(begin)) <= 26


def test_who_refuses_for_good_is_left_within_a_second() -> None:
    """The loss, a probe to where it was up, and at once another to the next one."""
    it = world(S1, S2, names={S1: [E1], S2: [E2]}).start().run(5)
    assert it.uplink.endpoint == E1
    it.answering = {E2}
    it.refusing = {E1}
    lost = it.now
    it.event(it.uplink.refused)

    it.run(0.7)
    assert state_of(it) == "up"
    assert it.uplink.endpoint == E2
    assert [endpoint for at, endpoint in it.sent if at >= lost] == [E1, E2]


def test_all_who_refuse_are_asked_no_faster_than_by_turns() -> None:
    it = world(S1, S2, names={S1: [E1, E2], S2: [E3]}).start().run(5)
    it.answering, it.refusing = set(), {E1, E2, E3}
    lost = it.now
    it.event(it.uplink.refused)

    it.run(10)
    assert len(it.sent_since(lost)) <= 3 + 10 / (PROBE_INTERVAL - PROBE_JITTER)


def test_a_refusal_right_after_an_ack_waits_for_the_next_probe() -> None:
    """A server whose acks come but whose port refuses data: one probe per turn, no more."""
    it = world(ttl=10).start().run(3)
    begin = it.now
    for _ in range(1000):
        it.event(it.uplink.refused)
        it.run(0.01)

    assert len(it.sent_since(begin)) <= 26


def test_a_source_that_went_reconnects_at_once() -> None:
    it = world(ttl=10).start().run(5)
    ports, begin = it.ports, it.now

    it.event(it.uplink.source_gone)
    it.run(0.1)

    assert state_of(it) == "up"
    assert it.ports == ports + 1
    assert len(it.sent_since(begin)) == 1


def test_a_new_way_to_the_server_is_no_loss() -> None:
    """What was sent before it was there went nowhere: it is said anew at once."""
    it = world(ttl=10, answering=set(), resolve_time=0).start().run(0.2)
    it.answering.add(E1)
    it.event(it.uplink.renewed)

    assert state_of(it) == "registering"
    assert it.ports == 1
    it.run(0.1)
    assert state_of(it) == "up"
    assert it.uplink.reconnects == 0

    it.event(it.uplink.renewed)
    assert state_of(it) == "registering"
    it.run(0.1)
    assert state_of(it) == "up"
    assert (it.uplink.reconnects, it.ports) == (1, 2)
    assert [standing.fails for standing in it.uplink.standings()] == [0]


def test_a_new_way_ends_the_search() -> None:
    it = world(ttl=1, answering=set(), resolve_time=0).start().run(3.6)
    assert state_of(it) == "lost"
    it.answering.add(E1)
    it.event(it.uplink.renewed)
    it.run(0.1)
    assert state_of(it) == "up"


def test_new_ways_that_bring_no_answer_do_not_put_off_the_loss() -> None:
    it = world(ttl=1, resolve_time=0).start().run(0.2)
    it.answering.clear()
    for _ in range(12):
        it.event(it.uplink.renewed)
        it.run(0.3)
    assert state_of(it) == "lost"
    for _ in range(3):
        it.event(it.uplink.renewed)
        assert state_of(it) == "lost"
        it.run(0.3)
    it.answering.add(E1)
    it.event(it.uplink.renewed)
    it.run(0.1)
    assert state_of(it) == "up"


def test_a_network_that_is_gone_is_tried_at_probe_rate() -> None:
    it = world(ttl=10).start().run(5)
    it.unreachable = True
    begin = it.now
    it.event(it.uplink.source_gone)

    it.run(10)
    assert 17 <= len(it.sent_since(begin)) <= 26

    it.unreachable = False
    it.run(1)
    assert state_of(it) == "up"


def test_the_name_is_asked_again_while_lost_but_not_more_than_once_a_second() -> None:
    it = world(ttl=1).start().run(2)
    it.answering = {E3}
    it.run(5)
    begin = it.now
    it.run(10)
    asked = [at for at, _ in it.asked if at >= begin]
    assert 6 <= len(asked) <= 11
    assert all(b - a >= 1 - 1e-9 for a, b in pairwise(asked))

    it.names[S1] = [E3]
    it.run(2.5)

    assert state_of(it) == "up"
    assert it.uplink.endpoint == E3


def test_a_resolver_without_answers_does_not_stop_the_probes() -> None:
    it = world(ttl=1).start().run(2)
    it.answering.clear()
    it.names[S1] = None
    it.run(30)
    begin = it.now

    it.run(10)

    assert len(it.sent_since(begin)) >= 17
    assert sum(at >= begin for at, _ in it.asked) <= 3
    it.answering.add(E1)
    it.run(1)
    assert state_of(it) == "up"


def test_a_name_that_means_nothing_any_more_leaves_the_last_endpoint() -> None:
    it = world(ttl=1).start().run(2)
    it.answering.clear()
    it.names[S1] = []
    it.run(10)
    it.answering.add(E1)

    it.run(1)

    assert state_of(it) == "up"


@pytest.mark.parametrize("found", [[], None])
def test_without_an_address_it_asks_on_patiently(found: list[Endpoint] | None) -> None:
    it = world(names={S1: found}).start().run(30)

    assert state_of(it) == "resolving"
    assert 6 <= len(it.asked) <= 31
    assert it.sent == []
    it.names[S1] = [E1]
    it.run(6)
    assert state_of(it) == "up"


def test_a_second_target_is_used_when_the_first_has_no_address() -> None:
    for found in ([], None):
        it = world(S1, S2, names={S1: found, S2: [E2]}).start().run(3)

        assert state_of(it) == "up"
        assert it.uplink.target == S2


def test_targets_and_addresses_take_turns_while_lost() -> None:
    names: dict[Target, list[Endpoint] | None] = {S1: [E1, E3], S2: [E2]}
    it = world(S1, S2, ttl=1, names=names).start().run(2)
    it.answering.clear()
    it.run(10)

    assert [where for _, where in it.sent[-9:]].count(E1) == 3
    assert [where for _, where in it.sent[-9:]].count(E2) == 3
    it.answering.add(E2)
    it.run(2)
    assert state_of(it) == "up"
    assert (it.uplink.target, it.uplink.endpoint) == (S2, E2)


def test_the_first_probe_goes_to_where_it_was_up() -> None:
    names: dict[Target, list[Endpoint] | None] = {S1: [E1], S2: [E2]}
    it = world(S1, S2, ttl=10, names=names).start().run(5)
    begin = it.now

    it.event(it.uplink.refused)
    it.run(0.3)

    assert [where for at, where in it.sent if at >= begin] == [E1]


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


def test_a_long_round_trip_is_known_and_waited_for() -> None:
    it = world(ttl=1, rtt=0.8).start().run(5)
    it.answering.clear()
    it.run(10)
    it.answering.add(E1)

    it.run(3)

    assert state_of(it) == "up"


def test_a_long_round_trip_that_is_not_known_is_found_out() -> None:
    it = world(ttl=10, rtt=0.7, answering=set(), refusing={E1}).start().run(30)
    it.event(it.uplink.refused)
    it.run(30)
    it.answering.add(E1)

    it.run(5)

    assert state_of(it) == "up"


def test_a_suspended_host_does_each_thing_once() -> None:
    it = world(ttl=10).start().run(5)
    it.now += 3600

    it.uplink.advance(it.now)

    assert [type(action) for action in it.uplink.actions()] == [Resolve, Connect, SendHeartbeat]


def test_rtt_is_smoothed_and_only_taken_of_a_lone_heartbeat() -> None:
    uplink = Uplink((S1,), 10, keepalive=True, random=Random(1).random)
    uplink.start(0)
    uplink.resolved(0, S1, [E1])
    uplink.ack(0.1, OUTSIDE)
    uplink.advance(10)
    uplink.ack(10.2, OUTSIDE)

    assert uplink.rtt == pytest.approx(0.1 + 0.1 / 8)
    assert uplink.rtt_last == pytest.approx(0.2)

    uplink.advance(20)
    uplink.advance(30)
    uplink.ack(30.1, OUTSIDE)
    assert uplink.rtt_last == pytest.approx(0.2), "which one was answered?"

    uplink.ack(30.2, OUTSIDE)
    assert uplink.rtt_last == pytest.approx(0.2), "none is outstanding"

    uplink.advance(40)
    uplink.ack(40.3, OUTSIDE)
    assert uplink.rtt_last == pytest.approx(0.3)


def test_loss_is_of_the_last_twenty() -> None:
    uplink = Uplink((S1,), 10, keepalive=True, random=Random(1).random)
    uplink.start(0)
    assert uplink.loss is None
    uplink.resolved(0, S1, [E1])
    uplink.ack(0.1, OUTSIDE)
    for number in range(1, 40):
        uplink.advance(number * 10)
        if number % 2:
            uplink.ack(number * 10 + 0.1, OUTSIDE)

    assert uplink.loss == pytest.approx(0.5)
    assert uplink.state is State.UP


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
