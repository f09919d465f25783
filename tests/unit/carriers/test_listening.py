"""Strangers at the door: bounded in time and number, counted, and never in the way."""

import asyncio
import contextlib
import errno
import gc
import os
import resource
import socket
import tracemalloc
from pathlib import Path

import pytest
from carried import Counts, Served, Taker, listening, run, serving, until

from gateway.carriers import tcp, tls, ws
from gateway.carriers.listening import raise_descriptor_limit
from gateway.carriers.trust import client_tls, server_tls

HALF_OPEN = 10_000


async def connected(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return sock


def listen_of(papers, carrier: str):
    """Listen function, its options, dial function, its options."""
    server, client = {"tls": server_tls(cert_file=papers.server)}, {"tls": client_tls()}
    return {
        "tcp": (tcp.listen, {}, tcp.dial, {}),
        "tls": (tls.listen, server, tls.dial, client),
        "ws": (ws.listen, {}, ws.dial, {}),
        "wss": (ws.listen, server, ws.dial, client),
    }[carrier]


@pytest.mark.parametrize("carrier", ["tls", "ws", "wss"])
@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01", b"GET /ws HT"])
def test_half_a_handshake_is_closed_in_time(papers, carrier, said) -> None:
    listen, options, _, _ = listen_of(papers, carrier)

    async def main():
        async with serving(listen, handshake_timeout=0.1, **options) as served:
            loop = asyncio.get_running_loop()
            strangers = [await connected(served.port) for _ in range(3)]
            for sock in strangers:
                await loop.sock_sendall(sock, said)
            for sock in strangers:
                with contextlib.suppress(ConnectionError):
                    while await loop.sock_recv(sock, 4096):
                        pass
                sock.close()
            # A record that can be none is known at once; silence and halves when time is up.
            assert served.counts.total() == 3
            assert served.counts["handshake-timeout"] in (0, 3)
            await until(lambda: served.listener.half_open == 0)

    run(main())


def test_who_comes_over_a_dual_stack_socket_is_shown_as_he_is() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this host has no dual-stack sockets")

    async def main():
        served = Served()
        options = {"counts": served.counts, "handshake_timeout": 5.0, "max_half_open": 10}
        sock = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        served.listener = await tcp.listen(sock, served.accept, **options)
        for host in ("127.0.0.1", "::1"):
            stream = await tcp.dial(host, served.port)
            far, taker = await served.next()
            assert far.remote.host == host
            stream.start(Taker())
            stream.abort()
            await taker.ended()
        await served.listener.close()

    run(main())


def test_the_time_is_one_for_all_handshakes(papers) -> None:
    async def main():
        server = server_tls(cert_file=papers.server)
        async with serving(ws.listen, tls=server, handshake_timeout=0.2) as served:
            # TLS is well, then nothing.
            stream = await tls.dial("127.0.0.1", served.port)
            taker = Taker()
            stream.start(taker)
            await taker.ended()
            assert served.counts == {"handshake-timeout": 1}

    run(main())


@pytest.mark.parametrize("carrier", ["tls", "ws", "wss"])
def test_who_goes_within_the_handshake_is_counted_once(papers, carrier) -> None:
    listen, options, _, _ = listen_of(papers, carrier)

    async def main():
        async with serving(listen, **options) as served:
            (await connected(served.port)).close()
            await served.counts.until("handshake-ended")
            assert served.counts.total() == 1

    run(main())


def test_the_oldest_stranger_makes_room(papers) -> None:
    async def main():
        async with serving(ws.listen, max_half_open=3, echo=True) as served:
            loop = asyncio.get_running_loop()
            strangers = [await connected(served.port) for _ in range(5)]
            await served.counts.until("half-open-evicted", 2)
            for sock in strangers[:2]:
                with pytest.raises(ConnectionResetError):
                    await loop.sock_recv(sock, 1)
            stream = await ws.dial("127.0.0.1", served.port)
            assert served.counts == {"half-open-evicted": 3, "accepted": 1}
            assert served.listener.half_open == 2
            taker = Taker()
            stream.start(taker)
            stream.write(b"still here")
            await taker.has(10)
            stream.abort()
            for sock in strangers:
                sock.close()

    run(main())


@pytest.mark.parametrize("carrier", ["tls", "wss"])
def test_ten_thousand_half_open_keep_nobody_out(papers, carrier) -> None:
    if raise_descriptor_limit() < HALF_OPEN + 5000:
        pytest.skip(f"the limit of descriptors is {raise_descriptor_limit()}")
    listen, options, dial, dial_options = listen_of(papers, carrier)

    async def main():
        crowd = contextlib.ExitStack()
        options.update(max_half_open=2000, handshake_timeout=60.0)
        async with serving(listen, **options) as served:
            with crowd:
                for number in range(HALF_OPEN):
                    sock = crowd.enter_context(await connected(served.port))
                    if number % 2:
                        sock.send(b"\x16\x03\x01\x02\x00\x01")
                await served.counts.until("half-open-evicted", HALF_OPEN - 2000)
                stream = await dial("127.0.0.1", served.port, **dial_options)
                await served.counts.until("accepted")
                assert served.listener.half_open <= 2000
                stream.abort()

    run(main())


def test_without_descriptors_strangers_make_room(monkeypatch) -> None:
    async def main():
        async with serving(ws.listen) as served:
            stranger = await connected(served.port)
            # Until it is in: its eviction is what the next one needs.
            await until(lambda: served.listener.half_open)
            real = served.listener._sock
            served.listener._sock = _Exhausted(real, times=1)
            stream = await ws.dial("127.0.0.1", served.port, timeout=5.0)
            assert served.counts["no-descriptors"] == 1
            assert served.counts["half-open-evicted"] == 1
            stream.abort()
            stranger.close()

    run(main())


def test_without_descriptors_and_strangers_it_waits(monkeypatch) -> None:
    monkeypatch.setattr("gateway.carriers.listening._PAUSE", 0.05)

    async def main():
        async with serving(ws.listen) as served:
            served.listener._sock = _Exhausted(served.listener._sock, times=3)
            stream = await ws.dial("127.0.0.1", served.port, timeout=5.0)
            assert served.counts["no-descriptors"] == 3
            stream.abort()

    run(main())


class _Exhausted:
    """A listening socket whose first accepts find no descriptor."""

    def __init__(self, sock, times):
        self._sock = sock
        self._times = times

    def accept(self):
        if self._times:
            self._times -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self._sock.accept()

    def __getattr__(self, name):
        return getattr(self._sock, name)


def test_the_limit_of_descriptors_is_raised() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        assert raise_descriptor_limit() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_closed_listener_takes_no_more_and_leaves_the_rest() -> None:
    async def main():
        counts, streams = Counts(), []
        taker = Taker()

        def accept(stream):
            streams.append(stream)
            stream.start(taker)

        sock = listening()
        port = sock.getsockname()[1]
        options = {"counts": counts, "handshake_timeout": 5.0, "max_half_open": 10}
        listener = await ws.listen(sock, accept, **options)
        assert listener.port == port
        stream = await ws.dial("127.0.0.1", port)
        stranger = await connected(port)
        await until(lambda: listener.half_open)
        await listener.close()
        with pytest.raises(ConnectionRefusedError):
            await connected(port)
        with pytest.raises(ConnectionResetError):
            await asyncio.get_running_loop().sock_recv(stranger, 1)
        stream.write(b"we live on")
        await taker.has(10)
        stream.abort()
        await taker.ended()
        stranger.close()

    run(main())


def descriptors_open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("carrier", ["tcp", "tls", "ws", "wss"])
def test_streams_that_come_and_go_leave_nothing(papers, carrier) -> None:
    listen, options, dial, dial_options = listen_of(papers, carrier)
    rounds, together = 10, 100

    async def main():
        async with serving(listen, max_half_open=500, echo=True, **options) as served:

            async def visit(number):
                stream = await dial("127.0.0.1", served.port, **dial_options)
                taker = Taker()
                stream.start(taker)
                stream.write(b"hello")
                await taker.has(5)
                (stream.close if number % 2 else stream.abort)()
                await taker.ended()

            async def crowd():
                await asyncio.gather(*(visit(number) for number in range(together)))
                for taker in served.takers:
                    await taker.ended()
                served.takers.clear()
                served.streams.clear()
                gc.collect()
                return descriptors_open(), tracemalloc.get_traced_memory()[0]

            await crowd()
            tracemalloc.start()
            try:
                await crowd()
                descriptors, _ = await crowd()
                later = [await crowd() for _ in range(rounds)]
            finally:
                tracemalloc.stop()
            assert later[-1][0] == descriptors
            # The interpreter's own stock of free objects is full after some rounds, and goes up and
            # down by turns. A hundred bytes a stream that stay would be far more.
            (_, before), *_, (_, after) = later[-7:]
            assert (after - before) / 6 < together * 40

    run(main(), deadline=100.0)
