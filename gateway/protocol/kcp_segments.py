# cython: annotation_typing = False
"""Pieces of a KCP stream, and how they share packets. The head is drawn in protocol.kcp."""

import struct

Buffer = bytes | bytearray | memoryview

HEAD = struct.Struct("<IBBHIIII")
OVERHEAD = HEAD.size

_MASK = 0xFFFFFFFF
_HALF = 1 << 31


class Segment:
    """One piece of the stream on its way out."""

    def __init__(self, sn: int, data: bytes) -> None:
        self.sn = sn
        self.data = data
        self.order = 0
        self.sent = 0.0
        self.stamp = 0
        self.times = 0
        self.rto = 0.0
        self.lost = False
        self.done = False


class Packing:
    """Segments put together into packets of at most `room` bytes."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._size = 0
        self._parts: list[bytes] = []
        self._packets: list[bytes] = []

    def add(self, head: bytes, data: bytes) -> None:
        """One segment more; it stays whole."""
        size = len(head) + len(data)
        if self._size + size > self._room:
            self._packets.append(b"".join(self._parts))
            self._parts = []
            self._size = 0
        self._parts.append(head)
        self._parts.append(data)
        self._size += size

    def is_empty(self) -> bool:
        """Nothing was added."""
        return not self._parts

    def close(self) -> list[bytes]:
        """All packets."""
        if self._parts:
            self._packets.append(b"".join(self._parts))
        return self._packets


def near(base: int, low: int) -> int:
    """The full number nearest to `base` that ends in these 32 bits."""
    return base + ((low - base + _HALF) & _MASK) - _HALF
