"""kcp: smux streams inside one KCP conversation over UDP. Options as in protocol.kcp_options.

Conversations are keyed by the sender's address. KCP has no handshake: a stranger is who sends
a first segment, and he is a guest once he has opened a smux stream. Until then little is kept
for him, for a bounded time, and when there are too many strangers the oldest has to go. A
conversation with another number replaces the one of its address by its first segment. Nothing
says goodbye either: who is gone is noticed by what he does not acknowledge, and by smux.

Everything else that comes is noise, and counted: noise (no packet under this key), bad-kcp,
unknown-session (of a conversation that is over, or was before a restart).
"""

import asyncio
import os
import socket
from functools import partial

from gateway.carriers import mux
from gateway.carriers.kcp_crypt import make_crypt
from gateway.carriers.kcp_session import Session, conversation, opening
from gateway.carriers.kcp_wire import Address, Wire, prepare
from gateway.carriers.layer import shake
from gateway.carriers.pool import share
from gateway.carriers.sockets import DEFAULTS, SocketOptions, choose_way, text_of
from gateway.carriers.stream import Accept, CarrierError, Counts, Listener, Remote, Stream
from gateway.carriers.trunk import Branch, Trunk
from gateway.protocol.kcp_options import KcpOptions
from gateway.protocol.smux_frames import HEADER, NOP

__all__ = ["KcpDoor", "KcpOptions", "dial", "listen"]

KCP_DEFAULTS = KcpOptions()
SMUX_TIMEOUT = 30.0


async def dial(
    host: str,
    port: int,
    *,
    timeout: float = 15.0,
    over: Stream | None = None,
    options: KcpOptions = KCP_DEFAULTS,
    sockets: SocketOptions = DEFAULTS,
) -> Branch:
    """A stream to `host`, on the conversation with it if there is one.

    A new conversation is there when the other end has acknowledged its first word, so that
    another key is an error here and not silence later. Of `sockets` device and mark count.

    Raises:
        CarrierError: No address, no answer, or `over` another stream, which KCP cannot be.
    """
    where = f"kcp {Remote(host, port)}"
    if over is not None:
        raise CarrierError(f"{where}: kcp is UDP and can only be the first hop", "not-over")

    async def connect() -> Trunk:
        return await _connect(host, port, timeout, options, sockets)

    return await share(("kcp", host, port, options, sockets), connect)


async def listen(
    sock: socket.socket,
    accept: Accept,
    *,
    counts: Counts,
    options: KcpOptions = KCP_DEFAULTS,
    handshake_timeout: float = 15.0,
    max_half_open: int = 1024,
    max_sessions: int = 8192,
) -> "KcpDoor":
    """Take conversations on a bound UDP socket, and give their streams to `accept`."""
    return KcpDoor(
        sock,
        accept,
        counts=counts,
        options=options,
        handshake_timeout=handshake_timeout,
        max_half_open=max_half_open,
        max_sessions=max_sessions,
    )


async def _connect(
    host: str, port: int, timeout: float, options: KcpOptions, sockets: SocketOptions
) -> Trunk:
    loop = asyncio.get_running_loop()
    where = f"kcp {Remote(host, port)}"
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise CarrierError(f"{where}: {text_of(error)}", "no-address") from error
    reason = "no address"
    until = loop.time() + timeout
    for number, (family, _, _, _, address) in enumerate(found):
        wait = (until - loop.time()) / (len(found) - number)
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            choose_way(sock, sockets)
            prepare(sock, options)
            sock.connect(address)
        except OSError as error:
            sock.close()
            reason = text_of(error)
            continue
        line = _Line(sock, Remote(str(address[0]), int(address[1])), options)
        try:
            async with asyncio.timeout(wait):
                return await line.answer()
        except TimeoutError:
            reason = "no answer: nobody there, or another key or crypt"
        except CarrierError as error:
            reason = str(error)
        except asyncio.CancelledError:
            line.session.abort()
            raise
        line.session.abort()
    raise CarrierError(f"{where}: {reason}", "no-answer")


class _Line:
    """The dialling end: a connected socket with one conversation on it."""

    def __init__(self, sock: socket.socket, remote: Remote, options: KcpOptions) -> None:
        self._options = options
        self._wire = Wire(sock, make_crypt(options.crypt, options.key), self, _Uncounted())
        conv = int.from_bytes(os.urandom(4), "little")
        self.session = Session(self._wire, remote, conv, options, _Uncounted(), self._ended)
        self._outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def answer(self) -> Trunk:
        """The session on it, once the other end has acknowledged a NOP of smux."""
        session = self.session
        session.answered = self._answered
        session.write(HEADER.pack(self._options.smuxver, NOP, 0, 0))
        await self._outcome
        trunk = mux.client(session, session.carrier, _smux(self._options))
        await shake(trunk, f"kcp {session.remote}", SMUX_TIMEOUT)
        return trunk

    def on_packets(self, _address: Address, packets: list[memoryview]) -> None:
        self.session.take(packets)

    def on_turn(self) -> None:
        self.session.turn()

    def on_refused(self) -> None:
        self.session.refused()

    def _answered(self) -> None:
        if not self._outcome.done():
            self._outcome.set_result(None)

    def _ended(self, session: Session) -> None:
        self._wire.close()
        if not self._outcome.done():
            self._outcome.set_exception(CarrierError(session.reason or "ended"))


class KcpDoor(Listener):
    """Takes the socket over, which its conversations share to the last."""

    def __init__(
        self,
        sock: socket.socket,
        accept: Accept,
        *,
        counts: Counts,
        options: KcpOptions,
        handshake_timeout: float,
        max_half_open: int,
        max_sessions: int,
    ) -> None:
        prepare(sock, options)
        self._accept = accept
        self._counts = counts
        self._options = options
        self._timeout = handshake_timeout
        self._max_half_open = max(1, max_half_open)
        self._max_sessions = max_sessions
        self._sessions: dict[Address, Session] = {}
        self._strangers: dict[Session, float] = {}
        self._touched: dict[Session, None] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._wire = Wire(sock, make_crypt(options.crypt, options.key), self, counts)
        self.port = self._wire.port

    @property
    def half_open(self) -> int:
        """How many have opened no stream yet."""
        return len(self._strangers)

    async def close(self) -> None:
        self._closing = True
        for session in list(self._strangers):
            session.abort()
        self._close_when_done()

    def _close_when_done(self) -> None:
        if self._closing and not self._sessions:
            self._wire.close()
            if self._sweep:
                self._sweep.cancel()

    def on_packets(self, address: Address, packets: list[memoryview]) -> None:
        """One sender's: of his conversation, or the first of a new one."""
        session = self._sessions.get(address)
        conv = conversation(packets[0])
        if session is None or conv not in {None, session.conv}:
            begun = (opening(packet, replaces=session is not None) for packet in packets)
            conv = next((each for each in begun if each is not None), None)
            if conv is None:
                self._counts.count("unknown-session")
                return
            session = self._enter(address, conv, session)
            if session is None:
                return
        session.take(packets)
        self._touched[session] = None

    def on_turn(self) -> None:
        """Everybody's are taken."""
        touched, self._touched = self._touched, {}
        for session in touched:
            session.turn()

    def on_refused(self) -> None:
        """Of whom is not said."""
        self._counts.count("refused")

    def _enter(self, address: Address, conv: int, former: Session | None) -> Session | None:
        if former:
            self._counts.count("replaced")
            former.abort("replaced by a new conversation")
        if self._closing:
            return None
        if len(self._strangers) >= self._max_half_open:
            self._counts.count("half-open-evicted")
            next(iter(self._strangers)).abort()
        if len(self._sessions) >= self._max_sessions:
            self._counts.count("full")
            return None
        remote = Remote(address[0].removeprefix("::ffff:"), address[1])
        session = Session(
            self._wire, remote, conv, self._options, self._counts, self._ended,
            address=address, stranger=True,
        )  # fmt: skip
        self._sessions[address] = session
        self._strangers[session] = self._loop.time() + self._timeout
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._timeout, self._expire)
        smux = _smux(self._options)
        trunk = mux.server(session, self._accept, session.carrier, smux, self._counts)
        trunk.begin(partial(self._began, session))
        return session

    def _began(self, session: Session, error: CarrierError | None) -> None:
        if error is None:
            self._counts.count("accepted")
            self._strangers.pop(session, None)
            session.prove()
        elif session in self._strangers:
            self._counts.count(error.what)

    def _ended(self, session: Session) -> None:
        self._strangers.pop(session, None)
        self._touched.pop(session, None)
        if session.address is not None and self._sessions.get(session.address) is session:
            del self._sessions[session.address]
        self._close_when_done()

    def _expire(self) -> None:
        """All have the same time, so the oldest ends first."""
        self._sweep = None
        now = self._loop.time()
        while self._strangers:
            oldest, until = next(iter(self._strangers.items()))
            if until > now:
                self._sweep = self._loop.call_at(until, self._expire)
                return
            self._counts.count("handshake-timeout")
            oldest.abort()


class _Uncounted:
    """A dialler's noise is nobody's affair."""

    def count(self, what: str) -> None:
        """Nothing."""


def _smux(options: KcpOptions) -> mux.Options:
    return mux.Options(
        version=options.smuxver,
        keepalive=options.keepalive,
        timeout=max(SMUX_TIMEOUT, options.keepalive),
        receive_buffer=options.smuxbuf,
        stream_buffer=min(options.streambuf, options.smuxbuf),
    )
