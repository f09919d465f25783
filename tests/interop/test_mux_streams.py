"""Streams in sessions with stock GOST: mws, mwss, mtcp, mtls and grpc, in both roles.

ours ── carrier ── gost ── TCP ── echo          gost -L forward+mwss://:P/echo
TCP ── gost ── carrier ── ours (echo)           gost -L tcp://:A -F forward+mwss://:P
"""

import asyncio
import contextlib
import datetime as dt
import os
import random
import socket
import subprocess
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise

import pytest
from carried import Taker, run, serving
from needs import need

from gateway.carriers import certificates, grpc, mux, tcp
from gateway.carriers.trust import client_tls, server_tls

TWO = mux.Options(version=2)
PLAIN = {"under": "tcp"}
CARRIERS = {
    "mws": ("mws", "", mux, False, {}),
    "mws version 2": ("mws", "mux.version=2", mux, False, {"mux": TWO}),
    "mwss": ("mwss", "", mux, True, {}),
    "mtcp": ("mtcp", "", mux, False, PLAIN),
    "mtls": ("mtls", "", mux, True, PLAIN),
    "mtls version 2": ("mtls", "mux.version=2", mux, True, {"mux": TWO, **PLAIN}),
    "grpc": ("grpc", "", grpc, True, {}),
    "grpc insecure": ("grpc", "grpc.insecure=true", grpc, False, {}),
    "grpc path": (
        "grpc", "grpc.insecure=true&grpc.path=/a/b/c", grpc, False,
        {"grpc": grpc.Options(path="a/b/c")},
    ),
}  # fmt: skip
SIZE = 3_000_000


@pytest.fixture(params=CARRIERS)
def carrier(request):
    need("gost")
    return CARRIERS[request.param]


@pytest.fixture
def start(tmp_path):
    """A function that starts stock GOST; it is ended with the test."""
    running = []

    @contextmanager
    def gost(*words: str):
        home = {**os.environ, "HOME": str(tmp_path)}
        with (tmp_path / "gost.log").open("ab") as log:
            process = subprocess.Popen(["gost", *words], cwd=tmp_path, env=home, stderr=log)
        running.append(process)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    yield gost
    for process in running:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port for another program: below those the kernel gives out, so it stays free."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


async def until_open(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return


def pieces(seed: int) -> list[bytes]:
    """SIZE bytes as a relay of GOST writes them: small, small, large."""
    source = random.Random(seed)
    whole = source.randbytes(SIZE)
    cuts = [0]
    while cuts[-1] < SIZE:
        cuts.append(cuts[-1] + source.choice([1, 2, 36, 1400, 1402, 16384, 65536]))
    return [whole[a:b] for a, b in pairwise(cuts)]


@asynccontextmanager
async def dialled(carrier, start):
    """A function that dials stock GOST, which forwards to an echo; and the process."""
    name, query, module, secure, options = carrier
    extra = {"tls": client_tls(alpn=grpc.ALPN)} if secure else {}
    port = free_port()
    async with serving(tcp.listen, echo=True) as target:
        way = f"forward+{name}://127.0.0.1:{port}/127.0.0.1:{target.port}?{query}"
        with start("-L", way) as gost:
            await until_open(port)
            yield lambda: module.dial("127.0.0.1", port, **options, **extra), gost


def test_our_streams_through_stock_gost(carrier, start) -> None:
    async def main():
        async with dialled(carrier, start) as (dial, _):
            streams = [await dial() for _ in range(3)]
            takers = [Taker() for _ in streams]
            for stream, taker in zip(streams, takers, strict=True):
                stream.start(taker)
            sent = [pieces(seed) for seed in range(3)]
            for number in range(max(map(len, sent))):
                for stream, parts in zip(streams, sent, strict=True):
                    for part in parts[number : number + 1]:
                        stream.write(part)
                await asyncio.sleep(0)
            for taker, parts in zip(takers, sent, strict=True):
                assert await taker.has(SIZE) == b"".join(parts)
            assert len({id(stream._trunk) for stream in streams}) == 1
            for stream in streams:
                stream.close()
            assert {await taker.ended() for taker in takers} == {""}

    run(main())


def test_the_end_of_stock_gost_is_the_end_of_our_streams(carrier, start) -> None:
    async def main():
        async with dialled(carrier, start) as (dial, gost):
            stream = await dial()
            taker = Taker()
            stream.start(taker)
            stream.write(b"there?")
            await taker.has(6)
            gost.kill()
            await taker.ended()

    run(main())


def test_streams_of_stock_gost_to_us(carrier, start, tmp_path) -> None:
    name, query, module, secure, options = carrier
    pem = tmp_path / "own.pem"
    pem.write_bytes(certificates.make(dt.datetime.now(dt.UTC)))
    extra = {}
    if secure:
        extra["tls"] = server_tls(cert_file=pem, alpn=grpc.ALPN if module is grpc else ())

    async def exchange(port: int, seed: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        parts = pieces(seed)
        taking = asyncio.create_task(reader.readexactly(SIZE))
        for part in parts:
            writer.write(part)
            await writer.drain()
        assert await taking == b"".join(parts)
        writer.close()

    async def main():
        async with serving(module.listen, echo=True, **options, **extra) as served:
            way = f"forward+{name}://127.0.0.1:{served.port}?{query}"
            port = free_port()
            with start("-L", f"tcp://127.0.0.1:{port}", "-F", way):
                await until_open(port)
                # Its first stream alone: two first ones at once trip over each other in GOST.
                await (await served.next())[1].ended()
                await asyncio.gather(*(exchange(port, seed) for seed in range(3)))
                assert served.counts["accepted"] == 1
                for taker in served.takers:
                    await taker.ended()
            assert set(served.counts) <= {"accepted", "unknown-stream"}

    run(main())


def test_a_path_stock_gost_does_not_have(start) -> None:
    need("gost")

    async def main():
        insecure = CARRIERS["grpc insecure"]
        other = {"grpc": grpc.Options(path="other")}
        async with dialled((*insecure[:4], other), start) as (dial, _):
            taker = Taker()
            (await dial()).start(taker)
            assert "is the path right?" in await taker.ended()

    run(main())


def test_stock_gost_asks_for_a_path_we_do_not_have(start) -> None:
    need("gost")

    async def main():
        async with serving(grpc.listen) as served:
            port = free_port()
            way = f"forward+grpc://127.0.0.1:{served.port}?insecure=true&path=other"
            with start("-L", f"tcp://127.0.0.1:{port}", "-F", way):
                await until_open(port)
                await served.counts.until("wrong-path")
                assert not served.streams

    run(main())
