"""Frames on a stream, held against a twin in Python and real sockets."""

import random
import socket
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fastpath.frames import LARGEST, Packer, Unpacker, pack

SEGMENTS, BYTES = 64, 65507
UDP_SEGMENT, UDP_GRO = 103, 104
SO_NO_CHECK = 11

datagrams = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.integers(1, 3).map(lambda k: bytes(k * 500)),
        st.sampled_from((bytes(1420), bytes(1420), bytes(30000), bytes(LARGEST))),
    ),
    max_size=150,
)


def framed(items: list[bytes]) -> bytes:
    return b"".join(len(item).to_bytes(2, "big") + item for item in items)


class SlowUnpacker:
    """The twin: what `Unpacker` does, a datagram at a time."""

    def __init__(self) -> None:
        self.kept = b""
        self.empty = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        self.kept += data
        items = []
        while len(self.kept) >= 2:
            size = int.from_bytes(self.kept[:2], "big")
            if size > LARGEST:
                raise ValueError
            if len(self.kept) < 2 + size:
                break
            items.append(self.kept[2 : 2 + size])
            self.kept = self.kept[2 + size :]
        self.empty += items.count(b"")
        return list(runs_of([item for item in items if item]))


def runs_of(items: list[bytes]) -> Iterator[tuple[int, bytes]]:
    run: list[bytes] = []
    for item in items:
        fits = run and len(run) < SEGMENTS and sum(map(len, run)) + len(item) <= BYTES
        if run and not (fits and len(item) <= len(run[0]) == len(run[-1])):
            yield len(run[0]), b"".join(run)
            run = []
        run.append(item)
    if run:
        yield len(run[0]), b"".join(run)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(borders)]


@given(datagrams, st.lists(st.integers(0, 1 << 20), max_size=12))
def test_any_pieces_give_the_runs_of_the_twin(items, places):
    fast, slow = Unpacker(), SlowUnpacker()

    for piece in cut(framed(items), places):
        assert fast.feed(piece) == slow.feed(piece)
        assert fast.kept == len(slow.kept)

    assert fast.kept == 0
    assert fast.empty == slow.empty == items.count(b"")


@given(st.lists(st.binary(max_size=30), max_size=20), st.binary(max_size=300))
def test_any_bytes_end_alike(pieces, more):
    fast, slow = Unpacker(), SlowUnpacker()

    for piece in (*pieces, more):
        try:
            expected = slow.feed(piece)
        except ValueError:
            with pytest.raises(ValueError, match="longer"):
                fast.feed(piece)
            return
        assert fast.feed(piece) == expected


def test_byte_by_byte():
    items = [b"one", b"", b"two", bytes(1420)]
    unpacker = Unpacker()
    found = [run for byte in framed(items) for run in unpacker.feed(bytes([byte]))]

    assert found == [(3, b"one"), (3, b"two"), (1420, bytes(1420))]


@pytest.mark.parametrize("length", [LARGEST + 1, 65535])
def test_a_frame_longer_than_any_datagram_is_an_error(length):
    for start in (b"", b"\0\1a"):
        unpacker = Unpacker()
        with pytest.raises(ValueError, match="longer"):
            unpacker.feed(start + length.to_bytes(2, "big"))
        split = Unpacker()
        split.feed(length.to_bytes(2, "big")[:1])
        with pytest.raises(ValueError, match="longer"):
            split.feed(length.to_bytes(2, "big")[1:])


def test_the_largest_frame_passes():
    assert Unpacker().feed(framed([bytes(LARGEST)])) == [(LARGEST, bytes(LARGEST))]


@given(st.binary(max_size=3000), st.integers(0, 1500))
def test_a_burst_is_cut_into_frames(burst, segment):
    step = segment or max(1, len(burst))
    items = [burst[at : at + step] for at in range(0, len(burst), step)]

    assert pack(burst, segment) == framed(items)


def test_what_fits_no_frame_is_not_packed():
    with pytest.raises(ValueError, match="longer"):
        pack(bytes(LARGEST + 1), 0)
    with pytest.raises(ValueError, match="longer"):
        pack(b"a", 65536)


@pytest.fixture
def pair():
    """Two connected UDP sockets on loopback, the first receives with GRO."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second,
    ):
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        first.connect(second.getsockname())
        second.connect(first.getsockname())
        first.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        second.settimeout(5)
        yield first, second


def received(packer: Packer, sock: socket.socket) -> list[bytes]:
    """All that waits, as datagrams."""
    unpacker = SlowUnpacker()
    items = []
    while (view := packer.receive(sock.fileno())) is not None:
        for segment, payload in unpacker.feed(bytes(view)):
            items += [payload[at : at + segment] for at in range(0, len(payload), segment)]
    assert unpacker.kept == b""
    return items


def test_bursts_from_a_socket(pair):
    first, second = pair
    sent = [bytes([i]) * 1000 for i in range(40)] + [b"last"]
    second.sendmsg(
        [b"".join(sent)], [(socket.IPPROTO_UDP, UDP_SEGMENT, (1000).to_bytes(2, "little"))]
    )
    second.send(b"")
    for i in range(20):
        second.send(bytes([i + 1]) * (i + 1))
    packer = Packer()

    assert received(packer, first) == sent + [bytes([i + 1]) * (i + 1) for i in range(20)]
    counts = packer.read()
    assert counts["datagrams"] == 61
    assert counts["bytes"] == 40_004 + 210
    assert not packer.more
    assert packer.receive(first.fileno()) is None


def test_datagrams_to_a_socket(pair):
    first, second = pair
    choose = random.Random(8421)
    items = [bytes([i]) * choose.choice((52, 1000, 1000, 1000, 400, 0)) for i in range(150)]
    unpacker = Unpacker()
    stream = framed(items)
    for at in range(0, len(stream), 3333):
        unpacker.send(first.fileno(), stream[at : at + 3333])

    expected = [item for item in items if item]
    assert [second.recv(65536) for _ in expected] == expected
    counts = unpacker.read()
    assert counts["datagrams"] == len(expected)
    assert counts["bytes"] == sum(map(len, expected))
    assert (counts["full"], counts["refused"], counts["failed"]) == (0, 0, 0)
    assert unpacker.empty == items.count(b"")


def test_a_stream_that_is_no_stream_of_frames(pair):
    first, second = pair
    unpacker = Unpacker()

    with pytest.raises(ValueError, match="longer"):
        unpacker.send(first.fileno(), framed([b"fine"]) + b"\xff\xff")

    assert second.recv(100) == b"fine"


def test_nobody_there_is_counted(pair):
    first, second = pair
    second.close()
    unpacker = Unpacker()

    for _ in range(3):
        unpacker.send(first.fileno(), framed([b"hello", b"world"]))

    counts = unpacker.read()
    assert counts["datagrams"] + counts["refused"] == 6
    assert counts["failed"] == 0


def test_a_group_that_is_refused_goes_singly(pair):
    """As the kernel refuses a socket that wants no checksums."""
    first, second = pair
    first.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    unpacker = Unpacker()

    unpacker.send(first.fileno(), framed([b"hello", b"world"]))

    assert [second.recv(100), second.recv(100)] == [b"hello", b"world"]
    assert unpacker.read()["fallbacks"] == 1
    unpacker.send(first.fileno(), framed([b"hello", b"again"]))
    assert unpacker.read()["fallbacks"] == 1
    assert unpacker.read()["datagrams"] == 4


def test_a_bad_descriptor_drops_and_counts():
    unpacker = Unpacker()
    unpacker.send(-1, framed([b"hello", b"world", b"!"]))

    assert unpacker.read()["failed"] == 3
    assert Packer().receive(-1) is None
