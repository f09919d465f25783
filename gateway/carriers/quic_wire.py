"""The UDP socket under QUIC: bursts in, bursts out, sealed once more where a key says so.

One receive takes what GRO has joined, and is given on as it is: equal datagrams and a shorter
last one. One send gives the kernel up to 60 datagrams to cut (UDP_SEGMENT). What it does not
take is dropped and counted: QUIC sends it again. Where a path or device cannot have groups,
datagrams leave one by one for a while.

GOST's `cipherKey` seals every datagram by AES-GCM: nonce (12) | ciphertext | tag (16).
"""

import asyncio
import errno
import os
import socket
import struct
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.carriers.stream import Counts

Address = tuple[str, int] | tuple[str, int, int, int]

SOL_UDP = 17
UDP_SEGMENT, UDP_GRO = 103, 104
IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 3
IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE = 23, 3
SO_RCVBUFFORCE = 33

SEND_BUFFER = 1 << 20
"""Bounded: on a listener it is one queue for everybody (I13)."""
RECEIVE_BUFFER = 4 << 20

_DATAGRAM = 65536
_RECEIVES = 4
"""In one turn: as much as of a TCP stream, for whoever else is on this listener waits for it."""
_GROUP_BYTES = 65000
_GROUP = 60
_SINGLY = 30.0
_UNGROUPABLE = frozenset({errno.EIO, errno.EMSGSIZE, errno.EINVAL})
_NONCE, _TAG = 12, 16
_INT = struct.Struct("=i")
_SHORT = struct.Struct("=H")


class Owner(Protocol):
    """Who takes what arrives."""

    def on_burst(self, address: Address, burst: bytes, step: int) -> None:
        """Datagrams of `step` bytes each, the last perhaps shorter, from one sender."""

    def on_turn(self) -> None:
        """That was all for now."""

    def on_refused(self) -> None:
        """A connected socket heard that nobody listens there."""


class Wire:
    """Takes the socket over. Nobody's `O_NONBLOCK` is touched: every call is asked not to wait."""

    def __init__(self, sock: socket.socket, key: bytes, owner: Owner, counts: Counts) -> None:
        self._sock = sock
        self._cipher = AESGCM(key) if key else None
        self._owner = owner
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._arena = memoryview(bytearray(_DATAGRAM))
        self._singly_until = 0.0
        self._loop.add_reader(sock.fileno(), self._readable)

    @property
    def port(self) -> int:
        """The local port."""
        port: int = self._sock.getsockname()[1]
        return port

    def close(self) -> None:
        """Receive no more, and give the socket back to the kernel."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            self._loop.call_soon(self._let_go)  # not now: it may be in the middle of a burst

    def _let_go(self) -> None:
        """Its owner is freed with his last user, and so is the arena."""
        del self._owner

    def send(self, datagrams: list[bytes], address: Address | None) -> None:
        """Send these; None: where the socket is connected."""
        if self._sock.fileno() < 0:
            return
        if self._cipher:
            datagrams = [_seal(self._cipher, datagram) for datagram in datagrams]
        first = 0
        while first < len(datagrams):
            size = len(datagrams[first])
            most = min(first + min(_GROUP, _GROUP_BYTES // size), len(datagrams))
            last = first + 1
            while last < most and len(datagrams[last]) == size:
                last += 1
            if last < most and len(datagrams[last]) < size:
                last += 1
            self._send_group(datagrams[first:last], size, address)
            first = last

    def _send_group(self, datagrams: list[bytes], size: int, address: Address | None) -> None:
        if len(datagrams) > 1 and self._loop.time() >= self._singly_until:
            control = [(SOL_UDP, UDP_SEGMENT, _SHORT.pack(size))]
            if self._send(datagrams, control, address):
                return
            self._singly_until = self._loop.time() + _SINGLY
            self._counts.count("group-refused")
        for datagram in datagrams:
            self._send([datagram], [], address)

    def _send(
        self,
        buffers: list[bytes],
        control: list[tuple[int, int, bytes]],
        address: Address | None,
    ) -> bool:
        """False: it may go better one by one."""
        for _ in range(2):
            try:
                self._sock.sendmsg(buffers, control, socket.MSG_DONTWAIT, address)
            except ConnectionRefusedError:
                continue  # of an earlier datagram: this one was not tried
            except BlockingIOError:
                self._counts.count("send-full")
            except OSError as error:
                if control and error.errno in _UNGROUPABLE:
                    return False
                # A probe of the path's MTU is meant to be too long now and then.
                if error.errno != errno.EMSGSIZE:
                    self._counts.count("send-error")
            return True
        self._owner.on_refused()
        return True

    def _readable(self) -> None:
        received = False
        for _ in range(_RECEIVES):
            try:
                size, control, _, address = self._sock.recvmsg_into(
                    [self._arena], 64, socket.MSG_DONTWAIT
                )
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionRefusedError:
                self._owner.on_refused()
                break
            except OSError:
                self._counts.count("receive-error")
                break
            burst, step = bytes(self._arena[:size]), _segment_size(control) or size
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
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= RECEIVE_BUFFER:
        return  # whoever opened it could give more than we can
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def _segment_size(control: list[tuple[int, int, bytes]]) -> int:
    """What the kernel joined the datagrams from; 0: it joined none."""
    for level, kind, data in control:
        if level == SOL_UDP and kind == UDP_GRO:
            size: int = _INT.unpack(data[:4])[0]
            return size
    return 0
