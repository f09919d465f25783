"""How far ahead a near sender of small pieces may run.

A program that writes a length and a datagram one after the other, as stock GOST does, makes a
segment of each while nothing holds it back, and every one costs its host what a large one
does. On a far path pieces wait for acknowledgements and leave together; on a near one nothing
makes them wait but our window. So a near sender whose segments are small gets a small window
for a while: what it writes while that is shut leaves as one.

The window is lent, not kept: who sends large pieces again has all of it a moment later.
"""

import asyncio
import socket
import struct

NARROW = 32 * 1024
PER_SECOND = 125_000_000
"""Bytes of a narrow window, and those for each second of the way there and back: more than
such a sender fills."""
NEAR = 0.001
"""Seconds there and back, at the best; on a longer way the window is the kernel's."""
LENT = 0.1
"""Seconds until the window is the kernel's again, and has to be taken anew."""
SMALL_SEGMENT = 1024
"""Bytes; the segments of a sender that fills them are larger, whatever its path."""

_INFO = struct.Struct("=128xQ12xII")
"""Of struct tcp_info: bytes_received, min_rtt (microseconds), data_segs_in (linux/tcp.h)."""


class Window:
    """The receive window of one TCP socket. `end` comes before the socket is closed."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._received = 0
        self._segments = 0
        self._wide = self._narrow = 0
        self._lent: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """Small reads come one after the other: narrow it, if the segments are small too."""
        if self._lent:
            return
        tcp = socket.IPPROTO_TCP
        received, rtt, segments = _INFO.unpack(
            self._sock.getsockopt(tcp, socket.TCP_INFO, _INFO.size)
        )
        came, count = received - self._received, (segments - self._segments) & 0xFFFFFFFF
        self._received, self._segments = received, segments
        if rtt > NEAR * 1e6 or came >= count * SMALL_SEGMENT:
            return
        self._wide = self._sock.getsockopt(tcp, socket.TCP_WINDOW_CLAMP)
        self._narrow = NARROW + rtt * PER_SECOND // 1_000_000
        if self._narrow >= self._wide:
            return
        self._sock.setsockopt(tcp, socket.TCP_WINDOW_CLAMP, self._narrow)
        self._lent = self._loop.call_later(LENT, self._widen)

    def end(self) -> None:
        """Nothing is due any more. Safe to repeat."""
        if self._lent:
            self._lent.cancel()
            self._lent = None

    def _widen(self) -> None:
        self._lent = None
        tcp = socket.IPPROTO_TCP
        # The kernel sets it too, when it makes the buffer larger.
        if self._sock.getsockopt(tcp, socket.TCP_WINDOW_CLAMP) == self._narrow:
            self._sock.setsockopt(tcp, socket.TCP_WINDOW_CLAMP, self._wide)
