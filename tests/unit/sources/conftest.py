"""What the tests of sources share: a receiver of tables, and servers that misbehave."""

import asyncio
import socket
import ssl
import subprocess
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from gateway.protocol.messages import MESSAGE_LIMIT
from gateway.sources.layers import CredentialLayers, RouteLayers
from gateway.sources.run import Sources
from gateway.sources.tables import (
    PluginState,
    SourceCredentials,
    SourceMessage,
    SourceRoutes,
    SourceState,
)

SECONDS = 20.0
"""Deadline of everything a test waits for."""

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


class Receiver:
    """The supervisor's side: takes messages as they would come over a channel."""

    def __init__(self) -> None:
        self.messages: list[SourceMessage] = []
        self.authers: dict[str, CredentialLayers] = defaultdict(CredentialLayers)
        self.routers: dict[str, RouteLayers] = defaultdict(RouteLayers)
        self.states: dict[tuple[str, str], SourceState] = {}
        self.plugins: dict[str, PluginState] = {}
        self.changed = asyncio.Event()

    async def deliver(self, message: SourceMessage) -> None:
        raw = msgspec.msgpack.encode(message)
        assert len(raw) < MESSAGE_LIMIT
        message = msgspec.msgpack.decode(raw, type=SourceMessage)
        self.messages.append(message)
        if isinstance(message, SourceCredentials):
            self.authers[message.name].apply(message)
        elif isinstance(message, SourceRoutes):
            self.routers[message.name].apply(message)
        elif isinstance(message, SourceState):
            self.states[message.name, message.source] = message
        else:
            self.plugins[message.name] = message
        self.changed.set()

    def tables(self) -> list[SourceMessage]:
        """The messages that carry tables."""
        return [m for m in self.messages if isinstance(m, SourceCredentials | SourceRoutes)]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for it, looking after every message."""
        async with asyncio.timeout(SECONDS):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    async def state(
        self, name: str, source: str, holds: Callable[[SourceState], bool] = lambda _: True
    ) -> SourceState:
        """The state of a source once it is as asked for."""
        key = (name, source)
        await self.until(lambda: key in self.states and holds(self.states[key]))
        return self.states[key]

    async def next_state(self, name: str, source: str) -> SourceState:
        """A state that was told after now."""
        self.states.pop((name, source), None)
        return await self.state(name, source)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def keep() -> Callable[..., object]:
    """Sources that run inside of an `async with`, which gives them and their receiver."""

    @asynccontextmanager
    async def keep(authers=(), routers=(), receiver=None):
        receiver = receiver or Receiver()
        sources = Sources(authers, routers, receiver.deliver)
        task = asyncio.create_task(sources.run())
        try:
            yield sources, receiver
            assert not task.done(), task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                async with asyncio.timeout(SECONDS):
                    await task

    return keep


@pytest.fixture
def run() -> Callable[[Coroutine[object, object, None]], None]:
    """Run a test's body; it must end in time and leave no task behind."""

    async def body(coroutine: Coroutine[object, object, None]) -> None:
        async with asyncio.timeout(3 * SECONDS):
            await coroutine
        assert asyncio.all_tasks() == {asyncio.current_task()}

    return lambda coroutine: asyncio.run(body(coroutine))


class Server:
    """An HTTP server of few words: `talk` answers each request."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.talk: Talk = page(b"")
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                request = head + await reader.readexactly(length)
                self.requests.append(request)
                await self.talk(reader, writer, request)
        writer.close()


def page(body: bytes, status: str = "200 OK", headers: str = "") -> Talk:
    """A whole answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode()
    return raw(head + body, close=False)


def raw(answer: bytes, *, close: bool = True) -> Talk:
    """Any bytes as an answer."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(answer)
        await writer.drain()
        if close:
            writer.close()
            raise ConnectionError

    return talk


def never() -> Talk:
    """No answer as long as the client is there."""

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter, __: bytes) -> None:
        await reader.read()
        raise ConnectionError

    return talk


def flood() -> Talk:
    """A body without an end."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            writer.write(b"#" * 65536)
            await writer.drain()

    return talk


@pytest.fixture
def talks() -> dict[str, Callable[..., Talk]]:
    """The ways to answer."""
    return {"page": page, "raw": raw, "never": never, "flood": flood}


@pytest.fixture
def serving() -> Callable[[], object]:
    """An HTTP server on loopback that runs inside of an `async with`."""

    @asynccontextmanager
    async def serving(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
        server = Server()
        tasks: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await server.serve(reader, writer)
            finally:
                tasks.discard(task)
                writer.close()

        listening = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
        port = listening.sockets[0].getsockname()[1]
        scheme = "http" if tls is None else "https"
        server.url = f"{scheme}://127.0.0.1:{port}/users"
        try:
            yield server
        finally:
            listening.close()
            for task in tuple(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return serving


@pytest.fixture
def unused_port() -> int:
    """A TCP port of loopback nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


LATE = """
import asyncio, sys
from gateway.sources.model import *
from gateway.sources.run import Sources

async def deliver(message):
    if type(message).__name__ == "SourceState":
        assert not message.error, message
        told.set()

async def main():
    global told
    told = asyncio.Event()
    task = asyncio.create_task(sources.run())
    async with asyncio.timeout(20):
        await told.wait()
    task.cancel()
    await asyncio.wait([task])

asyncio.run(asyncio.sleep(0))
sources = Sources([AutherSpec("staff", SOURCE)], [], deliver)
before = set(sys.modules)
asyncio.run(main())
print(*sorted(set(sys.modules) - before))
"""


@pytest.fixture
def late_imports() -> Callable[[str], list[str]]:
    """What is imported only when a source is read: root's files may be out of reach then."""

    def late_imports(source: str) -> list[str]:
        program = LATE.replace("SOURCE", source)
        found = subprocess.run(
            [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, timeout=60
        )
        return found.stdout.decode().split()

    return late_imports
