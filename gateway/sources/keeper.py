"""Keeps one source: loads it, keeps its last good table, tells what changed.

Each source of each auther and router has a keeper and a task of its own, so that one
which is slow, broken or gone holds up no other. A failure changes the state only. What
was loaded stays until a load succeeds; before the first success there is nothing, so
nobody is let in by such a source. What has entries and not one that can be used is such
a failure, status 200 or not: an error page must not put everybody out. An empty source
is an empty table.

A source that failed is tried again after 1, 2, 4... seconds, 60 or `reload` at most,
even with `reload` 0: GOST would never look again.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import msgspec

from gateway.sources.errors import SourceError
from gateway.sources.model import ENTRY_LIMIT, RELOAD_MINIMUM, Holder, SourceKind
from gateway.sources.parse import Parsed
from gateway.sources.tables import SourceMessage, SourceState, boot_seconds
from gateway.sources.threads import Hand

K = TypeVar("K")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

RETRY_MAXIMUM = 60.0
PARSE_SECONDS = 60.0

Deliver = Callable[[SourceMessage], Awaitable[None]]
"""Hands a message on; may wait for room."""


class Keeping(Protocol):
    """The life of one source."""

    async def run(self) -> None:
        """Tell what the source has, until cancelled or there is nothing more to tell."""

    def refresh(self) -> None:
        """Load again at once, or right after the load in hand."""


class Loader(Protocol[R_co]):
    """Gets what is in a source, unread. Raises SourceError only."""

    async def load(self) -> R_co:
        """All of it."""


class Cut(Protocol[K]):
    """Makes the messages of a difference, as `tables.credential_parts` does."""

    def __call__(
        self,
        name: str,
        source: SourceKind,
        changed: Mapping[K, bytes],
        removed: Sequence[K],
        *,
        fresh: bool,
    ) -> Iterable[SourceMessage]:
        """At least one message, even of no difference."""


@dataclass(frozen=True)
class Kept(Generic[K, R]):
    """One source: whose, where, and how it is read. `timeout` and `reload` in seconds."""

    holder: Holder
    name: str
    source: SourceKind
    label: str
    timeout: float
    reload: float
    loader: Loader[R]
    parse: Callable[[R, str], Parsed[K]]
    cut: Cut[K]


@dataclass
class _Reading(Generic[K]):
    """A load, read and compared. `parsed` None: nothing changed."""

    digest: bytes
    parsed: Parsed[K] | None
    changed: dict[K, bytes]
    removed: list[K]


class Keeper(Generic[K, R]):
    """The life of one source, inside `run`."""

    def __init__(self, kept: Kept[K, R], deliver: Deliver) -> None:
        self._kept = kept
        self._deliver = deliver
        self._hand = Hand("source-parser")
        self._asked = asyncio.Event()
        self._digest = b""
        self._parsed: Parsed[K] = Parsed()
        self._said = False
        """Whether the receiver knows the table."""
        self._loaded_at: float | None = None
        self._failing_since: float | None = None
        self._failures = 0
        self._error = ""

    async def run(self) -> None:
        """Load, tell, wait, again; until cancelled."""
        while True:
            await self._attempt()
            try:
                async with asyncio.timeout(self._pause()):
                    await self._asked.wait()
            except TimeoutError:
                continue

    def refresh(self) -> None:
        """Load again at once, or right after the load in hand."""
        self._asked.set()

    async def _attempt(self) -> None:
        self._asked.clear()
        try:
            reading = await self._load()
        except SourceError as error:
            self._fail(str(error))
        except TimeoutError:
            self._fail(f"no whole answer within {self._kept.timeout:g} s")
        else:
            await self._take(reading)
        await self._deliver(self._state())

    async def _load(self) -> _Reading[K]:
        async with asyncio.timeout(self._kept.timeout):
            raw = await self._kept.loader.load()
        async with asyncio.timeout(PARSE_SECONDS):
            return await self._hand.do(lambda: self._read(raw))

    def _read(self, raw: R) -> _Reading[K]:
        """In a thread: what is in there, and what of it is new."""
        digest = hashlib.blake2b(msgspec.msgpack.encode(raw), digest_size=32).digest()
        if digest == self._digest:
            return _Reading(digest, None, {}, [])
        parsed = self._kept.parse(raw, self._kept.label)
        if len(parsed.table) > ENTRY_LIMIT:
            raise SourceError(f"it has more than {ENTRY_LIMIT:,} entries")
        if parsed.problem_count and not parsed.table:
            raise SourceError(_useless(parsed))
        new, old = parsed.table, self._parsed.table
        changed = {key: value for key, value in new.items() if old.get(key) != value}
        removed = [key for key in old if key not in new]
        return _Reading(digest, parsed, changed, removed)

    async def _take(self, reading: _Reading[K]) -> None:
        self._loaded_at = boot_seconds()
        self._failing_since, self._failures, self._error = None, 0, ""
        self._digest = reading.digest
        if reading.parsed is not None:
            self._parsed = reading.parsed
        if self._said and not reading.changed and not reading.removed:
            return
        for message in self._cut(reading):
            await self._deliver(message)
        self._said = True

    def _cut(self, reading: _Reading[K]) -> Iterable[SourceMessage]:
        kept, fresh = self._kept, not self._said
        return kept.cut(kept.name, kept.source, reading.changed, reading.removed, fresh=fresh)

    def _fail(self, error: str) -> None:
        self._failures += 1
        self._error = error
        if self._failing_since is None:
            self._failing_since = boot_seconds()

    def _pause(self) -> float | None:
        """Seconds until the next attempt; None: only when asked."""
        reload = max(self._kept.reload, RELOAD_MINIMUM) if self._kept.reload > 0 else None
        if not self._failures:
            return reload
        return min(2.0 ** min(self._failures - 1, 10), RETRY_MAXIMUM, reload or RETRY_MAXIMUM)

    def _state(self) -> SourceState:
        kept, parsed = self._kept, self._parsed
        return SourceState(
            holder=kept.holder,
            name=kept.name,
            source=kept.source,
            label=kept.label,
            entries=len(parsed.table),
            loaded_at=self._loaded_at,
            failing_since=self._failing_since,
            error=self._error,
            problems=tuple(parsed.problems),
            problem_count=parsed.problem_count,
        )


def _useless(parsed: Parsed[K]) -> str:
    count = parsed.problem_count
    many = "its only entry cannot" if count == 1 else f"none of its {count:,} entries can"
    return f"{many} be used: {parsed.problems[0]}"


class Inline(Generic[K]):
    """The entries that stand in the configuration: told once."""

    def __init__(
        self, holder: Holder, name: str, parsed: Parsed[K], cut: Cut[K], deliver: Deliver
    ) -> None:
        self._holder = holder
        self._name = name
        self._parsed = parsed
        self._cut = cut
        self._deliver = deliver

    async def run(self) -> None:
        """Tell the table and the state."""
        table = self._parsed.table
        for message in self._cut(self._name, "inline", table, (), fresh=True):
            await self._deliver(message)
        label, now = "the configuration", boot_seconds()
        await self._deliver(SourceState(self._holder, self._name, "inline", label, len(table), now))

    def refresh(self) -> None:
        """The configuration of a running instance does not change."""
