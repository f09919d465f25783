"""Questions to one plugin: how many at once, how long, and what is remembered."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from gateway.sources.errors import SourceError
from gateway.sources.model import Holder, PluginSpec
from gateway.sources.tables import PluginState, boot_seconds

A = TypeVar("A")

AT_ONCE = 8
"""Questions under way at one plugin."""

WAITING_LIMIT = 256
"""Questions that are under way or wait for their turn; more are a no at once."""

CACHE_LIMIT = 100_000
"""Positive answers that are remembered."""


class Asker(Generic[A]):
    """`A` is what a yes says, and is true; what is false is a no. None: there is no answer."""

    def __init__(self, holder: Holder, name: str, spec: PluginSpec) -> None:
        self._holder: Holder = holder
        self._name = name
        self._spec = spec
        self.changed = asyncio.Event()
        """Set whenever `state` has something new."""
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._open: dict[bytes, asyncio.Task[A | None]] = {}
        self._believed: OrderedDict[bytes, tuple[float, A]] = OrderedDict()
        self._asked = self._accepted = self._refused = self._failed = 0
        self._answered_at: float | None = None
        self._error = ""

    async def decide(self, key: bytes, exchange: Callable[[], Awaitable[A | None]]) -> A | None:
        """The answer to the question that `key` stands for, remembered or by `exchange`.

        Takes no longer than the plugin's timeout. None after a SourceError of `exchange`.
        """
        believed = self._believed.get(key)
        if believed is not None and time.monotonic() < believed[0]:
            return believed[1]
        self._believed.pop(key, None)
        task = self._open.get(key)
        if task is None:
            self._asked += 1
            if len(self._open) >= WAITING_LIMIT:
                self._fail(f"{WAITING_LIMIT} questions wait already")
                return None
            task = asyncio.create_task(self._ask(key, exchange))
            self._open[key] = task
            task.add_done_callback(lambda _: self._open.pop(key, None))
        # Who gives up waiting must not take the answer away from others.
        return await asyncio.shield(task)

    def state(self) -> PluginState:
        """The counts, and what is wrong. Remembered answers are not counted."""
        return PluginState(
            holder=self._holder,
            name=self._name,
            label=self._spec.label,
            asked=self._asked,
            accepted=self._accepted,
            refused=self._refused,
            failed=self._failed,
            answered_at=self._answered_at,
            error=self._error,
        )

    async def close(self) -> None:
        """Give up open questions. Who waits for one is cancelled."""
        tasks = tuple(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, key: bytes, exchange: Callable[[], Awaitable[A | None]]) -> A | None:
        try:
            async with asyncio.timeout(self._spec.timeout), self._turn:
                answer = await exchange()
        except SourceError as error:
            self._fail(str(error))
            return None
        except TimeoutError:
            self._fail(f"no whole answer within {self._spec.timeout:g} s")
            return None
        self._answered_at = boot_seconds()
        self._error = ""
        self.changed.set()
        if not answer:
            self._refused += 1
            return answer
        self._accepted += 1
        self._believed[key] = (time.monotonic() + self._spec.cache, answer)
        if len(self._believed) > CACHE_LIMIT:
            self._believed.popitem(last=False)
        return answer

    def _fail(self, error: str) -> None:
        self._failed += 1
        self._error = error
        self.changed.set()
