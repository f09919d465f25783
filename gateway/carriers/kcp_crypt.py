"""How KCP packets are sealed, a burst at a time.

     0           16       20
    +-----------+--------+---------------
    | nonce     | CRC32  | FEC or KCP         the CRC is of what follows it
    +-----------+--------+---------------

The whole packet is one run of the cipher in CFB mode, always from the same IV, so the nonce
takes its place: after it every packet is different. There is no MAC, and the key may be
empty: this hides and sorts out noise, it does not prove who sent.

A cipher's set-up costs more than a packet, so a burst is one run of it. Opening: CFB goes on
from the ciphertext before, so the IV laid before each packet starts it anew. Sealing: the
nonce is a block of zeros in the middle of one long run, which comes out as random as the
cipher is; the receiver sees no difference, and the run's own IV is random.
Source: xtaci/kcp-go crypt.go, GOST x internal/util/kcp.
"""

import hashlib
import os
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable

from cryptography.hazmat.decrepit.ciphers.algorithms import CAST5, Blowfish, TripleDES
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher, CipherAlgorithm
from cryptography.hazmat.primitives.ciphers.algorithms import AES, SM4

Buffer = bytes | bytearray | memoryview

NONCE_SIZE = 16
OVERHEAD = NONCE_SIZE + 4

_IV = bytes.fromhex("a7734f9c12ac1b01a415f2c1fc78e66b")
_SALT = b"kcp-go"
_XOR_SALT = b"sH3CIVoF#rWLtJo6"
_XOR_SIZE = 1500
_CRC = struct.Struct("<I")
_HEAD = struct.Struct(f"<{NONCE_SIZE}xI")
"""A nonce of zeros, and the CRC."""


class Crypt(ABC):
    """Seals and opens bursts of packets with one key."""

    @abstractmethod
    def seal(self, packets: list[bytes]) -> list[Buffer]:
        """The datagrams for these packets."""

    @abstractmethod
    def open(self, datagrams: list[memoryview]) -> list[memoryview | None]:
        """The packets in these datagrams; None in place of what is noise."""


def make_crypt(name: str, key: str) -> Crypt:
    """What seals with the cipher of this name (GOST's) and the key's text."""
    derived = hashlib.pbkdf2_hmac("sha1", key.encode(), _SALT, 4096, 32)
    if name == "none":
        return Clear()
    if name == "xor":
        return Xor(hashlib.pbkdf2_hmac("sha1", derived, _XOR_SALT, 32, _XOR_SIZE))
    return Block(_CIPHERS[name](derived))


_CIPHERS: dict[str, Callable[[bytes], CipherAlgorithm]] = {
    "aes": AES,
    "aes-128": lambda key: AES(key[:16]),
    "aes-192": lambda key: AES(key[:24]),
    "sm4": lambda key: SM4(key[:16]),
    "cast5": lambda key: CAST5(key[:16]),
    "blowfish": Blowfish,
    "3des": lambda key: TripleDES(key[:24]),
}


class Block(Crypt):
    """A block cipher in CFB mode."""

    def __init__(self, algorithm: CipherAlgorithm) -> None:
        size = algorithm.block_size // 8  # type: ignore[attr-defined]
        self._size = size
        self._iv = _IV[:size]
        self._pads = [bytes(length) for length in range(size)]
        self._encryptor = Cipher(algorithm, CFB(os.urandom(size))).encryptor()
        self._decryptor = Cipher(algorithm, CFB(self._iv)).decryptor()

    def seal(self, packets: list[bytes]) -> list[Buffer]:
        block, pads, crc, pack = self._size, self._pads, zlib.crc32, _HEAD.pack
        parts: list[bytes] = []
        ends: list[tuple[int, int]] = []
        at = 0
        for packet in packets:
            size = OVERHEAD + len(packet)
            pad = -size % block
            parts += (pack(crc(packet)), packet, pads[pad])
            ends.append((at, at + size))
            at += size + pad
        sealed = memoryview(self._encryptor.update(b"".join(parts)))
        return [sealed[begin:end] for begin, end in ends]

    def open(self, datagrams: list[memoryview]) -> list[memoryview | None]:
        block, pads, iv = self._size, self._pads, self._iv
        parts: list[Buffer] = []
        ends: list[tuple[int, int]] = []
        at = 0
        for datagram in datagrams:
            size = len(datagram)
            pad = -size % block
            parts += (iv, datagram, pads[pad])
            at += block
            ends.append((at, at + size))
            at += size + pad
        opened = memoryview(self._decryptor.update(b"".join(parts)))
        return [_checked(opened[begin:end]) for begin, end in ends]


class Xor(Crypt):
    """A fixed table over every packet."""

    def __init__(self, table: bytes) -> None:
        self._table = int.from_bytes(table, "little")

    def seal(self, packets: list[bytes]) -> list[Buffer]:
        return [self._cross(datagram) for datagram in Clear().seal(packets)]

    def open(self, datagrams: list[memoryview]) -> list[memoryview | None]:
        return [_checked(memoryview(self._cross(datagram))) for datagram in datagrams]

    def _cross(self, data: Buffer) -> bytes:
        size = len(data)
        table = self._table & (1 << 8 * size) - 1
        return (int.from_bytes(data, "little") ^ table).to_bytes(size, "little")


class Clear(Crypt):
    """No cipher: nonce and CRC alone."""

    def seal(self, packets: list[bytes]) -> list[Buffer]:
        nonces = os.urandom(NONCE_SIZE * len(packets))
        return [
            nonces[number * NONCE_SIZE : (number + 1) * NONCE_SIZE]
            + _CRC.pack(zlib.crc32(packet))
            + packet
            for number, packet in enumerate(packets)
        ]

    def open(self, datagrams: list[memoryview]) -> list[memoryview | None]:
        return [_checked(datagram) for datagram in datagrams]


def _checked(opened: memoryview) -> memoryview | None:
    """What follows the CRC, if it is right."""
    if len(opened) <= OVERHEAD:
        return None
    packet = opened[OVERHEAD:]
    return packet if _CRC.unpack_from(opened, NONCE_SIZE)[0] == zlib.crc32(packet) else None
