"""What websockets have beyond streams: paths, headers, frames of strangers, pings."""

import asyncio
import contextlib
import struct

import pytest
from carried import Taker, listening, run, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.carriers import ws
from gateway.carriers.stream import CarrierError
from gateway.carriers.ws import WsOptions

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    b"GET %s HTTP/1.1\r\nHost: x\r\nUser-Agent: Go-http-client/1.1\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n\r\n"
)
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The key and its answer of RFC 6455, section 1.3."""


def frame(opcode: int, data: bytes, *, fin: bool = True, mask: bytes = bytes(4)) -> bytes:
    """A client's frame; a mask of zeros changes nothing."""
    head = bytes([opcode | (0x80 if fin else 0)])
    if len(data) < 126:
        head += bytes([0x80 | len(data)])
    elif len(data) < 65536:
        head += b"\xfe" + struct.pack("!H", len(data))
    else:
        head += b"\xff" + struct.pack("!Q", len(data))
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
    return head + mask + masked


async def said(port: int, request: bytes) -> bytes:
    """Everything that is answered until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = b""
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65536):
            answer += piece
    writer.close()
    return answer


async def upgraded(port: int):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(UPGRADE % b"/ws")
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"Sec-WebSocket-Accept: " + ACCEPT in answer
    assert b"xtension" not in answer
    return reader, writer


def test_a_client_of_gost_is_let_in_and_its_messages_are_bytes() -> None:
    async def main():
        async with serving(ws.listen) as served:
            _, writer = await upgraded(served.port)
            stream, taker = await served.next()
            # Its length and its datagram are two messages; a text message is as good.
            writer.write(frame(2, b"\x00\x05") + frame(2, b"hello", mask=b"abcd") + frame(1, b"!"))
            assert await taker.has(8) == b"\x00\x05hello!"
            assert taker.pieces == [8]
            assert stream.carrier == "ws"
            assert served.counts["accepted"] == 1
            writer.close()
            assert await taker.ended() == ""

    run(main())


def test_fragments_are_bytes_too() -> None:
    async def main():
        async with serving(ws.listen) as served:
            _, writer = await upgraded(served.port)
            _, taker = await served.next()
            writer.write(frame(2, b"a", fin=False) + frame(9, b"?") + frame(0, b"b", fin=False))
            writer.write(frame(0, b"") + frame(2, b"c" * 70_000))
            assert await taker.has(70_002) == b"ab" + b"c" * 70_000
            writer.close()
            await taker.ended()

    run(main())


def test_what_was_sent_with_the_request_is_not_lost() -> None:
    async def main():
        async with serving(ws.listen) as served:
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(UPGRADE % b"/ws" + frame(2, b"early"))
            _, taker = await served.next()
            assert await taker.has(5) == b"early"
            writer.close()
            await taker.ended()

    run(main())


def test_pings_are_answered_with_what_they_carry() -> None:
    async def main():
        async with serving(ws.listen) as served:
            reader, writer = await upgraded(served.port)
            writer.write(frame(9, b"here?") + frame(9, b""))
            assert await reader.readexactly(9) == b"\x8a\x05here?\x8a\x00"
            writer.close()

    run(main())


@pytest.mark.parametrize(
    ("path", "asked", "found"),
    [
        ("/ws", "/ws?x=1", True),
        ("/ws", "/ws/", False),
        ("/ws", "/WS", False),
        ("/ws", "/", False),
        ("/deep/", "/deep/er", True),
        ("/deep/", "/deep", False),
    ],
)
def test_the_path_has_to_be_right(path, asked, found) -> None:
    async def main():
        async with serving(ws.listen, ws=WsOptions(path=path)) as served:
            if found:
                _, writer = await asyncio.open_connection("127.0.0.1", served.port)
                writer.write(UPGRADE % asked.encode())
                await served.next()
                writer.close()
                return
            answer = await said(served.port, UPGRADE % asked.encode())
            assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
            assert answer.endswith(b"404 page not found\n")
            await served.counts.until("wrong-path")
            assert not served.streams

    run(main())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", b"400 Bad Request"),
        (UPGRADE.replace(b"Version: 13", b"Version: 12") % b"/ws", b"400 Bad Request"),
        (UPGRADE.replace(KEY, b"short") % b"/ws", b"400 Bad Request"),
        (UPGRADE.replace(b"GET", b"PUT") % b"/ws", b"4"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400 Bad Request"),
        (b"GET /ws HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n", b"400 Bad Request"),
        (b"GET /ws HTTP/1.1\r\n" + (b"X: " + b"y" * 8000 + b"\r\n") * 100, b"400 Bad Request"),
        (b"GET /" + b"w" * 20_000 + b" HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"GET /ws HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", b"400 Bad Request"),
    ],
)
def test_what_is_no_upgrade_is_answered_counted_and_closed(request_, status, caplog) -> None:
    async def main():
        async with serving(ws.listen) as served:
            answer = await said(served.port, request_)
            assert answer.startswith(b"HTTP/1.1 " + status)
            await served.counts.until("bad-http")
            assert served.counts["accepted"] == 0
            assert served.counts.total() == 1

    run(main())
    assert not caplog.records


@settings(max_examples=60, deadline=None)
@given(noise=st.binary(max_size=400), after=st.booleans())
def test_no_noise_raises_or_logs(noise, after) -> None:
    async def main():
        async with serving(ws.listen, handshake_timeout=5.0) as served:
            await said_then_gone(served.port, noise, after=after)
            if after:
                _, taker = await served.next()
                await taker.ended()
            else:
                await served.counts.until_any()

    async def said_then_gone(port, data, *, after):
        _, writer = await upgraded(port) if after else await _plain(port)
        writer.write(data)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed() if writer.is_closing() else await writer.drain()
        writer.close()

    run(main())


async def _plain(port):
    return await asyncio.open_connection("127.0.0.1", port)


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (frame(2, bytes(1001)), "exceeds limit"),
        (frame(2, bytes(600), fin=False) + frame(0, bytes(600)), "exceeds limit"),
        (b"\x82\x05hello", "mask"),
        (frame(3, b""), "opcode"),
        (frame(0xC2, b""), "reserved"),
        (frame(9, bytes(126)), "control frame"),
        (b"\x82\xff" + b"\xff" * 12, "exceeds limit"),
    ],
)
def test_frames_that_cannot_be_end_the_stream(frames, words, caplog) -> None:
    async def main():
        async with serving(ws.listen, ws=WsOptions(max_message=1000)) as served:
            reader, writer = await upgraded(served.port)
            _, taker = await served.next()
            writer.write(frame(2, b"fine") + frames)
            reason = await taker.ended()
            assert bytes(taker.got[:4]) == b"fine"
            assert words in reason
            assert (await reader.read()).startswith(b"\x88")
            writer.close()

    run(main())
    assert not caplog.records


def test_a_close_frame_is_answered_and_in_order() -> None:
    async def main():
        async with serving(ws.listen) as served:
            reader, writer = await upgraded(served.port)
            _, taker = await served.next()
            writer.write(frame(2, b"last") + frame(8, struct.pack("!H", 1000)))
            assert await taker.ended() == ""
            assert taker.got == b"last"
            assert await reader.read() == b"\x88\x02" + struct.pack("!H", 1000)
            writer.close()

    run(main())


def test_the_request_is_what_gost_sends() -> None:
    async def main():
        asked = asyncio.get_running_loop().create_future()

        async def answer(reader, writer):
            asked.set_result(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n404 page not found")
            writer.close()

        server = await asyncio.start_server(answer, sock=listening())
        port = server.sockets[0].getsockname()[1]
        options = WsOptions(path="/p?q", headers={"x-a": "b", "User-Agent": "me"})
        with pytest.raises(CarrierError, match="answered HTTP 404: is the path right"):
            await ws.dial("127.0.0.1", port, ws=options)
        server.close()
        return port, asked.result()

    port, request = run(main())
    line, *headers = request.rstrip().split(b"\r\n")
    assert line == b"GET /p?q HTTP/1.1"
    named = dict(header.split(b": ") for header in headers)
    assert len(named.pop(b"Sec-WebSocket-Key")) == 24
    assert named == {
        b"Host": b"127.0.0.1:%d" % port,
        b"User-Agent": b"me",
        b"Connection": b"Upgrade",
        b"Upgrade": b"websocket",
        b"Sec-WebSocket-Version": b"13",
        b"x-a": b"b",
    }


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.9\r\n", "did not answer as a web server"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "no websocket"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP 502"),
        (b"", "ended within the handshake|did not answer"),
    ],
)
def test_a_server_that_is_no_websocket_is_said_so(answer, words) -> None:
    async def main():
        async def reply(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(reply, sock=listening())
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(CarrierError, match=words):
            await ws.dial("127.0.0.1", port, timeout=5.0)
        server.close()

    run(main())


def test_host_and_answers_headers_are_as_told() -> None:
    async def main():
        options = WsOptions(host="front.test", headers={"X-Answer": "yes"})
        async with serving(ws.listen, ws=options) as served:
            stream = await ws.dial("127.0.0.1", served.port, ws=options)
            assert stream._protocol.handshake_exc is None
            stream.abort()
            answer = await said(served.port, UPGRADE % b"/ws" + frame(8, b""))
            assert b"X-Answer: yes\r\n" in answer

    run(main())


@pytest.mark.parametrize("early", [frame(8, b""), frame(3, b"")])
def test_an_end_sent_with_the_request_is_an_end(early) -> None:
    async def main():
        async with serving(ws.listen) as served:
            assert (await said(served.port, UPGRADE % b"/ws" + early)).startswith(b"HTTP/1.1 101")
            _, taker = await served.next()
            await taker.ended()

    run(main())


def test_compression_if_both_want_it() -> None:
    async def main():
        both = WsOptions(compression=True)
        async with serving(ws.listen, ws=both, echo=True) as served:
            for options in (both, WsOptions()):
                stream = await ws.dial("127.0.0.1", served.port, ws=options)
                assert bool(stream._protocol.extensions) is options.compression
                taker = Taker()
                stream.start(taker)
                stream.write(b"again " * 1000)
                assert await taker.has(6000) == b"again " * 1000
                stream.abort()

    run(main())


def test_both_ends_notice_a_silent_other_end() -> None:
    async def main():
        quick = WsOptions(keepalive=0.05)
        async with serving(ws.listen, ws=quick) as served:
            reader, writer = await upgraded(served.port)
            _, taker = await served.next()
            # It is pinged; what answers to nothing is given up.
            assert await reader.readexactly(2) == b"\x89\x00"
            assert "silent" in await taker.ended()
            writer.close()

    run(main())


def test_silence_is_two_periods_and_not_three() -> None:
    """Whoever fell silent just after a ping is not given another whole period."""

    async def main():
        slow = WsOptions(keepalive=30.0)
        async with serving(ws.listen, ws=slow) as served:
            stream = await ws.dial("127.0.0.1", served.port, ws=slow)
            stream.start(Taker())
            await served.next()
            stream._heard = asyncio.get_running_loop().time() - 45.0
            stream._next_watch.cancel()
            stream._watch()
            assert stream._next_watch.when() == pytest.approx(stream._heard + 60.0)
            stream.abort()

    run(main())


def test_pings_keep_an_idle_stream_alive() -> None:
    async def main():
        quick = WsOptions(keepalive=0.05)
        async with serving(ws.listen, ws=quick) as served:
            stream = await ws.dial("127.0.0.1", served.port, ws=quick)
            taker = Taker()
            stream.start(taker)
            far, far_taker = await served.next()
            pongs = asyncio.Event()
            take = stream._take

            seen = 0

            def counted(data):
                nonlocal seen
                take(data)
                seen += 1
                if seen > 10:
                    pongs.set()

            stream._take = counted
            await pongs.wait()
            assert not taker.ends
            assert not far_taker.ends
            assert stream._trip is not None
            stream.abort()
            far.abort()

    run(main())


def test_who_reads_no_answers_to_his_pings_is_given_up() -> None:
    async def main():
        async with serving(ws.listen, ws=WsOptions(max_message=1000)) as served:
            _, writer = await upgraded(served.port)
            writer.transport.pause_reading()
            stream, taker = await served.next()
            ping = frame(9, bytes(125)) * 500
            while not taker.ends:
                writer.write(ping)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
                await asyncio.sleep(0)
                assert stream.backlog < 4 * stream.high + 400_000
            assert "pings" in taker.ends[0]
            writer.close()

    run(main())
