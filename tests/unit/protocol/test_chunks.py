"""GOST's gRPC messages: exact bytes, any cuts, and what is no Chunk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.chunks import MAX_MESSAGE, Chunks, head
from gateway.protocol.wire import WireError


def read(chunks: Chunks, data: bytes) -> bytes:
    return b"".join(chunks.read(memoryview(data)))


@pytest.mark.parametrize(
    ("size", "wire"),
    [
        (1, "00 00000003 0a 01"),
        (127, "00 00000081 0a 7f"),
        (128, "00 00000083 0a 80 01"),
        (1400, "00 0000057b 0a f8 0a"),
        (16383, "00 00004002 0a ff 7f"),
        (16384, "00 00004004 0a 80 80 01"),
        (65536, "00 00010004 0a 80 80 04"),
        (4 << 20, "00 00400005 0a 80 80 80 02"),
    ],
)
def test_what_goes_before_data(size: int, wire: str) -> None:
    assert head(size) == bytes.fromhex(wire)


@given(
    sizes=st.lists(st.sampled_from([0, 1, 5, 127, 128, 1400, 16383, 16384, 70000]), max_size=6),
    data=st.data(),
)
def test_any_cuts(sizes: list[int], data: st.DataObject) -> None:
    parts = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    wire = b"".join(head(len(part)) + part if part else bytes(5) for part in parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
    chunks = Chunks()
    got = [read(chunks, wire[a:b]) for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert b"".join(got) == b"".join(parts)


def test_byte_by_byte() -> None:
    wire = head(1400) + bytes(1400) + head(3) + b"end"
    chunks = Chunks()
    assert b"".join(read(chunks, wire[at : at + 1]) for at in range(len(wire))) == (
        bytes(1400) + b"end"
    )


def test_an_explicit_chunk_of_nothing() -> None:
    assert read(Chunks(), b"\0\0\0\0\x02\x0a\x00" + head(2) + b"ok") == b"ok"


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"\x01" + head(9)[1:], "compressed"),
        (b"\0" + (MAX_MESSAGE + 1).to_bytes(4, "big"), f"of {MAX_MESSAGE + 1} bytes"),
        (b"\0\xff\xff\xff\xff", "of 4294967295 bytes"),
        (b"\0\0\0\0\x05\x12\x03abc", "field tag 18"),
        (b"\0\0\0\0\x05\x0a\x02abc", "of 2 bytes"),
        (b"\0\0\0\0\x05\x0a\x04abcd", "of 4 bytes"),
        (b"\0\0\0\0\x09\x0a\xff\xff\xff\xff\xff", "no number"),
        (b"\0\0\0\0\x01\x0a" + head(1), "of 0 bytes"),
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
def test_what_is_no_chunk(wire: bytes, text: str, step: int) -> None:
    chunks = Chunks()
    wire += bytes(9)
    with pytest.raises(WireError, match=text):
        any(read(chunks, wire[at : at + step]) is None for at in range(0, len(wire), step))


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_noise_raises_nothing_else(pieces: list[bytes]) -> None:
    chunks = Chunks()
    try:
        for piece in pieces:
            got = read(chunks, b"\0\0\0\0" + piece)
            assert len(got) <= 4 + len(piece)
    except WireError:
        return
