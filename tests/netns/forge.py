"""UDP ports on lab hosts that the test itself holds, and what it sends from them.

A socket belongs to the namespace its thread was in when it was made: a thread of a
moment enters the host's namespace and makes it, so that a test can be a peer, a thief or
a receiver without a process of its own.
"""

import ctypes
import os
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

from hosts import Host
from programs import wait_for
from strategies import a16, udp_packet

from gateway.protocol.wire import Ack, Heartbeat, WireError

PORT = 8421
"""Of the server."""
INNER_PORT = 9009
"""Of the datagrams inside the tunnel."""

RECEIVE_BUFFER = 4 << 20

CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE = 33

_libc = ctypes.CDLL(None, use_errno=True)


class Port:
    """A UDP port on a lab host. Reads never wait; close it, or use `with`."""

    def __init__(self, host: Host, address: str = "", number: int = 0) -> None:
        """Bind to `address` and `number` of `host`; by default the kernel chooses."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket_on(host, family)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        self._socket.bind((address, number))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def number(self) -> int:
        """Its port number."""
        return self._socket.getsockname()[1]

    def close(self) -> None:
        """Give it back."""
        self._socket.close()

    def send(self, datagram: bytes, address: str, number: int = PORT) -> None:
        """One datagram. What ICMP had to say about an earlier one is nobody's business."""
        with suppress(ConnectionRefusedError):
            self._socket.sendto(datagram, (address, number))

    def received(self) -> list[bytes]:
        """All that has come since this was last asked."""
        found: list[bytes] = []
        with suppress(BlockingIOError):
            while True:
                found.append(self._socket.recv(65535, socket.MSG_DONTWAIT))
        return found


class Peer(Port):
    """A port that speaks the tunnel's protocol with the server at `server`."""

    def __init__(self, host: Host, server: str = "1.2.3.4") -> None:
        super().__init__(host, "::" if ":" in server else "")
        self.server = server

    def say(self, datagram: bytes) -> None:
        """One datagram to the server."""
        self.send(datagram, self.server)

    def heartbeat(self, *addresses: str, passphrase: bytes = b"") -> None:
        """Claim tunnel addresses."""
        self.say(heartbeat(addresses, passphrase))

    def acked(self) -> bool:
        """Whether an ack is among what has come since this was last asked."""
        return any(is_ack(datagram) for datagram in self.received())

    def join(self, *addresses: str, passphrase: bytes = b"") -> Self:
        """Claim tunnel addresses until that is acknowledged."""
        self.received()
        self.heartbeat(*addresses, passphrase=passphrase)
        wait_for(self.acked, 3.0, f"an ack for {', '.join(addresses)}")
        return self

    def packets(self) -> list[bytes]:
        """The inner packets that have come since this was last asked."""
        return [datagram for datagram in self.received() if not datagram.startswith(b"GOST")]


def socket_on(host: Host, family: int, kind: int = socket.SOCK_DGRAM) -> socket.socket:
    """A socket in the namespace of a host."""
    made: list[socket.socket] = []

    def make() -> None:
        namespace = os.open(Path("/run/netns", host.netns), os.O_RDONLY)
        try:
            if _libc.setns(namespace, CLONE_NEWNET) == 0:
                made.append(socket.socket(family, kind))
        finally:
            os.close(namespace)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert made, f"no socket on {host.name}"
    return made[0]


def heartbeat(addresses: Iterable[str], passphrase: bytes = b"") -> bytes:
    """A heartbeat, as forbidden as its addresses may be."""
    packed = b"".join(map(a16, addresses))
    return Heartbeat(passphrase, (bytes(16),)).build()[:20] + packed


def is_ack(datagram: bytes) -> bool:
    """Whether it is a server's answer to a heartbeat."""
    try:
        Ack.parse(datagram)
    except WireError:
        return False
    return True


def inner(source: str, target: str, payload: bytes = b"forged") -> bytes:
    """An IP packet that holds a UDP datagram to INNER_PORT, all of it correct."""
    return udp_packet(a16(source), a16(target), INNER_PORT, INNER_PORT, payload)
