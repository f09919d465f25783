"""Acks leave from the address and port their heartbeat came in on.

The socket is the supervisor's own in the workers' group: their full send buffers never
delay an ack. It never receives. The reply's source address is chosen per datagram.
"""

import errno
import socket
import struct
from collections import Counter

from gateway.linux.udp import IP_PKTINFO
from gateway.protocol.packet import ANY, Endpoint, is_v4
from gateway.protocol.wire import Ack

IPV6_PKTINFO = 50


class Acks:
    """Sends acks and counts what became of them: `sent`, `full`, `failed`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.counts: Counter[str] = Counter(sent=0, full=0, failed=0)

    def send(self, endpoint: Endpoint, local: bytes, answer: bytes | None = None) -> None:
        """Ack a heartbeat, or send `answer`. Never raises: one peer's trouble is its own (I13)."""
        ack = answer or Ack(endpoint.address).build()
        for _ in range(2):  # ECONNREFUSED may be another peer's error: once more
            try:
                self._send(ack, endpoint, local)
            except BlockingIOError:
                self.counts["full"] += 1
                return
            except OSError as error:
                if error.errno == errno.ECONNREFUSED:
                    continue
                break
            self.counts["sent"] += 1
            return
        self.counts["failed"] += 1

    def _send(self, ack: bytes, endpoint: Endpoint, local: bytes) -> None:
        address: tuple[str, int] | tuple[str, int, int, int]
        if self._sock.family == socket.AF_INET6:
            host = socket.inet_ntop(socket.AF_INET6, endpoint.address)
            address = (host, endpoint.port, 0, endpoint.scope)
        else:
            address = (socket.inet_ntop(socket.AF_INET, endpoint.address[12:]), endpoint.port)
        self._sock.sendmsg([ack], self._source(endpoint, local), socket.MSG_DONTWAIT, address)

    def _source(self, endpoint: Endpoint, local: bytes) -> list[tuple[int, int, bytes]]:
        if local == ANY or is_v4(local) != is_v4(endpoint.address):
            return []
        if self._sock.family == socket.AF_INET6:
            info = struct.pack("=16sI", local, endpoint.scope)
            return [(socket.IPPROTO_IPV6, IPV6_PKTINFO, info)]
        info = struct.pack("=I4s4s", 0, local[12:], bytes(4))
        return [(socket.IPPROTO_IP, IP_PKTINFO, info)]
