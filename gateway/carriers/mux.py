"""mws, mwss, mtcp and mtls: smux streams inside one websocket, TCP or TLS connection.

Streams to one place share a session. Version and options must be alike at both ends. Source:
GOST x, dialer/mws, listener/mws, internal/util/mux.
"""

import asyncio
import socket
from typing import Literal

from gateway.carriers.branch import Branch
from gateway.carriers.layer import shake
from gateway.carriers.listening import Door, Wrap
from gateway.carriers.pool import open_on, share
from gateway.carriers.sockets import DEFAULTS, SocketOptions
from gateway.carriers.stream import Accept, Counts, Remote, Stream
from gateway.carriers.tcp import dial as dial_tcp
from gateway.carriers.tls import TlsStream
from gateway.carriers.tls import dial as dial_tls
from gateway.carriers.trunk import Trunk
from gateway.carriers.trust import ClientTls, ServerTls
from gateway.carriers.ws import WS_DEFAULTS, WsOptions, WsServer
from gateway.carriers.ws import dial as dial_ws
from gateway.protocol.smux import Options, Session

__all__ = ["Options", "client", "dial", "listen", "server"]

MUX_DEFAULTS = Options()
MTCP_DEFAULTS = Options(version=2)
"""GOST's mtcp alone speaks version 2 unless told otherwise."""

Under = Literal["ws", "tcp"]
"""What the session runs over; with TLS below it, if there is `tls`."""


async def dial(
    host: str,
    port: int,
    *,
    timeout: float = 15.0,
    over: Stream | None = None,
    under: Under = "ws",
    tls: ClientTls | None = None,
    ws: WsOptions = WS_DEFAULTS,
    mux: Options | None = None,
    sockets: SocketOptions = DEFAULTS,
) -> Branch:
    """A stream to `host`: mws, or mwss with `tls`; for `under` tcp mtcp, or mtls.

    smux answers nothing, so the stream may meet a peer that speaks something else.

    Raises:
        CarrierError: No connection, or no websocket.
    """
    chosen = mux or _defaults(under, plain=tls is None)

    async def connect() -> Trunk:
        if under == "ws":
            lower: Stream = await dial_ws(
                host, port, timeout=timeout, over=over, tls=tls, ws=ws, sockets=sockets
            )
        elif tls is None:
            lower = await dial_tcp(host, port, timeout=timeout, over=over, sockets=sockets)
        else:
            lower = await dial_tls(host, port, timeout=timeout, over=over, tls=tls, sockets=sockets)
        trunk = client(lower, f"m{lower.carrier}", chosen)
        await shake(trunk, f"{trunk.carrier} {Remote(host, port)}", timeout)
        return trunk

    if over is not None:
        return open_on(await connect())
    return await share((under, host, port, tls, ws, chosen, sockets), connect)


async def listen(
    sock: socket.socket,
    accept: Accept,
    *,
    counts: Counts,
    under: Under = "ws",
    tls: ServerTls | None = None,
    ws: WsOptions = WS_DEFAULTS,
    mux: Options | None = None,
    handshake_timeout: float = 15.0,
    max_half_open: int = 4096,
    request_timeout: float = 15.0,
    max_sessions: int = 8192,
    sockets: SocketOptions = DEFAULTS,
) -> Door:
    """Take sessions on a listening socket, and give every stream in them to `accept`.

    One of them has to be let in within `request_timeout` seconds of the first.
    """
    chosen = mux or _defaults(under, plain=tls is None)
    wraps: list[Wrap] = []
    if tls is not None:
        guard = tls
        wraps.append(lambda lower: TlsStream(lower, guard))
    if under == "ws":
        wraps.append(lambda lower: WsServer(lower, ws))
    wraps.append(lambda lower: server(lower, accept, f"m{lower.carrier}", chosen, counts))
    return Door(
        sock,
        wraps,
        _ready,
        counts=counts,
        handshake_timeout=handshake_timeout,
        max_half_open=max_half_open,
        request_timeout=request_timeout,
        max_sessions=max_sessions,
        sockets=sockets,
    )


def _defaults(under: Under, *, plain: bool) -> Options:
    return MTCP_DEFAULTS if plain and under == "tcp" else MUX_DEFAULTS


def client(lower: Stream, carrier: str, mux: Options) -> Trunk:
    """The opening end of a session over any stream, to be shaken; for KCP too."""
    machine = Session(client=True, options=mux, now=asyncio.get_running_loop().time())
    return Trunk(lower, machine, carrier)


def server(lower: Stream, accept: Accept, carrier: str, mux: Options, counts: Counts) -> Trunk:
    """The accepting end of a session over any stream; for KCP too."""
    machine = Session(client=False, options=mux, now=asyncio.get_running_loop().time())
    return Trunk(lower, machine, carrier, accept=accept, counts=counts)


def _ready(_trunk: Stream) -> None:
    """A session is no stream: those in it are accepted one by one."""
