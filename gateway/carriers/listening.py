"""The listening side of every carrier over TCP: accept, shake hands, hand over.

Whoever connects is a stranger until all handshakes are done; whoever brings a session of many
streams, until one of them was let in (`places`). When there are no more descriptors the stranger
that came first has to go too. So a flood of half-open connections never keeps a new one out; it
costs the flood its oldest ones.
"""

import asyncio
import errno
import resource
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from gateway.carriers.layer import Layer
from gateway.carriers.places import Places
from gateway.carriers.sockets import DEFAULTS, SocketOptions, TcpStream, prepare
from gateway.carriers.stream import Accept, CarrierError, Counts, Listener, Remote, Stream
from gateway.carriers.trunk import Trunk

Wrap = Callable[[Stream], Layer]
"""Makes the layer of one handshake on top of a stream."""

_BURST = 64
_PAUSE = 0.5
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


SHARE = 8
"""The part of our descriptors that half-open connections may take."""


@dataclass(slots=True, eq=False)
class _Caller:
    """A connection within its handshakes, one that was refused and is being told, or a session."""

    stream: TcpStream
    judged: bool = False
    trunk: Trunk | None = None


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
        request_timeout: float = 15.0,
        max_sessions: int = 8192,
        sockets: SocketOptions = DEFAULTS,
    ) -> None:
        """`request_timeout`: within which a stream of a session has to be let in."""
        sock.setblocking(False)
        self.port = sock.getsockname()[1]
        self._sock = sock
        self._wraps = wraps
        self._accept = accept
        self._counts = counts
        self._options = sockets
        self._places: Places[_Caller] = Places(
            most_strangers=min(max_half_open, raise_descriptor_limit() // SHARE),
            most_guests=max_sessions,
            seconds=(handshake_timeout, request_timeout),
            drop=self._drop,
            is_idle=lambda caller: caller.trunk is not None and caller.trunk.is_idle,
        )
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self._loop.add_reader(sock, self._knock)

    @property
    def half_open(self) -> int:
        """How many are not through their handshakes."""
        return self._places.shaking

    @property
    def unproven(self) -> int:
        """How many sessions have no stream that was let in so far."""
        return self._places.asking

    async def close(self) -> None:
        self._places.close()
        if self._again:
            self._again.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()
        for stranger in self._places:
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
        if self._places.evict():
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
        stream = TcpStream(sock, remote, stranger=True)
        if not self._wraps:
            self._counts.count("accepted")
            self._accept(stream)
            return
        caller = _Caller(stream)
        self._places.enter(caller)
        stream.when_ended(partial(self._leave, caller))
        self._climb(caller, stream, 0)

    def _climb(self, caller: _Caller, lower: Stream, step: int) -> None:
        if step == len(self._wraps):
            self._counts.count("accepted")
            if isinstance(lower, Trunk):
                caller.judged, caller.trunk = True, lower
                lower.when_proven = partial(self._places.prove, caller)
                self._places.shaken(caller)
            else:
                self._places.forget(caller)
            self._accept(lower)
            return
        layer = self._wraps[step](lower)

        def done(error: CarrierError | None) -> None:
            # A refused one may still be told why: it stays a stranger until it is gone.
            if error is None:
                self._climb(caller, layer, step + 1)
            elif not caller.judged:
                caller.judged = True
                self._counts.count(error.what)

        layer.begin(done)

    def _leave(self, caller: _Caller) -> None:
        self._places.forget(caller)

    def _drop(self, caller: _Caller, what: str) -> None:
        if caller.trunk is not None or not caller.judged:
            self._counts.count(what)
        caller.judged = True
        caller.stream.abort()


def raise_descriptor_limit() -> int:
    """Let this process have as many descriptors as it may; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
