from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.leases import Lease, Reminders, lease_length

# heartbeats at these times, the length afterwards, the period as far as it is known
HISTORIES = [
    ([0], 3600, None),
    ([0, 0.001], 3600, None),  # copied on the way
    ([0, 0.2, 0.4], 3600, None),
    ([0, 0.2, 0.4, 0.6], 35, None),  # calls more often than every second
    ([0, 10], 35, 10),
    ([0, 10, 20, 30], 35, 10),
    ([0, 10, 20, 30, 40], 30, 10),
    ([0, 15], 45, 15),
    ([0, 60], 180, 60),
    ([0, 10, 10.3, 20, 30, 40], 30, 10),  # a gap under 1 s is not counted
    ([0, 1, 2, 3], 35, 1),
    ([0, 1, 2, 3, 4], 3, 1),
    ([0, 0.99, 1.98, 2.97, 3.96], 35, None),
    ([0, 10, 20, 50, 60], 90, 30),
    ([0, 10, 20, 50, 60, 70, 80], 90, 30),
    ([0, 10, 20, 50, 60, 70, 80, 90], 30, 10),  # only the last four count
]


@pytest.mark.parametrize(("times", "length", "period"), HISTORIES)
def test_length_and_period(times: list[float], length: float, period: float | None) -> None:
    lease = Lease.first(times[0])
    for now in times[1:]:
        lease.heartbeat(now)

    assert lease.length == pytest.approx(length)
    assert lease.until == pytest.approx(times[-1] + length)
    assert lease.period == (period if period is None else pytest.approx(period))
    assert lease.heartbeats == len(times)


def test_the_idle_limit_is_the_callers() -> None:
    assert Lease.first(5, idle_limit=100).until == 105


def test_renewal_begins_anew_without_a_gap() -> None:
    lease = Lease.first(0)
    lease.heartbeat(10)
    lease.renew(30)

    assert lease.until == 65
    assert lease.gaps == (10,)
    assert lease.last == 10


def test_a_copy_goes_its_own_way() -> None:
    lease = Lease.first(0)
    copy = lease.copy()
    copy.heartbeat(10)

    assert lease.gaps == ()
    assert copy.gaps == (10,)


@given(st.lists(st.floats(0, 1e6), max_size=4).map(tuple), st.integers(1, 9))
def test_the_floors_hold(gaps: tuple[float, ...], heartbeats: int) -> None:
    length = lease_length(gaps, heartbeats)

    assert length >= (3 if len(gaps) == 4 else 35)
    assert length >= 3 * max(gaps, default=0)


def test_reminders_come_in_order_and_once() -> None:
    reminders = Reminders()
    assert reminders.due() is None
    for key, until in ((1, 30), (2, 10), (3, 20)):
        reminders.watch(key, until)

    assert reminders.due() == 10
    assert reminders.take(9) == []
    assert reminders.take(20) == [2, 3]
    assert reminders.take(20) == []
    assert reminders.due() == 30


def test_a_later_time_does_not_move_a_reminder_but_an_earlier_does() -> None:
    reminders = Reminders()
    reminders.watch(1, 30)
    reminders.watch(1, 40)
    assert reminders.due() == 30

    reminders.watch(1, 20)

    assert reminders.take(30) == [1]
    assert reminders.due() is None


def test_a_key_forgotten_and_watched_again_is_not_mixed_up() -> None:
    reminders = Reminders()
    reminders.watch(1, 10)
    reminders.forget(1)
    reminders.watch(1, 50)

    assert reminders.due() == 50


def test_forgotten_reminders_do_not_pile_up() -> None:
    reminders = Reminders()
    for key in range(10_000):
        reminders.watch(key, 1000 + key)
        reminders.forget(key)

    assert len(reminders._heap) < 200
    assert reminders.take(inf) == []


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50), st.booleans()), max_size=60))
def test_reminders_are_never_late(steps: list[tuple[int, int, bool]]) -> None:
    reminders = Reminders()
    earliest: dict[int, int] = {}
    for key, until, forget in steps:
        if forget:
            reminders.forget(key)
            earliest.pop(key, None)
        else:
            reminders.watch(key, until)
            earliest[key] = min(until, earliest.get(key, until))

    assert reminders.due() == min(earliest.values(), default=None)
    taken = [(now, key) for now in range(51) for key in reminders.take(now)]
    assert sorted(taken) == sorted((until, key) for key, until in earliest.items())
