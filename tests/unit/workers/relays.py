"""A relay listener's bridge over plain TCP on loopback, to be asked by the test."""

import socket
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from gateway.carriers import tcp
from gateway.protocol.relay_access import Own
from gateway.workers.bridge_relay import RelayBridge, RelayParts


async def listen(sock, accept, counts):
    return await tcp.listen(sock, accept, counts=counts)


@asynccontextmanager
async def relay(boss, working, services: Sequence = (), listener=None, **parts):
    """A bridge that serves meanwhile, before `services`; where it listens is its `port`."""
    listener = listener or socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    own = tuple(Own("", service.port, "127.0.0.1") for service in services)
    given = RelayParts(listener, listen, read_timeout=15.0, auth=False, own=own)
    bridge = RelayBridge(boss.place, replace(given, **parts))
    bridge.port = port
    async with working(boss, bridge):
        yield bridge
