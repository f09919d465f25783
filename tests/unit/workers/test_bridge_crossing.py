"""What gives when a stream is slow: bounded bytes, bounded age, everything counted."""

import asyncio
import socket

import pytest

from gateway.carriers.stream import Remote, Stream
from gateway.fastpath.frames import Packer, Unpacker, pack
from gateway.linux import near
from gateway.workers.bridge_crossing import (
    LEAST_HIGH,
    MOST_HIGH,
    QUEUE_BYTES,
    QUEUE_SECONDS,
    Crossing,
)


class SlowStream(Stream):
    """Takes everything, sends when the test says so."""

    carrier = "slow"
    remote = Remote("192.0.2.1", 1)

    def __init__(self) -> None:
        self.written = b""
        self.sent = 0
        self.aborted = False
        self.crowded = False
        self.receiver = None

    def start(self, receiver):
        self.receiver = receiver

    def write(self, data):
        self.written += bytes(data)
        self.crowded |= self.backlog > self.high

    @property
    def backlog(self):
        return len(self.written) - self.sent

    def send(self, size=None):
        self.sent = len(self.written) if size is None else self.sent + size
        if self.crowded and self.backlog <= self.low:
            self.crowded = False
            self.receiver.on_room()

    def pause(self): ...

    def resume(self): ...

    def close(self): ...

    def abort(self):
        self.aborted = True


class Clock:
    """The loop's time, moved by the test."""

    def __init__(self, loop) -> None:
        self.now = loop.time()
        loop.time = lambda: self.now


@pytest.fixture
def sockets():
    first, second = near.open_leg(), near.open_near()
    second.bind(("127.0.0.1", 0))
    second.connect(first.getsockname())
    near.lead_leg(first, second.getsockname()[1])
    second.setsockopt(socket.IPPROTO_UDP, 104, 0)  # datagrams one by one
    second.settimeout(5)
    with first, second:
        yield first, second


def crossed(sockets):
    stream = SlowStream()
    crossing = Crossing(stream, sockets[0], Packer())
    stream.start(crossing)
    return stream, crossing


def burst(sockets, crossing, count=50, size=1000):
    """As if the loop had found the socket ready."""
    sockets[1].sendmsg(
        [bytes(count * size)], [(socket.IPPROTO_UDP, 103, size.to_bytes(2, "little"))]
    )
    crossing._on_datagrams()


def test_a_slow_stream_gets_the_newest(run, sockets):
    async def body() -> None:
        clock = Clock(asyncio.get_running_loop())
        stream, crossing = crossed(sockets)
        while stream.backlog <= stream.high:
            burst(sockets, crossing)
        written = len(stream.written)
        for _ in range(15):
            clock.now += 0.001
            burst(sockets, crossing)
        assert len(stream.written) == written
        counts = crossing.counts()
        assert counts["overflow"] == 50 * (15 - QUEUE_BYTES // 50_100)
        assert crossing._queued <= QUEUE_BYTES

        clock.now += 0.01
        stream.send()
        counts = crossing.counts()
        assert counts["to_stream"] + counts["overflow"] + crossing_waits(crossing) == 50 * (
            written // 50_100 + 15
        )
        assert counts["late"] == 0

    run(body())


def crossing_waits(crossing) -> int:
    return sum(waiting.datagrams for waiting in crossing._queue)


def test_what_waited_too_long_is_dropped(run, sockets):
    async def body() -> None:
        clock = Clock(asyncio.get_running_loop())
        stream, crossing = crossed(sockets)
        while stream.backlog <= stream.high:
            burst(sockets, crossing)
        written = len(stream.written)
        burst(sockets, crossing)
        clock.now += QUEUE_SECONDS * 0.9
        burst(sockets, crossing, count=10)
        clock.now += QUEUE_SECONDS * 0.2
        stream.send()
        assert crossing.counts()["late"] == 50
        assert len(stream.written) == written + 10 * 1002
        assert crossing.dropped == 50

    run(body())


def test_what_a_stream_may_owe_follows_its_speed(run, sockets):
    async def body() -> None:
        clock = Clock(asyncio.get_running_loop())
        stream, crossing = crossed(sockets)
        for speed, expected in ((1e6, LEAST_HIGH), (5e6, 100_000), (1e9, MOST_HIGH)):
            while stream.backlog <= stream.high:
                burst(sockets, crossing)
            assert crossing._crowded_at is not None
            clock.now += stream.backlog / speed
            stream.send()
            assert stream.high == pytest.approx(expected, rel=0.01)
            assert stream.low == stream.high // 4

    run(body())


def test_a_stream_that_got_slower_goes_on(run, sockets):
    """What it may owe shrinks below what it owes: it must be written to, or it never tells."""

    async def body() -> None:
        clock = Clock(asyncio.get_running_loop())
        stream, crossing = crossed(sockets)
        while not crossing_waits(crossing):
            burst(sockets, crossing)
        clock.now += 10.0
        stream.send(stream.backlog - stream.low)
        assert stream.backlog > stream.high == LEAST_HIGH
        for _ in range(5):
            before = len(stream.written)
            burst(sockets, crossing)
            clock.now += 0.01
            stream.send(max(0, stream.backlog - stream.low))
            assert len(stream.written) > before

    run(body())


def test_the_end_counts_what_was_not_sent(run, sockets):
    async def body() -> None:
        stream, crossing = crossed(sockets)
        crossing.start()
        while stream.backlog <= stream.high:
            burst(sockets, crossing)
        burst(sockets, crossing)
        crossing.end()
        crossing.end()
        assert crossing.counts()["unsent"] == 50
        assert not asyncio.get_running_loop().remove_reader(sockets[0].fileno())

    run(body())


def test_everything_arrives_at_its_size(run, sockets):
    async def body() -> None:
        stream, crossing = crossed(sockets)
        sizes = [1, 52, 52, 1000, 1000, 1000, 7, 1420, 1420]
        for size in sizes:
            sockets[1].send(bytes(size))
        crossing._on_datagrams()
        found = [
            min(segment, len(payload) - at)
            for segment, payload in Unpacker().feed(stream.written)
            for at in range(0, len(payload), segment)
        ]
        assert found == sizes
        crossing.on_data(pack(b"abcabcab", 3))
        assert [sockets[1].recv(10) for _ in range(3)] == [b"abc", b"abc", b"ab"]
        assert crossing.counts()["to_socket"] == 3

    run(body())


def test_a_broken_frame_ends_the_stream(run, sockets):
    async def body() -> None:
        stream, crossing = crossed(sockets)
        crossing.on_data(b"\xff\xff")
        assert stream.aborted
        assert crossing.counts()["bad-frame"] == 1

    run(body())
