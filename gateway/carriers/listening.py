"""The listening side of every carrier over TCP: accept, shake hands, hand over.

Whoever connects is a stranger until all handshakes are done. Strangers are bounded in time
(one limit for all handshakes together) and in number: when there are too many, or no more
descriptors, the one that has been a stranger longest has to go. So a flood of half-open
connections never keeps a new one out; it costs the flood its oldest ones.
"""

import asyncio
import errno
import resource
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.carriers.layer import Layer
from gateway.carriers.sockets import DEFAULTS, SocketOptions, TcpStream, prepare
from gateway.carriers.stream import Accept, CarrierError, Counts, Listener, Remote, Stream

Wrap = Callable[[Stream], Layer]
"""Makes the layer of one handshake on top of a stream."""

_BURST = 64
_PAUSE = 0.5
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(slots=True, eq=False)
class _Stranger:
    """A connection within its handshakes, or one that was refused and is still being told."""

    stream: TcpStream
    until: float
    judged: bool = False


class Door(Listener):
    """Accepts on `sock`, which it makes non-blocking and closes at its end."""

    def __init__(
        self,
        sock: socket.socket,
        wraps: Sequence[Wrap],
        accept: Accept,
        *,
        counts: Counts,
        handshake_timeout: float,
        max_half_open: int,
        sockets: SocketOptions = DEFAULTS,
    ) -> None:
        sock.setblocking(False)
        self.port = sock.getsockname()[1]
        self._sock = sock
        self._wraps = wraps
        self._accept = accept
        self._counts = counts
        self._timeout = handshake_timeout
        self._limit = max(1, min(max_half_open, raise_descriptor_limit() // 2))
        self._options = sockets
        self._strangers: dict[_Stranger, None] = {}
        self._loop = asyncio.get_running_loop()
        self._sweep: asyncio.TimerHandle | None = None
        self._again: asyncio.TimerHandle | None = None
        self._loop.add_reader(sock, self._knock)

    @property
    def half_open(self) -> int:
        """How many are not through their handshakes."""
        return len(self._strangers)

    async def close(self) -> None:
        for timer in (self._sweep, self._again):
            if timer:
                timer.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()
        for stranger in list(self._strangers):
            stranger.judged = True
            stranger.stream.abort()

    def _knock(self) -> None:
        for _ in range(_BURST):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as error:
                self._cannot(error)
                return
            self._enter(sock, Remote(address[0].removeprefix("::ffff:"), address[1]))

    def _cannot(self, error: OSError) -> None:
        """Out of descriptors: the oldest stranger's will do; else wait for better times."""
        if error.errno not in _NO_DESCRIPTORS:
            self._counts.count("accept-error")
            return
        self._counts.count("no-descriptors")
        if self._strangers:
            self._evict()
            return
        self._loop.remove_reader(self._sock)
        self._again = self._loop.call_later(_PAUSE, self._loop.add_reader, self._sock, self._knock)

    def _enter(self, sock: socket.socket, remote: Remote) -> None:
        sock.setblocking(False)
        try:
            prepare(sock, self._options)
        except OSError:
            sock.close()
            self._counts.count("gone")
            return
        stream = TcpStream(sock, remote)
        if not self._wraps:
            self._counts.count("accepted")
            self._accept(stream)
            return
        if len(self._strangers) >= self._limit:
            self._evict()
        stranger = _Stranger(stream, self._loop.time() + self._timeout)
        self._strangers[stranger] = None
        stream.when_ended(lambda: self._forget(stranger))
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._timeout, self._expire)
        self._climb(stranger, stream, 0)

    def _climb(self, stranger: _Stranger, lower: Stream, step: int) -> None:
        if step == len(self._wraps):
            self._forget(stranger)
            self._counts.count("accepted")
            self._accept(lower)
            return
        layer = self._wraps[step](lower)

        def done(error: CarrierError | None) -> None:
            # A refused one may still be told why: it stays a stranger until it is gone.
            if error is None:
                self._climb(stranger, layer, step + 1)
            elif not stranger.judged:
                stranger.judged = True
                self._counts.count(error.what)

        layer.begin(done)

    def _forget(self, stranger: _Stranger) -> None:
        self._strangers.pop(stranger, None)

    def _evict(self) -> None:
        self._drop(next(iter(self._strangers)), "half-open-evicted")

    def _expire(self) -> None:
        """All have the same time, so the oldest ends first."""
        now = self._loop.time()
        while self._strangers:
            oldest = next(iter(self._strangers))
            if oldest.until > now:
                self._sweep = self._loop.call_at(oldest.until, self._expire)
                return
            self._drop(oldest, "handshake-timeout")
        self._sweep = None

    def _drop(self, stranger: _Stranger, what: str) -> None:
        self._forget(stranger)
        if not stranger.judged:
            stranger.judged = True
            self._counts.count(what)
        stranger.stream.abort()


def raise_descriptor_limit() -> int:
    """Let this process have as many descriptors as it may; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
