"""A TCP socket as a stream: small pieces come in handfuls, and a rest holds nothing up."""

import asyncio
import socket

import pytest

from gateway.carriers import sockets
from gateway.carriers.sockets import SMALL_READS, TcpStream
from gateway.carriers.stream import Remote


class Taking:
    """A receiver that keeps what comes."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ends: list[str] = []
        self.enough = 0
        self.stream: TcpStream

    def on_data(self, data) -> None:
        self.pieces.append(bytes(data))
        if len(self.pieces) == self.enough:
            self.stream.close()

    def on_room(self) -> None:
        """Nothing waits here."""

    def on_end(self, reason: str) -> None:
        self.ends.append(reason)


@pytest.fixture
def ends():
    """A socket to write to, and one for the stream. Connected by TCP."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        far = socket.create_connection(door.getsockname())
        near, _ = door.accept()
    near.setblocking(False)
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with far, near:
        yield far, near


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  (the loop's very next turn is the point)
            await asyncio.sleep(0)


async def sent_one_by_one(far: socket.socket, stream: TcpStream, taking: Taking, count: int):
    """Each piece is written when the one before has been read, or the stream rests."""
    for number in range(count):
        before = len(taking.pieces)
        far.send(bytes([number]))
        await until(lambda b=before: len(taking.pieces) > b or stream._rest)


@pytest.fixture
def slow(monkeypatch):
    """Rests that a test can see, and no doubt about what is within two of them."""
    monkeypatch.setattr(sockets, "REST", 0.2)


def test_a_few_pieces_are_read_at_once_and_many_in_handfuls(ends, slow):
    async def scenario() -> None:
        far, near = ends
        stream, taking = TcpStream(near, Remote("127.0.0.1", 1)), Taking()
        stream.start(taking)
        await sent_one_by_one(far, stream, taking, 40)
        assert len(taking.pieces) == SMALL_READS
        await until(lambda: len(b"".join(taking.pieces)) == 40)
        assert len(taking.pieces) == SMALL_READS + 1
        assert b"".join(taking.pieces) == bytes(range(40))
        stream.abort()
        await until(lambda: taking.ends)

    asyncio.run(scenario())


def test_large_pieces_know_no_rest(ends, slow):
    async def scenario() -> None:
        far, near = ends
        stream, taking = TcpStream(near, Remote("127.0.0.1", 1)), Taking()
        stream.start(taking)
        for number in range(1, 4 * SMALL_READS):
            far.send(bytes(sockets.SMALL))
            await until(lambda n=number: sum(map(len, taking.pieces)) == n * sockets.SMALL)
        far.close()
        await until(lambda: taking.ends)
        assert taking.ends == [""]

    asyncio.run(scenario())


@pytest.mark.parametrize("way", ["pause", "close", "abort"])
def test_a_stream_can_be_held_and_ended_within_a_rest(ends, slow, way):
    async def scenario() -> None:
        far, near = ends
        stream, taking = TcpStream(near, Remote("127.0.0.1", 1)), Taking()
        stream.start(taking)
        await sent_one_by_one(far, stream, taking, SMALL_READS + 1)
        assert stream._rest
        getattr(stream, way)()
        assert not stream._rest
        if way == "pause":
            await asyncio.sleep(0.3)  # longer than the rest would have been
            assert len(taking.pieces) == SMALL_READS
            stream.resume()
            await until(lambda: len(taking.pieces) == SMALL_READS + 1)
            stream.abort()
        far.close()
        await until(lambda: taking.ends)

    asyncio.run(scenario())


def test_who_closes_in_the_last_read_before_a_rest_sees_the_other_go(ends, slow):
    async def scenario() -> None:
        far, near = ends
        stream, taking = TcpStream(near, Remote("127.0.0.1", 1)), Taking()
        taking.enough, taking.stream = SMALL_READS, stream
        stream.start(taking)
        await sent_one_by_one(far, stream, taking, SMALL_READS)
        far.close()
        await until(lambda: taking.ends)
        assert near.fileno() < 0

    asyncio.run(scenario())


def test_an_error_of_the_receiver_is_none_of_the_socket(ends):
    far, near = ends
    found = []

    class Failing(Taking):
        def on_data(self, data) -> None:
            super().on_data(data)
            raise OSError("of somebody else")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
        stream, taking = TcpStream(near, Remote("far", 1)), Failing()
        stream.start(taking)
        far.send(b"x")
        await until(lambda: found)
        assert not taking.ends
        stream.abort()

    asyncio.run(main())
    assert str(found[0]["exception"]) == "of somebody else"
