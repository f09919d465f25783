"""Netlink by hand: attributes, messages, and a socket for requests, batches and dumps.

pyroute2 serves for links and addresses. Here are the cases it does not: a socket that
must stay open (an nftables table lives as long as its owner's), a transaction whose
every message is acknowledged, and tables of 100,000 routes. Formats: netlink(7),
linux/netlink.h. Numbers are in the host's byte order but where a family says otherwise.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

NLMSG_ERROR = 2
NLMSG_DONE = 3

F_REQUEST = 0x1
F_ACK = 0x4
F_DUMP = 0x300
F_REPLACE = 0x100
F_EXCL = 0x200
F_CREATE = 0x400
F_APPEND = 0x800
F_DUMP_INTR = 0x10

NESTED = 0x8000
TYPE_MASK = 0x3FFF

SOL_NETLINK = 270
NETLINK_CAP_ACK = 10

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_RECEIVE = 1 << 17
_BUFFER = 1 << 20
_SO_RCVBUFFORCE = 33
_TIMEOUT = 5.0
_DUMP_TRIES = 5


class Message(NamedTuple):
    """One request: `payload` is the family's header and its attributes."""

    kind: int
    flags: int
    payload: bytes


class Netlink:
    """One netlink socket.

    With `groups` (a mask) it listens and never blocks, see `drain`; else it is for
    requests, and waits at most five seconds for what the kernel answers at once.
    """

    def __init__(self, family: int, groups: int = 0) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, family)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            with contextlib.suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
            self._socket.settimeout(0 if groups else _TIMEOUT)
            self._socket.bind((0, groups))
        except BaseException:
            self._socket.close()
            raise
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; what the kernel keeps for its owner goes."""
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return self._socket.fileno()

    def send(self, messages: Iterable[Message]) -> list[int]:
        """Send all in one datagram; per message its errno, 0 if it was done.

        Those without `F_ACK` have no result. An error of one of them concerns all: it is
        a transaction's frame.
        """
        data = bytearray()
        results: dict[int, int] = {}
        waiting: set[int] = set()
        first = self._sequence + 1
        for message in messages:
            number = self._next()
            data += _encode(message, number)
            if message.flags & F_ACK:
                waiting.add(number)
                results[number] = 0
        if data:
            self._socket.send(data)
        while waiting:
            for kind, _, number, payload in self._receive():
                if kind != NLMSG_ERROR or not first <= number <= self._sequence:
                    continue
                code = -_errno(payload)
                if number in waiting:
                    waiting.discard(number)
                    results[number] = code
                elif number not in results and code:
                    return [code] * len(results)
        return list(results.values())

    def ask(self, kind: int, payload: bytes) -> bytes | None:
        """The payload of the one object that is asked for; None if there is none."""
        number = self._next()
        self._socket.send(_encode(Message(kind, F_REQUEST | F_ACK, payload), number))
        found: bytes | None = None
        while True:
            for answer, _, sequence, data in self._receive():
                if sequence != number:
                    continue
                if answer == NLMSG_ERROR:
                    return found
                found = data

    def dump(self, kind: int, payload: bytes) -> list[tuple[int, bytes]]:
        """All objects of one kind as (message type, payload). OSError if refused.

        A dump that somebody's change made inconsistent is asked for again.
        """
        found: list[tuple[int, bytes]] = []
        for _ in range(_DUMP_TRIES):
            found, whole = self._dump(kind, payload)
            if whole:
                break
        return found

    def drain(self) -> Iterator[tuple[int, bytes]]:
        """What the groups have told by now. OSError ENOBUFS: something was lost."""
        while True:
            try:
                data = self._socket.recv(_RECEIVE)
            except BlockingIOError:
                return
            for kind, _, _, payload in _decode(data):
                yield kind, payload

    def _dump(self, kind: int, payload: bytes) -> tuple[list[tuple[int, bytes]], bool]:
        number = self._next()
        self._socket.send(_encode(Message(kind, F_REQUEST | F_DUMP, payload), number))
        found: list[tuple[int, bytes]] = []
        whole = True
        while True:
            for answer, flags, sequence, data in self._receive():
                if sequence != number:
                    continue
                whole = whole and not flags & F_DUMP_INTR
                if answer in (NLMSG_DONE, NLMSG_ERROR):
                    code = -_errno(data) if len(data) >= 4 else 0
                    if code:
                        raise OSError(code, os.strerror(code))
                    return found, whole
                found.append((answer, data))

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        return _decode(self._socket.recv(_RECEIVE))

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute made of attributes."""
    return attribute(kind | NESTED, b"".join(attributes))


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type (without flags) and value of each attribute; a damaged rest is left out."""
    at = 0
    while at + 4 <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < 4 or at + size > len(data):
            return
        yield kind & TYPE_MASK, data[at + 4 : at + size]
        at += size + (-size % 4)


def _encode(message: Message, number: int) -> bytes:
    size = _HEADER.size + len(message.payload)
    flags = message.flags | F_REQUEST
    return _HEADER.pack(size, message.kind, flags, number, 0) + message.payload + bytes(-size % 4)


def _decode(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, flags, number, _ = _HEADER.unpack_from(data, at)
        if size < _HEADER.size:
            return
        yield kind, flags, number, data[at + _HEADER.size : at + size]
        at += size + (-size % 4)


def _errno(payload: bytes) -> int:
    code: int = struct.unpack_from("=i", payload)[0]
    return code
