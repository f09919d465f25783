"""The ring: against a queue of which nothing can be wrong, between processes, through deaths."""

import os
import random
import select
import signal
import struct
from collections import deque
from collections.abc import Callable

import pytest
from fastpath.rig import DEADLINE, examples, memory, new_ring
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from gateway.fastpath.ring import Ring

CAPACITY = 4096
HEADER = 16
LARGEST = CAPACITY // 2 - HEADER
TAIL, HEAD, DATA = 64, 128, 192  # ring.h: one cache line each
RECORDS = 200_000


def footprint(size: int) -> int:
    return (HEADER + size + 15) // 16 * 16


class RingMachine(RuleBasedStateMachine):
    """A producer and a consumer over one memory, each now and then replaced.

    The model holds what was pushed, how many were taken but not given back, and where the
    cursors are: a record never wraps, so the end of the ring may have to be skipped.
    """

    @initialize(start=st.integers(0, 2**28 - 1))
    def begin(self, start: int) -> None:
        self.place = memory(Ring.bytes_for(CAPACITY))
        Ring(self.place, create=True)
        self.tail = self.head = start * 16  # the cursors run freely over 32 bits
        for at in (TAIL, HEAD):
            self.place[at : at + 4] = struct.pack("I", self.tail)
        self.queue: deque[tuple[bytes, int, int]] = deque()
        self.ends: deque[int] = deque()  # the cursor behind each record of the queue
        self.taken = 0
        self.pushed = self.dropped = 0
        self.new_producer()
        self.new_consumer()

    @rule()
    def new_producer(self) -> None:
        self.producer = Ring(self.place, create=False)

    @rule()
    def new_consumer(self) -> None:
        """It begins with what its predecessor had taken but not given back (I3)."""
        self.consumer = Ring(self.place, create=False)
        self.taken = 0

    @rule(
        size=st.integers(0, 200)
        | st.integers(0, CAPACITY)
        | st.sampled_from((LARGEST - 1, LARGEST, LARGEST + 1)),
        slot=st.integers(0, 2**32 - 1),
        fill=st.integers(0, 255),
    )
    def push(self, size: int, slot: int, fill: int) -> None:
        record = (bytes((fill,)) * size, slot, fill)
        to_end = CAPACITY - self.tail % CAPACITY
        skip = to_end if to_end < footprint(size) else 0
        room = CAPACITY - (self.tail - self.head) - skip
        fits = size <= LARGEST and footprint(size) <= room

        assert self.producer.push(*record) == fits
        if not fits:
            self.dropped += 1
            return
        self.pushed += 1
        self.tail += skip + footprint(size)
        self.queue.append(record)
        self.ends.append(self.tail)

    @rule(release=st.booleans())
    def pop(self, *, release: bool) -> None:
        expected = self.queue[self.taken] if self.taken < len(self.queue) else None

        assert self.consumer.pop(release=release) == expected
        if expected is None:
            return
        self.taken += 1
        if release:
            for _ in range(self.taken):
                self.queue.popleft()
                self.head = self.ends.popleft()
            self.taken = 0

    @precondition(lambda self: self.queue)
    @rule()
    def drain(self) -> None:
        while self.taken < len(self.queue):
            self.pop(release=True)

    @invariant()
    def gauges(self) -> None:
        if not hasattr(self, "queue"):
            return
        assert self.producer.used == self.tail - self.head
        assert self.producer.pushed == self.pushed
        assert self.consumer.dropped == self.dropped


TestRing = RingMachine.TestCase
TestRing.settings = examples(100, stateful_step_count=60)


@pytest.mark.parametrize("start", range(0, CAPACITY, 16))
def test_the_largest_record_fits_into_an_empty_ring_wherever_it_stands(start):
    place = memory(Ring.bytes_for(CAPACITY))
    Ring(place, create=True)
    place[TAIL : TAIL + 4] = place[HEAD : HEAD + 4] = struct.pack("I", start)
    ring = Ring(place, create=False)

    assert ring.push(bytes(LARGEST))
    assert ring.pop() == (bytes(LARGEST), 0, 0)


@pytest.mark.parametrize("capacity", [0, 1, 4095, 4097, 6144, 2048, 2**31, -1])
def test_a_capacity_is_a_power_of_two_from_4096(capacity):
    with pytest.raises(ValueError, match="power of two"):
        Ring.bytes_for(capacity)


def test_memory_must_hold_a_ring():
    place = memory(Ring.bytes_for(CAPACITY))
    with pytest.raises(ValueError, match="no ring"):
        Ring(place, create=False)
    with pytest.raises(ValueError, match="aligned"):
        Ring(memory(8192)[8:], create=True)
    with pytest.raises(ValueError, match="power of two"):
        Ring(place[:-64], create=True)
    Ring(place, create=True)
    with pytest.raises(ValueError, match="no ring"):
        Ring(place[:-64], create=False)


@given(
    words=st.lists(st.tuples(st.integers(0, CAPACITY - 4), st.integers(0, 2**32 - 1))),
    head=st.none() | st.integers(0, 2**32 - 1),
    tail=st.none() | st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, LARGEST), max_size=30),
)
@examples(300)
def test_overwritten_memory_ends_a_burst_and_nothing_else(words, head, tail, sizes):
    """The sanitizers look for reads outside (test_c.py); here both sides come to an end."""
    place = memory(Ring.bytes_for(CAPACITY))
    ring = Ring(place, create=True)
    for size in sizes:
        ring.push(b"x" * size)
    for at, word in words:
        place[DATA + at : DATA + at + 4] = struct.pack("I", word)
    for at, cursor in ((HEAD, head), (TAIL, tail)):
        if cursor is not None:
            place[at : at + 4] = struct.pack("I", cursor)

    for side in (Ring(place, create=False), ring):
        taken = sum(1 for _ in iter(side.pop, None))
        assert taken <= CAPACITY // HEADER
        side.push(b"again")
        assert side.used <= CAPACITY


def payload(number: int) -> bytes:
    """Of a size and a content that only this number has."""
    size = number * 2654435761 % 2**32 % 700
    return number.to_bytes(8) + bytes((number % 251,)) * size


class Children:
    """Forked processes that are gone when the test is."""

    def __init__(self) -> None:
        self.pids: set[int] = set()

    def fork(self, work: Callable[[], None]) -> int:
        pid = os.fork()
        if pid:
            self.pids.add(pid)
            return pid
        status = 1
        try:
            signal.alarm(60)
            work()
            status = 0
        finally:
            os._exit(status)

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.reap(pid)

    def reap(self, pid: int) -> int:
        self.pids.discard(pid)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def children():
    made = Children()
    yield made
    for pid in list(made.pids):
        made.kill(pid)


@pytest.fixture
def bells():
    """(records, room): rung by the producer and by the consumer."""
    pair = os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK)
    yield pair
    for bell in pair:
        os.close(bell)


def wait(bell: int) -> None:
    readable, _, _ = select.select([bell], [], [], DEADLINE)
    assert readable, "the bell did not ring"
    os.eventfd_read(bell)


def produce(ring: Ring, bells: tuple[int, int], numbers: range) -> None:
    for number in numbers:
        record = payload(number)
        while not ring.push(record, number, 7):
            os.eventfd_write(bells[0], 1)
            wait(bells[1])
        if number % 32 == 31:
            os.eventfd_write(bells[0], 1)  # after publication, once per burst (I4)
    os.eventfd_write(bells[0], 1)


def test_records_pass_between_processes_in_order_and_whole(children, bells):
    ring = new_ring(1 << 16)
    producer = children.fork(lambda: produce(ring, bells, range(RECORDS)))

    for number in range(RECORDS):
        assert consume(ring, bells) == (payload(number), number, 7)

    assert children.reap(producer) == 0
    assert ring.pop() is None
    assert ring.pushed == RECORDS


def consume(ring: Ring, bells: tuple[int, int]) -> tuple[bytes, int, int]:
    """The next record, waiting for it; the bell for room is rung when the ring is empty."""
    while (record := ring.pop()) is None:
        os.eventfd_write(bells[1], 1)
        wait(bells[0])
    return record


@pytest.mark.parametrize("taken", [1, 15, 16, 17, 40])
def test_after_a_consumer_died_a_burst_at_most_comes_twice(taken, children):
    """It dies with some records taken and not given back; nothing is lost (I3)."""
    burst, count = 16, 100
    place = memory(Ring.bytes_for(1 << 16))
    producer = Ring(place, create=True)
    for number in range(count):
        assert producer.push(payload(number), number)
    reading, writing = os.pipe()

    def work() -> None:
        ring = Ring(place, create=False)
        for number in range(taken):
            record = ring.pop(release=number % burst == burst - 1)
            os.write(writing, struct.pack("I", record[1]))
        os.close(writing)
        signal.pause()

    consumer = children.fork(work)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        sent = [number for (number,) in struct.iter_unpack("I", pipe.read())]
    children.kill(consumer)
    successor = Ring(place, create=False)
    again = list(iter(successor.pop, None))

    assert sent == list(range(taken))
    first = taken // burst * burst
    assert again == [(payload(number), number, 0) for number in range(first, count)]
    assert successor.used == 0


@pytest.mark.parametrize("seed", range(6))
def test_a_producer_that_died_leaves_no_half_record(seed, children, bells):
    """It is killed somewhere in its work; its successor goes on behind the last whole one."""
    place = memory(Ring.bytes_for(1 << 15))
    ring = Ring(place, create=True)
    producer = children.fork(lambda: produce(ring, bells, range(10**9)))
    for number in range(random.Random(seed).randrange(500, 3000)):
        assert consume(ring, bells) == (payload(number), number, 7)

    children.kill(producer)
    last = number
    for record in iter(ring.pop, None):
        last += 1
        assert record == (payload(last), last, 7)
    assert last - number < 1 << 15

    numbers = range(last + 1, last + 500)
    successor = children.fork(lambda: produce(Ring(place, create=False), bells, numbers))
    for number in numbers:
        assert consume(ring, bells) == (payload(number), number, 7)
    assert children.reap(successor) == 0


def test_what_was_not_published_is_not_there():
    """Bytes behind the tail belong to nobody, whatever a dead producer left in them."""
    place = memory(Ring.bytes_for(CAPACITY))
    ring = Ring(place, create=True)
    place[DATA:] = b"\x21" * CAPACITY

    assert ring.pop() is None
    assert Ring(place, create=False).push(b"first", 1, 2)
    assert ring.pop() == (b"first", 1, 2)
    assert ring.pop() is None
