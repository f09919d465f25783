"""Streams of quic: both ways, shared connections, slow readers, ends; copies that help."""

import asyncio
from pathlib import Path

import pytest
from carried import Taker, run, until
from unit.carriers.datagrams import a_socket, both_ways, for_both_families
from unit.carriers.quic_ends import dialled, serving

from gateway.carriers import quic, quic_link
from gateway.carriers.quic import QuicOptions
from gateway.carriers.quic_doubling import Doubling
from gateway.carriers.stream import CarrierError


@pytest.mark.parametrize("key", ["", "sixteen bytes ok", "exactly thirty-two bytes of a key"[:32]])
def test_bytes_go_both_ways(papers, key):
    async def main():
        options = QuicOptions(cipher_key=key)
        async with (
            serving(papers, quic=options) as served,
            dialled(served.port, quic=options) as (stream, taker),
        ):
            await both_ways(served, stream, taker, "quic", 3_000_000)
            assert not stream.verified

    run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_socket_for_both_families(papers, host):
    async def main():
        sock = for_both_families()
        async with serving(papers, sock=sock) as served, dialled(served.port, host) as (stream, _):
            stream.write(b"hello")
            accepted, got = await served.next()
            assert await got.has(5) == b"hello"
            assert accepted.remote.host == host

    run(main())


@pytest.mark.parametrize("closes", ["dialler", "listener"])
def test_what_was_written_arrives_before_the_end(papers, closes):
    async def main():
        async with serving(papers) as served:
            stream, taker = await quic.dial("127.0.0.1", served.port), Taker()
            stream.start(taker)
            stream.write(b"x")
            accepted, got = await served.next()
            near, far = (stream, got) if closes == "dialler" else (accepted, taker)
            near.write(bytes(2_000_000))
            near.close()
            await far.until(lambda far: far.ends)
            assert far.ends == [""]
            assert len(far.got) == 2_000_000 + (closes == "dialler")
            assert await taker.ended() == ""
            assert await got.ended() == ""
            await until(lambda: not served.listener.sessions)

    run(main())


def test_an_aborted_stream_ends_at_the_other_end(papers):
    async def main():
        async with serving(papers) as served, dialled(served.port) as (other, _):
            stream, taker = await quic.dial("127.0.0.1", served.port), Taker()
            stream.start(taker)
            stream.write(b"x")
            accepted, got = await served.next()
            stream.abort()
            assert await taker.ended() == "aborted"
            assert "reset" in await got.ended()
            assert accepted.backlog == 0
            other.write(b"y")
            assert (await served.next())[1] is not got

    run(main())


def test_streams_share_one_connection_within_its_limit(papers):
    async def main():
        async with serving(papers) as served:
            streams = [await quic.dial("127.0.0.1", served.port) for _ in range(105)]
            takers = [Taker() for _ in streams]
            for stream, taker in zip(streams, takers, strict=True):
                stream.start(taker)
                stream.write(b"x")
            for _ in streams:
                await served.next()
            assert served.counts["accepted"] == 2
            for stream, taker in zip(streams, takers, strict=True):
                stream.close()
                assert await taker.ended() == ""
            await until(lambda: not served.listener.sessions)

    run(main())


def test_more_streams_than_allowed_are_reset(papers):
    async def main():
        async with (
            serving(papers, quic=QuicOptions(max_streams=1)) as served,
            dialled(served.port) as (one, _),
            dialled(served.port) as (two, taker),
        ):
            one.write(b"1")
            await served.next()
            two.write(b"2")
            assert await taker.ended()
            assert not served.streams

    run(main())


def test_a_slow_reader_holds_up_the_writer(papers):
    async def main():
        async with serving(papers) as served, dialled(served.port) as (stream, taker):
            stream.write(b"x")
            accepted, got = await served.next()
            await got.has(1)
            accepted.pause()
            size = 1
            deaf = asyncio.get_running_loop().time() + 0.5
            while asyncio.get_running_loop().time() < deaf:
                if stream.backlog <= stream.high:
                    stream.write(bytes(50_000))
                    size += 50_000
                await asyncio.sleep(0)
            assert stream.backlog > stream.high
            assert len(got.got) == 1
            assert size < 16 << 20
            rooms = taker.rooms
            accepted.resume()
            await got.has(size)
            await taker.until(lambda taker: taker.rooms > rooms)

    run(main())


def test_who_says_nothing_any_more_is_gone(papers, monkeypatch):
    monkeypatch.setattr(quic_link, "_WATCH", 0.05)
    monkeypatch.setattr(quic_link, "ANSWER", 0.2)

    async def main():
        options = QuicOptions(keepalive=0.2)
        async with serving(papers, quic=options) as served:
            stream, taker = await quic.dial("127.0.0.1", served.port, quic=options), Taker()
            stream.start(taker)
            stream.write(b"x")
            _, got = await served.next()
            await asyncio.wait({asyncio.ensure_future(got.ended())}, timeout=1.0)
            assert not got.ends  # pings are answered
            stream._session._wire.close()
            assert "silent" in await got.ended()
            assert "silent" in await taker.ended()

    run(main())


def test_nobody_there(papers):
    async def main():
        with a_socket() as sock:
            port = sock.getsockname()[1]
            with pytest.raises(CarrierError, match="no answer"):
                await quic.dial("127.0.0.1", port, timeout=0.3)
        with pytest.raises(CarrierError, match="first hop"):
            await quic.dial("127.0.0.1", port, over=object())

    run(main())


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_thousand_streams_leave_nothing_behind(papers):
    async def main():
        async with serving(papers, echo=True) as served:
            before = descriptors()
            for _ in range(20):
                pairs = []
                for _ in range(50):
                    stream, taker = await quic.dial("127.0.0.1", served.port), Taker()
                    stream.start(taker)
                    stream.write(b"x")
                    pairs.append((stream, taker))
                for stream, taker in pairs:
                    await taker.has(1)
                    stream.close()
                    await taker.ended()
                served.streams.clear()
                served.takers.clear()
            await until(lambda: not served.listener.sessions)
            door = served.listener
            assert not door._by_id
            assert not list(door._places)
            assert not door._places.guests
            await until(lambda: descriptors() <= before)

    run(main(), deadline=90)


def test_datagrams_leave_twice_while_that_helps():
    doubling = Doubling()
    doubling.look(1.0, 1000, 10)
    assert not doubling.active
    doubling.look(2.0, 2000, 60)
    assert doubling.active
    doubling.look(3.0, 2100, 60)  # too few to judge by
    doubling.look(4.0, 3000, 63)
    assert doubling.active
    doubling.look(13.0, 4000, 66)
    assert not doubling.active  # once without it
    doubling.look(14.0, 5000, 116)
    assert doubling.active


def test_a_full_queue_gets_no_second_copies():
    doubling = Doubling()
    doubling.look(1.0, 1000, 50)
    assert doubling.active
    doubling.look(2.0, 2000, 90)
    assert not doubling.active
    doubling.look(3.0, 3000, 190)
    assert not doubling.active
    doubling.look(70.0, 4000, 290)
    assert doubling.active
