"""A TCP socket as a stream: the bottom of every carrier that runs over TCP.

The kernel is given little more than it can send soon (TCP_NOTSENT_LOWAT), so that the
backlog is ours: it can be measured, and who writes can drop instead of queueing. What the
kernel does not take at once is copied, everything else is not.
"""

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from gateway.carriers.buffers import borrow, give_back
from gateway.carriers.stream import Receiver, Remote, Stream
from gateway.carriers.window import Window

NOT_SENT = 128 * 1024
SMALL = 16 * 1024
SMALL_READS = 4
REST = 0.0005
"""After so many reads that brought less than `SMALL` bytes within two rests, a rest in seconds.

A sender of small pieces, as stock GOST is, wakes us for each, and everybody behind us. Asleep
for a moment we find many of them. Who sends a piece now and then is never made to wait."""
STRANGER_READ = 4 * 1024
"""Bytes that are taken of a stranger at once,"""
STRANGER_BYTES = 64 * 1024
"""and in all, until he is let in: the rest stays with the kernel."""
STRANGER_OWED = 64 * 1024
"""Bytes that may wait for a stranger who does not read his answers."""
CLOSE_TIME = 3.0
"""Seconds a closed stream may take to send what it owes and to see the other end go."""

_PIECES = 64
_DISCARD = 64 * 1024
_TCP_INFO_RTT = 68
"""Offset of tcpi_rtt in struct tcp_info, microseconds (linux/tcp.h)."""


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """How the TCP socket under a carrier is set; times in seconds.

    An end that is gone without a word is noticed by probes after `idle`, every `interval`,
    `count` times; or, while we owe it bytes, after `user_timeout` without an answer.
    `marked`, called with family and kind, gives a descriptor to dial with: not blocking,
    with its mark and its interface, which only others may set.
    """

    keepalive: bool = True
    idle: float = 15.0
    interval: float = 5.0
    count: int = 4
    user_timeout: float = 30.0
    interface: str | None = None
    marked: Callable[[int, int], int] | None = None


DEFAULTS = SocketOptions()


class TcpStream(Stream):
    """A connected, non-blocking socket as a stream. Takes the socket over."""

    carrier = "tcp"

    def __init__(self, sock: socket.socket, remote: Remote, *, stranger: bool = False) -> None:
        """`stranger`: little is taken from him until `prove`."""
        self.remote = remote
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._window = Window(sock)
        self._receiver: Receiver | None = None
        self._queue: deque[memoryview] = deque()
        self._backlog = 0
        self._crowded = False
        self._most = STRANGER_READ if stranger else 0  # at once; 0: what the buffer holds
        self._allowance = STRANGER_BYTES
        self._starved = False
        self._reading = False
        self._small_reads = 0
        self._small_since = 0.0
        self._rest: asyncio.TimerHandle | None = None
        self._closing = False
        self._open = True
        self._reason = ""
        self._last_call: asyncio.TimerHandle | None = None
        self._ends: list[Callable[[], None]] = []

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        if self._open:
            self.resume()
            return
        self._loop.call_soon(receiver.on_end, self._reason)

    def when_ended(self, call: Callable[[], None]) -> None:
        """Have this called once the descriptor is closed."""
        self._ends.append(call)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._open or self._closing:
            return
        sent = 0
        if not self._queue:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self._end(text_of(error))
                return
            if sent == len(data):
                return
            self._loop.add_writer(self._sock, self._writable)
        rest = memoryview(bytes(memoryview(data)[sent:]))
        self._queue.append(rest)
        self._backlog += len(rest)
        self._crowded = self._crowded or self._backlog > self.high
        if self._most and self._backlog > STRANGER_OWED:
            self._end("does not read its answers")

    @property
    def backlog(self) -> int:
        return self._backlog

    @property
    def rtt(self) -> float | None:
        if not self._open:
            return None
        info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_RTT + 4)
        microseconds: int = struct.unpack_from("=I", info, _TCP_INFO_RTT)[0]
        return microseconds / 1e6

    def pause(self) -> None:
        if self._reading and not self._closing:
            self._reading = False
            self._end_rest()
            self._loop.remove_reader(self._sock)

    def resume(self) -> None:
        if self._open and not self._reading and not self._closing and self._receiver:
            self._reading = True
            if not self._starved:
                self._loop.add_reader(self._sock, self._readable)

    def prove(self) -> None:
        self._most = 0
        if self._starved:
            self._starved = False
            if self._open and self._reading:
                self._loop.add_reader(self._sock, self._readable)

    def close(self) -> None:
        if not self._open or self._closing:
            return
        self._closing = True
        self._last_call = self._loop.call_later(CLOSE_TIME, self.abort)
        self._end_rest()
        self._loop.remove_reader(self._sock)
        if not self._queue:
            self._say_goodbye()

    def abort(self) -> None:
        if not self._open:
            return
        # Nothing is owed: the kernel shall forget the connection, and tell the other end.
        linger = struct.pack("ii", 1, 0)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._end("aborted" if not self._closing else "")

    def _readable(self) -> None:
        buffer = borrow()
        try:
            try:
                size = self._sock.recv_into(buffer, self._most)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._end(text_of(error))
                return
            if size and self._receiver:
                self._receiver.on_data(buffer[:size])
        finally:
            give_back(buffer)
        if not size:
            self._end("")
        elif self._most:
            self._spend(size)
        elif size < SMALL and self._reading and not self._closing:
            self._count_small()

    def _spend(self, size: int) -> None:
        self._allowance -= size
        if self._allowance <= 0 and not self._starved:
            self._starved = True
            if self._open and not self._closing:
                self._loop.remove_reader(self._sock)

    def _count_small(self) -> None:
        now = self._loop.time()
        if now - self._small_since > 2 * REST:
            self._small_since = now
            self._small_reads = 0
        self._small_reads += 1
        if self._small_reads >= SMALL_READS:
            self._window.look()
            self._loop.remove_reader(self._sock)
            self._rest = self._loop.call_later(REST, self._read_again)

    def _read_again(self) -> None:
        self._rest = None
        self._loop.add_reader(self._sock, self._readable)
        self._readable()

    def _end_rest(self) -> None:
        if self._rest:
            self._rest.cancel()
            self._rest = None

    def _writable(self) -> None:
        try:
            sent = self._sock.sendmsg(islice(self._queue, _PIECES))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(text_of(error))
            return
        self._backlog -= sent
        while sent:
            piece = self._queue[0]
            if len(piece) > sent:
                self._queue[0] = piece[sent:]
                break
            sent -= len(piece)
            self._queue.popleft()
        if not self._queue:
            self._loop.remove_writer(self._sock)
            if self._closing:
                self._say_goodbye()
                return
        # Streams in it may have lower marks than ours: they hear of an empty queue too.
        if not self._queue or (self._crowded and self._backlog <= self.low):
            self._crowded = False
            if self._receiver and not self._closing:
                self._receiver.on_room()

    def _say_goodbye(self) -> None:
        """Everything is with the kernel. Closing now would lose it if we owe a read."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._end("")
            return
        self._loop.add_reader(self._sock, self._discard)

    def _discard(self) -> None:
        try:
            while self._sock.recv(_DISCARD):
                pass
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self._end("")

    def _end(self, reason: str) -> None:
        self._open = self._reading = False
        self._reason = reason
        self._end_rest()
        self._window.end()
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        self._queue.clear()
        self._backlog = 0
        if self._last_call:
            self._last_call.cancel()
        calls, self._ends = self._ends, []
        for call in calls:
            call()
        # Not now: who aborts, or writes, is in the middle of something.
        if self._receiver:
            self._loop.call_soon(self._receiver.on_end, reason)
            self._receiver = None


def prepare(sock: socket.socket, options: SocketOptions = DEFAULTS) -> None:
    """Set what every carrier's TCP socket has, dialled or accepted (tcp(7))."""
    tcp = socket.IPPROTO_TCP
    sock.setsockopt(tcp, socket.TCP_NODELAY, 1)
    sock.setsockopt(tcp, socket.TCP_NOTSENT_LOWAT, NOT_SENT)
    sock.setsockopt(tcp, socket.TCP_USER_TIMEOUT, int(options.user_timeout * 1000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, options.keepalive)
    sock.setsockopt(tcp, socket.TCP_KEEPIDLE, max(1, round(options.idle)))
    sock.setsockopt(tcp, socket.TCP_KEEPINTVL, max(1, round(options.interval)))
    sock.setsockopt(tcp, socket.TCP_KEEPCNT, max(1, options.count))


def open_socket(family: int, kind: int, options: SocketOptions) -> socket.socket:
    """A socket to dial with: not blocking, with the mark, leaving by the interface.

    Raises:
        OSError: There is no such family here, no such interface, no descriptor.
    """
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        _choose_way(sock, options)
    except OSError:
        sock.close()
        raise
    return sock


def connect_datagrams(
    family: int,
    address: tuple[object, ...],
    options: SocketOptions,
    prepare: Callable[[socket.socket], None],
) -> socket.socket:
    """A UDP socket that `prepare` has set and that hears `address` only. Raises OSError."""
    sock = open_socket(family, socket.SOCK_DGRAM, options)
    try:
        prepare(sock)
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def _choose_way(sock: socket.socket, options: SocketOptions) -> None:
    if options.marked is not None:
        fd = options.marked(sock.family, sock.type)
        os.dup2(fd, sock.fileno(), inheritable=False)
        os.close(fd)
    elif options.interface:
        name = options.interface.encode()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)


def text_of(error: OSError) -> str:
    """What the system says, without number and address: asyncio puts its own words there."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return (error.strerror or str(error) or "no answer").lower()
    return os.strerror(error.errno).lower()
