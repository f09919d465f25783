"""What a QUIC listener must know of packets: whose they are, and answers that cost no state.

The rest is the library's. A packet with a long header names its version and both connection
ids; one with a short header only the id that we gave. Source: RFC 8999; RFC 9000, section 17;
RFC 9001, sections 5.1 and 5.2 (keys of first packets) and 5.8 (the tag of a Retry).
"""

import hashlib
import hmac
import os
import struct
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = 1
ID_SIZE = 8
"""Bytes of the connection ids we give."""
LEAST_FIRST = 1200
"""A datagram that begins a connection is at least this long (RFC 9000, 14.1)."""
RETRY_SECONDS = 15

_LONG, _INITIAL, _RETRY = 0x80, 0xC0, 0xF0
_TYPE = 0xF0
_MOST_ID = 20
_RETRY_KEY = bytes.fromhex("be0c690b9f66575a1d766b54e368c84e")
_RETRY_NONCE = bytes.fromhex("461599d35d632bf2239825bb")
_MAC = 16
_SALT = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")


@dataclass(frozen=True, slots=True)
class Head:
    """Of a packet. `version` and `source` None: a short header; `token` only of an Initial."""

    destination: bytes
    version: int | None = None
    source: bytes = b""
    is_initial: bool = False
    token: bytes = b""


def read_head(packet: bytes) -> Head | None:
    """The head of the first packet of a datagram; None: it is none."""
    if len(packet) < 1 + ID_SIZE:
        return None
    if not packet[0] & _LONG:
        return Head(packet[1 : 1 + ID_SIZE])
    if len(packet) < 7:
        return None
    version = int.from_bytes(packet[1:5], "big")
    at = 6 + packet[5]
    if at >= len(packet):
        return None
    until = at + 1 + packet[at]
    if until > len(packet):
        return None
    destination, source = packet[6:at], packet[at + 1 : until]
    if version != VERSION:
        return Head(destination, version, source)
    if len(destination) > _MOST_ID or len(source) > _MOST_ID:
        return None
    if packet[0] & _TYPE != _INITIAL:
        return Head(destination, version, source)
    token = _read_token(packet, until)
    return None if token is None else Head(destination, version, source, True, token)


def _read_token(packet: bytes, at: int) -> bytes | None:
    if at >= len(packet):
        return None
    width = 1 << (packet[at] >> 6)
    size = int.from_bytes(packet[at : at + width], "big") & ((1 << (8 * width - 2)) - 1)
    token = packet[at + width : at + width + size]
    return token if len(token) == size else None


def build_versions(head: Head) -> bytes:
    """The answer to a version that is not ours."""
    first = bytes([_LONG | os.urandom(1)[0]])
    return first + bytes(4) + _ids(head.source, head.destination) + struct.pack("!I", VERSION)


class Retries:
    """Sends strangers away with a token, which only who got it can bring back."""

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def build(self, head: Head, address: str, now: float) -> bytes:
        """The Retry that answers this Initial."""
        source = os.urandom(ID_SIZE)
        body = struct.pack("!QB", int(now), len(head.destination)) + head.destination
        token = self._sign(body, source, address) + body
        packet = bytes([_RETRY]) + struct.pack("!I", VERSION) + _ids(head.source, source) + token
        pseudo = bytes([len(head.destination)]) + head.destination + packet
        return packet + AESGCM(_RETRY_KEY).encrypt(_RETRY_NONCE, b"", pseudo)

    def original(self, head: Head, address: str, now: float) -> bytes | None:
        """The connection id its first Initial was sent to; None: no token of ours, or old."""
        mac, body = head.token[:_MAC], head.token[_MAC:]
        if len(body) < 9 or not hmac.compare_digest(
            mac, self._sign(body, head.destination, address)
        ):
            return None
        begun, size = struct.unpack_from("!QB", body)
        if now - begun > RETRY_SECONDS or len(body) != 9 + size:
            return None
        return body[9:]

    def _sign(self, body: bytes, source: bytes, address: str) -> bytes:
        text = address.encode() + b"\0" + source + b"\0" + body
        return hmac.digest(self._key, text, hashlib.sha256)[:_MAC]


@dataclass(frozen=True, slots=True)
class FirstKeys:
    """Of one end's first packets."""

    secret: bytes = field(repr=False)
    key: bytes = field(repr=False)
    iv: bytes = field(repr=False)
    hp: bytes = field(repr=False)


def first_keys(identity: bytes) -> tuple[FirstKeys, FirstKeys]:
    """The client's and the server's, by the id that the client sends to."""
    common = hmac.digest(_SALT, identity, hashlib.sha256)
    client, server = _expand(common, b"client in", 32), _expand(common, b"server in", 32)
    return _keys(client), _keys(server)


def _keys(secret: bytes) -> FirstKeys:
    return FirstKeys(
        secret,
        _expand(secret, b"quic key", 16),
        _expand(secret, b"quic iv", 12),
        _expand(secret, b"quic hp", 16),
    )


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446, 7.1), for one block of the hash."""
    full = b"tls13 " + label
    info = struct.pack("!HB", size, len(full)) + full + b"\0"
    return hmac.digest(secret, info + b"\1", hashlib.sha256)[:size]


def _ids(destination: bytes, source: bytes) -> bytes:
    return bytes([len(destination)]) + destination + bytes([len(source)]) + source
