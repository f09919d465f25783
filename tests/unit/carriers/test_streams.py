"""What every stream promises, for each carrier over a socket and for chains of them."""

import asyncio
import hashlib
import random
import socket
from contextlib import asynccontextmanager

import pytest
from carried import Taker, listening, run, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.carriers import grpc, mux, tcp, tls, ws
from gateway.carriers.stream import CarrierError
from gateway.carriers.trust import client_tls, server_tls
from gateway.carriers.websocket import WsServer

CARRIERS = ["tcp", "tls", "ws", "wss", "tls over wss", "ws over tls over tls"]
CARRIERS += ["mws", "mws version 2", "mwss", "mtls", "grpc", "grpc insecure"]


@pytest.fixture(params=CARRIERS)
def carrier(request, papers):
    """A function that gives a context of both sides: (dialled, accepted, its taker)."""
    server = server_tls(cert_file=papers.server)

    async def top_tls(lower):
        return await _over_accepted(tls.TlsStream(lower, server))

    async def top_ws(lower):
        return await _over_accepted(WsServer(lower, ws.WS_DEFAULTS))

    kinds = {
        "tcp": (tcp.listen, {}, tcp.dial, {}, []),
        "tls": (tls.listen, {"tls": server}, tls.dial, {}, []),
        "ws": (ws.listen, {}, ws.dial, {}, []),
        "wss": (ws.listen, {"tls": server}, ws.dial, {"tls": client_tls()}, []),
        "tls over wss": (
            ws.listen,
            {"tls": server},
            ws.dial,
            {"tls": client_tls()},
            [(tls.dial, top_tls)],
        ),
        "ws over tls over tls": (
            tls.listen,
            {"tls": server},
            tls.dial,
            {},
            [(tls.dial, top_tls), (ws.dial, top_ws)],
        ),
    }
    own, theirs = {"tls": server}, {"tls": client_tls(alpn=grpc.ALPN)}
    two, plain = {"mux": mux.Options(version=2)}, {"under": "tcp"}
    kinds |= {
        "mws": (mux.listen, {}, mux.dial, {}, []),
        "mws version 2": (mux.listen, two, mux.dial, two, []),
        "mwss": (mux.listen, own, mux.dial, theirs, []),
        "mtls": (mux.listen, own | plain, mux.dial, theirs | plain, []),
        "grpc": (grpc.listen, own, grpc.dial, theirs, []),
        "grpc insecure": (grpc.listen, {}, grpc.dial, {}, []),
    }
    listen, listen_options, dial, dial_options, more = kinds[request.param]

    @asynccontextmanager
    async def pair():
        accepted = asyncio.get_running_loop().create_future()
        listener = await listen(
            listening(),
            accepted.set_result,
            counts=_NoCounts(),
            handshake_timeout=5.0,
            max_half_open=10,
            **listen_options,
        )
        near = await dial("127.0.0.1", listener.port, timeout=5.0, **dial_options)
        far = await accepted
        far.prove()
        for dial_more, top in more:
            far, near = await asyncio.gather(
                top(far), dial_more("server.test", 443, timeout=5.0, over=near)
            )
        taker = Taker()
        far.start(taker)
        try:
            yield near, far, taker
        finally:
            near.abort()
            far.abort()
            await listener.close()

    return pair


class _NoCounts:
    def count(self, what):
        pass


async def _over_accepted(layer):
    done = asyncio.get_running_loop().create_future()
    layer.begin(done.set_result)
    assert await done is None
    return layer


def test_bytes_arrive_whole_in_both_directions(carrier) -> None:
    async def main():
        async with carrier() as (near, far, far_taker):
            near_taker = Taker()
            near.start(near_taker)
            sent = [_send_much(near, 1), _send_much(far, 2)]
            assert _digest(await far_taker.has(sent[0][0])) == sent[0][1]
            assert _digest(await near_taker.has(sent[1][0])) == sent[1][1]

    run(main())


def test_the_backlog_is_what_was_written_and_not_sent(carrier) -> None:
    async def main():
        async with carrier() as (near, far, taker):
            near_taker = Taker()
            near.start(near_taker)
            far.pause()
            assert near.backlog == 0
            data = bytes(range(256)) * 256
            written = 0
            while near.backlog <= near.high:
                near.write(data)
                written += len(data)
            before = near.backlog
            near.write(data)
            grown = near.backlog - before
            written += len(data)
            # Framing and records add a little; nothing is kept elsewhere.
            assert len(data) <= grown <= len(data) * 1.01 + 64
            far.resume()
            await taker.has(written)
            await near_taker.until(lambda it: it.rooms)
            assert near_taker.rooms == 1
            assert near.backlog == 0

    run(main())


def test_what_was_written_may_be_changed(carrier) -> None:
    async def main():
        async with carrier() as (near, far, taker):
            near.start(Taker())
            far.pause()
            data = bytearray(b"a" * 65536)
            written = 0
            while near.backlog <= near.high:
                near.write(memoryview(data))
                written += len(data)
            data[:] = b"b" * len(data)
            far.resume()
            assert set(await taker.has(written)) == {ord("a")}

    run(main())


def test_a_stream_is_silent_until_it_is_started(carrier) -> None:
    async def main():
        async with carrier() as (near, far, _):
            far.write(b"early")
            far.write(b" bird")
            taker = Taker()
            far.close()
            near.start(taker)
            assert await taker.has(10) == b"early bird"
            assert await taker.ended() == ""

    run(main())


def test_paused_means_nothing_more_and_resumed_everything(carrier) -> None:
    async def main():
        async with carrier() as (near, far, _):
            taker = Taker(lambda _: near.pause())
            near.start(taker)
            size, digest = _send_much(far, 3)
            for _ in range(1000):
                await taker.until(lambda it: it.pieces)
                taken = len(taker.pieces)
                await asyncio.sleep(0)
                assert len(taker.pieces) == taken
                if len(taker.got) == size:
                    break
                taker.pieces.clear()
                near.resume()
            assert _digest(taker.got) == digest

    run(main())


def test_close_sends_what_is_owed_then_ends_both_sides(carrier) -> None:
    async def main():
        async with carrier() as (near, far, taker):
            near_taker = Taker()
            near.start(near_taker)
            far.pause()
            data = bytes(100_000)
            for _ in range(20):
                near.write(data)
            near.close()
            near.write(b"too late")
            far.resume()
            await taker.until(lambda it: it.ends)
            assert len(taker.got) == 20 * len(data), taker.ends
            assert taker.ends == [""]
            assert await near_taker.ended() == ""

    run(main())


def test_close_loses_nothing_though_the_other_end_still_talks() -> None:
    """A socket that is closed with bytes unread is reset, and takes with it what is on its way."""

    async def main():
        narrow = listening()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        accepted = asyncio.get_running_loop().create_future()
        listener = await tcp.listen(narrow, accepted.set_result, counts=_NoCounts())
        near = await tcp.dial("127.0.0.1", listener.port)
        far, taker = await accepted, Taker()
        far.prove()
        far.start(taker)
        near.start(Taker())
        near.pause()
        far.pause()
        data = bytes(100_000)
        far.write(data)
        for _ in range(5):
            near.write(data)
        near.close()
        far.resume()
        await taker.until(lambda it: it.ends)
        assert len(taker.got) == 5 * len(data)
        assert taker.ends == [""]
        await listener.close()

    run(main())


def test_abort_ends_both_sides_at_once(carrier) -> None:
    async def main():
        async with carrier() as (near, _, taker):
            near_taker = Taker()
            near.start(near_taker)
            near.write(b"x")
            await taker.has(1)
            near.abort()
            assert await near_taker.ended()
            await taker.ended()

    run(main())


def test_after_the_end_every_method_does_nothing(carrier) -> None:
    async def main():
        async with carrier() as (near, far, taker):
            near_taker = Taker()
            near.start(near_taker)
            far.abort()
            await taker.ended()
            await near_taker.ended()
            for stream in (near, far):
                stream.write(b"x")
                stream.pause()
                stream.resume()
                stream.close()
                stream.abort()
                assert stream.backlog == 0
                assert stream.rtt is None or stream.rtt >= 0
            await asyncio.sleep(0)
            assert len(near_taker.ends) == len(taker.ends) == 1

    run(main())


def test_who_starts_an_ended_stream_is_told(carrier) -> None:
    async def main():
        async with carrier() as (near, _, taker):
            near.abort()
            await taker.ended()
            late = Taker()
            near.start(late)
            assert await late.ended()

    run(main())


def test_a_stream_knows_its_trip_and_its_other_end(carrier) -> None:
    async def main():
        async with carrier() as (near, far, taker):
            near.write(b"x")
            await taker.has(1)
            assert near.remote.host == far.remote.host == "127.0.0.1"
            assert 0 < near.rtt < 1

    run(main())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pieces=st.lists(st.binary(min_size=1, max_size=3000), max_size=30))
def test_any_pieces_come_out_in_order(papers, pieces) -> None:
    async def main():
        server = server_tls(cert_file=papers.server)
        async with serving(ws.listen, tls=server, echo=True) as served:
            stream = await ws.dial("127.0.0.1", served.port, tls=client_tls())
            taker = Taker()
            stream.start(taker)
            for piece in pieces:
                stream.write(piece)
            assert await taker.has(sum(map(len, pieces))) == b"".join(pieces)
            stream.abort()
            await taker.ended()

    run(main())


@pytest.mark.parametrize("module", [tcp, tls, ws])
def test_nobody_there_is_said_with_the_place(module) -> None:
    closed = listening()
    port = closed.getsockname()[1]
    closed.close()

    async def main():
        with pytest.raises(CarrierError, match=rf"tcp 127\.0\.0\.1:{port}: .*refused"):
            await module.dial("127.0.0.1", port)

    run(main())


@pytest.mark.parametrize("module", [tls, ws])
def test_a_silent_server_is_given_up_in_time(module) -> None:
    async def main():
        with listening() as silent:
            port = silent.getsockname()[1]
            with pytest.raises(CarrierError, match=r"no answer in 0\.1 s"):
                await module.dial("127.0.0.1", port, timeout=0.1)

    run(main())


def test_a_full_server_is_given_up_in_time() -> None:
    async def main():
        with listening(0) as full:
            address = full.getsockname()
            crowd = [socket.socket() for _ in range(4)]
            for sock in crowd:
                sock.setblocking(False)
                sock.connect_ex(address)
            with pytest.raises(CarrierError, match=f"tcp 127.0.0.1:{address[1]}"):
                await tcp.dial(*address, timeout=0.2)
            for sock in crowd:
                sock.close()

    run(main())


def _send_much(stream, seed: int) -> tuple[int, bytes]:
    """Write pieces of all sizes; how much it was, and its digest."""
    source = random.Random(seed)
    sizes = [1, 2, 1452, 16384, 16385, 65535, 65536, 200_000, *source.choices(range(1, 9000), k=50)]
    pieces = [source.randbytes(size) for size in sizes]
    for piece in pieces:
        stream.write(piece)
    whole = b"".join(pieces)
    return len(whole), _digest(whole)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
