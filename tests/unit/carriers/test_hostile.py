"""What the other end of a carrier may try: costs are bounded, in bytes and in time."""

import asyncio
import ctypes
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from struct import pack

import pytest
from carried import Served, Taker, run, serving
from hpack import Encoder
from unit.protocol.kcp_worlds import ACK, PUSH, segment

from gateway.carriers import kcp, mux, tls
from gateway.carriers.http2 import Connection
from gateway.carriers.http2_call import Options
from gateway.carriers.http2_frames import PREFACE, frame, settings
from gateway.carriers.http2_sending import MOST_RESIZED
from gateway.carriers.kcp_crypt import make_crypt
from gateway.carriers.kcp_session import GUEST_WINDOW
from gateway.carriers.openings import MOST_OPENED, OPENED_A_SECOND
from gateway.carriers.trust import server_tls
from gateway.protocol.kcp_options import KcpOptions
from gateway.protocol.wire import WireError

SETTINGS, INITIAL_WINDOW = 4, 4


class Widened(Connection):
    """Counts how often the window of a stream is looked at."""

    looked = 0

    def _widen(self, *args) -> None:
        self.looked += 1
        super()._widen(*args)


def many_calls(count: int) -> Widened:
    encoder = Encoder()
    encoder.header_table_size = 0
    asked = encoder.encode(
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/GostTunel/Tunnel"),
            (":authority", "x"),
            ("content-type", "application/grpc"),
        ]
    )
    machine = Widened(client=False, options=Options(), now=0.0)
    greeting = PREFACE + settings({})
    list(machine.feed(greeting + b"".join(frame(1, 4, 2 * n + 1, asked) for n in range(count)), 0))
    assert len(machine) == count
    return machine


def test_settings_cannot_be_made_to_walk_all_streams_over_and_over() -> None:
    machine = many_calls(100)
    values = b"".join(pack(">HI", INITIAL_WINDOW, 70_000 + n % 2) for n in range(2000))
    list(machine.feed(frame(SETTINGS, 0, 0, values), 0))
    assert machine.looked == 100
    for _ in range(50):
        list(machine.feed(frame(SETTINGS, 0, 0, values), 0))
    assert machine.looked == 100
    changes = b"".join(settings({INITIAL_WINDOW: 80_000 + n}) for n in range(MOST_RESIZED))
    with pytest.raises(WireError, match="changed"):
        list(machine.feed(changes, 0))


def key_updates(client: ssl.SSLObject, count: int) -> None:
    """Have this end ask for as many key updates (`SSL_key_update`, which Python does not show)."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    library = ctypes.CDLL(next(line.split()[-1] for line in maps if "libssl" in line))
    library.SSL_key_update.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.SSL_do_handshake.argtypes = [ctypes.c_void_p]
    head = object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)
    at = ctypes.c_void_p.from_address(id(client._sslobj) + head)  # type: ignore[attr-defined]
    for _ in range(count):
        assert library.SSL_key_update(at.value, 1) == 1
        library.SSL_do_handshake(at.value)


def test_who_asks_for_key_updates_and_reads_none_is_ended(papers, monkeypatch) -> None:
    monkeypatch.setattr(tls, "_UNREAD", 1 << 16)

    async def main() -> None:
        async with serving(tls.listen, tls=server_tls(cert_file=papers.server)) as served:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = context.wrap_bio(incoming, outgoing)
            narrow = socket.socket()
            narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
            narrow.connect(("127.0.0.1", served.port))
            reader, writer = await asyncio.open_connection(sock=narrow, limit=1000)
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    incoming.write(await reader.read(10_000))
            writer.write(outgoing.read())
            stream, taker = await served.next()
            stream.high = 1 << 14
            try:
                while not taker.ends:
                    key_updates(client, 1000)
                    writer.write(outgoing.read())
                    await writer.drain()
                    assert stream.backlog < 4 * stream.high + (1 << 18)
            except ConnectionError:
                pass
            assert "key updates" in await taker.ended()
            writer.close()

    run(main())


@pytest.mark.parametrize("piece", [1000, 16_000])
def test_a_handshake_that_never_ends_is_cut(papers, piece: int) -> None:
    """One long ClientHello, which announces 130 KB, in records."""

    async def main() -> None:
        async with serving(tls.listen, tls=server_tls(cert_file=papers.server)) as served:
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            message = b"\x01" + (130_000).to_bytes(3, "big") + bytes(130_000)
            try:
                for at in range(0, len(message), piece):
                    part = message[at : at + piece]
                    writer.write(b"\x16\x03\x01" + pack(">H", len(part)) + part)
                    await writer.drain()
                    await asyncio.sleep(0)
            except ConnectionError:
                pass
            await served.counts.until("bad-tls")
            assert served.listener.half_open <= 1
            writer.close()

    run(main())


def smux(command: int, sid: int, data: bytes = b"") -> bytes:
    return pack("<BBHI", 1, command, len(data), sid) + data


def test_who_opens_and_ends_streams_without_end_is_ended() -> None:
    async def main() -> None:
        async with serving(mux.listen, under="tcp", mux=mux.Options()) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            sids = range(3, 3 + 2 * (MOST_OPENED + 2000), 2)
            writer.write(b"".join(smux(0, sid) + smux(1, sid) for sid in sids))
            await served.counts.until("bad-mtcp")
            assert len(await reader.read()) <= 8 * MOST_OPENED * 2
            opened = MOST_OPENED + OPENED_A_SECOND * 20
            assert MOST_OPENED <= len(served.streams) < opened
            for taker in served.takers:
                await taker.ended()
            writer.close()

    run(main())


def test_a_stream_whose_mark_is_below_that_of_its_session_hears_of_room() -> None:
    """What it wrote went into the socket's own queue, and was never too much for that."""

    async def main() -> None:
        async with serving(mux.listen, under="tcp", mux=mux.Options(keepalive=0)) as served:
            near = await mux.dial(
                "127.0.0.1", served.port, under="tcp", mux=mux.Options(keepalive=0)
            )
            taker = Taker()
            near.start(taker)
            near.high, near.low = 32 * 1024, 8 * 1024
            near.write(b"first")
            far, got = await served.next()
            below = far._trunk._lower
            below.pause()
            total = 5
            while not near.backlog:
                near.write(bytes(64 * 1024))
                total += 64 * 1024
                await asyncio.sleep(0)
            assert near.backlog <= below.high
            near.write(bytes(40 * 1024))
            total += 40 * 1024
            assert near.high < near.backlog < below.high
            below.resume()
            await got.has(total)
            assert taker.rooms == 1
            near.abort()
            await got.ended()

    run(main())


def test_a_kcp_guest_keeps_little_here_before_he_has_sent_something_in_order() -> None:
    """Of segments behind a gap only a window's are kept, and none that is longer than a packet."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        options = KcpOptions(crypt="none", nocomp=True, datashard=0, rcvwnd=2048)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        served = Served()
        door = await kcp.listen(sock, served.accept, counts=served.counts, kcp=options)
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.setblocking(False)
        client.connect(("127.0.0.1", door.port))
        crypt = make_crypt("none", "")

        async def say(*segments: bytes) -> None:
            for sealed in crypt.seal(list(segments)):
                await loop.sock_sendall(client, sealed)

        await say(segment(PUSH, data=smux(0, 3)))
        stream, _ = await served.next()
        (session,) = door._sessions.values()
        await say(*(segment(PUSH, sn=sn, data=bytes(1300)) for sn in range(2, 1500)))
        await say(segment(PUSH, sn=3, data=bytes(40_000)))
        await served.counts.until("bad-kcp")
        acknowledged = set()
        with suppress(BlockingIOError):
            while True:
                (packet,) = crypt.open([memoryview(client.recv(2000))])
                for at in range(0, len(packet) - 23, 24):
                    if packet[at + 4] == ACK:
                        acknowledged.add(bytes(packet[at + 12 : at + 16]))
        assert 1 < len(acknowledged) <= GUEST_WINDOW
        client.close()
        stream.abort()
        session.abort()
        await door.close()

    run(main())
