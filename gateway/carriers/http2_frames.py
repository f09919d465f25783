"""The frames of HTTP/2 (RFC 9113, section 4 and 6), read from any cuts.

    +------------------+------+-------+--------------------+-------- - -
    | LENGTH, 3        | TYPE | FLAGS | stream id, 31 bits | payload
    +------------------+------+-------+--------------------+-------- - -

Payloads are collected, but for DATA without padding, which goes straight through: it is most
of what comes.
"""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from gateway.protocol.wire import WireError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITISED = 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = range(4)
REFUSED_STREAM = 7
CANCEL = 8

HEADER_TABLE_SIZE = 1
MAX_CONCURRENT_STREAMS = 3
INITIAL_WINDOW_SIZE = 4
MAX_FRAME_SIZE = 5
MAX_HEADER_LIST_SIZE = 6

HEAD_SIZE = 9
SMALLEST_MAX_FRAME = 16384
LARGEST_MAX_FRAME = 2**24 - 1
FIRST_WINDOW = 65535
LARGEST_WINDOW = 2**31 - 1
_LONGEST_CONTROL = 16384

_HEAD = Struct(">HBBBI")
_SETTING = Struct(">HI")
_WORD = Struct(">I")
_EXACT = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}


class Frame(NamedTuple):
    """One frame; `payload` is None when `length` bytes of data follow, to be taken from it."""

    kind: int
    flags: int
    sid: int
    length: int
    payload: bytes | None


def head(kind: int, flags: int, sid: int, length: int) -> bytes:
    """The nine bytes before a payload."""
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, sid)


def frame(kind: int, flags: int, sid: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return head(kind, flags, sid, len(payload)) + payload


def word(value: int) -> bytes:
    """A payload of one number: a window's increment, an error code."""
    return _WORD.pack(value)


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(_SETTING.pack(name, value) for name, value in values.items())
    return frame(SETTINGS, 0, 0, payload)


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """Names and values, in order; WireError for a part of one."""
    if len(payload) % _SETTING.size:
        raise WireError(f"HTTP/2 settings of {len(payload)} bytes")
    return _SETTING.iter_unpack(payload)


def read_word(payload: bytes, *, bits: int = 32) -> int:
    """The number at the start of a payload; WireError if there is none."""
    if len(payload) < _WORD.size:
        raise WireError("an HTTP/2 frame without its number")
    value: int = _WORD.unpack_from(payload)[0] & (2**bits - 1)
    return value


def unpadded(frame: Frame) -> bytes:
    """The payload of DATA or HEADERS without padding and priority; WireError if they overlap."""
    payload = frame.payload or b""
    start, end = 0, len(payload)
    if frame.flags & PADDED:
        start, end = 1, end - (payload[0] if payload else 1)
    if frame.kind == HEADERS and frame.flags & PRIORITISED:
        start += 5
    if start > end:
        raise WireError("an HTTP/2 frame with more padding than it has bytes")
    return payload[start:end]


class Frames:
    """Reads frames, and the client's preface before them if it is due."""

    def __init__(self, *, preface: bool, max_frame: int) -> None:
        self._preface = PREFACE if preface else b""
        self._max_frame = max_frame
        self._head = bytearray()
        self._payload = bytearray()
        self._now: tuple[int, int, int, int] | None = None

    def next(self, view: memoryview, at: int) -> tuple[Frame | None, int]:
        """The frame that ends in `view`, begun there at `at` or before, and where it ends.

        None: it is not all here yet. Raise WireError for what no peer may send.
        """
        if self._preface:
            at = self._take_preface(view, at)
        if self._now is None and not self._head and len(view) - at >= HEAD_SIZE:
            high, low, kind, flags, sid = _HEAD.unpack_from(view, at)
            length = high << 8 | low
            if kind == DATA and not flags & PADDED and length <= self._max_frame and sid:
                return Frame(kind, flags, sid & LARGEST_WINDOW, length, None), at + HEAD_SIZE
        if self._now is None:
            at = self._take_head(view, at)
        if self._now is None:
            return None, at
        kind, flags, sid, length = self._now
        if kind == DATA and not flags & PADDED:
            self._now = None
            return Frame(kind, flags, sid, length, None), at
        missing = length - len(self._payload)
        self._payload += view[at : at + missing]
        at = min(len(view), at + missing)
        if len(self._payload) < length:
            return None, at
        payload, self._payload, self._now = bytes(self._payload), bytearray(), None
        return Frame(kind, flags, sid, length, payload), at

    def run(self, view: memoryview, at: int, sid: int) -> tuple[list[memoryview], int]:
        """Whole frames of data of one stream, one after the other: their payloads, and the end.

        The usual case, and short for it: none with a flag, none without a byte, none too long.
        """
        parts: list[memoryview] = []
        if self._now is not None or self._head or self._preface:
            return parts, at
        last = len(view) - HEAD_SIZE
        while at <= last:
            high, low, kind, flags, whose = _HEAD.unpack_from(view, at)
            length = high << 8 | low
            start = at + HEAD_SIZE
            end = start + length
            if kind != DATA or flags or whose != sid or not length or end > len(view):
                break
            if length > self._max_frame:
                break
            parts.append(view[start:end])
            at = end
        return parts, at

    def _take_preface(self, view: memoryview, at: int) -> int:
        part = bytes(view[at : at + len(self._preface)])
        if not self._preface.startswith(part):
            raise WireError("no HTTP/2: another preface")
        self._preface = self._preface[len(part) :]
        return at + len(part)

    def _take_head(self, view: memoryview, at: int) -> int:
        if not self._head and len(view) - at >= HEAD_SIZE:
            self._begin(*_HEAD.unpack_from(view, at))
            return at + HEAD_SIZE
        missing = HEAD_SIZE - len(self._head)
        self._head += view[at : at + missing]
        if len(self._head) == HEAD_SIZE:
            self._begin(*_HEAD.unpack(self._head))
            self._head.clear()
        return min(len(view), at + missing)

    def _begin(self, high: int, low: int, kind: int, flags: int, sid: int) -> None:
        length = high << 8 | low
        longest = self._max_frame if kind == DATA else _LONGEST_CONTROL
        if length > longest or length != _EXACT.get(kind, length):
            raise WireError(f"an HTTP/2 frame of type {kind} and {length} bytes")
        sid &= LARGEST_WINDOW
        if kind in {DATA, HEADERS, PRIORITY, RST_STREAM, CONTINUATION} and not sid:
            raise WireError(f"an HTTP/2 frame of type {kind} for no stream")
        if kind in {SETTINGS, PING, GOAWAY} and sid:
            raise WireError(f"an HTTP/2 frame of type {kind} for one stream")
        self._now = kind, flags, sid, length
