"""Strategies, marks and backups: by example, and against a twin that keeps the whole story."""

from collections import Counter
from random import Random
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.selector import STRATEGIES, Node, Selector

PLAIN, BACKUP = Node(), Node(backup=True)


def selector(strategy: str, *nodes: Node, **options: float) -> Selector:
    return Selector(strategy, nodes or (PLAIN,) * 3, Random(5).random, **options)


def picks(it: Selector, count: int, now: float = 0.0, key: bytes | None = None) -> list[int | None]:
    return [it.select(now, key) for _ in range(count)]


@pytest.mark.parametrize(
    ("strategy", "healthy", "after_a_failure"),
    [
        ("round", [0, 1, 2, 0, 1, 2], [0, 2, 0, 2, 0, 2]),
        ("fifo", [0] * 6, [0] * 6),
        ("parallel", [0] * 6, [0] * 6),
        ("lowestlatency", [0] * 6, [0] * 6),
    ],
)
def test_the_order_of_a_strategy(strategy, healthy, after_a_failure):
    it = selector(strategy)
    assert picks(it, 6) == healthy
    it.failed(1, 0.0)
    assert picks(it, 6) == after_a_failure


def test_fifo_takes_the_next_until_the_first_is_back():
    it = selector("fifo", fail_timeout=10.0)
    it.failed(0, 100.0)
    assert it.select(100.0) == 1
    it.failed(1, 101.0)
    assert it.select(109.9) == 2
    assert it.select(110.0) == 0


def test_weights_are_chances():
    it = selector("random", Node(weight=1), Node(weight=0), Node(weight=8))
    seen = Counter(picks(it, 3000))
    assert 200 < seen[0] < 400
    assert 200 < seen[1] < 400
    assert 2250 < seen[2] < 2550


def test_a_hash_is_of_the_key():
    it = selector("hash")
    for text in (b"192.168.123.2", b"192.168.123.3", b"fd00::2", b""):
        assert picks(it, 4, key=text) == [crc32(text) % 3] * 4
    assert set(picks(it, 100)) == {0, 1, 2}
    it.failed(0, 0.0)
    assert it.select(1.0, b"fd00::2") == (1, 2)[crc32(b"fd00::2") % 2]


def test_the_least_round_trip_wins():
    it = selector("lowestlatency")
    it.measured(2, 0.030)
    assert it.select(0.0) == 2
    it.measured(1, 0.020)
    assert it.select(0.0) == 1
    it.failed(1, 0.0)
    assert it.select(0.0) == 2
    assert it.select(10.0) == 2, "what was measured before a failure is worth nothing"


def test_backups_wait_until_nobody_else_is_healthy():
    it = selector("round", PLAIN, BACKUP, PLAIN, BACKUP)
    assert set(picks(it, 8)) == {0, 2}
    it.failed(0, 0.0)
    assert set(picks(it, 8)) == {2}
    it.failed(2, 1.0)
    assert set(picks(it, 8, now=1.0)) == {1, 3}
    it.failed(1, 1.0)
    assert set(picks(it, 8, now=1.0)) == {3}
    it.failed(3, 1.0)
    assert it.select(1.0) is None
    assert set(picks(it, 8, now=10.0)) == {0}


def test_several_failures_may_be_forgiven():
    it = selector("fifo", max_fails=3, fail_timeout=10.0)
    it.failed(0, 0.0)
    it.failed(0, 1.0)
    assert it.select(1.0) == 0
    it.succeeded(0)
    it.failed(0, 2.0)
    it.failed(0, 3.0)
    assert it.select(3.0) == 0
    it.failed(0, 4.0)
    assert it.select(13.9) == 1
    assert it.select(14.0) == 0
    it.failed(0, 14.0)
    assert it.select(14.0) == 1, "one more failure is enough after a rest"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_node_that_is_alone_never_rests(strategy):
    it = selector(strategy, PLAIN)
    it.failed(0, 0.0)
    assert it.select(0.0, b"key") == 0
    it = selector(strategy, PLAIN, BACKUP)
    it.failed(0, 0.0)
    assert it.select(0.0, b"key", {0}) == 0


def test_nodes_that_do_not_exist():
    assert selector("fifo").select(0.0, among=()) is None
    with pytest.raises(ValueError, match="'best' is no strategy"):
        selector("best")


class Twin:
    """Everything that happened, read anew for each question."""

    def __init__(self, nodes, max_fails, fail_timeout):
        self.nodes, self.max_fails, self.fail_timeout = nodes, max_fails, fail_timeout
        self.story: list[tuple[str, int, float]] = []

    def allowed(self, now: float, among: set[int]) -> set[int]:
        if len(among) == 1:
            return among
        healthy = {index for index in among if not self.rests(index, now)}
        return {index for index in healthy if not self.nodes[index].backup} or healthy

    def rests(self, index: int, now: float) -> bool:
        own = [(what, at) for what, who, at in self.story if who == index and what != "measured"]
        run = []
        for what, at in reversed(own):
            if what == "succeeded":
                break
            run.append(at)
        return len(run) >= self.max_fails and now - run[0] < self.fail_timeout

    def rtt(self, index: int) -> float:
        found = float("inf")
        for what, who, value in self.story:
            if who == index and what != "succeeded":
                found = value if what == "measured" else float("inf")
        return found


nodes_ = st.lists(st.builds(Node, st.booleans(), st.integers(-1, 9)), min_size=1, max_size=5)
happenings = st.lists(
    st.tuples(
        st.sampled_from(("failed", "failed", "succeeded", "measured", "select")),
        st.integers(0, 4),
        st.sampled_from((0.0, 0.5, 3.0, 11.0)),
    ),
    max_size=40,
)


@given(
    st.sampled_from(STRATEGIES), nodes_, happenings, st.integers(1, 3), st.booleans(),
    st.sets(st.integers(0, 4)), st.sampled_from((None, b"a", b"fd00::2")),
)  # fmt: skip
def test_as_the_twin_says(strategy, nodes, story, max_fails, some, few, key):
    it = Selector(strategy, nodes, Random(9).random, max_fails, 5.0)
    twin = Twin(nodes, max_fails, 5.0)
    every = set(range(len(nodes)))
    among = few & every if some else every
    now = 0.0
    for what, who, pause in story:
        now += pause
        index = who % len(nodes)
        if what == "failed":
            it.failed(index, now)
            twin.story.append((what, index, now))
        elif what == "succeeded":
            it.succeeded(index)
            twin.story.append((what, index, now))
        elif what == "measured":
            it.measured(index, pause)
            twin.story.append((what, index, pause))
        allowed = twin.allowed(now, among)
        chosen = it.select(now, key, among if some else None)
        assert (chosen in allowed) if allowed else chosen is None
        if chosen is None:
            continue
        if strategy in ("fifo", "parallel"):
            assert chosen == min(allowed)
        elif strategy == "hash" and key is not None:
            assert chosen == sorted(allowed)[crc32(key) % len(allowed)]
        elif strategy == "lowestlatency":
            assert chosen == min(allowed, key=lambda each: (twin.rtt(each), each))
        elif strategy == "round":
            turns = [it.select(now, key, among if some else None) for _ in range(2 * len(allowed))]
            assert Counter(turns) == dict.fromkeys(allowed, 2)
