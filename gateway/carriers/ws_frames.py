"""Data frames of a websocket (RFC 6455, section 5), read from any cuts, without I/O.

    +-----------------+-------------------+---------------+-----------+-------- - -
    | FIN RSV3 OPCODE | MASK, LENGTH 7    | longer LENGTH | mask, 4   | payload
    +-----------------+-------------------+---------------+-----------+-------- - -

A payload is given out as it comes, whole or not: what runs on it is a stream of bytes.
Control frames are cut out and left to whoever knows the protocol's ends. Ours because the
library spends 12 µs on each frame, and GOST sends two for each datagram.
"""

import os
from struct import Struct

from websockets.frames import CloseCode

try:
    from websockets.speedups import apply_mask
except ImportError:  # a build without a compiler
    from websockets.utils import apply_mask

LARGEST_SENT = 256 * 1024
"""Of one message."""

_SHORT, _LONG = Struct(">H"), Struct(">Q")
_BINARY, _CONTINUED = 2, 0
_FIN, _RESERVED, _CONTROL, _MASK = 0x80, 0x70, 0x08, 0x80
_WHOLE = _FIN | _BINARY
_KEYS = 4096

Fault = tuple[CloseCode, str]


class Reader:
    """One direction. `fault` says what no peer may send; then nothing more is read.

    `masked`: the other end is a client. A message has at most `largest` bytes.
    """

    def __init__(self, *, masked: bool, largest: int) -> None:
        self.fault: Fault | None = None
        self._masked = masked
        self._largest = largest
        self._kept = b""  # a head, or a control frame, that is not all here
        self._left = 0  # bytes of the payload to come
        self._mask = b""
        self._message = 0  # bytes of a message in several frames
        self._goes_on = False

    def read(
        self, data: bytes | bytearray | memoryview
    ) -> tuple[list[bytes | memoryview], list[bytes]]:
        """Pieces of payload, those without a mask borrowed, and whole control frames."""
        if self._kept:
            data, self._kept = self._kept + data, b""
        view = memoryview(data)
        at, end = 0, len(view)
        pieces: list[bytes | memoryview] = []
        controls: list[bytes] = []
        while at < end and self.fault is None:
            if self._left:
                piece = view[at : at + self._left]
                at += len(piece)
                pieces.append(self._take(piece))
                continue
            if not self._goes_on:
                at = self._take_whole(view, at, pieces)
                if at == end:
                    break
            start = self._begin(view, at, end)
            if start is None:
                self._kept = bytes(view[at:])
                break
            if view[at] & _CONTROL:
                controls.append(bytes(view[at:start]))
            at = start
        return pieces, controls

    def _take_whole(self, view: memoryview, at: int, pieces: list[bytes | memoryview]) -> int:
        """Messages in one frame each that are all here, the usual case; where they end."""
        flag, key = (_MASK, 4) if self._masked else (0, 0)
        last = len(view) - 4
        while at <= last and view[at] == _WHOLE:
            size = view[at + 1] ^ flag
            start = at + 2 + key
            if size == 126:
                size = view[at + 2] << 8 | view[at + 3]
                start += 2
            elif size > 126:
                break
            end = start + size
            if end > len(view) or size > self._largest:
                break
            if key and size:
                pieces.append(apply_mask(view[start:end], bytes(view[start - 4 : start])))
            elif size:
                pieces.append(view[start:end])
            at = end
        return at

    def _take(self, piece: memoryview) -> bytes | memoryview:
        """A part of a payload, without its mask, which goes on where this ends."""
        size = len(piece)
        self._left -= size
        if not self._masked:
            return piece
        mask = self._mask
        if self._left and size % 4:
            self._mask = mask[size % 4 :] + mask[: size % 4]
        return apply_mask(piece, mask)

    def _begin(self, view: memoryview, at: int, end: int) -> int | None:
        """Read a head: where its payload starts, or a control frame ends; None: not all here."""
        if end - at < 2:
            return None
        first, second = view[at], view[at + 1]
        if bool(second & _MASK) is not self._masked:
            self._wrong("a mask where none may be, or none where one must be")
            return None
        size = second & ~_MASK
        at += 2
        if size > 125:
            wide = _SHORT if size == 126 else _LONG
            if end - at < wide.size:
                return None
            size = wide.unpack_from(view, at)[0]
            at += wide.size
        if self._masked:
            at += 4
        if at > end:
            return None
        if first & _CONTROL:
            if size > 125 or first & (_FIN | _RESERVED) != _FIN:
                self._wrong("a control frame that is long, in pieces or reserved")
                return None
            return at + size if end - at >= size else None
        if first != _WHOLE or self._goes_on:
            self._follow(first)
        self._message += size
        if self._message > self._largest:
            self.fault = (
                CloseCode.MESSAGE_TOO_BIG,
                f"a message exceeds limit of {self._largest} bytes",
            )
        if not self._goes_on:
            self._message = 0
        if self._masked:
            self._mask = bytes(view[at - 4 : at])
        self._left = size
        return at

    def _follow(self, first: int) -> None:
        """The order of frames in a message; text is taken too."""
        opcode = first & 0x0F
        if first & _RESERVED or opcode > _BINARY:
            self._wrong("reserved bits, or an opcode nobody knows")
        elif (opcode == _CONTINUED) is not self._goes_on:
            self._wrong("a message inside of another, or the end of none")
        self._goes_on = not first & _FIN

    def _wrong(self, text: str) -> None:
        self.fault = CloseCode.PROTOCOL_ERROR, text


class Writer:
    """The other direction. A client masks, each message by 4 bytes nobody can foresee."""

    def __init__(self, *, masked: bool) -> None:
        self._masked = masked
        self._keys = memoryview(b"")

    def write(self, data: bytes | bytearray | memoryview) -> bytes:
        """`data` as messages of at most `LARGEST_SENT` bytes."""
        if len(data) <= LARGEST_SENT:
            return self._message(data)
        view = memoryview(data)
        cuts = range(0, len(view), LARGEST_SENT)
        return b"".join([self._message(view[at : at + LARGEST_SENT]) for at in cuts])

    def _message(self, data: bytes | bytearray | memoryview) -> bytes:
        size = len(data)
        mask = _MASK if self._masked else 0
        if size < 126:
            head = bytes((_WHOLE, mask | size))
        elif size < 1 << 16:
            head = bytes((_WHOLE, mask | 126)) + _SHORT.pack(size)
        else:
            head = bytes((_WHOLE, mask | 127)) + _LONG.pack(size)
        if not mask:
            return b"".join((head, data))
        if not self._keys:
            self._keys = memoryview(os.urandom(_KEYS))
        key, self._keys = bytes(self._keys[:4]), self._keys[4:]
        return b"".join((head, key, apply_mask(data, key)))
