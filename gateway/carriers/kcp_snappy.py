"""Snappy's framing format over a byte stream, as GOST lays it between KCP and smux.

    ff 06 00 00 s N a P p Y                    once, first
    type(1) length(3, LE) CRC32C(4) data       00 compressed, 01 as it is; 64 KiB at most

Chunks of other types are skipped where the format says so. Source: google/snappy
framing_format.txt, GOST x internal/util/kcp.
"""

import cramjam

from gateway.protocol.wire import WireError

Buffer = bytes | bytearray | memoryview

IDENTIFIER = b"\xff\x06\x00\x00sNaPpY"

_COMPRESSED, _PLAIN, _IDENTIFIER = 0x00, 0x01, 0xFF
_FIRST_SKIPPED = 0x80
_LONGEST = {_COMPRESSED: 76490 + 4, _PLAIN: 65536 + 4, _IDENTIFIER: 6}


class Compressor:
    """What leaves. Every call is a flush: all of it can be read by the other end."""

    def __init__(self) -> None:
        self._begun = False

    def compress(self, data: Buffer) -> Buffer:
        """The chunks for these bytes, which are not empty."""
        framed = memoryview(cramjam.snappy.compress(data))
        if self._begun:
            return framed[len(IDENTIFIER) :]
        self._begun = True
        return framed


class Decompressor:
    """What arrives, in pieces cut anywhere. Keeps at most one chunk."""

    def __init__(self) -> None:
        self._begun = False
        self._partial = b""

    def decompress(self, data: bytes) -> Buffer:
        """The bytes of the chunks that are whole now. Raises WireError on anything else."""
        data = self._partial + data if self._partial else data
        end = self._whole(data)
        self._partial = data[end:]
        if not end:
            return b""
        whole = data[:end]
        try:
            return memoryview(cramjam.snappy.decompress(IDENTIFIER + whole))
        except cramjam.DecompressionError as error:
            raise WireError(f"a snappy chunk that cannot be read: {error}") from None

    def _whole(self, data: bytes) -> int:
        at, size = 0, len(data)
        while at + 4 <= size:
            kind = data[at]
            length = int.from_bytes(data[at + 1 : at + 4], "little")
            if not self._begun and kind != _IDENTIFIER:
                raise WireError("no snappy stream: nocomp and key must be the same at both ends")
            self._begun = True
            if kind < _FIRST_SKIPPED and kind not in _LONGEST:
                raise WireError(f"a snappy chunk of type {kind:#x}")
            if length > _LONGEST.get(kind, 65536):
                raise WireError(f"a snappy chunk of {length} bytes")
            if at + 4 + length > size:
                break
            at += 4 + length
        return at
