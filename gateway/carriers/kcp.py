"""kcp: smux streams inside one KCP conversation over UDP. Options as in protocol.kcp_options.

KCP has no handshake and no goodbye. A dialled conversation is there when the other end has
acknowledged its first word; who is gone is noticed by what he does not acknowledge, and by
smux, as soon as either runs out of patience.
"""

import asyncio
import os
import socket
from functools import partial

from gateway.carriers import mux
from gateway.carriers.branch import Branch
from gateway.carriers.kcp_crypt import make_crypt
from gateway.carriers.kcp_door import KcpDoor
from gateway.carriers.kcp_session import SMUX_TIMEOUT, Session, smux_options
from gateway.carriers.kcp_wire import Address, Wire, prepare
from gateway.carriers.layer import shake
from gateway.carriers.pool import share
from gateway.carriers.sockets import DEFAULTS, SocketOptions, connect_datagrams, text_of
from gateway.carriers.stream import Accept, CarrierError, Counts, Remote, Stream
from gateway.carriers.trunk import Trunk
from gateway.carriers.udp_wire import Uncounted
from gateway.protocol.kcp_options import KcpOptions
from gateway.protocol.smux_frames import HEADER, NOP

__all__ = ["KcpDoor", "KcpOptions", "dial", "listen"]

KCP_DEFAULTS = KcpOptions()


async def dial(
    host: str,
    port: int,
    *,
    timeout: float = 15.0,
    over: Stream | None = None,
    kcp: KcpOptions = KCP_DEFAULTS,
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
        return await _connect(host, port, timeout, kcp, sockets)

    return await share(("kcp", host, port, kcp, sockets), connect)


async def listen(
    sock: socket.socket,
    accept: Accept,
    *,
    counts: Counts,
    kcp: KcpOptions = KCP_DEFAULTS,
    handshake_timeout: float = 15.0,
    request_timeout: float = 15.0,
    max_half_open: int = 4096,
    max_sessions: int = 8192,
    sockets: SocketOptions = DEFAULTS,  # noqa: ARG001 - the socket is bound and set already
) -> KcpDoor:
    """Take conversations on a bound UDP socket, and give their streams to `accept`.

    Besides `max_sessions` conversations there may be `max_half_open` of which no stream was let
    in so far, for `request_timeout` seconds from the first stream.
    """
    return KcpDoor(
        sock,
        accept,
        counts=counts,
        options=kcp,
        handshake_timeout=handshake_timeout,
        request_timeout=request_timeout,
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
        try:
            sock = connect_datagrams(family, address, sockets, partial(prepare, options=options))
        except OSError as error:
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
        self._wire = Wire(sock, make_crypt(options.crypt, options.key), self, Uncounted())
        conv = int.from_bytes(os.urandom(4), "little")
        self.session = Session(self._wire, remote, conv, options, Uncounted(), self._ended)
        self._outcome: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    async def answer(self) -> Trunk:
        """The session on it, once the other end has acknowledged a NOP of smux."""
        session = self.session
        session.answered = self._answered
        session.write(HEADER.pack(self._options.smuxver, NOP, 0, 0))
        failure = await self._outcome
        if failure is not None:
            raise CarrierError(failure)
        trunk = mux.client(session, session.carrier, smux_options(self._options))
        await shake(trunk, f"kcp {session.remote}", SMUX_TIMEOUT)
        return trunk

    def on_packets(self, _address: Address, packets: list[bytes]) -> None:
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
            self._outcome.set_result(session.reason or "ended")
