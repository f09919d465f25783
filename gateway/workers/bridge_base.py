"""Between a carrier's streams and UDP datagrams: one asyncio loop, and the burst as the unit.

A bridge is either of a relay listener (`bridge_relay`) or of a client's chain
(`bridge_chain`); what they share is here: the channel, the pulse, what is counted, and the
scratch memory that bursts go through.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401  (these two are imported lazily else,
import encodings.idna  # noqa: F401  when root's files are out of reach)
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Coroutine, Iterable

from gateway.fastpath.frames import Packer
from gateway.linux import memory
from gateway.linux.channel import ChannelClosedError
from gateway.protocol.bridge_messages import BridgeFigures, FromBridge, StreamFigures
from gateway.protocol.messages import Stop, ToChild
from gateway.workers.base import TURN_SECONDS, Child, Place

FIGURES_EVERY = 4
"""Turns between two reports: about a second."""
STREAMS_PER_REPORT = 200
MESSAGES_KEPT = 50_000
"""Messages that may wait for a supervisor that is slow. More, and the bridge gives up."""
CLOSE_SECONDS = 1.0
FALLEN = 100
"""Streams that have gone since there were most, if half have: then memory is given back."""


class Bridge(Child, ABC):
    """What both kinds do. A subclass begins in `open` and takes everything back in `close`."""

    def __init__(self, place: Place, descriptors: Iterable[int]) -> None:
        super().__init__(place, descriptors)
        self._waiting: list[FromBridge] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._counts: Counter[str] = Counter()
        self._streams = self._most_streams = 0

    @abstractmethod
    async def open(self) -> None:
        """Begin."""

    @abstractmethod
    async def close(self) -> None:
        """End all streams in order, within `CLOSE_SECONDS`."""

    @abstractmethod
    def on_message(self, message: ToChild) -> None:
        """From the supervisor; anything but Stop."""

    @abstractmethod
    def figures(self) -> tuple[Counter[str], list[StreamFigures]]:
        """All that was counted so far, beside `count`, and how every stream is."""

    @abstractmethod
    def look(self) -> None:
        """Called every `TURN_SECONDS`."""

    def work(self) -> None:
        """Serve until told to stop."""
        memory.keep_freed()
        asyncio.run(self._serve())

    def count(self, what: str) -> None:
        """One more of this: the carriers count here too (`stream.Counts`)."""
        self._counts[what] += 1

    def tell(self, message: FromBridge) -> None:
        """Send, in order; what finds no room waits."""
        if len(self._waiting) >= MESSAGES_KEPT:
            raise RuntimeError("the supervisor does not listen")
        self._waiting.append(message)
        if len(self._waiting) == 1:
            self._flush()

    def begin(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run on its own; what it does not catch ends the bridge, with its traceback."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_exception)
        self.packer = Packer()
        loop.add_reader(self.channel.fileno(), self._on_channel)
        await self.open()
        turn = 0
        while not self.stopping:
            self.page.beat()
            self.look()
            turn += 1
            if turn % FIGURES_EVERY == 0:
                self._report()
            await asyncio.sleep(TURN_SECONDS)
        loop.remove_reader(self.channel.fileno())
        if self._failure is not None:
            raise self._failure
        await self.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=CLOSE_SECONDS) if tasks else None

    def _on_channel(self) -> None:
        try:
            while (message := self.receive()) is not None:
                if isinstance(message, Stop):
                    self.stopping = True
                else:
                    self.on_message(message)
        except ChannelClosedError:
            self.stopping = True
            asyncio.get_running_loop().remove_reader(self.channel.fileno())

    def _flush(self) -> None:
        loop, fd = asyncio.get_running_loop(), self.channel.fileno()
        sent = 0
        try:
            for message in self._waiting:
                if not self.channel.send(message):
                    break
                sent += 1
        except ChannelClosedError:
            self.stopping = True
            sent = len(self._waiting)
        del self._waiting[:sent]
        if self._waiting:
            loop.add_writer(fd, self._flush)
        else:
            loop.remove_writer(fd)

    def _report(self) -> None:
        if self._waiting:
            return
        counts, streams = self.figures()
        counts += self._counts
        self._give_back(counts["streams"] + counts["strangers"])
        self.tell(BridgeFigures(dict(counts), tuple(streams[:STREAMS_PER_REPORT])))
        for at in range(STREAMS_PER_REPORT, len(streams), STREAMS_PER_REPORT):
            self.tell(BridgeFigures({}, tuple(streams[at : at + STREAMS_PER_REPORT])))

    def _give_back(self, streams: int) -> None:
        """Many were here, strangers too, and few are left: once no more of them go."""
        falls, self._streams = streams < self._streams, streams
        self._most_streams = max(self._most_streams, streams)
        if not falls and self._most_streams - streams >= max(FALLEN, streams):
            self._most_streams = streams
            memory.give_back()

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._fail(task.exception())

    def _on_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """What a callback did not foresee ends the bridge, with its traceback."""
        found = context.get("exception")
        if isinstance(found, BaseException):
            self._fail(found)

    def _fail(self, error: BaseException | None) -> None:
        self.stopping = True
        self._failure = self._failure or error
