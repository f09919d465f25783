"""The UDP socket under KCP: bursts in, bursts out, sealed.

A turn receives until an arena is full; sealed packets are judged in one run for all of a turn.
A send takes up to 46 packets of the usual length. Noise is counted, never logged.
"""

import socket
from typing import Protocol

from gateway.carriers.kcp_crypt import Crypt
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
from gateway.protocol.kcp_bursts import cut, grouped
from gateway.protocol.kcp_options import KcpOptions

__all__ = ["Address", "Owner", "Wire", "prepare"]

IP_PMTUDISC_OMIT, IPV6_PMTUDISC_WANT = 5, 1

_ARENA = 16 * DATAGRAM
_RECEIVES = 64
_GROUP = 64


class Owner(Protocol):
    """Who takes what arrives."""

    def on_packets(self, address: Address, packets: list[bytes]) -> None:
        """Opened packets of one sender, in order."""

    def on_turn(self) -> None:
        """That was all for now."""

    def on_refused(self) -> None:
        """A connected socket heard that nobody listens there."""


class Wire(UdpWire[Owner]):
    """Takes the socket over."""

    def __init__(self, sock: socket.socket, crypt: Crypt, owner: Owner, counts: Counts) -> None:
        self._crypt = crypt
        super().__init__(sock, owner, counts, _ARENA)
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)

    def send(self, packets: list[bytes], address: Address | None, group: int = _GROUP) -> None:
        """Seal these and send them, at most `group` in one call; None: where it is connected."""
        if self._sock.fileno() < 0:
            return
        sealed = self._crypt.seal(packets)
        for first, last in grouped(sealed, min(group, _GROUP), GROUP_BYTES):
            self._send_group(sealed[first:last], len(sealed[first]), address)

    def _readable(self) -> None:
        received: list[tuple[Address, int, int, int]] = []
        at = 0
        for _ in range(_RECEIVES):
            found = self._receive(at)
            if found is None:
                break
            address, size, step = found
            received.append((address, at, size, step or max(size, 1)))
            at += size
            if at + DATAGRAM > _ARENA:
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
    set_buffers(sock, min(options.sockbuf, SEND_BUFFER), options.sockbuf)
