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
cipher is; the receiver sees no difference, and the run's own IV is random. A large burst is
sealed side by side instead (protocol.kcp_bursts), from random nonces.
Source: xtaci/kcp-go crypt.go, GOST x internal/util/kcp.
"""

import hashlib
import os
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from cryptography.hazmat.decrepit.ciphers.algorithms import CAST5, Blowfish, TripleDES
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher, CipherAlgorithm
from cryptography.hazmat.primitives.ciphers.algorithms import AES, SM4
from cryptography.hazmat.primitives.ciphers.modes import ECB

from gateway.protocol.kcp_bursts import (
    NONCE_SIZE,
    OVERHEAD,
    SIDE_BY_SIDE,
    checked,
    cut_sealed,
    lay_plain,
    lay_sealed,
    packet_in,
    seal_side_by_side,
)

__all__ = ["OVERHEAD", "Crypt", "make_crypt"]

Buffer = bytes | bytearray | memoryview

_IV = bytes.fromhex("a7734f9c12ac1b01a415f2c1fc78e66b")
_SALT = b"kcp-go"
_XOR_SALT = b"sH3CIVoF#rWLtJo6"
_XOR_SIZE = 1500
_CRC = struct.Struct("<I")


class Crypt(ABC):
    """Seals and opens bursts of packets with one key."""

    @abstractmethod
    def seal(self, packets: list[bytes]) -> list[Buffer]:
        """The datagrams for these packets."""

    @abstractmethod
    def open(self, datagrams: Sequence[Buffer]) -> list[bytes | None]:
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
        self._encryptor = Cipher(algorithm, CFB(os.urandom(size))).encryptor()
        self._decryptor = Cipher(algorithm, CFB(self._iv)).decryptor()
        self._bare = Cipher(algorithm, ECB()).encryptor()  # noqa: S305 - CFB is made of it

    def seal(self, packets: list[bytes]) -> list[Buffer]:
        if len(packets) >= SIDE_BY_SIDE:
            return self._seal_side_by_side(packets)
        sealed = self._encryptor.update(lay_plain(packets, self._size))
        return cut_sealed(sealed, packets, self._size)

    def _seal_side_by_side(self, packets: list[bytes]) -> list[Buffer]:
        longest = OVERHEAD + len(max(packets, key=len))
        stride = longest + -longest % self._size
        run = bytearray(lay_plain(packets, self._size, stride))
        nonces = os.urandom(self._size * len(packets))
        seal_side_by_side(run, nonces, self._size, self._bare.update_into)
        return cut_sealed(run, packets, self._size, stride)

    def open(self, datagrams: Sequence[Buffer]) -> list[bytes | None]:
        opened = self._decryptor.update(lay_sealed(datagrams, self._iv))
        return checked(opened, datagrams, self._size)


class Xor(Crypt):
    """A fixed table over every packet."""

    def __init__(self, table: bytes) -> None:
        self._table = int.from_bytes(table, "little")

    def seal(self, packets: list[bytes]) -> list[Buffer]:
        return [self._cross(datagram) for datagram in Clear().seal(packets)]

    def open(self, datagrams: Sequence[Buffer]) -> list[bytes | None]:
        return Clear().open([self._cross(datagram) for datagram in datagrams])

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

    def open(self, datagrams: Sequence[Buffer]) -> list[bytes | None]:
        return [packet_in(bytes(datagram), 0, len(datagram)) for datagram in datagrams]
