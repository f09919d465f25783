"""A layer over a stream that ends whenever it likes, and over one that cannot know its trip."""

import asyncio

import pytest
from carried import Counts, Taker, run

from gateway.carriers import mux
from gateway.carriers.stream import Receiver, Remote, Stream
from gateway.carriers.tls import TlsStream
from gateway.carriers.trust import client_tls, server_tls
from gateway.carriers.websocket import WS_DEFAULTS, WsClient, WsServer


class Pipe(Stream):
    """One end of two; what is written lies in `kept` until `deliver`."""

    def __init__(self) -> None:
        self.remote = Remote("192.0.2.1", 443)
        self.carrier = "pipe"
        self.other: Pipe
        self.kept: list[bytes] = []
        self.receiver: Receiver | None = None
        self.closed = False
        self.paused = False

    def start(self, receiver) -> None:
        self.receiver = receiver

    def write(self, data) -> None:
        self.kept.append(bytes(data))

    @property
    def backlog(self) -> int:
        return sum(map(len, self.kept))

    def deliver(self) -> bool:
        """Push everything that is kept to the other end; was there anything?"""
        kept, self.kept = b"".join(self.kept), []
        if kept:
            self.other.receiver.on_data(kept)
        return bool(kept)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


def joined(make_client, make_server):
    """Both layers, through their handshakes, and the pipes below."""
    near, far = Pipe(), Pipe()
    near.other, far.other = far, near
    client, server = make_client(near), make_server(far)
    done = []
    server.begin(done.append)
    client.begin(done.append)
    while near.deliver() or far.deliver():
        pass
    assert done == [None, None]
    return client, server, near, far


def both(papers):
    server = server_tls(cert_file=papers.server)
    return [
        (lambda low: TlsStream(low, client_tls(), "x"), lambda low: TlsStream(low, server)),
        (lambda low: WsClient(low, "x", 1, WS_DEFAULTS), lambda low: WsServer(low, WS_DEFAULTS)),
    ]


def test_an_end_waits_for_what_came_before_it(papers) -> None:
    async def main():
        for make_client, make_server in both(papers):
            client, server, near, far = joined(make_client, make_server)
            server.write(b"first")
            far.deliver()
            client.on_end("gone")
            taker = Taker()
            client.start(taker)
            assert await taker.has(5) == b"first"
            assert await taker.ended() == "gone"
            assert near.closed

    run(main())


def test_nothing_is_taken_between_handshake_and_start(papers) -> None:
    async def main():
        for make_client, make_server in both(papers):
            client, _, near, _ = joined(make_client, make_server)
            assert near.paused
            client.start(Taker())
            assert not near.paused
            client.abort()
            client.on_end("")

    run(main())


def test_each_layer_says_goodbye_by_itself(papers) -> None:
    async def main():
        for make_client, make_server in both(papers):
            client, server, near, far = joined(make_client, make_server)
            taker = Taker()
            client.start(taker)
            server.start(Taker())
            await asyncio.sleep(0)
            server.write(b"last")
            server.close()
            assert far.closed
            far.deliver()
            assert taker.got == b"last"
            assert taker.ends == [""]
            assert near.closed

    run(main())


def test_an_end_with_nothing_before_it_is_told_at_once(papers) -> None:
    async def main():
        for make_client, make_server in both(papers):
            client, *_ = joined(make_client, make_server)
            taker = Taker()
            client.start(taker)
            client.pause()
            client.on_end("gone")
            assert taker.ends == ["gone"]

    run(main())


@pytest.mark.parametrize("end", ["close", "abort"])
def test_an_end_that_waits_is_told_to_who_ends_it_himself(papers, end) -> None:
    """The stream below has had its end, and says nothing more."""

    async def main():
        for make_client, make_server in both(papers):
            client, server, _, far = joined(make_client, make_server)
            taker = Taker()
            client.start(taker)
            await asyncio.sleep(0)
            client.pause()
            server.write(b"not wanted yet")
            far.deliver()
            client.on_end("gone")
            assert not taker.ends
            getattr(client, end)()
            assert await taker.ended() == "gone"
            assert not taker.got

    run(main())


def test_a_session_that_is_none_leaves_no_timer() -> None:
    async def main():
        below, done = Pipe(), []
        session = mux.server(below, done.append, "mtcp", mux.Options(), Counts())
        session.begin(done.append)
        session.on_data(b"GET / HTTP/1.1\r\n\r\n")
        assert [error.what for error in done] == ["bad-mtcp"]
        assert all(timer.cancelled() for timer in asyncio.get_running_loop()._scheduled)

    asyncio.run(main())


def test_a_ping_tells_the_trip_where_the_stream_below_cannot(papers) -> None:
    async def main():
        client, _, near, far = joined(*both(papers)[1])
        client.start(Taker())
        assert client.rtt is None
        client._watch()
        await asyncio.sleep(0)
        while near.deliver() or far.deliver():
            pass
        assert client.rtt > 0
        client.abort()
        client.on_end("")

    run(main())


def test_room_is_told_through_all_layers(papers) -> None:
    async def main():
        for make_client, make_server in both(papers):
            client, _, near, _ = joined(make_client, make_server)
            taker = Taker()
            client.start(taker)
            client.high, client.low = 1000, 100
            assert (near.high, near.low) == (1000, 100)
            client.on_room()
            assert taker.rooms == 1
            client.abort()
            client.on_end("")

    run(main())
