"""What tests of carriers on UDP share: sockets, a dialled stream that is held, both ways."""

import os
import socket
from contextlib import asynccontextmanager

from carried import Served, Taker


def a_socket(family=socket.AF_INET, host="127.0.0.1"):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    return sock


def for_both_families():
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", 0))
    return sock


@asynccontextmanager
async def held(dialling):
    """The stream that comes of `dialling`, and its taker, up to the end of both."""
    taker = Taker()
    stream = await dialling
    stream.start(taker)
    try:
        yield stream, taker
    finally:
        stream.abort()
        await taker.ended()


async def both_ways(served: Served, stream, taker: Taker, carrier: str, size: int):
    """Bytes go there and back, and each end says who the other is; the accepted stream."""
    there, back = os.urandom(size), os.urandom(300_000)
    stream.write(memoryview(bytearray(there)))
    accepted, got = await served.next()
    accepted.write(back)
    assert await got.has(len(there)) == there
    assert await taker.has(len(back)) == back
    assert (stream.carrier, accepted.carrier) == (carrier, carrier)
    assert str(stream.remote) == f"127.0.0.1:{served.port}"
    assert accepted.remote.host == "127.0.0.1"
    assert 0 < stream.rtt < 5
    return accepted
