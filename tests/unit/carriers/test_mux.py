"""Many streams in one session: sharing, slow ones, silence, the end of all."""

import asyncio

import pytest
from carried import Taker, listening, run, serving, until

from gateway.carriers import mux
from gateway.carriers.mux import Options

PLAIN = {"under": "tcp", "mux": Options()}
LARGE = Options(version=2, stream_buffer=1 << 20)


async def two_streams(served, **options):
    """Two streams of one session: both ends of each, and what the far ends take."""
    found = []
    for _ in range(2):
        near = await mux.dial("127.0.0.1", served.port, **options)
        near.start(Taker())
        found.append((near, *await served.next()))
    return found


async def over(*found) -> None:
    """End the streams of `two_streams`, and wait for the end of their session."""
    for near, _, _ in found:
        near.abort()
    for _, far, taker in found:
        await taker.ended()
        while far._trunk._ended is None:  # noqa: ASYNC110
            await asyncio.sleep(0)


def test_streams_to_one_place_share_a_session() -> None:
    async def main():
        async with serving(mux.listen, echo=True) as served:
            streams = [await mux.dial("127.0.0.1", served.port) for _ in range(20)]
            takers = [Taker() for _ in streams]
            for number, (stream, taker) in enumerate(zip(streams, takers, strict=True)):
                stream.start(taker)
                stream.write(bytes([number]) * 1000)
            for number, taker in enumerate(takers):
                assert await taker.has(1000) == bytes([number]) * 1000
            assert served.counts["accepted"] == 1
            other = await mux.dial("127.0.0.1", served.port, mux=Options(max_frame=1000))
            other.start(Taker())
            other.write(b"x")
            await served.counts.until("accepted", 2)
            for stream in [*streams, other]:
                stream.close()

    run(main())


def test_dialling_at_once_makes_one_session() -> None:
    async def main():
        async with serving(mux.listen, echo=True) as served:
            dials = [mux.dial("127.0.0.1", served.port) for _ in range(10)]
            streams = await asyncio.gather(*dials)
            takers = [Taker() for _ in streams]
            for stream, taker in zip(streams, takers, strict=True):
                stream.start(taker)
                stream.write(b"x")
            for taker in takers:
                await taker.has(1)
            assert served.counts["accepted"] == 1
            for stream in streams:
                stream.abort()

    run(main())


def test_a_full_session_gets_another_beside_it() -> None:
    async def main():
        few = {**PLAIN, "mux": Options(max_streams=2)}
        async with serving(mux.listen, echo=True, **PLAIN) as served:
            streams = [await mux.dial("127.0.0.1", served.port, **few) for _ in range(5)]
            for stream in streams:
                taker = Taker()
                stream.start(taker)
                stream.write(b"x")
                await taker.has(1)
            assert served.counts["accepted"] == 3
            for stream in streams:
                stream.abort()

    run(main())


def test_a_session_not_heard_of_is_not_shared() -> None:
    async def main():
        options = {**PLAIN, "mux": Options(keepalive=0.1, timeout=20.0)}
        mute = {**PLAIN, "mux": Options(keepalive=0.0)}
        async with serving(mux.listen, **mute) as served:
            first = await mux.dial("127.0.0.1", served.port, **options)
            first.start(Taker())
            await served.next()
            while first._trunk.usable:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            second = await mux.dial("127.0.0.1", served.port, **options)
            second.start(Taker())
            await served.next()
            assert served.counts["accepted"] == 2
            first.abort()
            second.abort()

    run(main())


def test_a_silent_peer_is_given_up() -> None:
    async def main():
        with listening() as mute:
            options = Options(keepalive=0.05, timeout=0.1)
            port = mute.getsockname()[1]
            stream = await mux.dial("127.0.0.1", port, **{**PLAIN, "mux": options})
            taker = Taker()
            stream.start(taker)
            assert await taker.ended() == "mtcp: silent for too long"

    run(main())


def test_nops_keep_an_idle_session_alive() -> None:
    async def main():
        options = {**PLAIN, "mux": Options(keepalive=0.02, timeout=0.5)}
        async with serving(mux.listen, **options) as served:
            both = await two_streams(served, **options)
            near, far, taker = both[0]
            ends = [end._trunk._machine for end in (near, far)]
            patience = asyncio.get_running_loop().time() + 0.6
            await until(lambda: all(end._heard > patience for end in ends))
            near.write(b"alive")
            assert await taker.has(5) == b"alive"
            await over(*both)

    run(main())


def test_a_dialled_session_goes_with_its_last_stream() -> None:
    async def main():
        async with serving(mux.listen, **PLAIN) as served:
            streams = await two_streams(served, **PLAIN)
            streams[0][0].close()
            assert await streams[0][2].ended() == ""
            streams[1][0].write(b"still here")
            await streams[1][2].has(10)
            streams[1][0].close()
            await over(*streams)

    run(main())


def test_version_1_is_held_up_by_its_slowest_stream_and_goes_on_after_it() -> None:
    async def main():
        small = Options(receive_buffer=100_000, stream_buffer=100_000)
        async with serving(mux.listen, **{**PLAIN, "mux": small}) as served:
            slow, quick = await two_streams(served, **PLAIN)
            slow[1].pause()
            written = 0
            while slow[0].backlog <= slow[0].high:
                slow[0].write(bytes(65536))
                written += 65536
            quick[0].write(b"waits")
            machine = slow[1]._trunk._machine
            while not machine.blocked:  # noqa: ASYNC110
                await asyncio.sleep(0)
            for _ in range(100):
                await asyncio.sleep(0)
            assert machine._unread < 100_000 + 256 * 1024 < written
            assert not quick[2].got
            slow[1].resume()
            assert await quick[2].has(5) == b"waits"
            await slow[2].has(written)
            await over(slow, quick)

    run(main())


def test_version_2_holds_a_slow_stream_up_alone() -> None:
    async def main():
        options = {**PLAIN, "mux": LARGE}
        async with serving(mux.listen, **options) as served:
            slow, quick = await two_streams(served, **options)
            slow[1].pause()
            written = 0
            while slow[0].backlog <= slow[0].high:
                slow[0].write(bytes(65536))
                written += 65536
            for _ in range(30):
                quick[0].write(bytes(100_000))
            await quick[2].has(3_000_000)
            assert not slow[2].got
            slow[1].resume()
            await slow[2].has(written)
            await over(slow, quick)

    run(main())


def test_a_packet_does_not_wait_behind_another_streams_queue() -> None:
    async def main():
        async with serving(mux.listen, **PLAIN) as served:
            bulk, quick = await two_streams(served, **PLAIN)
            for _ in range(400):
                bulk[0].write(bytes(65536))
            quick[0].write(b"now")
            assert await quick[2].has(3) == b"now"
            assert len(bulk[2].got) < 400 * 65536 // 2
            await bulk[2].has(400 * 65536)
            await over(bulk, quick)

    run(main())


@pytest.mark.parametrize("version", [1, 2])
def test_hundreds_of_streams_come_and_go(version: int) -> None:
    async def main():
        options = {**PLAIN, "mux": Options(version=version)}
        async with serving(mux.listen, echo=True, **options) as served:
            keeper = await mux.dial("127.0.0.1", served.port, **options)
            keeper.start(Taker())
            for _ in range(5):
                streams = [await mux.dial("127.0.0.1", served.port, **options) for _ in range(100)]
                takers = [Taker() for _ in streams]
                for stream, taker in zip(streams, takers, strict=True):
                    stream.start(taker)
                    stream.write(bytes(5000))
                for taker in takers:
                    await taker.has(5000)
                for stream in streams:
                    stream.close()
                for taker in takers:
                    assert await taker.ended() == ""
            assert len(keeper._trunk._machine) == len(keeper._trunk._branches) == 1
            assert served.counts["accepted"] == 1
            keeper.abort()

    run(main())
