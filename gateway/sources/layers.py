"""The sources of one auther or router as one table: the supervisor's side, pure.

There is no merged copy. Each source's table is kept, and who is believed about a key is
decided at the look-up, so that a source which fails, changes or comes late touches
nothing but its own entries.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gateway.sources.model import AUTHER_ORDER, ROUTER_ORDER, SourceKind
from gateway.sources.tables import Prefixed, SourceCredentials, SourceRoutes

K = TypeVar("K")


@dataclass(slots=True)
class Changes(Generic[K]):
    """What a message changed of what is believed."""

    set: dict[K, bytes] = field(default_factory=dict)
    removed: list[K] = field(default_factory=list)


class Layers(Generic[K]):
    """Tables by source. `order` says who is believed: the first one that has a key."""

    def __init__(self, order: Sequence[SourceKind]) -> None:
        self._order = order
        self._tables: dict[SourceKind, dict[K, bytes]] = {}
        self._named: dict[SourceKind, set[K]] = {}
        """While a fresh table comes in: the keys of its parts so far."""

    def get(self, key: K) -> bytes | None:
        """What is believed about the key."""
        for source in self._order:
            table = self._tables.get(source)
            if table is not None and key in table:
                return table[key]
        return None

    def holders(self, key: K) -> Iterator[tuple[SourceKind, bytes]]:
        """Every source that has the key, and what it says; who is believed comes first."""
        for source in self._order:
            table = self._tables.get(source)
            if table is not None and key in table:
                yield source, table[key]

    def items(self) -> Iterator[tuple[K, bytes]]:
        """All that is believed, in no order."""
        for index, source in enumerate(self._order):
            above = [self._tables.get(other, {}) for other in self._order[:index]]
            for key, value in self._tables.get(source, {}).items():
                if not any(key in table for table in above):
                    yield key, value

    def loaded(self, source: SourceKind) -> bool:
        """Whether the source has ever said anything."""
        return source in self._tables

    def _take(
        self,
        source: SourceKind,
        rows: Iterable[tuple[K, bytes]],
        removed: Iterable[K],
        *,
        fresh: bool,
        first: bool,
        last: bool,
    ) -> Changes[K]:
        table = self._tables.setdefault(source, {})
        changes: Changes[K] = Changes()
        if first:
            self._named.pop(source, None)
        if fresh and first and table:
            self._named[source] = set()
        named = self._named.get(source)
        for key, value in rows:
            if named is not None:
                named.add(key)
            before = self.get(key)
            table[key] = value
            after = self.get(key)
            if after is not None and after != before:
                changes.set[key] = after
        gone = list(removed)
        if last and named is not None:
            gone += [key for key in table if key not in named]
            del self._named[source]
        for key in gone:
            self._drop(table, key, changes)
        return changes

    def _drop(self, table: dict[K, bytes], key: K, changes: Changes[K]) -> None:
        before = self.get(key)
        table.pop(key, None)
        after = self.get(key)
        if after is None and before is not None:
            changes.set.pop(key, None)
            changes.removed.append(key)
        elif after is not None and after != before:
            changes.set[key] = after


class CredentialLayers(Layers[bytes]):
    """One auther: address to password. A later source overwrites an earlier one."""

    def __init__(self) -> None:
        super().__init__(AUTHER_ORDER)

    def apply(self, message: SourceCredentials) -> Changes[bytes]:
        """Take one part of a change."""
        return self._take(
            message.source,
            ((row.address, row.password) for row in message.rows),
            message.removed,
            fresh=message.fresh,
            first=message.part == 0,
            last=message.part == message.parts - 1,
        )


class RouteLayers(Layers[Prefixed]):
    """One router: prefix to gateway. An earlier source beats a later one.

    Which of several prefixes counts is not decided here: the longest, by the route table.
    """

    def __init__(self) -> None:
        super().__init__(ROUTER_ORDER)

    def apply(self, message: SourceRoutes) -> Changes[Prefixed]:
        """Take one part of a change."""
        return self._take(
            message.source,
            (((row.prefix, row.length), row.gateway) for row in message.rows),
            ((row.prefix, row.length) for row in message.removed),
            fresh=message.fresh,
            first=message.part == 0,
            last=message.part == message.parts - 1,
        )
