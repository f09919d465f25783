"""Streams of kcp between ours and a live stock GOST on loopback, relay+kcp, in both roles."""

import asyncio
import json
import os
import socket
from contextlib import asynccontextmanager, closing
from urllib.parse import urlencode

import pytest
from carried import Counts, Taker, run
from needs import need
from unit.carriers.kcp_ends import bad_way

from gateway.carriers import kcp
from gateway.carriers.stream import CarrierError
from gateway.protocol.kcp_options import kcp_options

SIZE = 1_000_000
REPLY = bytes.fromhex("01000000")

WITHOUT_PARITY = {"sockbuf": 4194304}
OTHER_PARITY = {"sockbuf": 4194304, "datashard": 4, "parityshard": 2, "resend": 2}

CASES = {
    "defaults": ({}, None),
    "no-parity": ({}, WITHOUT_PARITY),
    "other-parity": ({"mode": "fast2"}, OTHER_PARITY),
    "nocomp": ({"nocomp": "true", "mode": "fast"}, None),
    "smux-2": ({"smuxver": "2", "mode": "normal"}, None),
    "wide": ({"sndwnd": "1024", "rcvwnd": "1024", "mode": "fast3", "mtu": "1200"}, None),
    "none": ({"crypt": "none", "nocomp": "true"}, WITHOUT_PARITY),
    "xor": ({"crypt": "xor", "key": "secret"}, None),
    "aes-128": ({"crypt": "aes-128", "key": "it's a secrect"}, None),
    "aes-192": ({"crypt": "aes-192"}, None),
    "sm4": ({"crypt": "sm4"}, None),
    "cast5": ({"crypt": "cast5"}, None),
    "blowfish": ({"crypt": "blowfish"}, None),
    "3des": ({"crypt": "3des"}, None),
}


@pytest.fixture(autouse=True)
def _needs_gost():
    need("gost")


@pytest.fixture
def said(tmp_path):
    """What both programs are told: stock by a query, ours by options."""

    def say(options, config):
        query = {f"kcp.{name}": value for name, value in options.items()}
        if config is not None:
            file = tmp_path / "kcp.json"
            file.write_text(json.dumps(config))
            query["kcp.configFile"] = str(file)
        ours, warnings = kcp_options(options, config)
        assert not warnings
        return urlencode(query), ours

    return say


@asynccontextmanager
async def gost(*arguments):
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        "gost", *arguments, stdout=nowhere, stderr=nowhere
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self._transport = transport

    def data_received(self, data):
        self._transport.write(data)


@asynccontextmanager
async def echo():
    """A TCP port that gives back what it gets."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def free_port(kind):
    with closing(socket.socket(socket.AF_INET, kind)) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def once_it_listens(dial, error):
    while True:
        try:
            return await dial()
        except error:
            await asyncio.sleep(0.02)


async def echoed_by_stock(port, options, echo_port, data):
    """Through the stock server at `port` to the echo and back; the stream, still open."""
    stream = await once_it_listens(
        lambda: kcp.dial("127.0.0.1", port, kcp=options, timeout=1.0), CarrierError
    )
    taker = Taker()
    stream.start(taker)
    stream.write(bytes.fromhex("0101000a 02 0007 01 7f000001") + echo_port.to_bytes(2, "big"))
    stream.write(data)
    assert await taker.has(len(REPLY) + len(data)) == REPLY + data
    return stream, taker


@pytest.mark.parametrize("name", CASES)
def test_with_the_stock_server(said, name):
    query, options = said(*CASES[name])

    async def main():
        port = free_port(socket.SOCK_DGRAM)
        data = os.urandom(SIZE)
        url = f"relay+kcp://127.0.0.1:{port}?{query}"
        async with echo() as echo_port, gost("-L", url):
            stream, taker = await echoed_by_stock(port, options, echo_port, data)
            stream.close()
            assert await taker.ended() == ""

    run(main())


class Relay:
    """What a relay server does with a stream, as far as an echo needs it."""

    def __init__(self, stream) -> None:
        self.taker = Taker(self._take)
        self._stream = stream
        self._head = bytearray()
        self.request = b""

    def _take(self, data):
        if self.request:
            self._stream.write(data)
            return
        self._head += data
        if len(self._head) < 4:
            return
        size = 4 + int.from_bytes(self._head[2:4], "big")
        if len(self._head) >= size:
            self.request = bytes(self._head[:size])
            self._stream.write(REPLY + bytes(self._head[size:]))


@asynccontextmanager
async def our_echo(options):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    relays, counts = [], Counts()

    def accept(stream):
        relays.append(Relay(stream))
        stream.prove()
        stream.start(relays[-1].taker)

    door = await kcp.listen(sock, accept, counts=counts, kcp=options)
    try:
        yield door, relays, counts
    finally:
        await door.close()
        for session in list(door._sessions.values()):
            session.abort()


async def echoed_through_stock(tcp_port, data):
    reader, writer = await once_it_listens(
        lambda: asyncio.open_connection("127.0.0.1", tcp_port), OSError
    )
    writer.write(data)
    assert await reader.readexactly(len(data)) == data
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("name", CASES)
def test_with_the_stock_client(said, name):
    query, options = said(*CASES[name])

    async def main():
        tcp_port = free_port(socket.SOCK_STREAM)
        async with our_echo(options) as (door, relays, counts):
            chain = f"relay+kcp://127.0.0.1:{door.port}?{query}"
            async with gost("-L", f"tcp://127.0.0.1:{tcp_port}/192.0.2.1:7", "-F", chain):
                await echoed_through_stock(tcp_port, os.urandom(SIZE))
                assert relays[0].request.hex() == "0101000a02000701c00002010007"
                assert await relays[0].taker.ended() == ""
                assert counts["accepted"] == 1

    run(main())


def test_what_stock_lost_is_got_from_its_parity(said):
    query, options = said({"mode": "fast"}, OTHER_PARITY)

    async def main():
        tcp_port = free_port(socket.SOCK_STREAM)
        async with our_echo(options) as (door, _, _), bad_way(door.port, loss=0.05) as (port, lost):
            chain = f"relay+kcp://127.0.0.1:{port}?{query}"
            async with gost("-L", f"tcp://127.0.0.1:{tcp_port}/192.0.2.1:7", "-F", chain):
                await echoed_through_stock(tcp_port, os.urandom(SIZE // 2))
                (session,) = door._sessions.values()
                assert lost
                assert session._decoder.recovered > 5

    run(main())


def test_a_group_of_another_form_than_ours_is_learnt(said):
    query, _ = said({"mode": "fast"}, OTHER_PARITY)
    ours, _ = kcp_options({"mode": "fast"})

    async def main():
        tcp_port = free_port(socket.SOCK_STREAM)
        async with our_echo(ours) as (door, _, _), bad_way(door.port, loss=0.05) as (port, _):
            chain = f"relay+kcp://127.0.0.1:{port}?{query}"
            async with gost("-L", f"tcp://127.0.0.1:{tcp_port}/192.0.2.1:7", "-F", chain):
                await echoed_through_stock(tcp_port, os.urandom(SIZE // 2))
                (session,) = door._sessions.values()
                assert session._decoder.recovered > 5

    run(main())


def test_a_bad_way_to_the_stock_server(said):
    query, options = said({}, None)

    async def main():
        port = free_port(socket.SOCK_DGRAM)
        async with (
            echo() as echo_port,
            gost("-L", f"relay+kcp://127.0.0.1:{port}?{query}"),
            bad_way(port, loss=0.05, double=0.02) as (bad_port, lost),
        ):
            data = os.urandom(SIZE // 2)
            stream, taker = await echoed_by_stock(bad_port, options, echo_port, data)
            assert lost
            stream.abort()
            await taker.ended()

    run(main())


def test_a_stock_client_with_another_key_gets_nothing(said):
    query, _ = said({"key": "wrong"}, None)
    _, options = said({"key": "right"}, None)

    async def main():
        tcp_port = free_port(socket.SOCK_STREAM)
        async with our_echo(options) as (door, relays, counts):
            chain = f"relay+kcp://127.0.0.1:{door.port}?{query}"
            async with gost("-L", f"tcp://127.0.0.1:{tcp_port}/192.0.2.1:7", "-F", chain):
                _, writer = await once_it_listens(
                    lambda: asyncio.open_connection("127.0.0.1", tcp_port), OSError
                )
                writer.write(b"hello?")
                await counts.until("noise", 3)
                assert not relays
                assert door.half_open == 0
                writer.close()

    run(main())
