"""What clients of a relay listener's bridge may try, and what it must survive."""

import asyncio
import socket

import pytest
from unit.workers.relays import relay

from gateway.fastpath.frames import pack
from gateway.protocol.bridge_messages import StreamEnded
from gateway.protocol.relay import Address, Request, Status
from gateway.workers import bridge_relay

OK = b"\1\0\0\0"


async def ask(bridge, request: bytes):
    """Send a request; the four bytes of the answer, or what there was of them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bridge.port)
    writer.write(request)
    try:
        answer = await reader.readexactly(4)
    except asyncio.IncompleteReadError as error:
        answer = error.partial
    return answer, reader, writer


def named(host: str, port: int, *, udp: bool) -> bytes:
    """A request for a host as a name, whatever it looks like."""
    value = bytes((3, len(host))) + host.encode() + port.to_bytes(2, "big")
    feature = b"\2" + len(value).to_bytes(2, "big") + value
    return bytes((1, 0x81 if udp else 1)) + len(feature).to_bytes(2, "big") + feature


@pytest.mark.parametrize("udp", [True, False])
@pytest.mark.parametrize(
    "host",
    [
        "next.example..",
        "next.example" + "." * 60,
        "127.0.0.1%lo",
        "::1%lo",
        f"127.0.0.1%{'x' * 200}",
    ],
)
def test_what_is_listed_is_led_to_as_the_list_spells_it(
    run, boss, working, monkeypatch, *, host, udp
):
    """A name with dots behind it cannot be encoded; one with a zone asks a name server."""

    async def body() -> None:
        chief = boss()
        loop = asyncio.get_running_loop()
        genuine = loop.getaddrinfo

        async def looked_up(name, *rest, **more):
            assert name == "next.example"
            return await genuine("127.0.0.1", *rest, **more)

        monkeypatch.setattr(loop, "getaddrinfo", looked_up)
        allowed = (Address("next.example", 9), Address("127.0.0.1", 9), Address("::1", 9))
        async with relay(chief, working, allowed=allowed) as bridge:
            answer, _, writer = await ask(bridge, named(host, 9, udp=udp))
            writer.close()
            assert answer == (OK if udp else bytes((1, Status.NETWORK_UNREACHABLE, 0, 0)))
            again, _, writer = await ask(bridge, Request(Address("127.0.0.1", 9)).build())
            writer.close()
            assert again == OK

    run(body())


def test_without_descriptors_a_request_is_refused_and_the_others_live(
    run, boss, working, service, monkeypatch
):
    async def body() -> None:
        tun, chief = service(lambda data: data), boss()
        async with relay(chief, working, [tun]) as bridge:
            answer, reader, writer = await ask(bridge, Request(Address("", tun.port)).build())
            assert answer == OK

            def none_left(*_args, **_more):
                raise OSError(24, "Too many open files")

            request = Request(Address("8.8.8.8", tun.port)).build()
            slow, other = await asyncio.open_connection("127.0.0.1", bridge.port)
            other.write(request[:-1])
            await chief.until(lambda: bridge._strangers)
            with monkeypatch.context() as without:
                without.setattr(bridge_relay.socket, "socket", none_left)
                other.write(request[-1:])
                assert await slow.readexactly(4) == bytes((1, Status.FORBIDDEN, 0, 0))
            other.close()
            writer.write(pack(b"still", 0))
            assert await reader.readexactly(7) == pack(b"still", 0)
            writer.close()
        tun.close()

    run(body())


def test_the_port_of_a_stream_that_ended_rests(run, boss, working, service, monkeypatch):
    """Nobody gets it meanwhile, and what is sent there is lost, not kept."""

    async def body() -> None:
        tun, chief = service(), boss()
        async with relay(chief, working, [tun]) as bridge:
            answer, _, writer = await ask(bridge, Request(Address("", tun.port)).build())
            assert answer == OK
            writer.close()
            await chief.until(lambda: chief.all(StreamEnded))
            (ended,) = chief.all(StreamEnded)
            ((_, sock),) = bridge._resting
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                with pytest.raises(OSError, match="in use"):
                    other.bind(("127.0.0.1", ended.port))
                tun.sock.sendto(b"late", ("127.0.0.1", ended.port))
                with pytest.raises(BlockingIOError):
                    sock.recv(10, socket.MSG_DONTWAIT)
                await chief.until(lambda: not bridge._resting)
                other.bind(("127.0.0.1", ended.port))
            monkeypatch.setattr(bridge_relay, "MOST_RESTING", 3)
            for _ in range(8):
                _, _, writer = await ask(bridge, Request(Address("", tun.port)).build())
                writer.close()
            await chief.until(lambda: len(chief.all(StreamEnded)) == 9)
            assert len(bridge._resting) == 3
        tun.close()

    run(body())
