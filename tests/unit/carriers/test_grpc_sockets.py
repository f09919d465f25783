"""gRPC on sockets: strangers, shared connections, who does not read, silence."""

import asyncio

import pytest
from carried import Taker, listening, run, serving
from unit.carriers.grpc_frames import GREETING, PING, PUSH, asking

from gateway.carriers import grpc
from gateway.carriers.grpc import Options
from gateway.carriers.http2_frames import PREFACE, frame
from gateway.carriers.http2_frames import settings as settings_frame


async def raw(port: int, said: bytes):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    return reader, writer


def test_garbage_is_closed_and_counted() -> None:
    async def main():
        async with serving(grpc.listen) as served:
            reader, writer = await raw(served.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            while await reader.read(1000):
                pass
            await served.counts.until("bad-grpc")
            writer.close()

    run(main())


WRONG = GREETING + asking(1, path="/x")


@pytest.mark.parametrize("said", [b"", PREFACE[:5], GREETING, WRONG])
def test_who_opens_no_stream_is_closed_in_time(said: bytes) -> None:
    async def main():
        async with serving(grpc.listen, handshake_timeout=0.1) as served:
            reader, writer = await raw(served.port, said)
            await served.counts.until("handshake-timeout")
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1_000_000)
            assert served.counts["wrong-path"] == (said == WRONG)
            writer.close()

    run(main())


def test_bad_frames_after_the_handshake_end_all_streams_of_the_connection() -> None:
    async def main():
        async with serving(grpc.listen) as served:
            reader, writer = await raw(served.port, GREETING + asking(1) + asking(3))
            takers = [(await served.next())[1] for _ in range(2)]
            writer.write(frame(PUSH, 0, 1))
            reasons = {await taker.ended() for taker in takers}
            assert reasons == {"grpc: an HTTP/2 push"}
            assert served.counts["bad-grpc"] == 1
            while await reader.read(1000):
                pass
            writer.close()

    run(main())


def test_a_wrong_path_is_told_to_the_client() -> None:
    async def main():
        async with serving(grpc.listen, grpc=Options(path="here")) as served:
            stream = await grpc.dial("127.0.0.1", served.port)
            taker = Taker()
            stream.start(taker)
            assert "is the path right?" in await taker.ended()
            assert served.counts["wrong-path"] == 1

    run(main())


def test_streams_to_one_place_share_a_connection_and_others_do_not() -> None:
    async def main():
        async with serving(grpc.listen, echo=True) as served:
            dials = [grpc.dial("127.0.0.1", served.port) for _ in range(5)]
            dials.append(grpc.dial("127.0.0.1", served.port, grpc=Options(window=1 << 20)))
            streams = await asyncio.gather(*dials)
            takers = [Taker() for _ in streams]
            for number, (stream, taker) in enumerate(zip(streams, takers, strict=True)):
                stream.start(taker)
                stream.write(bytes([number]) * 100)
            for number, taker in enumerate(takers):
                assert await taker.has(100) == bytes([number]) * 100
            assert served.counts["accepted"] == 2
            for stream in streams:
                stream.close()
            assert {await taker.ended() for taker in takers} == {""}
            # The last one takes the connection with it: then a dial makes another.
            await asyncio.sleep(0)
            assert not any(stream._trunk.usable for stream in streams)
            again = await grpc.dial("127.0.0.1", served.port)
            late = Taker()
            again.start(late)
            again.write(b"again")
            await late.has(5)
            assert served.counts["accepted"] == 3
            again.abort()
            await late.ended()

    run(main())


def test_streams_beyond_the_servers_limit_get_a_connection_of_their_own() -> None:
    async def main():
        async with serving(grpc.listen, echo=True, grpc=Options(max_streams=2)) as served:
            streams = [await grpc.dial("127.0.0.1", served.port) for _ in range(5)]
            takers = [Taker() for _ in streams]
            for stream, taker in zip(streams, takers, strict=True):
                stream.start(taker)
                stream.write(b"x")
            for taker in takers:
                await taker.has(1)
            assert served.counts["accepted"] == 3
            for stream in streams:
                stream.abort()

    run(main())


def test_a_stream_that_is_not_read_does_not_stop_another() -> None:
    async def main():
        async with serving(grpc.listen) as served:
            slow = await grpc.dial("127.0.0.1", served.port)
            slow.start(Taker())
            far, far_taker = await served.next()
            far.pause()
            while slow.backlog <= slow.high:
                slow.write(bytes(65536))
            quick = await grpc.dial("127.0.0.1", served.port)
            quick.start(Taker())
            _, quick_taker = await served.next()
            for _ in range(100):
                quick.write(bytes(10_000))
            await quick_taker.has(1_000_000)
            assert not far_taker.got
            assert served.counts["accepted"] == 1
            slow.abort()
            quick.abort()
            await far_taker.ended()

    run(main())


def test_a_peer_that_does_not_answer_is_given_up() -> None:
    async def main():
        with listening() as server:
            server.setblocking(False)
            options = Options(keepalive=0.05, timeout=0.1)
            port = server.getsockname()[1]
            dialling = asyncio.create_task(grpc.dial("127.0.0.1", port, grpc=options))
            silent, _ = await asyncio.get_running_loop().sock_accept(server)
            with silent:
                silent.sendall(settings_frame({}))
                taker = Taker()
                (await dialling).start(taker)
                assert await taker.ended() == "grpc: silent for too long"

    run(main())


def test_a_client_that_reads_no_answers_is_cut_off() -> None:
    async def main():
        async with serving(grpc.listen) as served:
            _, writer = await raw(served.port, GREETING + asking(1))
            _, taker = await served.next()
            pings = frame(PING, 0, 0, bytes(8)) * 10_000
            while not taker.ends:
                writer.write(pings)
                await asyncio.sleep(0)
            assert taker.ends == ["grpc: the other end does not read"]
            writer.transport.abort()

    run(main())
