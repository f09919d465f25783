"""Strangers in a process of their own: each asks a relay for something, and pushes on.

    pushing.py CARRIER PORT COUNT SIZE

Every one has a connection of its own. `pushed` is printed when nothing moves any more; they
stay until standard input ends.
"""

import asyncio
import sys
from typing import Any

from gateway.carriers import grpc, kcp, mux, quic, tcp, tls, ws
from gateway.carriers.sockets import SocketOptions
from gateway.carriers.stream import Stream
from gateway.carriers.trust import client_tls
from gateway.protocol.relay import Address, Request

SIZE = 64 * 1024
PACKED = {"ws": ws.WsOptions(compression=True)}

WAYS: dict[str, tuple[Any, dict[str, Any]]] = {
    "tcp": (tcp, {}),
    "tls": (tls, {"tls": client_tls()}),
    "wss": (ws, {"tls": client_tls()}),
    "packed ws": (ws, PACKED),
    "packed mws": (mux, PACKED),
    "mtcp": (mux, {"under": "tcp"}),
    "mwss": (mux, {"tls": client_tls()}),
    "grpc": (grpc, {}),
    "quic": (quic, {}),
    "kcp": (kcp, {}),
}
"""The module of each, and what its dialler is told; a listener with its own `tls` the same."""

REQUEST = Request(Address("", 8421), username=b"user", password=b"word").build()


class Deaf:
    """Takes what comes, and keeps nothing."""

    def on_data(self, _data: bytes | bytearray | memoryview) -> None:
        """Nothing."""

    def on_room(self) -> None:
        """Nothing."""

    def on_end(self, _reason: str) -> None:
        """Nothing."""


async def push(carrier: str, port: int, count: int, size: int) -> None:
    """Dial, ask, push, wait."""
    module, options = WAYS[carrier]
    streams: list[Stream] = []
    for number in range(count):
        apart = SocketOptions(user_timeout=30 + number / 1000)
        stream = await module.dial("127.0.0.1", port, sockets=apart, **options)
        stream.start(Deaf())
        stream.write(REQUEST)
        for _ in range(0, size, SIZE):
            stream.write(bytes(SIZE))
        streams.append(stream)
    seen: list[int] = []
    while len(seen) < 20 or len(set(seen[-20:])) > 1:
        await asyncio.sleep(0.02)
        seen.append(sum(stream.backlog for stream in streams))
    print("pushed", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(push(sys.argv[1], *map(int, sys.argv[2:5])))
