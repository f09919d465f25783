"""Measuring against a pretended path: routers that speak or do not, loss, silence."""

from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.path_mtu import FLOOR, OVERHEAD, Measurement, PathMtu


@dataclass
class Path:
    """`links`: the MTU of each on the way, and whether the router before it says "too big"."""

    links: list[tuple[int, bool]] = field(default_factory=lambda: [(1500, True)])
    answers: bool = True
    rtt: float = 0.02
    loss: float = 0.0
    hint: bool = True
    sent: list[int] = field(default_factory=list)

    def measure(self, wanted: int, version: int = 4) -> tuple[PathMtu, float]:
        """The result, and how long it took."""
        random = Random(1)
        now, number, events = 100.0, 0, []
        it = Measurement(wanted, version, now, sequence=65_530)
        while it.result is None:
            for probe in it.probes():
                self.sent.append(probe.size)
                assert 0 <= probe.sequence < 65_536
                number += 1
                if random.random() >= self.loss:
                    heappush(events, (now + self.rtt, number, probe.size, probe.sequence))
            due = it.due()
            at = min(inf if due is None else due, events[0][0] if events else inf)
            assert at < inf, "it neither waits nor ends"
            now = max(now, at)
            if events and events[0][0] <= now:
                _, _, size, sequence = heappop(events)
                self._arrive(it, now, size, sequence)
            else:
                it.advance(now)
        assert it.due() is None
        assert it.probes() == []
        return it.result, now - 100.0

    def _arrive(self, it: Measurement, now: float, size: int, sequence: int) -> None:
        for mtu, speaks in self.links:
            if size > mtu:
                if speaks:
                    it.too_big(now, sequence, mtu if self.hint else 0)
                return
        if self.answers:
            it.answered(now, sequence)


def test_a_wide_path_takes_one_question():
    path = Path()
    result, seconds = path.measure(1448)
    assert (result.path, result.fits) == (1448, True)
    assert path.sent == [1448]
    assert seconds == pytest.approx(0.02)


def test_a_router_that_speaks_is_believed_and_tried():
    path = Path([(1500, True), (1400, True), (1300, True)])
    result, seconds = path.measure(1448)
    assert (result.path, result.fits) == (1300, False)
    assert path.sent == [1448, 1400, 1300]
    assert seconds < 0.1


@pytest.mark.parametrize("hint", [True, False])
def test_a_router_that_names_no_size(hint):
    path = Path([(1437, True)], hint=hint)
    assert path.measure(1448)[0].path == 1437
    assert len(path.sent) <= 15


def test_a_router_that_says_nothing():
    path = Path([(1437, False)])
    result, seconds = path.measure(1448)
    assert (result.path, result.fits) == (1437, False)
    assert seconds < 15


def test_what_was_silent_is_not_asked_again():
    path = Path([(1447, False)])
    assert path.measure(1448)[0].path == 1447
    assert path.sent.count(1448) == 3


def test_silence_is_not_known():
    path = Path(answers=False)
    result, seconds = path.measure(1448)
    assert (result.path, result.fits) == (None, None)
    assert path.sent == [1448] * 3 + [576] * 3
    assert seconds == pytest.approx(6.0)


def test_a_router_that_speaks_before_a_silent_server():
    result, _ = Path([(1400, True)], answers=False).measure(1448)
    assert (result.path, result.fits) == (1400, False)


@pytest.mark.parametrize("mtu", [1280, 1300, 1467])
def test_the_least_of_ipv6_may_be_the_answer(mtu):
    for speaks in (True, False):
        assert Path([(mtu, speaks)]).measure(1468, 6)[0].path == mtu


def test_a_router_that_lies():
    """It names what does not fit either, and then says nothing."""
    path = Path([(1350, False)])
    it = Measurement(1448, 4, 0.0)
    now = 0.0
    it.too_big(now, it.probes()[0].sequence, 1400)
    while it.result is None:
        for probe in it.probes():
            if probe.size <= path.links[0][0]:
                it.answered(now, probe.sequence)
        if (due := it.due()) is not None:
            now = max(now, due)
            it.advance(now)
    assert it.result.path == 1350


@pytest.mark.parametrize("loss", [0.1, 0.3])
def test_some_loss_changes_nothing_much(loss):
    results = [Path(loss=loss, links=[(mtu, True)]).measure(1448)[0] for mtu in (1500, 1400)]
    assert [result.fits for result in results] == [True, False]


def test_a_late_answer_counts():
    assert Path(rtt=1.6).measure(1448)[0].fits


def test_a_tunnel_narrower_than_every_path():
    assert Path().measure(400)[0].fits
    assert Path(answers=False).measure(400)[0].fits is None


def test_answers_to_nothing_are_nothing():
    it = Measurement(1448, 4, 0.0)
    it.answered(0.1, 77)
    it.too_big(0.1, 77, 600)
    assert it.result is None
    it.answered(0.1, it.probes()[0].sequence)
    assert it.result == PathMtu(1448, 1448)
    it.too_big(0.2, 1, 600)
    it.advance(50.0)
    assert it.result == PathMtu(1448, 1448)


@given(
    st.sampled_from([4, 6]), st.integers(1280, 9000), st.booleans(),
    st.lists(st.tuples(st.integers(1280, 9000), st.booleans()), max_size=4), st.booleans(),
)  # fmt: skip
def test_it_finds_what_the_path_is(version, mtu, answers, links, hint):
    wanted = mtu + OVERHEAD[version]
    path = Path(links, answers=answers, hint=hint)
    result, seconds = path.measure(wanted, version)
    real = min([wanted, *(width for width, _ in links)])
    if answers:
        assert result.path == real
    elif result.path is not None:
        assert result.path < wanted
        assert any(width == result.path and speaks for width, speaks in links)
    assert all(FLOOR[version] <= size <= wanted for size in path.sent)
    assert seconds < 60
    assert len(path.sent) < 60
