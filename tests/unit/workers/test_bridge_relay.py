"""A relay listener's bridge over plain TCP: who gets where, and what ends."""

import asyncio
import socket
from pathlib import Path

import pytest
from unit.workers.relays import relay

from gateway.fastpath.frames import pack
from gateway.protocol.bridge_messages import StreamEnded, StreamOpened
from gateway.protocol.relay import Address, Request, Status
from gateway.protocol.relay_access import Way
from gateway.protocol.selector import Node, Selector
from gateway.workers.bridge_entrance import HELD_BYTES
from gateway.workers.bridge_relay import STOCK_LOW

OK = b"\1\0\0\0"


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


async def connect(bridge):
    return await asyncio.open_connection("127.0.0.1", bridge.port)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def frame(reader) -> bytes:
    size = int.from_bytes(await reader.readexactly(2), "big")
    return await reader.readexactly(size)


def test_datagrams_cross_both_ways(run, boss, working, service):
    async def body() -> None:
        tun, chief = service(lambda data: data[::-1]), boss()
        async with relay(chief, working, [tun]) as bridge:
            reader, writer = await connect(bridge)
            writer.write(Request(Address("", tun.port)).build() + pack(b"hello", 0))
            assert await reader.readexactly(4) == OK
            assert await frame(reader) == b"olleh"
            writer.write(pack(b"abcdef" * 100, 6))
            assert [await frame(reader) for _ in range(100)] == [b"fedcba"] * 100

            (opened,) = chief.all(StreamOpened)
            local = writer.get_extra_info("sockname")
            assert opened.remote == f"127.0.0.1:{local[1]}"
            assert (opened.carrier, opened.service) == ("tcp", tun.port)
            assert {address for _, address in tun.got} == {("127.0.0.1", opened.port)}
            writer.close()
            await chief.until(lambda: chief.all(StreamEnded))
            (ended,) = chief.all(StreamEnded)
            assert (ended.local, ended.port, ended.service) == (
                opened.local, opened.port, tun.port,
            )  # fmt: skip
            for way in ("to_socket", "to_stream"):
                await chief.until(lambda way=way: chief.figures.get(way) == 101)
            assert chief.figures["streams" if "streams" in chief.figures else "connected"] in (0, 1)
        tun.close()

    run(body())


def test_each_stream_has_a_port_of_its_own(run, boss, working, service):
    async def body() -> None:
        tun, chief = service(), boss()
        async with relay(chief, working, [tun]) as bridge:
            writers = []
            for index in range(30):
                _, writer = await connect(bridge)
                writer.write(Request(Address("", tun.port)).build() + pack(b"%d" % index, 0))
                writers.append(writer)
            await tun.until(30)
            assert len({address for _, address in tun.got}) == 30
            for writer in writers:
                writer.close()
            await chief.until(lambda: len(chief.all(StreamEnded)) == 30)
        tun.close()

    run(body())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (Request(Address("", 22)), Status.FORBIDDEN),
        (Request(Address("10.0.0.1", 53)), Status.FORBIDDEN),
        (Request(Address("localhost", 22), udp=False), Status.FORBIDDEN),
        (Request(None), Status.BAD_REQUEST),
        (Request(Address("", 1), command=2), Status.FORBIDDEN),
        (Request(Address("", 1), command=7), Status.BAD_REQUEST),
        (Request(Address("127.0.0.1", 1), udp=False), Status.NETWORK_UNREACHABLE),
    ],
)
def test_refusals_have_a_status(run, boss, working, service, request_, status):
    async def body() -> None:
        tun, chief = service(), boss()
        allowed = (Address("127.0.0.1", 1),)
        async with relay(chief, working, [tun], allowed=allowed) as bridge:
            reader, writer = await connect(bridge)
            writer.write(request_.build())
            assert await reader.read() == bytes((1, status, 0, 0))
            writer.close()
        tun.close()

    run(body())


def test_what_is_no_request_ends_without_a_word(run, boss, working):
    async def body() -> None:
        chief = boss()
        async with relay(chief, working) as bridge:
            reader, writer = await connect(bridge)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            await chief.until(lambda: chief.figures.get("bad-request") == 1)

    run(body())


def test_half_a_request_is_ended_in_time(run, boss, working, service):
    async def body() -> None:
        tun, chief = service(), boss()
        async with relay(chief, working, [tun], read_timeout=0.3) as bridge:
            reader, writer = await connect(bridge)
            writer.write(Request(Address("", tun.port)).build()[:-1])
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            await chief.until(lambda: chief.figures.get("request-timeout") == 1)
        tun.close()

    run(body())


def test_many_strangers_keep_nobody_out(run, boss, working, service):
    async def body() -> None:
        tun, chief = service(), boss()
        async with relay(chief, working, [tun], strangers=5) as bridge:
            strangers = [await connect(bridge) for _ in range(12)]
            await chief.until(lambda: chief.figures.get("stranger-evicted") == 7)
            reader, writer = await connect(bridge)
            writer.write(Request(Address("", tun.port)).build())
            assert await reader.readexactly(4) == OK
            for _, each in (*strangers, (reader, writer)):
                each.close()
        tun.close()

    run(body())


def test_who_must_say_who_he_is(run, boss, working, service):
    async def body() -> None:
        tun, chief = service(), boss()
        async with relay(chief, working, [tun], auth=True) as bridge:
            request = Request(Address("", tun.port), username=b"user", password=b"pass")
            reader, writer = await connect(bridge)
            writer.write(request.build() + pack(b"early", 0))
            assert await reader.readexactly(4) == OK
            assert await tun.until(1) == [b"early"]
            (question,) = chief.asked
            assert (question.username, question.password) == (b"user", b"pass")
            assert "pass" not in repr(question).replace("password", "")
            assert chief.all(StreamOpened)[0].user == "user"
            writer.close()

            chief.verdict = "no"
            reader, writer = await connect(bridge)
            writer.write(request.build())
            assert await reader.read() == bytes((1, Status.UNAUTHORIZED, 0, 0))
            writer.close()
            assert len(tun.got) == 1
        tun.close()

    run(body())


def test_nobody_answers_for_a_user(run, boss, working, service):
    async def body() -> None:
        tun, chief = service(), boss()
        chief.verdict = None
        async with relay(chief, working, [tun], auth=True, read_timeout=0.3) as bridge:
            reader, writer = await connect(bridge)
            writer.write(Request(Address("", tun.port), username=b"user").build())
            assert await reader.read() == bytes((1, Status.TIMEOUT, 0, 0))
            writer.close()
        tun.close()

    run(body())


def test_what_comes_before_the_verdict_is_bounded(run, boss, working, service):
    async def body() -> None:
        tun, chief = service(), boss()
        chief.verdict = None
        async with relay(chief, working, [tun], auth=True, read_timeout=0.5) as bridge:
            _, writer = await connect(bridge)
            writer.write(Request(Address("", tun.port)).build() + pack(bytes(1000), 100) * 5000)
            await chief.until(lambda: chief.asked)
            (entrance,) = bridge._strangers
            assert len(entrance.held) <= HELD_BYTES
            await chief.until(lambda: chief.figures.get("request-timeout") == 1)
            assert not bridge._asked
            writer.close()
        assert tun.got == []
        tun.close()

    run(body())


def test_a_listed_address_over_tcp(run, boss, working):
    """A hop of somebody's chain: bytes, not datagrams."""

    async def echo(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def body() -> None:
        chief = boss()
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with relay(chief, working, allowed=(Address("127.0.0.1", port),)) as bridge:
            reader, writer = await connect(bridge)
            writer.write(Request(Address("127.0.0.1", port), udp=False).build() + b"first")
            assert await reader.readexactly(9) == OK + b"first"
            big = bytes(range(256)) * 20_000
            writer.write(big)
            assert await reader.readexactly(len(big)) == big
            writer.close()
            await chief.until(lambda: chief.figures.get("connected") == 1)
            server.close()

    run(body())


def test_forward_mode_leads_where_the_listener_says(run, boss, working, service):
    async def body() -> None:
        tun, chief = service(), boss()
        forward = (Way(Address("localhost", tun.port), udp=True, own=False),)
        async with relay(chief, working, forward=forward) as bridge:
            reader, writer = await connect(bridge)
            writer.write(Request(Address("10.9.9.9", 7)).build() + pack(b"hello", 0))
            assert await reader.readexactly(4) == OK
            assert await tun.until(1) == [b"hello"]
            writer.close()
        tun.close()

    run(body())


def test_a_fixed_target_that_is_gone_is_passed_over(run, boss, working, service):
    """It says so to the stream that it met, and rests."""

    async def body() -> None:
        chief = boss()
        with socket.create_server(("127.0.0.1", 0)) as gone:
            closed = gone.getsockname()[1]
        with socket.create_server(("127.0.0.1", 0)) as there:
            ports = (closed, there.getsockname()[1])
            forward = tuple(Way(Address("127.0.0.1", port), udp=False, own=False) for port in ports)
            selector = Selector("fifo", [Node(), Node()], lambda: 0.0, fail_timeout=600.0)
            async with relay(chief, working, forward=forward, selector=selector) as bridge:
                answers = []
                for _ in range(4):
                    reader, writer = await connect(bridge)
                    writer.write(Request(Address("", 1), udp=False).build())
                    answers.append((await reader.readexactly(4))[1])
                    writer.close()
                assert answers == [Status.NETWORK_UNREACHABLE, 0, 0, 0]

    run(body())


def test_a_frame_that_is_none_ends_the_stream(run, boss, working, service):
    async def body() -> None:
        tun, chief = service(), boss()
        async with relay(chief, working, [tun]) as bridge:
            _, writer = await connect(bridge)
            writer.write(Request(Address("", tun.port)).build() + pack(b"hi", 0) + b"\xff\xff")
            await chief.until(lambda: chief.all(StreamEnded))
            assert await tun.until(1) == [b"hi"]
            writer.close()
            await chief.until(lambda: chief.figures.get("bad-frame") == 1)
        tun.close()

    run(body())


def test_many_that_come_and_go_leave_nothing(run, boss, working, service):
    """Descriptors and memory of the bridge do not grow with those who were there."""

    async def body() -> None:
        tun, chief = service(), boss()
        async with relay(chief, working, [tun], auth=True) as bridge:

            async def come_and_go(count: int) -> None:
                for index in range(count):
                    _, writer = await connect(bridge)
                    request = Request(Address("", tun.port if index % 3 else 22)).build()
                    writer.write(request[: len(request) - (index % 7 == 0)])
                    writer.write(pack(b"x", 0))
                    writer.close()
                    await writer.wait_closed()
                await chief.until(lambda: not chief.figures.get("streams"))
                await chief.until(lambda: not chief.figures.get("strangers"))
                await chief.until(lambda: len(bridge._stock) >= STOCK_LOW)
                await chief.until(lambda: not bridge._resting)

            await come_and_go(20)
            before = descriptors() - len(bridge._stock)
            await come_and_go(300)
            assert descriptors() - len(bridge._stock) <= before + 2
            left = (bridge._led, bridge._strangers, bridge._asked, bridge._splices)
            assert not any(left)
            opened, ended = chief.all(StreamOpened), chief.all(StreamEnded)
            assert opened
            assert sorted(each.port for each in opened) == sorted(each.port for each in ended)
        tun.close()

    run(body())
