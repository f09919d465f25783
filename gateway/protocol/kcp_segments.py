# cython: annotation_typing = False, boundscheck = False, wraparound = False
"""Pieces of a KCP stream, and how they share packets. The head is drawn in protocol.kcp."""

import struct

Buffer = bytes | bytearray | memoryview

HEAD = struct.Struct("<IBBHIIII")
OVERHEAD = HEAD.size
PUSH, ACK, ASK, TELL = 0x51, 0x52, 0x53, 0x54
GREETING = 0x67772D31
FAREWELL = 0x67772D30

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
        self.probe = False
        self.done = False


class Packing:
    """Segments put together into packets of at most `room` bytes.

    All say the same window and `una`, as they leave together.
    """

    def __init__(self, room: int, conv: int, window: int, una: int) -> None:
        self._room = room
        self._size = 0
        self._head = bytearray(HEAD.pack(conv, 0, 0, min(window, 0xFFFF), 0, 0, una & _MASK, 0))
        self._parts: list[bytes] = []
        self._packets: list[bytes] = []

    def add(self, cmd: int, ts: int, sn: int, data: bytes) -> None:
        """One segment more; it stays whole."""
        head = self._head
        length = len(data)
        size = len(head) + length
        if self._size + size > self._room:
            self._packets.append(b"".join(self._parts))
            self._parts = []
            self._size = 0
        head[4] = cmd
        _lay(head, 8, ts)
        _lay(head, 12, sn)
        _lay(head, 20, length)
        self._parts.append(bytes(head))
        if length:
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


def _lay(head: bytearray, at: int, value: int) -> None:
    head[at] = value & 0xFF
    head[at + 1] = value >> 8 & 0xFF
    head[at + 2] = value >> 16 & 0xFF
    head[at + 3] = value >> 24 & 0xFF


def number(packet: bytes, at: int) -> int:
    """The 32 bits there, without a look at where the packet ends."""
    high = packet[at + 3]
    return packet[at] | packet[at + 1] << 8 | packet[at + 2] << 16 | high << 24


def near(base: int, low: int) -> int:
    """The full number nearest to `base` that ends in these 32 bits."""
    return base + ((low - base + _HALF) & _MASK) - _HALF


def farewell(conv: int) -> bytes:
    """The packet that ends a conversation for one of ours, and is nothing to stock."""
    return HEAD.pack(conv, TELL, 0, 32, 0, FAREWELL, 0, 0)
