"""What tests of carriers share: a loop that forgives nothing, receivers, counts, pairs."""

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress

from gateway.carriers.sockets import TcpStream

DEADLINE = 20.0
FAREWELL = 0.1


def run(main: Coroutine, deadline: float = DEADLINE) -> object:
    """Run it within the deadline; an exception in any callback of the loop is a failure."""
    troubles = []

    async def guarded() -> object:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: troubles.append(context))
        async with asyncio.timeout(deadline):
            found = await main
            await _farewells(loop)
            return found

    result = asyncio.run(guarded())
    assert not troubles
    return result


async def _farewells(loop: asyncio.AbstractEventLoop) -> None:
    """Let TCP streams see that their other ends are gone: it may take them a rest or two."""

    def watched():
        return [
            handle
            for key in loop._selector.get_map().values()
            for handle in key.data
            if handle and isinstance(getattr(handle._callback, "__self__", None), TcpStream)
        ]

    def resting():
        calls = [timer._callback for timer in loop._scheduled if not timer.cancelled()]
        return [call for call in calls if getattr(call, "__func__", None) is TcpStream._read_again]

    with suppress(TimeoutError):
        async with asyncio.timeout(FAREWELL):
            await until(lambda: not watched() and not resting())


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until it holds; the deadline of `run` is this one's too."""
    while not condition():  # noqa: ASYNC110 - it looks at things that tell nobody
        await asyncio.sleep(0.001)


class Counts(Counter):
    """Counts of a listener; `until` waits for one of them."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting = []

    def count(self, what: str) -> None:
        self[what] += 1
        for event in self._waiting:
            event.set()

    async def until(self, what: str, number: int = 1) -> None:
        await self._until(lambda: self[what] >= number)

    async def until_any(self) -> None:
        await self._until(lambda: self.total() > 0)

    async def _until(self, condition: Callable[[], bool]) -> None:
        event = asyncio.Event()
        self._waiting.append(event)
        while not condition():
            event.clear()
            await event.wait()
        self._waiting.remove(event)


class Taker:
    """A receiver that keeps everything, and can be waited for. `answer` sees what comes."""

    def __init__(self, answer: Callable[[bytes], None] | None = None) -> None:
        self.got = bytearray()
        self.pieces = []
        self.rooms = 0
        self.ends = []
        self._answer = answer
        self._changed = asyncio.Event()

    def on_data(self, data) -> None:
        assert len(data)
        assert not self.ends
        self.got += data
        self.pieces.append(len(data))
        if self._answer:
            self._answer(bytes(data))
        self._changed.set()

    def on_room(self) -> None:
        assert not self.ends
        self.rooms += 1
        self._changed.set()

    def on_end(self, reason: str) -> None:
        self.ends.append(reason)
        assert len(self.ends) == 1
        self._changed.set()

    async def until(self, condition: Callable[["Taker"], bool]) -> "Taker":
        while not condition(self):
            self._changed.clear()
            await self._changed.wait()
        return self

    async def has(self, size: int) -> bytes:
        """The bytes, once there are `size` of them."""
        await self.until(lambda taker: len(taker.got) >= size or taker.ends)
        assert len(self.got) == size, self.ends
        return bytes(self.got)

    async def has_at_least(self, size: int) -> None:
        """Once there are as many bytes, or the end."""
        await self.until(lambda taker: len(taker.got) >= size or taker.ends)

    async def ended(self) -> str:
        await self.until(lambda taker: taker.ends)
        return self.ends[0]


def listening(backlog: int = 128) -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=backlog)


class Served:
    """A listener whose streams each have a `Taker`; `pair` gives both sides of a new one."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.streams = []
        self.takers = []
        self.listener = None
        self.answering = False
        self.proving = True
        self._came = asyncio.Event()

    def accept(self, stream) -> None:
        taker = Taker(stream.write if self.answering else None)
        if self.proving:
            stream.prove()
        self.streams.append(stream)
        self.takers.append(taker)
        stream.start(taker)
        self._came.set()

    async def next(self):
        """The next stream that was accepted, and its taker."""
        while not self.streams:
            self._came.clear()
            await self._came.wait()
        return self.streams.pop(0), self.takers.pop(0)

    @property
    def port(self) -> int:
        return self.listener.port


@asynccontextmanager
async def serving(listen: Callable[..., Awaitable], *, echo: bool = False, **options):
    """`listen` of a carrier on a loopback port of its own."""
    served = Served()
    served.answering = echo
    options.setdefault("handshake_timeout", 5.0)
    options.setdefault("max_half_open", 100)
    served.listener = await listen(listening(), served.accept, counts=served.counts, **options)
    try:
        yield served
    finally:
        for stream in served.streams:
            stream.abort()
        await served.listener.close()
