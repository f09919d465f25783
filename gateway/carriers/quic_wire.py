"""The UDP socket under QUIC: bursts in, bursts out, sealed once more where a key says so.

What GRO has joined is given on as it is: equal datagrams and a shorter last one.

GOST's `cipherKey` seals every datagram by AES-GCM: nonce (12) | ciphertext | tag (16).
"""

import errno
import os
import socket
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.carriers.stream import Counts
from gateway.carriers.udp_wire import (
    DATAGRAM,
    GROUP_BYTES,
    IP_MTU_DISCOVER,
    IPV6_MTU_DISCOVER,
    SEND_BUFFER,
    SOL_UDP,
    UDP_GRO,
    Address,
    UdpWire,
    set_buffers,
)

__all__ = ["Address", "Owner", "Wire", "prepare"]

IP_PMTUDISC_PROBE = IPV6_PMTUDISC_PROBE = 3

RECEIVE_BUFFER = 4 << 20

_RECEIVES = 4
"""In one turn: as much as of a TCP stream, for whoever else is on this listener waits for it."""
_GROUP = 60
_NONCE, _TAG = 12, 16


class Owner(Protocol):
    """Who takes what arrives."""

    def on_burst(self, address: Address, burst: bytes, step: int) -> None:
        """Datagrams of `step` bytes each, the last perhaps shorter, from one sender."""

    def on_turn(self) -> None:
        """That was all for now."""

    def on_refused(self) -> None:
        """A connected socket heard that nobody listens there."""


class Wire(UdpWire[Owner]):
    """Takes the socket over."""

    uncounted = frozenset({errno.EMSGSIZE})
    """A probe of the path's MTU is meant to be too long now and then."""

    def __init__(self, sock: socket.socket, key: bytes, owner: Owner, counts: Counts) -> None:
        self._cipher = AESGCM(key) if key else None
        super().__init__(sock, owner, counts, DATAGRAM)

    def send(self, datagrams: list[bytes], address: Address | None) -> None:
        """Send these; None: where the socket is connected."""
        if self._sock.fileno() < 0:
            return
        if self._cipher:
            datagrams = [_seal(self._cipher, datagram) for datagram in datagrams]
        first = 0
        while first < len(datagrams):
            size = len(datagrams[first])
            most = min(first + min(_GROUP, GROUP_BYTES // size), len(datagrams))
            last = first + 1
            while last < most and len(datagrams[last]) == size:
                last += 1
            if last < most and len(datagrams[last]) < size:
                last += 1
            self._send_group(datagrams[first:last], size, address)
            first = last

    def _readable(self) -> None:
        received = False
        for _ in range(_RECEIVES):
            found = self._receive(0)
            if found is None:
                break
            address, size, step = found
            burst, step = bytes(self._arena[:size]), step or size
            if self._cipher:
                burst, step = self._open(self._cipher, burst, step)
            if burst:
                received = True
                self._owner.on_burst(address, burst, step)
            if self._sock.fileno() < 0:
                return
        if received:
            self._owner.on_turn()

    def _open(self, cipher: AESGCM, burst: bytes, step: int) -> tuple[bytes, int]:
        """What is under this key. Without the others the rest is still of one size."""
        opened = []
        for first in range(0, len(burst), max(step, 1)):
            nonce, sealed = burst[first : first + _NONCE], burst[first + _NONCE : first + step]
            try:
                opened.append(cipher.decrypt(nonce, sealed, None))
            except (InvalidTag, ValueError):
                self._counts.count("noise")
        return b"".join(opened), max(step - _NONCE - _TAG, 1)


def _seal(cipher: AESGCM, datagram: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + cipher.encrypt(nonce, datagram, None)


def prepare(sock: socket.socket) -> None:
    """Group what arrives, never fragment what leaves, and give both some room."""
    sock.setsockopt(SOL_UDP, UDP_GRO, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE)
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
    set_buffers(sock, SEND_BUFFER, RECEIVE_BUFFER)
