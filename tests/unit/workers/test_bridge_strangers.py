"""What strangers cost a relay's bridge in memory: those who ask, wait, and push on meanwhile."""

import asyncio
import gc
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pushing
import pytest

from gateway.carriers import certificates, quic
from gateway.carriers.trust import server_tls
from gateway.protocol.relay_access import Own
from gateway.workers.bridge_relay import RelayBridge, RelayParts

COUNT = 100
PUSHED = 1 << 20
EACH = 256 * 1024
"""Bytes a stranger may cost, of a megabyte pushed; without what the kernel keeps."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    return certificates.kept(tmp_path_factory.mktemp("bridge")).file


def listening(carrier: str, certificate: Path):
    """A socket, and the function that listens on it."""
    module, options = pushing.WAYS[carrier]
    options = options.copy()
    if "tls" in options:
        options["tls"] = server_tls(cert_file=certificate)
    if carrier == "quic":
        options["tls"] = quic.server_tls(cert_file=certificate)

    async def listen(sock, accept, counts):
        return await module.listen(sock, accept, counts=counts, **options)

    if carrier not in {"quic", "kcp"}:
        return socket.create_server(("127.0.0.1", 0), backlog=COUNT), listen
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock, listen


@asynccontextmanager
async def pushers(carrier: str, port: int, count: int):
    """They have pushed what they can."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, pushing.__file__, carrier, str(port), str(count), str(PUSHED),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    try:
        assert await child.stdout.readline() == b"pushed\n"
        yield
    finally:
        child.stdin.close()
        await child.wait()


def memory() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss


@pytest.mark.parametrize("carrier", pushing.WAYS)
def test_strangers_cost_little_whatever_they_push(run, boss, working, certificate, carrier):
    async def body() -> None:
        chief = boss()
        chief.verdict = None
        sock, listen = listening(carrier, certificate)
        parts = RelayParts(sock, listen, 60.0, auth=True, own=(Own("", 8421, "127.0.0.1"),))
        bridge = RelayBridge(chief.place, parts)
        port = sock.getsockname()[1]
        async with working(chief, bridge):
            async with pushers(carrier, port, 5):
                await chief.until(lambda: len(chief.asked) == 5)
            before = memory()
            async with pushers(carrier, port, COUNT):
                await chief.until(lambda: len(chief.asked) == COUNT + 5)
                cost = memory() - before
                assert len(bridge._strangers) >= COUNT
            print(carrier, cost // COUNT)
            assert cost < COUNT * EACH

    run(body())
