# cython: annotation_typing = False, boundscheck = False, wraparound = False
"""Forward error correction of KCP packets: parity packets that replace lost ones.

Little-endian. Data and parity packets share one sequence; a group is `data` packets and
then `parity` packets, and begins at a multiple of its size:

     0        4       6        8
    +--------+-------+--------+---------------------------
    | seq    | f1 00 | size   | KCP bytes, size - 2 of them      data
    +--------+-------+--------+---------------------------
    | seq    | f2 00 | Reed-Solomon bytes                        parity
    +--------+-------+------------------------------------

The code runs over what follows the kind, padded with zeros to the longest of its group.
Each position of a group is a point of GF(256), polynomial 0x11d. The bytes of a column are
the values of one polynomial at these points, so any `data` of them give all the others by
Lagrange's formula. `fec.pxd` has the types this is compiled with.
Source: xtaci/kcp-go fec.go, klauspost/reedsolomon.
"""

import struct
from array import array
from functools import lru_cache

from gateway.protocol.wire import WireError

Buffer = bytes | bytearray | memoryview

HEADER_SIZE = 6
OVERHEAD = HEADER_SIZE + 2
"""What a data packet is longer than the KCP bytes in it."""
DATA, PARITY = 0xF1, 0xF2
MAX_SHARDS = 256
MOST_LEARNED = 64
"""Packets of a group that is not ours: giving back costs by their square, each."""

_HEAD = struct.Struct("<IH")
_DATA_HEAD = struct.Struct("<IHH")
_SIZE = struct.Struct("<H")

_POLYNOMIAL = 0x11D
_HIGH = 0x8080808080808080
_ZEROS = bytes(8)
_GROUPS = 8
"""Groups a receiver keeps: what comes later than that is not waited for."""
_SAMPLES = 600


def is_fec(packet: Buffer) -> bool:
    """Tell these packets from bare KCP, whose fifth byte is a command, 51 to 54 (hex)."""
    return packet[5] == 0 and packet[4] in {DATA, PARITY}


class Encoder:
    """Numbers outgoing packets and adds parity after each full group."""

    def __init__(self, data: int, parity: int) -> None:
        check_shards(data, parity)
        self._data = data
        self._parity = parity
        group = data + parity
        self._wrap = 0xFFFFFFFF // group * group
        rows = [coefficients(point, tuple(range(data))) for point in range(data, group)]
        self._columns = list(zip(*rows, strict=True))
        self._next = 0
        self._sums = [_words(b"") for _ in range(self._parity)]
        self._count = 0
        self._longest = 0

    def encode(self, packets: list[bytes]) -> list[bytes]:
        """The same packets with headers, and parity packets where groups became full."""
        encoded = []
        for packet in packets:
            size = len(packet) + 2
            encoded.append(_DATA_HEAD.pack(self._next, DATA, size) + packet)
            self._next += 1
            self._add(_SIZE.pack(size) + packet)
            if self._count == self._data:
                encoded += self._close()
        return encoded

    def _add(self, shard: bytes) -> None:
        words = _words(shard)
        if len(shard) > self._longest:
            self._longest = len(shard)
            for total in self._sums:
                total.frombytes(bytes(8 * (len(words) - len(total))))
        add_products(self._sums, words, self._columns[self._count])
        self._count += 1

    def _close(self) -> list[bytes]:
        packets = []
        for total in self._sums:
            parity = total.tobytes()[: self._longest]
            packets.append(_HEAD.pack(self._next, PARITY) + parity)
            self._next = (self._next + 1) % self._wrap
        self._sums = [_words(b"") for _ in range(self._parity)]
        self._count = self._longest = 0
        return packets


class Decoder:
    """Gives back what a group lost. Learns the sender's group by watching.

    Memory is bounded by eight groups of packets.
    """

    def __init__(self, data: int = 0, parity: int = 0) -> None:
        if data:
            check_shards(data, parity)
        self._data = data
        self._group = data + parity
        self._groups: dict[int, dict[int, bytes]] = {}
        self._kinds: dict[int, int] = {}
        self.recovered = 0

    def decode(self, packet: bytes) -> tuple[bytes | None, list[bytes]]:
        """The KCP bytes in this packet, None in parity; and those of lost ones it gave back.

        Raises WireError on a packet that is too short.
        """
        if len(packet) < OVERHEAD:
            raise WireError(f"an FEC packet has {OVERHEAD} bytes or more, not {len(packet)}")
        seq, kind = _HEAD.unpack_from(packet)
        own = packet[OVERHEAD:] if kind == DATA else None
        if self._kinds or not self._group or (seq % self._group < self._data) != (kind == DATA):
            self._watch(seq, kind)
            return own, []
        number, index = divmod(seq, self._group)
        shards = self._groups.get(number)
        if shards is None:
            shards = self._open(number)
        if len(shards) >= self._data or index in shards:
            return own, []
        shards[index] = bytes(packet[HEADER_SIZE:])
        if len(shards) < self._data:
            return own, []
        return own, self._recover(shards)

    def _open(self, number: int) -> dict[int, bytes]:
        while len(self._groups) >= _GROUPS:
            del self._groups[next(iter(self._groups))]
        shards = self._groups[number] = {}
        return shards

    def _recover(self, shards: dict[int, bytes]) -> list[bytes]:
        lost = [index for index in range(self._data) if index not in shards]
        packets = []
        if lost:
            points = tuple(sorted(shards))
            packets = [_cut(_interpolate(index, points, shards)) for index in lost]
        for index in shards:
            shards[index] = b""  # whatever else comes of this group is late
        found = [packet for packet in packets if packet]
        self.recovered += len(found)
        return found

    def _watch(self, seq: int, kind: int) -> None:
        """Learn the group from a whole one: parity, data, parity, and data again."""
        if len(self._kinds) >= _SAMPLES:
            self._kinds.clear()
        self._kinds[seq] = kind
        parity = self._run(seq - 1, PARITY) if kind == DATA else 0
        data = self._run(seq - 1 - parity, DATA) if parity else 0
        group = data + parity
        before = self._kinds.get(seq - 1 - group) == PARITY or seq == group
        if not data or not before or group > MOST_LEARNED or seq % group:
            return
        self._data, self._group = data, group
        self._groups.clear()
        self._kinds.clear()

    def _run(self, seq: int, kind: int) -> int:
        length = 0
        while self._kinds.get(seq - length) == kind:
            length += 1
        return length


def check_shards(data: int, parity: int) -> None:
    """Raise ValueError when a group of this form cannot be."""
    if data < 1 or parity < 1 or data + parity > MAX_SHARDS:
        raise ValueError(f"{data} and {parity} are no group of 2 to {MAX_SHARDS} packets")


@lru_cache(maxsize=1024)
def coefficients(point: int, known: tuple[int, ...]) -> tuple[int, ...]:
    """What to multiply the shards at `known` with, so that their sum is the one at `point`."""
    return tuple(_coefficient(point, own, known) for own in known)


def _coefficient(point: int, own: int, known: tuple[int, ...]) -> int:
    exponent = 0
    for other in known:
        if other != own:
            exponent += _LOG[point ^ other] - _LOG[own ^ other]
    return _EXP[exponent % 255]


def _interpolate(point: int, known: tuple[int, ...], shards: dict[int, bytes]) -> bytes:
    longest = max(len(shard) for shard in shards.values())
    total = _words(bytes(longest))
    for index, factor in zip(known, coefficients(point, known), strict=True):
        add_products([total], _words(shards[index]), (factor,))
    return total.tobytes()[:longest]


def _words(shard: bytes) -> "array[int]":
    """A shard, padded with zeros to whole words."""
    return array("Q", shard + _ZEROS[: -len(shard) % 8])


def add_products(totals: "list[array[int]]", shard: "array[int]", factors: tuple[int, ...]) -> None:
    """Add to each of `totals`, at least as long, the shard times the factor at its place.

    Eight bytes at a time: times 2, again and again, and added up by the bits of the factor.
    """
    size = len(shard)
    powers = shard * 8
    power = powers
    mask = _HIGH
    for bit in range(7):
        start = bit * size
        after = start + size
        for index in range(size):
            word = power[start + index]
            high = word & mask
            ones = high >> 7
            power[after + index] = (word ^ high) << 1 ^ ones ^ ones << 2 ^ ones << 3 ^ ones << 4
    for row, total in enumerate(totals):
        target = total
        factor = factors[row]
        for bit in range(8):
            if factor >> bit & 1:
                start = bit * size
                for index in range(size):
                    target[index] ^= power[start + index]


def _cut(shard: bytes) -> bytes:
    """The KCP bytes of a shard, by its size field; empty when that is not honest."""
    size = _SIZE.unpack_from(shard)[0] if len(shard) > 2 else 0
    return shard[2:size] if 2 < size <= len(shard) else b""


def _powers() -> list[int]:
    values, value = [], 1
    for _ in range(255):
        values.append(value)
        value <<= 1
        if value > 0xFF:
            value ^= _POLYNOMIAL
    return values


_EXP = _powers()
_LOG = {value: exponent for exponent, value in enumerate(_EXP)}
