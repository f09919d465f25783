"""Echo requests of a chosen size that must not be fragmented, to measure a path's MTU.

One raw socket per address family, opened as root. A filter keeps the host's other ICMP
away from it. Sizes are of whole IP packets (RFC 792, RFC 1191, RFC 4443, RFC 8201).
"""

import contextlib
import os
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from gateway.errors import HostError
from gateway.linux import filters
from gateway.linux.udp import ANYWHERE, Confines, confine
from gateway.protocol.packet import checksum

IP_MTU_DISCOVER, IPV6_MTU_DISCOVER = 10, 23
PMTUDISC_PROBE = 3
"""Set DF, and send even what an earlier ICMP error said is too big."""
IPV6_DONTFRAG = 62
ECHO, ECHO6 = 8, 128
HEADER = {4: 20, 6: 40}
RECEIVE_BUFFER = 64 << 10
MOST_AT_ONCE = 32

_echo = struct.Struct("!BBHHH")


@dataclass(frozen=True)
class Echoed:
    """The request with this sequence number was answered."""

    sequence: int


@dataclass(frozen=True)
class TooBig:
    """A router could not send it on; `mtu` of its next link, 0 from very old ones."""

    sequence: int
    mtu: int


class Echoes:
    """A raw ICMP socket of one IP version."""

    def __init__(self, sock: socket.socket) -> None:
        self.version = 6 if sock.family == socket.AF_INET6 else 4
        self._sock = sock
        self._ident = int.from_bytes(os.urandom(2))
        filters.only_echoes(sock, self._ident)

    def fileno(self) -> int:
        """For a selector."""
        return self._sock.fileno()

    def send(
        self, address: IPv4Address | IPv6Address, scope: int, size: int, sequence: int
    ) -> None:
        """One echo request as a packet of `size` bytes. Raises OSError: EMSGSIZE and others."""
        padding = bytes(size - HEADER[self.version] - _echo.size)
        kind = ECHO6 if self.version == 6 else ECHO
        packet = _echo.pack(kind, 0, 0, self._ident, sequence) + padding
        if self.version == 6:  # the kernel does the checksum
            where: tuple[str, int] | tuple[str, int, int, int] = (str(address), 0, 0, scope)
        else:
            value = checksum(packet)
            packet = _echo.pack(kind, 0, value, self._ident, sequence) + padding
            where = (str(address), 0)
        self._sock.sendto(packet, socket.MSG_DONTWAIT, where)

    def receive(self) -> list[Echoed | TooBig]:
        """What came since; errors that the socket reports are of no interest."""
        found: list[Echoed | TooBig] = []
        for _ in range(MOST_AT_ONCE):
            try:
                packet = self._sock.recv(2048, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                continue
            answer = parse6(packet) if self.version == 6 else parse4(packet)
            if answer is not None:
                found.append(answer)
        return found

    def close(self) -> None:
        """Give the socket back."""
        self._sock.close()


def open_echoes(confines: Confines = ANYWHERE) -> tuple[Echoes, ...]:
    """A socket for each family there is. None at all without CAP_NET_RAW."""
    found = []
    for family, protocol in (
        (socket.AF_INET, socket.IPPROTO_ICMP),
        (socket.AF_INET6, socket.IPPROTO_ICMPV6),
    ):
        with contextlib.suppress(OSError, HostError):
            found.append(Echoes(_open(family, protocol, confines)))
    return tuple(found)


def parse4(packet: bytes) -> Echoed | TooBig | None:
    """An answer with its IP header, of a request with a plain one."""
    body = packet[(packet[0] & 15) * 4 :] if packet else b""
    if len(body) >= 8 and body[0] == filters.ECHO_REPLY:
        return Echoed(int.from_bytes(body[6:8]))
    if len(body) >= 36 and body[:2] == bytes((filters.UNREACHABLE, filters.FRAGMENTATION_NEEDED)):
        return TooBig(int.from_bytes(body[34:36]), int.from_bytes(body[6:8]))
    return None


def parse6(packet: bytes) -> Echoed | TooBig | None:
    """An answer without its IP header."""
    if len(packet) >= 8 and packet[0] == filters.ECHO_REPLY6:
        return Echoed(int.from_bytes(packet[6:8]))
    if len(packet) >= 56 and packet[0] == filters.TOO_BIG6:
        return TooBig(int.from_bytes(packet[54:56]), int.from_bytes(packet[4:8]))
    return None


def _open(family: int, protocol: int, confines: Confines) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_RAW, protocol)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        confine(sock, confines)
    except BaseException:
        sock.close()
        raise
    return sock
