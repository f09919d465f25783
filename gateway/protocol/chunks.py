"""GOST's gRPC messages: what one write is wrapped in, and its unwrapping from any cuts.

    +------+-----------------------+ +------+---------+----------- - -
    | 00   | length, 4, big-endian | | 0a   | varint  | data
    +------+-----------------------+ +------+---------+----------- - -
     gRPC: not compressed              message Chunk { bytes data = 1; }

An empty chunk is a message of length 0. Sources: gRPC over HTTP/2; Protocol Buffers encoding;
GOST x, internal/util/grpc/proto. Whatever a peer sends, reading raises nothing but
`WireError` (I15), and nothing is kept but the head of one message.
"""

from struct import Struct

from gateway.protocol.wire import WireError

MAX_MESSAGE = 4 << 20
"""What gRPC for Go takes."""
_TAG = 0x0A
_PREFIX = 5
_HEAD = Struct(">BIBBB")
_LONGEST_VARINT = 4  # 4 MiB takes 23 bits


def head(size: int) -> bytes:
    """What goes before `size` bytes of data to make them one message; size from 1."""
    varint = bytearray()
    rest = size
    while rest > 0x7F:
        varint.append(rest & 0x7F | 0x80)
        rest >>= 7
    varint.append(rest)
    length = 1 + len(varint) + size
    return b"\0" + length.to_bytes(4, "big") + bytes([_TAG]) + varint


class Chunks:
    """Takes the data out of a stream of messages, as borrowed views (I5)."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0

    def read(self, view: memoryview) -> list[memoryview]:
        """The data in the next bytes, in pieces, none of them empty.

        Raises:
            WireError: Compressed, over 4 MiB, or no Chunk.
        """
        pieces = []
        at, end = 0, len(view)
        while at < end:
            if not self._left:
                quick = self._quick_head(view, at) if not self._head else at
                at = quick if quick > at else self._read_head(view, at)
                continue
            piece = view[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            pieces.append(piece)
        return pieces

    def _quick_head(self, view: memoryview, at: int) -> int:
        """Take the usual head, all here and of less than 16 KB, as one number; where it ends."""
        if len(view) - at < _HEAD.size:
            return at
        packed, length, tag, low, high = _HEAD.unpack_from(view, at)
        if packed or tag != _TAG:
            return at
        if low < 0x80 and length == low + 2:
            self._left = low
            return at + _HEAD.size - 1
        size = low & 0x7F | high << 7
        if low >= 0x80 and high < 0x80 and length == size + 3:
            self._left = size
            return at + _HEAD.size
        return at

    def _read_head(self, view: memoryview, at: int) -> int:
        """Take bytes of a head until it is whole; where it ends."""
        head = self._head
        missing = _PREFIX - len(head)
        if missing > 0:
            head += view[at : at + missing]
            if len(head) < _PREFIX:
                return len(view)
            self._check_prefix()
            return at + missing
        head.append(view[at])
        if len(head) == _PREFIX + 1:
            if head[_PREFIX] != _TAG:
                raise WireError(f"a gRPC message that is no Chunk: field tag {head[_PREFIX]}")
        elif head[-1] < 0x80:
            self._check_size()
        elif len(head) > _PREFIX + _LONGEST_VARINT:
            raise WireError("a Chunk whose length is no number")
        return at + 1

    def _check_prefix(self) -> None:
        if self._head[0]:
            raise WireError("a compressed gRPC message")
        length = int.from_bytes(self._head[1:], "big")
        if length > MAX_MESSAGE:
            raise WireError(f"a gRPC message of {length} bytes")
        if not length:
            self._head.clear()

    def _check_size(self) -> None:
        size = 0
        for shift, byte in enumerate(self._head[_PREFIX + 1 :]):
            size |= (byte & 0x7F) << (7 * shift)
        inside = int.from_bytes(self._head[1:_PREFIX], "big") - len(self._head) + _PREFIX
        if size != inside:
            raise WireError(f"a Chunk of {size} bytes in a message that has {inside} for it")
        self._left = size
        self._head.clear()
