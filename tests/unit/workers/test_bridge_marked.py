"""The stock of sockets with a mark: each kind apart, bounded, and dialled with."""

import asyncio
import os
import socket

import pytest

from gateway.carriers import tcp
from gateway.carriers.sockets import SocketOptions
from gateway.carriers.stream import CarrierError
from gateway.workers.bridge_marked import MOST, MarkedSockets


def made(kind: int = socket.SOCK_STREAM, family: int = socket.AF_INET) -> int:
    return socket.socket(family, kind | socket.SOCK_NONBLOCK).detach()


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_each_kind_apart():
    stock = MarkedSockets()
    stream, datagrams, six = made(), made(socket.SOCK_DGRAM), made(family=socket.AF_INET6)
    for fd in (stream, datagrams, six):
        stock.put(fd)
    assert stock.take(socket.AF_INET6, socket.SOCK_STREAM) == six
    assert stock.take(socket.AF_INET, socket.SOCK_DGRAM) == datagrams
    assert stock.take(socket.AF_INET, socket.SOCK_STREAM) == stream
    with pytest.raises(OSError, match="so_mark"):
        stock.take(socket.AF_INET, socket.SOCK_STREAM)
    for fd in (stream, datagrams, six):
        os.close(fd)


def test_what_nobody_takes_is_bounded():
    stock = MarkedSockets()
    fds = [made() for _ in range(MOST + 3)]
    for fd in fds:
        stock.put(fd)
    assert [is_open(fd) for fd in fds] == [False] * 3 + [True] * MOST
    for _ in range(MOST):
        os.close(stock.take(socket.AF_INET, socket.SOCK_STREAM))


def test_a_carrier_dials_with_it():
    """Known again by an option that the socket was given before."""

    async def main() -> None:
        stock = MarkedSockets()
        options = SocketOptions(interface="none", marked=stock.take)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 5)
            stock.put(sock.detach())
            stream = await tcp.dial("127.0.0.1", port, sockets=options)
            found = stream._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY)
            assert (found, stream._sock.getblocking()) == (5, False)
            stream.abort()
            with pytest.raises(CarrierError, match="so_mark"):
                await tcp.dial("127.0.0.1", port, sockets=options)

    asyncio.run(main())
