"""Sessions and streams that were not let in: bounded in bytes."""

import asyncio
import os
import socket
import zlib
from contextlib import suppress
from struct import pack

import pytest
from carried import Taker, run, serving, until
from unit.carriers.session_ways import SESSIONS, Ways, said

from gateway.carriers import tcp, ws
from gateway.carriers.kcp_session import STRANGER_WINDOW
from gateway.carriers.quic_core import Connection
from gateway.carriers.quic_link import STRANGER_BYTES as QUIC_BYTES
from gateway.carriers.sockets import STRANGER_BYTES, STRANGER_OWED, STRANGER_READ
from gateway.carriers.trunk import STRANGER_KEPT
from gateway.carriers.websocket import STRANGER_MESSAGE, WsOptions
from gateway.protocol.kcp_options import KcpOptions

MORE = 1 << 20
LARGEST_CHUNK = 64 * 1024
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


@pytest.fixture
def ways(papers, request) -> Ways:
    return Ways(papers, request.param)


async def closed(writer) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def kept(stream) -> int:
    """Bytes that a paused branch's session keeps for it."""
    return stream._trunk._machine._unread


@pytest.mark.parametrize("ways", [name for name in SESSIONS if name != "quic"], indirect=True)
def test_little_is_kept_for_a_session_that_was_not_let_in_and_nothing_is_lost(ways) -> None:
    async def main():
        async with ways.serve() as served:
            near, _ = await ways.dial(served.port)
            near.write(b"hello")
            far, taker = await served.next()
            await taker.has(5)
            far.pause()
            near.write(bytes(MORE))
            await until(lambda: kept(far) >= STRANGER_KEPT)
            session = far._trunk._lower
            for _ in range(200):
                await asyncio.sleep(0.001)
                assert kept(far) < STRANGER_KEPT + (
                    LARGEST_CHUNK if ways.carrier == "kcp" else STRANGER_READ + 16 * 1024
                )
            if ways.carrier == "kcp":
                assert len(session._early) <= STRANGER_WINDOW
                assert session._kcp.arrivals.window == STRANGER_WINDOW
            far.prove()
            far.resume()
            await taker.has(5 + MORE)
            near.abort()
            await taker.ended()

    run(main())


def test_little_is_taken_of_a_quic_client_that_was_not_let_in(papers, monkeypatch) -> None:
    """What comes beyond is lost, and comes again."""
    taken = {}

    def counted(name: str) -> None:
        genuine = getattr(Connection, name)

        def receive(self, data, *rest):
            if not self._is_client:
                taken[self] = taken.get(self, 0) + len(data)
            return genuine(self, data, *rest)

        monkeypatch.setattr(Connection, name, receive)

    counted("receive_datagram")
    counted("receive_gro_buffer")

    async def main():
        both = Ways(papers, "quic")
        async with both.serve() as served:
            near, _ = await both.dial(served.port)
            far, taker = await said(near, served)
            far.pause()
            near.write(bytes(MORE))
            (session,) = served.listener.sessions
            await until(lambda: session._allowance < 0)
            for _ in range(200):
                await asyncio.sleep(0.001)
            assert list(taken.values()) <= [QUIC_BYTES]
            far.prove()
            far.resume()
            await taker.has(5 + MORE)
            near.abort()
            await taker.ended()

    run(main())


def test_a_kcp_chunk_that_grows_is_unpacked_only_when_it_is_asked_for(papers) -> None:
    """Eight segments of zeros, packed, are half a megabyte."""

    async def main():
        ways = Ways(papers, "kcp")
        ways.dialled = ways.listened = {"kcp": KcpOptions(datashard=0, crypt="none")}
        async with ways.serve() as served:
            near, _ = await ways.dial(served.port)
            near.write(b"hello")
            far, taker = await served.next()
            await taker.has(5)
            far.pause()
            near.write(bytes(1 << 19))
            await until(lambda: kept(far) > STRANGER_KEPT)
            for _ in range(100):
                await asyncio.sleep(0.001)
            assert kept(far) <= STRANGER_KEPT + LARGEST_CHUNK
            far.prove()
            far.resume()
            await taker.has(5 + (1 << 19))
            near.abort()
            await taker.ended()

    run(main())


@pytest.mark.parametrize("proven", [False, True])
def test_what_waits_for_a_kcp_stranger_is_bounded(papers, *, proven: bool) -> None:
    async def main():
        ways = Ways(papers, "kcp")
        async with ways.serve() as served:
            near, got = await ways.dial(served.port)
            far, taker = await said(near, served)
            if proven:
                far.prove()
            far.write(os.urandom(2 * STRANGER_OWED))
            if proven:
                await got.has(2 * STRANGER_OWED)
            else:
                assert "does not acknowledge" in await taker.ended()
            near.abort()

    run(main())


def test_a_stranger_over_tcp_is_read_in_small_pieces_and_not_without_end() -> None:
    async def main():
        async with serving(tcp.listen) as served:
            served.proving = False
            near = await tcp.dial("127.0.0.1", served.port)
            near.start(Taker())
            near.write(bytes(MORE))
            far, taker = await served.next()
            await taker.has_at_least(STRANGER_BYTES)
            for _ in range(50):
                await asyncio.sleep(0.001)
            assert max(taker.pieces) <= STRANGER_READ
            assert len(taker.got) <= STRANGER_BYTES + STRANGER_READ
            far.pause()
            far.resume()
            for _ in range(50):
                await asyncio.sleep(0.001)
            assert len(taker.got) <= STRANGER_BYTES + STRANGER_READ
            far.prove()
            await taker.has(MORE)
            assert max(taker.pieces) > STRANGER_READ
            near.abort()
            await taker.ended()

    run(main())


def test_a_stranger_who_reads_no_answers_is_ended() -> None:
    """Pings of a websocket, each of which has to be answered."""

    async def main():
        async with serving(ws.listen) as served:
            served.proving = False
            narrow = socket.socket()
            narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
            narrow.connect(("127.0.0.1", served.port))
            reader, writer = await asyncio.open_connection(sock=narrow, limit=1000)
            writer.write(UPGRADE)
            far, taker = await served.next()
            far._lower._allowance = 1 << 30
            most = 0
            with suppress(ConnectionError):
                while not taker.ends:
                    writer.write((b"\x89\xfd" + bytes(4) + bytes(125)) * 100)
                    await writer.drain()
                    most = max(most, far.backlog)
            assert "does not read" in await taker.ended()
            assert most <= STRANGER_OWED
            del reader
            await closed(writer)

    run(main())


def deflated(data: bytes) -> bytes:
    """One message of a client, compressed (RFC 7692), under a mask of zeros."""
    packer = zlib.compressobj(wbits=-15)
    body = (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    return b"\xc2\xfe" + pack(">H", len(body)) + bytes(4) + body


@pytest.mark.parametrize("proven", [False, True])
def test_what_a_stranger_packs_does_not_grow_here(*, proven: bool) -> None:
    async def main():
        async with serving(ws.listen, ws=WsOptions(compression=True)) as served:
            served.proving = proven
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(UPGRADE)
            _, taker = await served.next()
            writer.write(deflated(bytes(STRANGER_MESSAGE)) + deflated(bytes(4 * STRANGER_MESSAGE)))
            if proven:
                await taker.has(5 * STRANGER_MESSAGE)
            else:
                assert "limit" in await taker.ended()
                assert len(taker.got) == STRANGER_MESSAGE
            await closed(writer)

    run(main())


def test_a_compressed_burst_is_cut_so_that_its_beginning_is_read_early() -> None:
    async def main():
        options = {"ws": WsOptions(compression=True)}
        async with serving(ws.listen, **options) as served:
            served.proving = False
            near = await ws.dial("127.0.0.1", served.port, **options)
            near.start(Taker())
            burst = bytes(256 * 1024)
            near.write(burst)
            far, taker = await served.next()
            await taker.has_at_least(16)
            far.prove()
            assert await taker.has(len(burst)) == burst
            near.abort()
            await taker.ended()

    run(main())
