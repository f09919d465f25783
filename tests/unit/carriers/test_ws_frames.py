"""Data frames of a websocket: any cuts, both masks, what no peer may send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import CloseCode, Frame, Opcode

from gateway.carriers.ws_frames import LARGEST_SENT, Reader, Writer

LARGEST = 1 << 20

frames = st.lists(
    st.tuples(
        st.sampled_from([Opcode.BINARY, Opcode.TEXT, Opcode.PING, Opcode.PONG]),
        st.binary(max_size=300) | st.just(bytes(range(256)) * 260),
        st.integers(0, 3),
    ).map(lambda given: (given[0], given[1][:125] if given[0] >= 8 else given[1], given[2])),
    max_size=8,
)
cuts = st.lists(st.integers(1, 70_000) | st.integers(1, 12), max_size=40)


def serialized(given, *, mask: bool) -> tuple[bytes, bytes, list[bytes]]:
    """By the library: all bytes, and what a reader shall find in them."""
    wire, data, controls = b"", b"", []
    for opcode, whole, pieces in given:
        payload = whole
        if opcode >= 8:
            controls.append(Frame(opcode, whole).serialize(mask=mask))
            wire += controls[-1]
            continue
        data += payload
        size = len(payload) // (pieces + 1)
        for number in range(pieces):
            kind = Opcode.CONT if number else opcode
            wire += Frame(kind, payload[:size], fin=False).serialize(mask=mask)
            payload = payload[size:]
        wire += Frame(Opcode.CONT if pieces else opcode, payload).serialize(mask=mask)
    return wire, data, controls


def read(reader: Reader, wire: bytes, sizes) -> tuple[bytes, list[bytes]]:
    data, controls = b"", []
    sizes = iter([*sizes, len(wire)])
    while wire:
        size = next(sizes)
        pieces, found = reader.read(memoryview(wire[:size]))
        data += b"".join(pieces)
        controls += found
        wire = wire[size:]
    return data, controls


@given(frames, cuts, st.booleans())
def test_what_the_library_writes_is_read_in_any_cuts(given, sizes, mask):
    wire, data, controls = serialized(given, mask=mask)
    reader = Reader(masked=mask, largest=LARGEST)
    assert read(reader, wire, sizes) == (data, controls)
    assert reader.fault is None


@given(st.binary(max_size=300) | st.integers(0, 3 * LARGEST_SENT).map(bytes), st.booleans())
def test_what_is_written_the_library_reads(payload, mask):
    wire = Writer(masked=mask).write(payload)
    data = b""
    while wire:
        frame, wire = parsed(wire, mask=mask)
        assert frame.fin
        assert frame.opcode is Opcode.BINARY
        assert len(frame.data) <= LARGEST_SENT
        data += frame.data
    assert data == payload


def parsed(wire: bytes, *, mask: bool) -> tuple[Frame, bytes]:
    at = 0

    def take(size: int):
        nonlocal at
        at += size
        yield from ()
        return wire[at - size : at]

    parsing = Frame.parse(take, mask=mask)
    try:
        next(parsing)
    except StopIteration as done:
        return done.value, wire[at:]
    raise AssertionError("the frame is not whole")


def test_masks_differ():
    writer = Writer(masked=True)
    assert len({writer.write(bytes(8)) for _ in range(3000)}) > 2990


@pytest.mark.parametrize(
    "wire",
    [
        b"\x82\x01x",  # no mask
        b"\xc2\x81\0\0\0\0x",  # a reserved bit
        b"\x83\x81\0\0\0\0x",  # an opcode nobody knows
        b"\x80\x81\0\0\0\0x",  # the end of nothing
        b"\x02\x81\0\0\0\0x\x82\x81\0\0\0\0x",  # a message inside of another
        b"\x09\x81\0\0\0\0x",  # a control frame in pieces
        b"\x89\xfe\0\x7e\0\0\0\0" + bytes(126),  # a long one
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_frames_that_cannot_be(wire, at_once):
    reader = Reader(masked=True, largest=LARGEST)
    read(reader, b"\x82\x81\0\0\0\0x" + wire, [] if at_once else [1] * len(wire))
    assert reader.fault is not None
    assert reader.fault[0] is CloseCode.PROTOCOL_ERROR
    assert reader.read(b"\x82\x81\0\0\0\0x") == ([], [])


def test_a_message_may_not_be_too_long_in_pieces_either():
    reader = Reader(masked=False, largest=100)
    piece = Frame(Opcode.BINARY, bytes(60), fin=False).serialize(mask=False)
    rest = Frame(Opcode.CONT, bytes(60)).serialize(mask=False)
    read(reader, piece, [])
    assert reader.fault is None
    read(reader, rest, [])
    assert reader.fault is not None
    assert reader.fault[0] is CloseCode.MESSAGE_TOO_BIG


@pytest.mark.parametrize("masked", [True, False])
def test_a_message_may_not_be_too_long_behind_others_either(masked):
    reader = Reader(masked=masked, largest=200)
    good = [Frame(Opcode.BINARY, bytes([n]) * n).serialize(mask=masked) for n in (0, 7, 126, 200)]
    data, _ = read(reader, b"".join(good), [])
    assert data == b"".join(bytes([n]) * n for n in (7, 126, 200))
    assert reader.fault is None
    long = Frame(Opcode.BINARY, bytes(201)).serialize(mask=masked)
    assert read(reader, good[1] + long, []) == (bytes([7]) * 7, [])
    assert reader.fault is not None
    assert reader.fault[0] is CloseCode.MESSAGE_TOO_BIG
