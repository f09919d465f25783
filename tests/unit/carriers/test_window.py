"""The window of a near sender of small pieces: narrow for a while, and nobody else's."""

import asyncio
import socket

import pytest

from gateway.carriers import sockets, window
from gateway.carriers.sockets import TcpStream
from gateway.carriers.stream import Remote

SEGMENT = 4 * window.SMALL_SEGMENT  # loopback's are up to 64 KB


class Taking:
    """A receiver that counts."""

    def __init__(self) -> None:
        self.size = 0
        self.reads = 0
        self.ended = False

    def on_data(self, data) -> None:
        self.size += len(data)
        self.reads += 1

    def on_room(self) -> None:
        """Nothing waits here."""

    def on_end(self, _reason: str) -> None:
        self.ended = True


@pytest.fixture
def ends():
    """A socket to write to, and one for the stream, which has seen how long the way is."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        far = socket.create_connection(door.getsockname())
        near, _ = door.accept()
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    near.send(b"a")
    far.recv(1)
    near.setblocking(False)
    with far, near:
        yield far, near


@pytest.fixture(autouse=True)
def slow(monkeypatch):
    """Nothing that happens in a test takes too long to count as one after the other."""
    monkeypatch.setattr(sockets, "REST", 0.2)
    monkeypatch.setattr(window, "NEAR", 1.0)
    monkeypatch.setattr(window, "LENT", 30.0)


def clamp(sock: socket.socket) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP)


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  (the loop's very next turn is the point)
            await asyncio.sleep(0)


async def read_in_pieces(far: socket.socket, stream: TcpStream, taking: Taking, size: int) -> None:
    """As many as bring a rest, each read before the next is written."""
    await until(lambda: not stream._rest)
    while not stream._rest:
        before = taking.size
        far.send(bytes(size))
        await until(lambda b=before: taking.size == b + size)


def served(ends, scenario) -> None:
    async def serve() -> None:
        far, near = ends
        stream, taking = TcpStream(near, Remote("127.0.0.1", 1)), Taking()
        stream.start(taking)
        await scenario(far, near, stream, taking)
        stream.abort()
        await until(lambda: taking.ended)

    asyncio.run(serve())


def test_a_near_sender_of_small_pieces_gets_a_narrow_window(ends):
    async def scenario(far, near, stream, taking) -> None:
        wide = clamp(near)
        await read_in_pieces(far, stream, taking, 100)
        assert window.NARROW <= clamp(near) < wide

    served(ends, scenario)


def test_who_fills_segments_keeps_the_window(ends):
    async def scenario(far, near, stream, taking) -> None:
        wide = clamp(near)
        await read_in_pieces(far, stream, taking, SEGMENT)
        assert clamp(near) >= wide  # the kernel's may grow

    served(ends, scenario)


def test_on_a_long_way_the_window_is_the_kernels(ends, monkeypatch):
    monkeypatch.setattr(window, "NEAR", 0.0)

    async def scenario(far, near, stream, taking) -> None:
        wide = clamp(near)
        await read_in_pieces(far, stream, taking, 100)
        assert clamp(near) == wide

    served(ends, scenario)


def test_the_window_comes_back_and_is_taken_again_from_small_pieces_alone(ends, monkeypatch):
    monkeypatch.setattr(window, "LENT", 0.1)

    async def scenario(far, near, stream, taking) -> None:
        wide = clamp(near)
        await read_in_pieces(far, stream, taking, 100)
        assert clamp(near) < wide
        await until(lambda: clamp(near) >= wide)
        await read_in_pieces(far, stream, taking, SEGMENT)
        assert clamp(near) >= wide  # the kernel's may grow
        monkeypatch.setattr(window, "LENT", 30.0)
        await read_in_pieces(far, stream, taking, 100)
        assert clamp(near) < wide

    served(ends, scenario)


def test_all_comes_through_a_narrow_window(ends):
    async def scenario(far, near, stream, taking) -> None:
        await read_in_pieces(far, stream, taking, 100)
        before, size = taking.size, 20 * window.NARROW
        loop = asyncio.get_running_loop()
        far.setblocking(False)
        await loop.sock_sendall(far, bytes(size))
        await until(lambda: taking.size == before + size)

    served(ends, scenario)


def test_a_stream_that_ends_owes_no_window(ends):
    async def scenario(far, near, stream, taking) -> None:
        await read_in_pieces(far, stream, taking, 100)
        assert stream._window._lent
        stream.abort()
        assert not stream._window._lent

    served(ends, scenario)
