"""GOST's gRPC tunnel: each stream a call of `/GostTunel/Tunnel` (sic) on one HTTP/2 connection.

With TLS (ALPN `h2`), or without (`insecure`), in which case both ends know beforehand that it
is HTTP/2. Calls to one place share a connection. Source: GOST x, dialer/grpc and listener/grpc.
"""

import asyncio
import socket
from ipaddress import ip_address

from gateway.carriers.branch import Branch
from gateway.carriers.http2 import Connection, Options
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

__all__ = ["ALPN", "Options", "dial", "listen"]

ALPN = ("h2",)
"""What `client_tls` and `server_tls` must be made with: Go's gRPC insists on it."""
NAME = "grpc"
GRPC_DEFAULTS = Options()


async def dial(
    host: str,
    port: int,
    *,
    timeout: float = 15.0,
    over: Stream | None = None,
    tls: ClientTls | None = None,
    grpc: Options = GRPC_DEFAULTS,
    sockets: SocketOptions = DEFAULTS,
) -> Branch:
    """A call to `host`; without `tls` it is `insecure`. A wrong path ends it soon after.

    Raises:
        CarrierError: No connection, or the other end speaks no HTTP/2.
    """

    async def connect() -> Trunk:
        where = f"{NAME} {Remote(host, port)}"
        if tls is None:
            lower: Stream = await dial_tcp(host, port, timeout=timeout, over=over, sockets=sockets)
        else:
            lower = await dial_tls(host, port, timeout=timeout, over=over, tls=tls, sockets=sockets)
        trunk = Trunk(lower, _client(host, grpc, secure=tls is not None), NAME)
        await shake(trunk, where, timeout)
        return trunk

    if over is not None:
        return open_on(await connect())
    return await share((NAME, host, port, tls, grpc, sockets), connect)


async def listen(
    sock: socket.socket,
    accept: Accept,
    *,
    counts: Counts,
    tls: ServerTls | None = None,
    grpc: Options = GRPC_DEFAULTS,
    handshake_timeout: float = 15.0,
    max_half_open: int = 4096,
    request_timeout: float = 15.0,
    max_sessions: int = 8192,
    sockets: SocketOptions = DEFAULTS,
) -> Door:
    """Take calls on a listening socket; who opens none is in the middle of his handshake.

    One of them has to be let in within `request_timeout` seconds of the first.
    """

    def trunk(lower: Stream) -> Trunk:
        machine = Connection(client=False, options=grpc, now=asyncio.get_running_loop().time())
        return Trunk(lower, machine, NAME, accept=accept, counts=counts)

    wraps: list[Wrap] = [trunk]
    if tls is not None:
        server = tls
        wraps.insert(0, lambda lower: TlsStream(lower, server))
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


def _client(host: str, options: Options, *, secure: bool) -> Connection:
    return Connection(
        client=True,
        options=options,
        now=asyncio.get_running_loop().time(),
        authority=_bracketed(host),
        scheme="https" if secure else "http",
    )


def _bracketed(host: str) -> str:
    try:
        return f"[{host}]" if ip_address(host).version == 6 else host
    except ValueError:
        return host


def _ready(_trunk: Stream) -> None:
    """A connection is no stream: those on it are accepted one by one."""
