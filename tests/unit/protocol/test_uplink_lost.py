"""An uplink that searches: probes, refusals, new ways, names and targets (`uplink_world`)."""

from itertools import pairwise

import pytest
from unit.protocol.uplink_world import E1, E2, E3, S1, S2, state_of, world

from gateway.protocol.packet import Endpoint
from gateway.protocol.probing import PROBE_INTERVAL, PROBE_JITTER
from gateway.protocol.targets import Target


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
