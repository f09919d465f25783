"""What websockets have beyond streams: messages, frames of strangers, pings, compression."""

import asyncio
import contextlib
import struct

import pytest
from carried import Taker, run, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.carriers.ws_strangers import frame, upgraded

from gateway.carriers import ws
from gateway.carriers.ws import WsOptions


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


def test_pings_are_answered_with_what_they_carry() -> None:
    async def main():
        async with serving(ws.listen) as served:
            reader, writer = await upgraded(served.port)
            writer.write(frame(9, b"here?") + frame(9, b""))
            assert await reader.readexactly(9) == b"\x8a\x05here?\x8a\x00"
            writer.close()

    run(main())


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
