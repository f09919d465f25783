"""Who is at the other end of a session: strangers, crowds, garbage, who reads nothing."""

import asyncio
from struct import pack

import pytest
from carried import Taker, listening, run, serving

from gateway.carriers import mux, openings, trunk
from gateway.carriers.mux import Options

PLAIN = {"under": "tcp", "mux": Options()}


def frame(command: int, sid: int, data: bytes = b"", version: int = 1) -> bytes:
    return pack("<BBHI", version, command, len(data), sid) + data


async def raw(port: int, said: bytes = b""):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    return reader, writer


def test_a_stranger_opens_writes_and_closes() -> None:
    async def main():
        async with serving(mux.listen, **PLAIN) as served:
            wire = frame(0, 3) + frame(2, 3, b"hello") + frame(3, 0) + frame(2, 9, b"lost")
            reader, writer = await raw(served.port, wire)
            stream, taker = await served.next()
            assert await taker.has(5) == b"hello"
            assert stream.carrier == "mtcp"
            stream.write(b"answer")
            assert await reader.readexactly(14) == frame(2, 3, b"answer")
            writer.write(frame(1, 3))
            assert await taker.ended() == ""
            assert await reader.readexactly(8) == frame(1, 3)
            assert served.counts == {"accepted": 1, "unknown-stream": 1}
            writer.close()

    run(main())


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\n\r\n", frame(0, 3, version=2), b"\x01\x09" * 9]
)
def test_garbage_is_closed_and_counted(said: bytes) -> None:
    async def main():
        async with serving(mux.listen, **PLAIN) as served:
            reader, writer = await raw(served.port, said)
            assert await reader.read() == b""
            assert served.counts == {"bad-mtcp": 1}
            writer.close()

    run(main())


@pytest.mark.parametrize("said", [b"", b"\x01", frame(3, 0), frame(2, 3, b"data")])
def test_who_opens_no_stream_is_closed_in_time(said: bytes) -> None:
    async def main():
        async with serving(mux.listen, handshake_timeout=0.1, **PLAIN) as served:
            reader, writer = await raw(served.port, said)
            await served.counts.until("handshake-timeout")
            with pytest.raises(ConnectionError):
                await reader.read()
            writer.close()

    run(main())


def test_strangers_in_a_crowd_make_room_for_new_ones() -> None:
    async def main():
        async with serving(mux.listen, max_half_open=3, **PLAIN) as served:
            crowd = [await raw(served.port, frame(3, 0)) for _ in range(10)]
            await served.counts.until("half-open-evicted", 7)
            reader, writer = await raw(served.port, frame(0, 3) + frame(2, 3, b"in"))
            _, taker = await served.next()
            assert await taker.has(2) == b"in"
            for _, one in [*crowd, (reader, writer)]:
                one.close()

    run(main())


def test_bad_frames_later_end_all_streams_for_one_reason() -> None:
    async def main():
        async with serving(mux.listen, **PLAIN) as served:
            _, writer = await raw(served.port, frame(0, 3) + frame(0, 5))
            takers = [(await served.next())[1] for _ in range(2)]
            writer.write(frame(7, 3))
            assert {await one.ended() for one in takers} == {"mtcp: smux 1 has no command 7"}
            assert served.counts["bad-mtcp"] == 1
            writer.close()

    run(main())


def test_the_end_of_the_session_is_the_end_of_its_streams() -> None:
    async def main():
        async with serving(mux.listen, **PLAIN) as served:
            _, writer = await raw(served.port, frame(0, 3) + frame(0, 5))
            takers = [(await served.next())[1] for _ in range(2)]
            writer.transport.abort()
            (reason,) = {await taker.ended() for taker in takers}
            assert reason == ""

    run(main())


def test_more_streams_than_the_listener_takes_are_ended() -> None:
    async def main():
        few = {**PLAIN, "mux": Options(max_streams=1)}
        async with serving(mux.listen, **few) as served:
            one, two = [await mux.dial("127.0.0.1", served.port, **PLAIN) for _ in range(2)]
            one.start(Taker())
            taker = Taker()
            two.start(taker)
            assert await taker.ended() == ""
            assert served.counts["refused-open"] == 1
            one.abort()

    run(main())


def test_an_accepted_session_without_streams_does_not_stay(monkeypatch) -> None:
    monkeypatch.setattr(trunk, "IDLE_TIME", 0.05)

    async def main():
        async with serving(mux.listen, **PLAIN) as served:
            reader, writer = await raw(served.port, frame(0, 3) + frame(1, 3))
            assert await reader.read() == frame(1, 3)
            writer.close()

    run(main())


def test_a_listener_opens_no_streams_to_its_clients() -> None:
    async def main():
        with listening() as server:
            server.setblocking(False)
            stream = await mux.dial("127.0.0.1", server.getsockname()[1], **PLAIN)
            taker = Taker()
            stream.start(taker)
            loop = asyncio.get_running_loop()
            far, _ = await loop.sock_accept(server)
            with far:
                far.sendall(frame(0, 2) + frame(2, 2, b"x") + frame(2, 3, b"yours"))
                assert await taker.has(5) == b"yours"
                far.setblocking(False)
                got = b""
                while len(got) < 16:
                    got += await loop.sock_recv(far, 100)
                assert got == frame(0, 3) + frame(1, 2)
                stream.abort()
                await taker.ended()

    run(main())


def test_who_reads_nothing_is_cut_off(monkeypatch) -> None:
    """Opens and closes without end are answered, up to what fits."""
    monkeypatch.setattr(openings, "MOST_OPENED", 1 << 40)

    async def main():
        async with serving(mux.listen, **PLAIN) as served:
            _, writer = await raw(served.port, frame(0, 3))
            _, taker = await served.next()
            flood = b"".join(frame(0, sid) + frame(1, sid) for sid in range(5, 4005, 2))
            while not taker.ends:
                writer.write(flood)
                await asyncio.sleep(0)
                served.streams.clear()
                served.takers.clear()
            assert taker.ends[0].endswith("does not read") or "reset" in taker.ends[0]
            writer.transport.abort()

    run(main())
