"""Streams of kcp: both ways, shared conversations, slow readers, what is said at once."""

import asyncio
import os
from contextlib import closing

import pytest
from carried import Taker, run
from unit.carriers.datagrams import a_socket, both_ways, for_both_families
from unit.carriers.kcp_ends import QUICK, dialled, serving

from gateway.carriers import kcp
from gateway.carriers.stream import CarrierError
from gateway.protocol.kcp_options import KcpOptions


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nocomp": True},
        {"datashard": 0},
        {"datashard": 3, "parityshard": 2},
        {"crypt": "none"},
        {"crypt": "xor", "key": "x"},
        {"crypt": "3des", "smuxver": 2, "mtu": 600},
        {"crypt": "sm4", "nc": True, "interval": 30},
        {"sndwnd": 32, "rcvwnd": 32, "nodelay": False, "smuxver": 2, "streambuf": 65536},
    ],
    ids=lambda options: "-".join(options) or "defaults",
)
def test_bytes_go_both_ways(options):
    async def main():
        options_ = KcpOptions(**options)
        async with serving(options_) as served, dialled(served.port, options_) as (stream, taker):
            accepted = await both_ways(served, stream, taker, "kcp", 700_000)
            accepted.abort()

    run(main())


def test_what_shrinks_on_its_way_makes_room_too():
    """More than a full backlog of bytes that are compressed to next to nothing."""

    async def main():
        async with serving() as served, dialled(served.port) as (stream, taker):
            size = 0
            for number in range(3):
                while stream.backlog <= stream.high:
                    stream.write(bytes(20_000))
                    size += 20_000
                await taker.until(lambda taker, number=number: taker.rooms > number)
            _, got = await served.next()
            assert await got.has(size) == bytes(size)

    run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_socket_for_both_families(host):
    async def main():
        async with serving(sock=for_both_families()) as served:
            taker = Taker()
            stream = await kcp.dial(host, served.port, kcp=QUICK)
            stream.start(taker)
            stream.write(b"hello")
            accepted, got = await served.next()
            assert await got.has(5) == b"hello"
            assert accepted.remote.host == host
            assert stream.remote.host == host
            stream.close()
            await taker.ended()

    run(main())


def test_streams_to_one_place_share_a_conversation():
    async def main():
        async with serving() as served:
            async with dialled(served.port) as (one, _), dialled(served.port) as (two, _):
                one.write(b"first")
                two.write(b"second")
                got = {bytes(await (await served.next())[1].has(size)) for size in (5, 6)}
            assert got == {b"first", b"second"}
            assert served.counts["accepted"] == 1

    run(main())


def test_other_options_are_another_conversation():
    async def main():
        other = KcpOptions(nodelay=True, sndwnd=64)
        async with (
            serving() as served,
            dialled(served.port) as (one, _),
            dialled(served.port, other) as (two, _),
        ):
            one.write(b"x")
            two.write(b"x")
            await served.counts.until("accepted", 2)

    run(main())


def test_another_key_is_said_at_once():
    async def main():
        async with serving(KcpOptions(key="one")) as served:
            with pytest.raises(CarrierError, match="no answer: nobody there, or another key"):
                await kcp.dial("127.0.0.1", served.port, kcp=KcpOptions(key="two"), timeout=0.3)
            assert served.counts["noise"] > 0
            assert served.listener.half_open == 0

    run(main())


def test_nobody_there_is_said_at_once():
    async def main():
        with closing(a_socket()) as sock:
            port = sock.getsockname()[1]
        with pytest.raises(CarrierError, match=f"kcp 127.0.0.1:{port}: connection refused"):
            await kcp.dial("127.0.0.1", port, kcp=QUICK)

    run(main())


def test_it_is_the_first_hop_or_none():
    async def main():
        async with serving() as served, dialled(served.port) as (stream, _):
            with pytest.raises(CarrierError, match="only be the first hop"):
                await kcp.dial("127.0.0.1", 1, over=stream)

    run(main())


def test_close_sends_what_is_owed():
    async def main():
        data = os.urandom(500_000)
        async with serving() as served:
            taker = Taker()
            stream = await kcp.dial("127.0.0.1", served.port, kcp=QUICK)
            stream.start(taker)
            stream.write(data)
            stream.close()
            _, got = await served.next()
            assert await got.has(len(data)) == data
            assert await got.ended() == ""
            assert await taker.ended() == ""

    run(main())


def test_who_does_not_read_holds_the_other_up():
    async def main():
        options = KcpOptions(nodelay=True, rcvwnd=64, sndwnd=64, smuxbuf=100_000, streambuf=50_000)
        piece = os.urandom(30_000)
        written = bytearray()
        async with serving(options) as served, dialled(served.port, options) as (stream, taker):
            stream.write(b"open")
            accepted, got = await served.next()
            await got.has(4)
            accepted.pause()
            while stream.backlog <= stream.high:
                stream.write(piece)
                written.extend(piece)
                await asyncio.sleep(0)
            assert len(got.got) == 4
            accepted.resume()
            assert await got.has(4 + len(written)) == b"open" + written
            await taker.until(lambda taker: taker.rooms == 1)
            accepted.abort()

    run(main())
