"""A chain's bridge on loopback, and the TUN client whose datagrams it leads."""

import asyncio
import socket
from contextlib import asynccontextmanager
from math import inf

from gateway.config.chain_model import ClientTlsSpec, HopSpec, NodeSpec
from gateway.linux import near
from gateway.protocol.bridge_messages import LegFigures
from gateway.workers.bridge_carriers import prepare_dial
from gateway.workers.bridge_chain import ChainBridge, ChainParts, PreparedHop, PreparedNode


def node(port: int, host: str = "127.0.0.1", **given) -> PreparedNode:
    spec = NodeSpec("node-0", "tcp", host, port, **given)
    return PreparedNode(spec, prepare_dial(spec))


def silent(listener: socket.socket) -> PreparedNode:
    """A node of TLS, on a port where nobody shakes hands."""
    port = listener.getsockname()[1]
    spec = NodeSpec("node-0", "tls", "127.0.0.1", port, tls=ClientTlsSpec("localhost"))
    return PreparedNode(spec, prepare_dial(spec))


def hop(*nodes: PreparedNode, **given) -> PreparedHop:
    spec = HopSpec("hop-0", tuple(each.spec for each in nodes), **given)
    return PreparedHop(spec, nodes)


class Uplink:
    """The TUN client: a UDP socket that a leg leads."""

    def __init__(self) -> None:
        self.leg = near.open_leg()
        self.sock = near.open_near()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.sock.connect(self.leg.getsockname())
        near.lead_leg(self.leg, self.sock.getsockname()[1])

    def send(self, data: bytes) -> None:
        self.sock.send(data)

    async def receive(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.sock, 65536)

    def close(self) -> None:
        self.leg.close()
        self.sock.close()


@asynccontextmanager
async def chain(boss, working, uplink, target, *hops, patience=inf):
    bridge = ChainBridge(boss.place, ChainParts(hops, ((uplink.leg, target),), patience))
    async with working(boss, bridge):
        yield bridge


def states(boss) -> list[str]:
    return [figures.state for figures in boss.all(LegFigures)]


async def until_up(boss, uplink) -> None:
    """As a heartbeat does: the first datagram dials, the next goes through."""
    uplink.send(b"wake")
    await boss.until(lambda: states(boss) and states(boss)[-1] in ("open", "up"))
