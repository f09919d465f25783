# cython: annotation_typing = False, boundscheck = False, wraparound = False
"""What is done to every packet of a burst beside KCP: cut, checked, laid out, sealed.

    nonce (16) | CRC32 (4) | packet

CFB is one block after the other: C[i] = E(C[i - 1]) ^ P[i]. A processor does many blocks at
once in the time of a few, so the packets of a large burst are sealed side by side: the first
block of each, then the second. What comes out is the same. `kcp_bursts.pxd` has the types
this is compiled with.
"""

import struct
from collections.abc import Callable, Sequence
from zlib import crc32

from gateway.protocol.kcp_segments import number

Buffer = bytes | bytearray | memoryview

NONCE_SIZE = 16
OVERHEAD = NONCE_SIZE + 4
SIDE_BY_SIDE = 32
"""With fewer packets one run of the cipher is as fast."""

_HEAD = struct.Struct(f"<{NONCE_SIZE}xI")
"""A nonce of zeros, and the CRC."""
_PADS = [bytes(length) for length in range(NONCE_SIZE)]


def cut(run: bytes, spans: list[tuple[int, int, int]]) -> list[bytes]:
    """The datagrams that the kernel has joined; begin, size and step of each run of them."""
    datagrams = []
    for begin, size, step in spans:
        end = begin + size
        at = begin
        while at + step < end:
            datagrams.append(run[at : at + step])
            at += step
        datagrams.append(run[at:end])
    return datagrams


def grouped(datagrams: Sequence[Buffer], most: int, most_bytes: int) -> list[tuple[int, int]]:
    """Where groups begin and end: up to `most` of one size, the last perhaps shorter."""
    groups = []
    first, count = 0, len(datagrams)
    while first < count:
        size = len(datagrams[first])
        limit = min(count, first + max(1, min(most, most_bytes // size)))
        last = first + 1
        while last < limit and len(datagrams[last]) == size:
            last += 1
        if last < limit and len(datagrams[last]) < size:
            last += 1
        groups.append((first, last))
        first = last
    return groups


def lay_sealed(datagrams: Sequence[Buffer], iv: bytes) -> bytes:
    """The IV before each, whole blocks each: to be opened in one run."""
    block = len(iv)
    parts: list[Buffer] = []
    for datagram in datagrams:
        pad = -len(datagram) & (block - 1)
        parts.append(iv)
        parts.append(datagram)
        if pad:
            parts.append(_PADS[pad])
    return b"".join(parts)


def checked(opened: bytes, datagrams: Sequence[Buffer], block: int) -> list[bytes | None]:
    """The packets in such a run, once it is opened; None where the CRC is wrong."""
    packets = []
    at = 0
    for datagram in datagrams:
        at += block
        size = len(datagram)
        packets.append(packet_in(opened, at, at + size))
        at += size + (-size & (block - 1))
    return packets


def packet_in(opened: bytes, begin: int, end: int) -> bytes | None:
    """What follows the CRC there, if it is right."""
    if begin < 0 or end - begin <= OVERHEAD or end > len(opened):
        return None
    packet = opened[begin + OVERHEAD : end]
    return packet if crc32(packet) == number(opened, begin + NONCE_SIZE) else None


def lay_plain(packets: list[bytes], block: int, stride: int = 0) -> bytes:
    """Packets with their heads, whole blocks each, or as many bytes each as `stride` says."""
    parts = []
    for packet in packets:
        size = OVERHEAD + len(packet)
        parts.append(_HEAD.pack(crc32(packet)))
        parts.append(packet)
        pad = stride - size if stride else -size & (block - 1)
        if pad:
            parts.append(bytes(pad))
    return b"".join(parts)


def cut_sealed(sealed: Buffer, packets: list[bytes], block: int, stride: int = 0) -> list[Buffer]:
    """The datagrams in such a run, once it is sealed."""
    view = memoryview(sealed)
    datagrams: list[Buffer] = []
    at = 0
    for packet in packets:
        size = OVERHEAD + len(packet)
        datagrams.append(view[at : at + size])
        at += stride or size + (-size & (block - 1))
    return datagrams


def seal_side_by_side(
    run: bytearray,
    nonces: bytes,
    block: int,
    encrypt: Callable[[bytearray, bytearray], object],
) -> None:
    """Seal, in their place, as many packets as there are nonces, at equal strides.

    A nonce is one block, and takes the place of the packet's first. `encrypt` is the bare
    cipher, from one buffer into another that has room for a block more.
    """
    words = block // 8
    count = len(nonces) // block
    step = len(run) // 8 // count
    fed = bytearray(nonces)
    made = bytearray(len(nonces) + block)
    text = memoryview(run).cast("Q")
    before = memoryview(fed).cast("Q")
    after = memoryview(made).cast("Q")
    for index in range(count):
        for word in range(words):
            text[index * step + word] = before[index * words + word]
    for first in range(words, step, words):
        encrypt(fed, made)
        for index in range(count):
            at = index * step + first
            for word in range(words):
                place = index * words + word
                text[at + word] ^= after[place]
                before[place] = text[at + word]
