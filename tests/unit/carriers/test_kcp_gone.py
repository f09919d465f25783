"""kcp on bad ways, and ends that are gone: closed, started again, silent."""

import asyncio
import os
import socket

import pytest
from carried import Taker, run
from unit.carriers.datagrams import a_socket
from unit.carriers.kcp_ends import QUICK, bad_way, dialled, serving
from unit.protocol.kcp_worlds import PUSH, segment

from gateway.carriers import kcp, kcp_session
from gateway.carriers.stream import CarrierError
from gateway.protocol.kcp_options import KcpOptions


@pytest.mark.parametrize(("rtt", "wanted"), [(0.0, True), (10.0, False)], ids=["long", "short"])
def test_two_of_ours_send_parity_only_where_the_way_is_long(monkeypatch, rtt, wanted):
    monkeypatch.setattr(kcp_session, "PARITY_RTT", rtt)

    async def main():
        async with serving() as served, dialled(served.port) as (stream, taker):
            stream.write(b"hello")
            accepted, _ = await served.next()
            accepted.write(b"hello")
            await taker.has(5)
            sent = []
            wire = stream._trunk._lower._wire
            monkeypatch.setattr(wire._crypt, "seal", lambda them: (sent.extend(them), [])[1])
            stream.write(os.urandom(50_000))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert any(packet[4] == 0xF2 for packet in sent) == wanted
            assert sum(map(len, sent)) > 50_000

    run(main())


@pytest.mark.parametrize("fec", [0, 3], ids=["no-parity", "parity"])
def test_a_bad_way_loses_nothing(monkeypatch, fec):
    monkeypatch.setattr(kcp_session, "PARITY_RTT", 0.0)

    async def main():
        options = KcpOptions(nodelay=True, parityshard=fec)
        data = os.urandom(400_000)
        async with (
            serving(options) as served,
            bad_way(served.port, loss=0.1, double=0.05) as (port, lost),
            dialled(port, options) as (stream, taker),
        ):
            stream.write(data)
            accepted, got = await served.next()
            assert await got.has(len(data)) == data
            accepted.write(data)
            assert await taker.has(len(data)) == data
            assert len(lost) > 20
            accepted.abort()

    run(main())


def test_the_listener_closes_and_its_streams_live_on():
    async def main():
        async with serving() as served, dialled(served.port) as (stream, _):
            stream.write(b"one")
            accepted, got = await served.next()
            await got.has(3)
            await served.listener.close()
            stream.write(b"two")
            assert await got.has(6) == b"onetwo"
            with pytest.raises(CarrierError, match="no answer"):
                await kcp.dial("127.0.0.1", served.port, kcp=KcpOptions(), timeout=0.2)
            accepted.abort()

    run(main())


def test_a_new_conversation_from_the_same_address_replaces_the_old():
    async def main():
        async with serving() as served, dialled(served.port) as (stream, _):
            stream.write(b"old")
            _, old = await served.next()
            await old.has(3)
            # The same socket, as a client that was started again behind the same port.
            line = stream._trunk._lower._wire
            line.send([segment(PUSH, conv=1, data=b"x")], None)
            assert "replaced by a new conversation" in await old.ended()
            assert served.counts["replaced"] == 1

    run(main())


def test_who_leaves_says_so():
    async def main():
        async with serving() as served, dialled(served.port) as (stream, taker):
            stream.write(b"hello")
            accepted, got = await served.next()
            await got.has(5)
            accepted.write(b"hello")
            await taker.has(5)
            stream._trunk._lower.abort()
            assert "ended by the other end" in await got.ended()
            assert not served.listener._sessions

    run(main())


def test_a_restarted_listener_says_that_it_does_not_know():
    async def main():
        sock = a_socket()
        address = sock.getsockname()
        async with serving(sock=sock) as before:
            stream = await kcp.dial("127.0.0.1", before.port, kcp=QUICK)
            taker = Taker()
            stream.start(taker)
            stream.write(os.urandom(50_000))
            accepted, got = await before.next()
            await got.has(50_000)
            accepted.write(b"hello")
            await taker.has(5)
            # As by SIGKILL: nobody is told.
            before.listener._wire.close()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(address)
        async with serving(sock=sock) as after:
            stream.write(b"still there?")
            assert "ended by the other end" in await taker.ended()
            assert after.counts["unknown-session"] > 0
            async with dialled(after.port) as (again, _):
                again.write(b"hello")
                assert await (await after.next())[1].has(5) == b"hello"

    run(main())


def test_who_does_not_answer_any_more_is_gone(monkeypatch):
    monkeypatch.setattr(kcp_session, "SILENCE", 0.3)

    async def main():
        async with (
            serving() as served,
            bad_way(served.port, loss=0.0) as (port, _),
            dialled(port) as (stream, taker),
        ):
            stream.write(b"hello")
            await (await served.next())[1].has(5)
            cut = stream._trunk._lower
            asyncio.get_running_loop().remove_reader(cut._wire._sock.fileno())
            stream.write(b"are you there?")
            assert "no answer for" in await taker.ended()

    run(main())


def test_a_port_that_is_closed_ends_it(monkeypatch):
    monkeypatch.setattr(kcp_session, "REFUSED_TIME", 0.0)

    async def main():
        async with serving() as served, dialled(served.port) as (stream, taker):
            stream.write(b"hello")
            accepted, got = await served.next()
            await got.has(5)
            accepted.abort()
            served.listener._wire.close()
            stream.write(b"still there?")
            await taker.until(lambda taker: taker.ends)

    run(main())
