"""What the other end of a carrier may try: costs are bounded, in bytes and in time."""

import asyncio
import ctypes
import ssl
from pathlib import Path
from struct import pack

import pytest
from carried import run, serving
from hpack import Encoder

from gateway.carriers import tls
from gateway.carriers.http2 import Connection
from gateway.carriers.http2_call import Options
from gateway.carriers.http2_frames import PREFACE, frame, settings
from gateway.carriers.http2_sending import MOST_RESIZED
from gateway.carriers.trust import server_tls
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


def test_who_asks_for_key_updates_and_reads_none_is_ended(papers) -> None:
    async def main() -> None:
        async with serving(tls.listen, tls=server_tls(cert_file=papers.server)) as served:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = context.wrap_bio(incoming, outgoing)
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1000)
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    incoming.write(await reader.read(10_000))
            writer.write(outgoing.read())
            stream, taker = await served.next()
            try:
                while not taker.ends:
                    key_updates(client, 5000)
                    writer.write(outgoing.read())
                    await writer.drain()
                    assert stream.backlog < 4 * stream.high + (2 << 20)
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
