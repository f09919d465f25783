"""quic: streams of a QUIC connection over UDP, as GOST has it; nothing of HTTP/3 but its name.

One connection for a place, shared by all streams there. A server hears of a stream with its
first byte. The library is qh3, whose packets we carry ourselves: the supervisor opens the
socket, and bursts are grouped.
"""

import asyncio
import socket
from dataclasses import dataclass, field

from qh3 import QuicConfiguration

from gateway.carriers.pool import share
from gateway.carriers.quic_core import Connection, configure
from gateway.carriers.quic_door import QuicDoor
from gateway.carriers.quic_session import Session
from gateway.carriers.quic_stream import QuicStream
from gateway.carriers.quic_trust import ALPN, QuicClientTls, QuicServerTls, client_tls, server_tls
from gateway.carriers.quic_wire import Address, Wire, prepare
from gateway.carriers.sockets import DEFAULTS, SocketOptions, connect_datagrams, text_of
from gateway.carriers.stream import Accept, CarrierError, Counts, Remote, Stream
from gateway.carriers.udp_wire import Uncounted

__all__ = ["ALPN", "QuicDoor", "QuicOptions", "client_tls", "dial", "listen", "server_tls"]

MOST_STREAMS = 100
"""What the library grants, and GOST by default."""


@dataclass(frozen=True, slots=True)
class QuicOptions:
    """How one end is set; times in seconds. ValueError names what is wrong."""

    keepalive: float = 10.0
    """Silence after which a PING is sent; 0: none."""
    idle_timeout: float = 90.0
    """Silence after which a connection is dead, pings or not; the lesser of both ends'."""
    max_streams: int = MOST_STREAMS
    """A client may have open."""
    cipher_key: str = field(default="", repr=False)
    """Seals every datagram once more; the same at both ends."""

    def __post_init__(self) -> None:
        if len(self.key) not in {0, 16, 24, 32}:
            raise ValueError(f"quic.cipherKey: it has {len(self.key)} bytes, not 16, 24 or 32")
        if not 1 <= self.max_streams <= MOST_STREAMS:
            raise ValueError(f"quic.maxStreams: {self.max_streams} is not from 1 to {MOST_STREAMS}")
        if self.keepalive < 0 or self.idle_timeout <= 0:
            raise ValueError("quic.ttl and quic.maxIdleTimeout: expected times above 0")

    @property
    def key(self) -> bytes:
        """`cipher_key` as bytes."""
        return self.cipher_key.encode()


QUIC_DEFAULTS = QuicOptions()


async def dial(
    host: str,
    port: int,
    *,
    timeout: float = 15.0,
    over: Stream | None = None,
    tls: QuicClientTls | None = None,
    quic: QuicOptions = QUIC_DEFAULTS,
    sockets: SocketOptions = DEFAULTS,
) -> QuicStream:
    """A stream to `host`, on the connection with it if there is one.

    Of `sockets` device and mark count.

    Raises:
        CarrierError: No address, no answer, no handshake, a certificate that is not right, or
            `over` another stream, which QUIC cannot be.
    """
    where = f"quic {Remote(host, port)}"
    if over is not None:
        raise CarrierError(f"{where}: quic is UDP and can only be the first hop", "not-over")
    trusted = tls or client_tls()

    async def connect() -> Session:
        return await _connect(host, port, timeout, trusted, quic, sockets)

    return await share(("quic", host, port, trusted, quic, sockets), connect)


async def listen(
    sock: socket.socket,
    accept: Accept,
    *,
    counts: Counts,
    tls: QuicServerTls,
    quic: QuicOptions = QUIC_DEFAULTS,
    handshake_timeout: float = 15.0,
    request_timeout: float = 15.0,
    max_half_open: int = 4096,
    max_sessions: int = 8192,
    sockets: SocketOptions = DEFAULTS,  # noqa: ARG001 - the socket is bound and set already
) -> QuicDoor:
    """Take connections on a bound UDP socket, and give their streams to `accept`.

    Besides `max_sessions` connections there may be `max_half_open` in their handshakes, or for
    `request_timeout` seconds after them, until a stream was let in.
    """
    configuration = configure(is_client=False, idle_timeout=quic.idle_timeout)
    tls.put_into(configuration)

    def connect(original: bytes, retried: bytes | None) -> Connection:
        return Connection(
            configuration=configuration,
            original_destination_connection_id=original,
            retry_source_connection_id=retried,
        )

    return QuicDoor(
        sock,
        accept,
        counts=counts,
        connect=connect,
        key=quic.key,
        keepalive=quic.keepalive,
        max_streams=quic.max_streams,
        handshake_timeout=handshake_timeout,
        request_timeout=request_timeout,
        max_half_open=max_half_open,
        max_sessions=max_sessions,
    )


async def _connect(
    host: str,
    port: int,
    timeout: float,
    tls: QuicClientTls,
    options: QuicOptions,
    sockets: SocketOptions,
) -> Session:
    loop = asyncio.get_running_loop()
    where = f"quic {Remote(host, port)}"
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise CarrierError(f"{where}: {text_of(error)}", "no-address") from error
    reason, what = f"{where}: no address", "no-address"
    until = loop.time() + timeout
    for number, (family, _, _, _, address) in enumerate(found):
        wait = (until - loop.time()) / (len(found) - number)
        # What is sealed once more is longer, and quic-go reads 1452 bytes of a datagram.
        configuration = configure(
            is_client=True, idle_timeout=options.idle_timeout, probe=not options.key
        )
        tls.put_into(configuration, host)
        try:
            sock = connect_datagrams(family, address, sockets, prepare)
        except OSError as error:
            reason, what = f"{where}: {text_of(error)}", "failed"
            continue
        line = _Line(sock, (str(address[0]), int(address[1])), configuration, tls, host, options)
        try:
            async with asyncio.timeout(wait):
                failure = await line.outcome
        except TimeoutError:
            reason, what = f"{where}: no answer", "no-answer"
        except asyncio.CancelledError:
            line.session.close()
            raise
        else:
            if failure is None:
                return line.session
            reason, what = str(failure), failure.what
        line.session.close()
    raise CarrierError(reason, what)


class _Line:
    """The dialling end: a connected socket with one connection on it."""

    def __init__(
        self,
        sock: socket.socket,
        address: Address,
        configuration: QuicConfiguration,
        tls: QuicClientTls,
        host: str,
        options: QuicOptions,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[CarrierError | None] = loop.create_future()
        self._tls = tls
        self._host = host
        self._wire = Wire(sock, options.key, self, Uncounted())
        connection = Connection(configuration=configuration)
        self.session = Session(
            self._wire, connection, address, self, connected=True,
            keepalive=options.keepalive, judge=self._judge, verified=tls.verified,
        )  # fmt: skip
        connection.connect(self.session.way, loop.time())
        self.session.turn()

    def on_burst(self, address: Address, burst: bytes, step: int) -> None:
        self.session.take(address, burst, step)

    def on_turn(self) -> None:
        self.session.turn()

    def on_refused(self) -> None:
        self.session.refused()

    def on_proven(self, session: Session) -> None:
        """Streams are ours here."""

    def on_id(self, session: Session, identity: bytes, *, known: bool) -> None:
        """One socket, one connection."""

    def on_ready(self, _session: Session) -> None:
        if not self.outcome.done():
            self.outcome.set_result(None)

    def on_end(self, _session: Session, error: CarrierError) -> None:
        self._wire.close()
        if not self.outcome.done():
            self.outcome.set_result(error)

    def _judge(self, connection: Connection) -> str:
        shown = connection.get_peercert()
        chain = [one.public_bytes() for one in connection.get_issuercerts()]
        return self._tls.refusal(shown.public_bytes() if shown else None, chain, self._host)
