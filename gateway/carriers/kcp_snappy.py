"""Snappy's framing format over a byte stream, as GOST lays it between KCP and smux.

    ff 06 00 00 s N a P p Y                    once, first
    type(1) length(3, LE) CRC32C(4) data       00 compressed, 01 as it is; 64 KiB at most

Chunks of other types are skipped where the format says so. One of these, a3, is data as it is
between two of ours: what cannot be compressed needs neither the try nor the second checksum,
as every packet of KCP has one. Source: google/snappy framing_format.txt, GOST x
internal/util/kcp.
"""

from collections.abc import Iterator

import cramjam

from gateway.protocol.wire import WireError

Buffer = bytes | bytearray | memoryview

IDENTIFIER = b"\xff\x06\x00\x00sNaPpY"

_COMPRESSED, _PLAIN, _OURS, _IDENTIFIER = 0x00, 0x01, 0xA3, 0xFF
_FIRST_SKIPPED = 0x80
_CHUNK = 65536
_LONGEST = {_COMPRESSED: 76490 + 4, _PLAIN: _CHUNK + 4, _OURS: _CHUNK, _IDENTIFIER: 6}

_JUDGED = 1024
"""Bytes from which on a try says something of those after it."""
_UNTRIED = 15
"""Times that are spared the try after one in vain."""


class Compressor:
    """What leaves. Every call is a flush: all of it can be read by the other end."""

    def __init__(self) -> None:
        self._begun = False
        self._untried = 0

    def compress(self, data: Buffer, kin: bool = False) -> Buffer:
        """The chunks for these bytes, which are not empty; `kin` is read by one of ours."""
        if kin and self._untried and len(data) >= _JUDGED:
            self._untried -= 1
            return _as_it_is(data)
        framed = memoryview(cramjam.snappy.compress(data))
        if len(data) >= _JUDGED:
            self._untried = _UNTRIED if len(framed) * 16 > len(data) * 15 else 0
        if self._begun:
            return framed[len(IDENTIFIER) :]
        self._begun = True
        return framed


def _as_it_is(data: Buffer) -> bytes:
    view = memoryview(data)
    parts: list[Buffer] = []
    for at in range(0, len(view), _CHUNK):
        part = view[at : at + _CHUNK]
        parts.append(bytes([_OURS]) + len(part).to_bytes(3, "little"))
        parts.append(part)
    return b"".join(parts)


class Decompressor:
    """What arrives, in pieces cut anywhere. Keeps at most one chunk."""

    def __init__(self) -> None:
        self._begun = False
        self._partial = b""

    def decompress(self, data: bytes) -> Buffer:
        """The bytes of the chunks that are whole now. Raises WireError on anything else."""
        data = self._partial + data if self._partial else data
        view = memoryview(data)
        pieces: list[Buffer] = []
        read = at = 0
        for kind, end in self._chunks(data):
            if kind == _OURS:
                if read < at:
                    pieces.append(_decompressed(view[read:at]))
                pieces.append(view[at + 4 : end])
                read = end
            at = end
        if read < at:
            pieces.append(_decompressed(view[read:at]))
        self._partial = data[at:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _chunks(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Type and end of each that is whole."""
        at, size = 0, len(data)
        while at + 4 <= size:
            kind = data[at]
            length = int.from_bytes(data[at + 1 : at + 4], "little")
            if not self._begun and kind != _IDENTIFIER:
                raise WireError("no snappy stream: nocomp and key must be the same at both ends")
            self._begun = True
            if kind < _FIRST_SKIPPED and kind not in _LONGEST:
                raise WireError(f"a snappy chunk of type {kind:#x}")
            if length > _LONGEST.get(kind, _CHUNK):
                raise WireError(f"a snappy chunk of {length} bytes")
            at += 4 + length
            if at > size:
                return
            yield kind, at


def _decompressed(chunks: memoryview) -> Buffer:
    try:
        return memoryview(cramjam.snappy.decompress(IDENTIFIER + chunks))
    except cramjam.DecompressionError as error:
        raise WireError(f"a snappy chunk that cannot be read: {error}") from None
