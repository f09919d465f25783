"""The UDP socket under a carrier that groups its datagrams: what kcp and quic share.

One receive takes what GRO has joined, one send gives the kernel many datagrams to cut
(UDP_SEGMENT). What it does not take is dropped and counted: the protocol above sends it again.
Where a path or device cannot have groups, datagrams leave one by one for a while.
"""

import asyncio
import errno
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from gateway.carriers.stream import Counts

Address = tuple[str, int] | tuple[str, int, int, int]
Buffer = bytes | bytearray | memoryview

SOL_UDP = 17
UDP_SEGMENT, UDP_GRO = 103, 104
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER = 10, 23
SO_RCVBUFFORCE = 33

SEND_BUFFER = 1 << 20
"""Bounded: on a listener it is one queue for everybody (I13)."""
DATAGRAM = 65536
"""Bytes that one receive may bring."""
GROUP_BYTES = 65000
"""Bytes that one send may give."""

_SINGLY = 30.0
_UNGROUPABLE = frozenset({errno.EIO, errno.EMSGSIZE, errno.EINVAL})
_INT = struct.Struct("=i")
_SHORT = struct.Struct("=H")


class Told(Protocol):
    """Who takes what arrives, each carrier's in a way of its own."""

    def on_turn(self) -> None:
        """That was all for now."""

    def on_refused(self) -> None:
        """A connected socket heard that nobody listens there."""


T = TypeVar("T", bound=Told)


class UdpWire(ABC, Generic[T]):
    """Takes the socket over. Nobody's `O_NONBLOCK` is touched: every call is asked not to wait."""

    uncounted: frozenset[int] = frozenset()
    """Errors of a send that mean nothing."""

    def __init__(self, sock: socket.socket, owner: T, counts: Counts, arena: int) -> None:
        """`arena`: bytes to receive into."""
        self._sock = sock
        self._owner = owner
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._arena = memoryview(bytearray(arena))
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

    @abstractmethod
    def _readable(self) -> None:
        """Something has arrived."""

    def _receive(self, at: int) -> tuple[Address, int, int] | None:
        """From whom, how many bytes are in the arena from `at` on, and of which size each is.

        Size 0: the kernel joined none. None: there is nothing more.
        """
        try:
            size, control, _, address = self._sock.recvmsg_into(
                [self._arena[at : at + DATAGRAM]], 64, socket.MSG_DONTWAIT
            )
        except (BlockingIOError, InterruptedError):
            return None
        except ConnectionRefusedError:
            self._owner.on_refused()
            return None
        except OSError:
            self._counts.count("receive-error")
            return None
        return address, size, _segment_size(control)

    def _send_group(self, datagrams: Sequence[Buffer], size: int, address: Address | None) -> None:
        """Datagrams of `size` bytes each, the last perhaps shorter; None: it is connected."""
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
        buffers: Sequence[Buffer],
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
                if error.errno not in self.uncounted:
                    self._counts.count("send-error")
            return True
        self._owner.on_refused()
        return True


class Uncounted:
    """A dialler's noise is nobody's affair."""

    def count(self, what: str) -> None:
        """Nothing."""


def set_buffers(sock: socket.socket, send: int, receive: int) -> None:
    """What the kernel keeps for us, in bytes; to receive more than it gives to all if it may."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send)
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= receive:
        return  # whoever opened it could give more than we can
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)


def _segment_size(control: list[tuple[int, int, bytes]]) -> int:
    """What the kernel joined the datagrams from; 0: it joined none."""
    for level, kind, data in control:
        if level == SOL_UDP and kind == UDP_GRO:
            size: int = _INT.unpack(data[:4])[0]
            return size
    return 0
