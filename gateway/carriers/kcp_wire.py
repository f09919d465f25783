"""The UDP socket under KCP: bursts in, bursts out, sealed.

One receive takes what GRO has joined, one send gives the kernel up to 46 packets to cut
(UDP_SEGMENT). What it does not take is dropped and counted, KCP sends it again. Where a path
or device cannot have groups, its packets leave one by one for a while.

Sealed packets are judged in one run for all of a turn. Noise is counted, never logged.
"""

import asyncio
import errno
import socket
import struct
from typing import Protocol

from gateway.carriers.kcp_crypt import Crypt
from gateway.carriers.stream import Counts
from gateway.protocol.kcp_bursts import cut, grouped
from gateway.protocol.kcp_options import KcpOptions

Address = tuple[str, int] | tuple[str, int, int, int]

SOL_UDP = 17
UDP_SEGMENT, UDP_GRO = 103, 104
IP_MTU_DISCOVER, IP_PMTUDISC_OMIT = 10, 5
IPV6_MTU_DISCOVER, IPV6_PMTUDISC_WANT = 23, 1
SO_RCVBUFFORCE = 33

SEND_BUFFER = 1 << 20
"""Bounded: on a listener it is one queue for everybody (I13)."""

_DATAGRAM = 65536
_ARENA = 16 * _DATAGRAM
_RECEIVES = 64
_GROUP_BYTES = 65000
_GROUP = 64
_SINGLY = 30.0
_UNGROUPABLE = frozenset({errno.EIO, errno.EMSGSIZE, errno.EINVAL})
_INT = struct.Struct("=i")
_SHORT = struct.Struct("=H")


class Owner(Protocol):
    """Who takes what arrives."""

    def on_packets(self, address: Address, packets: list[bytes]) -> None:
        """Opened packets of one sender, in order."""

    def on_turn(self) -> None:
        """That was all for now."""

    def on_refused(self) -> None:
        """A connected socket heard that nobody listens there."""


class Wire:
    """Takes the socket over. Nobody's `O_NONBLOCK` is touched: every call is asked not to wait."""

    def __init__(self, sock: socket.socket, crypt: Crypt, owner: Owner, counts: Counts) -> None:
        self._sock = sock
        self._crypt = crypt
        self._owner = owner
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._arena = memoryview(bytearray(_ARENA))
        self._singly_until = 0.0
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)
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

    def send(self, packets: list[bytes], address: Address | None, group: int = _GROUP) -> None:
        """Seal these and send them, at most `group` in one call; None: where it is connected."""
        if self._sock.fileno() < 0:
            return
        sealed = self._crypt.seal(packets)
        for first, last in grouped(sealed, min(group, _GROUP), _GROUP_BYTES):
            self._send_group(sealed[first:last], len(sealed[first]), address)

    def _send_group(
        self, sealed: list[bytes | bytearray | memoryview], size: int, address: Address | None
    ) -> None:
        if len(sealed) > 1 and self._loop.time() >= self._singly_until:
            control = [(SOL_UDP, UDP_SEGMENT, _SHORT.pack(size))]
            if self._send(sealed, control, address):
                return
            self._singly_until = self._loop.time() + _SINGLY
            self._counts.count("group-refused")
        for datagram in sealed:
            self._send([datagram], [], address)

    def _send(
        self,
        buffers: list[bytes | bytearray | memoryview],
        control: list[tuple[int, int, bytes]],
        address: Address | None,
    ) -> bool:
        """False: it may go better one by one."""
        for _ in range(2):
            try:
                self._sock.sendmsg(buffers, control, socket.MSG_DONTWAIT, address)
            except ConnectionRefusedError:
                continue  # of an earlier packet: this one was not tried
            except BlockingIOError:
                self._counts.count("send-full")
            except OSError as error:
                if control and error.errno in _UNGROUPABLE:
                    return False
                self._counts.count("send-error")
            return True
        self._owner.on_refused()
        return True

    def _readable(self) -> None:
        received: list[tuple[Address, int, int, int]] = []
        at = 0
        for _ in range(_RECEIVES):
            try:
                size, control, _, address = self._sock.recvmsg_into(
                    [self._arena[at : at + _DATAGRAM]], 64, socket.MSG_DONTWAIT
                )
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionRefusedError:
                self._owner.on_refused()
                break
            except OSError:
                self._counts.count("receive-error")
                break
            received.append((address, at, size, _segment_size(control) or max(size, 1)))
            at += size
            if at + _DATAGRAM > _ARENA:
                break
        if received:
            self._pass_on(received)

    def _pass_on(self, received: list[tuple[Address, int, int, int]]) -> None:
        _, last, size, _ = received[-1]
        run = bytes(self._arena[: last + size])
        opened = self._crypt.open(cut(run, [span[1:] for span in received]))
        first = 0
        for address, _, size, step in received:
            after = first + max(-(-size // step), 1)
            packets = [packet for packet in opened[first:after] if packet is not None]
            for _ in range(after - first - len(packets)):
                self._counts.count("noise")
            first = after
            if packets:
                self._owner.on_packets(address, packets)
        self._owner.on_turn()


def prepare(sock: socket.socket, options: KcpOptions) -> None:
    """Buffers, DSCP, and packets longer than the path: IPv4 fragments them."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_WANT)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, options.dscp << 2)
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, options.dscp << 2)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, min(options.sockbuf, SEND_BUFFER))
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= options.sockbuf:
        return  # whoever opened it could give more than we can
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, options.sockbuf)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options.sockbuf)


def _segment_size(control: list[tuple[int, int, bytes]]) -> int:
    """What the kernel joined the datagrams from; 0: it joined none."""
    for level, kind, data in control:
        if level == SOL_UDP and kind == UDP_GRO:
            size: int = _INT.unpack(data[:4])[0]
            return size
    return 0
