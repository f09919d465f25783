"""Both ends of kcp, and a bad way between them."""

import asyncio
import random
from contextlib import asynccontextmanager, suppress

from carried import Served
from unit.carriers.datagrams import a_socket, held

from gateway.carriers import kcp
from gateway.protocol.kcp_options import KcpOptions

QUICK = KcpOptions(nodelay=True)


@asynccontextmanager
async def serving(options=QUICK, *, sock=None, **bounds):
    served = Served()
    sock = sock or a_socket()
    served.listener = await kcp.listen(
        sock, served.accept, counts=served.counts, kcp=options, **bounds
    )
    try:
        yield served
    finally:
        await served.listener.close()
        for session in list(served.listener._sessions.values()):
            session.abort()


def dialled(port, options=QUICK, **more):
    return held(kcp.dial("127.0.0.1", port, kcp=options, **more))


@asynccontextmanager
async def bad_way(port, *, loss, double=0.0, seed=1):
    """A port from which datagrams get to `port` and back, some of them."""
    chance = random.Random(seed)
    loop = asyncio.get_running_loop()
    lost = []
    front = a_socket()
    back = a_socket()
    back.connect(("127.0.0.1", port))
    client = []

    def carry(sock, send):
        with suppress(ConnectionRefusedError):  # nobody there yet
            data, address = sock.recvfrom(65536)
            if sock is front:
                client[:] = [address]
            if chance.random() < loss:
                lost.append(len(data))
                return
            for _ in range(1 + (chance.random() < double)):
                send(data)

    loop.add_reader(front, carry, front, back.send)
    loop.add_reader(back, carry, back, lambda data: front.sendto(data, client[0]))
    try:
        yield front.getsockname()[1], lost
    finally:
        loop.remove_reader(front)
        loop.remove_reader(back)
        front.close()
        back.close()
