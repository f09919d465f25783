"""Sessions of several streams on a relay listener: when they are let in, and when they are not."""

import asyncio
import socket
from pathlib import Path

import pytest
from unit.workers.relays import relay

from gateway.carriers import certificates, kcp, mux, quic
from gateway.carriers.sockets import SocketOptions
from gateway.carriers.stream import Remote, Stream
from gateway.fastpath.frames import pack
from gateway.protocol.bridge_messages import StreamEnded, StreamOpened
from gateway.protocol.relay import Address, Request, Status

OK = bytes((1, Status.OK, 0, 0))


def session_listener(carrier: str, place: Path, **limits):
    """A socket, a function that listens on it, and one that opens a session of its own."""
    options = {"under": "tcp"} if carrier == "mtcp" else {}
    module = {"mtcp": mux, "kcp": kcp, "quic": quic}[carrier]
    if carrier == "mtcp":
        sock = socket.create_server(("127.0.0.1", 0))
    else:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
    if carrier == "quic":
        limits["tls"] = quic.server_tls(cert_file=certificates.kept(place).file)

    async def listen(sock, accept, counts):
        return await module.listen(sock, accept, counts=counts, **limits, **options)

    async def dial(port: int, number: int) -> Stream:
        apart = SocketOptions(user_timeout=30 + number / 1000)
        return await module.dial("127.0.0.1", port, sockets=apart, **options)

    return sock, listen, dial


class Kept:
    """A receiver that keeps all."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.end: str | None = None

    def on_data(self, data) -> None:
        self.got += data

    def on_room(self) -> None:
        """Nothing waits."""

    def on_end(self, reason: str) -> None:
        self.end = reason


@pytest.mark.parametrize("carrier", ["mtcp", "kcp", "quic"])
def test_a_session_is_let_in_with_the_first_stream_that_is_led(
    run, boss, working, service, carrier, tmp_path
):
    async def body() -> None:
        tun, chief = service(lambda data: data), boss()
        sock, listen, dial = session_listener(carrier, tmp_path, request_timeout=0.3)
        async with relay(chief, working, [tun], listener=sock, listen=listen, auth=True) as bridge:
            chief.verdict = "no"
            wrong, refused = await dial(bridge.port, 1), Kept()
            wrong.start(refused)
            wrong.write(Request(Address("", tun.port), username=b"u", password=b"x").build())
            await chief.until(lambda: refused.got)
            assert refused.got == bytes((1, Status.UNAUTHORIZED, 0, 0))
            chief.verdict = "yes"
            right, let_in = await dial(bridge.port, 2), Kept()
            right.start(let_in)
            right.write(Request(Address("", tun.port), username=b"u", password=b"y").build())
            idle, ended = await dial(bridge.port, 3), Kept()
            idle.start(ended)
            idle.write(b"\1")
            await chief.until(lambda: ended.end is not None and let_in.got)
            await chief.until(lambda: bridge._counts["unproven"] >= 1)
            right.write(pack(b"hello", 0))
            await chief.until(lambda: len(let_in.got) > 4)
            assert let_in.got == OK + pack(b"hello", 0)
            for stream in (wrong, right, idle):
                stream.abort()
        tun.close()

    run(body())


@pytest.mark.parametrize("carrier", ["mtcp", "kcp", "quic"])
def test_a_session_for_which_there_is_no_place_leads_nowhere(
    run, boss, working, service, carrier, tmp_path
):
    async def body() -> None:
        tun, chief = service(lambda data: data), boss()
        sock, listen, dial = session_listener(carrier, tmp_path, max_sessions=1)
        async with relay(chief, working, [tun], listener=sock, listen=listen) as bridge:
            request = Request(Address("", tun.port)).build()
            first, let_in = await dial(bridge.port, 1), Kept()
            first.start(let_in)
            first.write(request)
            await chief.until(lambda: chief.all(StreamOpened) and let_in.got)
            second, refused = await dial(bridge.port, 2), Kept()
            second.start(refused)
            second.write(request)
            await chief.until(lambda: bridge._counts["full"] and refused.end is not None)
            first.write(pack(b"hello", 0))
            await chief.until(lambda: len(let_in.got) > 4)
            assert let_in.got == OK + pack(b"hello", 0)
            assert (len(bridge._led), len(bridge._guests)) == (1, 1)
            first.abort()
            await chief.until(lambda: not bridge._led)
            await chief.until(lambda: len(chief.all(StreamEnded)) == len(chief.all(StreamOpened)))
        tun.close()

    run(body())


def test_who_finds_no_place_with_his_carrier_leads_nowhere(run, boss, working, service):
    """The carrier ends his stream in the very moment in which he is let in."""

    async def body() -> None:
        tun, chief = service(lambda data: data), boss()
        async with relay(chief, working, [tun]) as bridge:
            reader, guest = await asyncio.open_connection("127.0.0.1", bridge.port)
            guest.write(Request(Address("", tun.port)).build() + pack(b"hello", 0))
            assert await reader.readexactly(11) == OK + pack(b"hello", 0)
            before = len(asyncio.get_running_loop()._selector.get_map())
            unplaced = Unplaced()
            bridge.accept(unplaced)
            unplaced.receiver.on_data(Request(Address("", tun.port)).build())
            assert (len(bridge._led), len(bridge._guests)) == (1, 1)
            assert len(asyncio.get_running_loop()._selector.get_map()) == before
            guest.close()
            await chief.until(lambda: chief.all(StreamEnded))
            assert len(chief.all(StreamOpened)) == len(chief.all(StreamEnded)) == 1
        tun.close()

    run(body())


class Unplaced(Stream):
    """One for which there is no place."""

    carrier = "none"
    remote = Remote("192.0.2.1", 1)
    backlog = 0

    def start(self, receiver) -> None:
        self.receiver = receiver

    def prove(self) -> None:
        self.receiver.on_end("full")

    def write(self, data) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
