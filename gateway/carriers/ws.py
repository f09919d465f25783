"""ws and wss: a byte stream as websocket messages, over TCP or TLS."""

import socket

from gateway.carriers.layer import shake
from gateway.carriers.listening import Door, Wrap
from gateway.carriers.sockets import DEFAULTS, SocketOptions
from gateway.carriers.stream import Accept, Counts, Remote, Stream
from gateway.carriers.tcp import dial as dial_tcp
from gateway.carriers.tls import TlsStream
from gateway.carriers.tls import dial as dial_tls
from gateway.carriers.trust import ClientTls, ServerTls
from gateway.carriers.websocket import WS_DEFAULTS, WsClient, WsOptions, WsServer, WsStream

__all__ = ["WS_DEFAULTS", "WsOptions", "WsServer", "dial", "listen"]


async def dial(
    host: str,
    port: int,
    *,
    timeout: float = 15.0,
    over: Stream | None = None,
    tls: ClientTls | None = None,
    ws: WsOptions = WS_DEFAULTS,
    sockets: SocketOptions = DEFAULTS,
) -> WsStream:
    """A websocket to `host`; with `tls` it is wss.

    Raises:
        CarrierError: No connection, or the other end is no websocket at this path.
    """
    if tls is None:
        lower = await dial_tcp(host, port, timeout=timeout, over=over, sockets=sockets)
    else:
        lower = await dial_tls(host, port, timeout=timeout, over=over, tls=tls, sockets=sockets)
    stream = WsClient(lower, host, port, ws)
    await shake(stream, f"{stream.carrier} {Remote(host, port)}{ws.path}", timeout)
    return stream


async def listen(
    sock: socket.socket,
    accept: Accept,
    *,
    counts: Counts,
    tls: ServerTls | None = None,
    ws: WsOptions = WS_DEFAULTS,
    handshake_timeout: float = 15.0,
    max_half_open: int = 1024,
    sockets: SocketOptions = DEFAULTS,
) -> Door:
    """Take websockets on a listening socket; with `tls` they are wss."""
    wraps: list[Wrap] = [lambda lower: WsServer(lower, ws)]
    if tls is not None:
        server = tls
        wraps.insert(0, lambda lower: TlsStream(lower, server))
    return Door(
        sock,
        wraps,
        accept,
        counts=counts,
        handshake_timeout=handshake_timeout,
        max_half_open=max_half_open,
        sockets=sockets,
    )
