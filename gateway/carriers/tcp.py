"""Plain TCP."""

import asyncio
import socket

from gateway.carriers.layer import deadline
from gateway.carriers.listening import Door
from gateway.carriers.sockets import (
    DEFAULTS,
    SocketOptions,
    TcpStream,
    open_socket,
    prepare,
    text_of,
)
from gateway.carriers.stream import Accept, CarrierError, Counts, Remote, Stream


async def dial(
    host: str,
    port: int,
    *,
    timeout: float = 15.0,
    over: Stream | None = None,
    sockets: SocketOptions = DEFAULTS,
) -> Stream:
    """A connection to the first address of `host` that answers, within `timeout` seconds.

    Over another stream there is nothing to add, and it is returned as it is.

    Raises:
        CarrierError: No address answered; the text has the last reason.
    """
    if over is not None:
        return over
    async with deadline(f"tcp {Remote(host, port)}", timeout):
        return await _connect(host, port, timeout, sockets)


async def listen(
    sock: socket.socket,
    accept: Accept,
    *,
    counts: Counts,
    handshake_timeout: float = 15.0,
    max_half_open: int = 1024,
    sockets: SocketOptions = DEFAULTS,
) -> Door:
    """Take connections on a listening socket. There is no handshake that could be half done."""
    return Door(
        sock,
        [],
        accept,
        counts=counts,
        handshake_timeout=handshake_timeout,
        max_half_open=max_half_open,
        sockets=sockets,
    )


async def _connect(host: str, port: int, timeout: float, options: SocketOptions) -> Stream:
    loop = asyncio.get_running_loop()
    where = f"tcp {Remote(host, port)}"
    try:
        found = await _addresses(host, port)
    except OSError as error:
        raise CarrierError(f"{where}: {text_of(error)}", "no-address") from error
    reason = "no address"
    until = loop.time() + timeout
    for number, (family, address) in enumerate(found):
        share = (until - loop.time()) / (len(found) - number)
        try:
            sock = open_socket(family, socket.SOCK_STREAM, options)
        except OSError as error:
            reason = text_of(error)
            continue
        try:
            prepare(sock, options)
            async with asyncio.timeout(share):
                await loop.sock_connect(sock, address)
            return TcpStream(sock, Remote(str(address[0]), port))
        except (OSError, TimeoutError) as error:
            reason = text_of(error)
            sock.close()
        except asyncio.CancelledError:
            sock.close()
            raise
    raise CarrierError(f"{where}: {reason}", "no-connection")


async def _addresses(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    """Families and addresses. Only a name needs the resolver, and so a thread."""
    kind = socket.SOCK_STREAM
    try:
        found = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=kind)
    return [(family, address) for family, _, _, _, address in found]
