"""Bridges in this very process: their channel's other end is the test's."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine

import pytest

from gateway.fastpath.counters import Page
from gateway.linux import near
from gateway.linux.channel import channel_pair
from gateway.linux.shared import Arena
from gateway.protocol.bridge_messages import (
    AskRelay,
    BridgeFigures,
    Dial,
    Dialling,
    RelayVerdict,
    Sockets,
    SocketsPlease,
)
from gateway.protocol.messages import FromChild
from gateway.workers import bridge_base as bridge
from gateway.workers.base import Place
from gateway.workers.bridge_base import Bridge

SECONDS = 20.0


class Boss:
    """The supervisor's side: answers what must be answered, keeps the rest."""

    def __init__(self) -> None:
        self.end, theirs = channel_pair()
        arena = Arena([Page.bytes_for(1)])
        page = Page(arena.carve(Page.bytes_for(1)), 1)
        self.place = Place("bridge", "bridge", theirs, page, arena, (0,), os.getpid(), lambda: None)
        self.messages: list[FromChild] = []
        self.verdict: str | None = "yes"
        self.asked: list[AskRelay] = []
        self.figures: dict[str, int] = {}
        self.prepares = True
        self._news = asyncio.Event()

    def on_messages(self) -> None:
        while (message := self.end.receive()) is not None:
            self._news.set()
            if isinstance(message, SocketsPlease):
                made = [near.open_near() for _ in range(message.count)]
                self.end.send(Sockets(len(made)), [sock.fileno() for sock in made])
                for sock in made:
                    sock.close()
            elif isinstance(message, AskRelay):
                self.asked.append(message)
                if self.verdict is not None:
                    self.end.send(RelayVerdict(message.query, self.verdict))
            elif isinstance(message, Dialling):
                self.messages.append(message)
                if self.prepares:
                    self.end.send(Dial(message.query))
            elif isinstance(message, BridgeFigures):
                self.figures = message.counts
            else:
                self.messages.append(message)

    def all(self, kind: type) -> list:
        return [message for message in self.messages if isinstance(message, kind)]

    async def until(self, true: Callable[[], object]) -> None:
        """Wait for what some message makes true."""
        async with asyncio.timeout(SECONDS):
            while not true():
                self._news.clear()
                await self._news.wait()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Bridges that look and report more often than it pays otherwise."""
    monkeypatch.setattr(bridge, "TURN_SECONDS", 0.02)
    monkeypatch.setattr(bridge, "FIGURES_EVERY", 1)


@pytest.fixture
def run():
    """Run a coroutine to its end, in time."""

    def run_it(body: Coroutine[object, object, None]) -> None:
        async def within() -> None:
            async with asyncio.timeout(4 * SECONDS):
                await body

        asyncio.run(within())

    return run_it


class Working:
    """A bridge that serves while the block runs."""

    def __init__(self, boss: Boss, worker: Bridge) -> None:
        self._boss = boss
        self._bridge = worker

    async def __aenter__(self) -> Bridge:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._boss.end.fileno(), self._boss.on_messages)
        self._task = loop.create_task(self._bridge._serve())
        return self._bridge

    async def __aexit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        self._bridge.stopping = True
        try:
            await self._task
        finally:
            loop.remove_reader(self._boss.end.fileno())
            self._boss.end.close()
            self._boss.place.channel.close()


@pytest.fixture
def working():
    return Working


@pytest.fixture
def boss():
    """Made inside the loop, as it has an event."""
    return Boss


def udp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


class Service:
    """A TUN service as a bridge sees it: a UDP socket. Answers what `answer` makes of it."""

    def __init__(self, answer: Callable[[bytes], bytes] | None = None) -> None:
        self.sock = udp_socket()
        self.port: int = self.sock.getsockname()[1]
        self.got: list[tuple[bytes, tuple[str, int]]] = []
        self._answer = answer
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.sock, self._read)

    def _read(self) -> None:
        try:
            while True:
                data, address = self.sock.recvfrom(65536)
                self.got.append((data, address))
                self._news.set()
                if self._answer is not None:
                    self.sock.sendto(self._answer(data), address)
        except BlockingIOError:
            return

    async def until(self, count: int) -> list[bytes]:
        async with asyncio.timeout(SECONDS):
            while len(self.got) < count:
                self._news.clear()
                await self._news.wait()
        return [data for data, _ in self.got]

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.sock)
        self.sock.close()


@pytest.fixture
def service():
    return Service


Body = Callable[[], Awaitable[None]]
