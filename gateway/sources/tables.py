"""What the resolver tells the supervisor about sources, and how a table goes in parts.

Every source sends its own table, and only what changed in it; `layers` puts the sources
of an auther or router together. The first message of a source in a resolver's life is
`fresh`: it replaces what a former resolver said. A resolver that has not read a source
yet says nothing about it, so a restart of the resolver drops nobody.

A table goes in `parts` messages, numbered from 0, each applied when it comes: none takes
the supervisor more than a few milliseconds. What a fresh table does not name is removed
with its last part. Should a resolver die in between, the next one sends a fresh table.

Addresses are 16 bytes, prefix lengths count over 128 bits, as in `protocol.messages`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import msgspec

from gateway.protocol.messages import Prefix
from gateway.sources.model import Holder, SourceKind

ROWS_PER_PART = 4000
"""A row takes up to 40 bytes: a part stays well under `messages.MESSAGE_LIMIT`."""


class CredentialRow(msgspec.Struct, frozen=True, array_like=True):
    """Who may claim `address`: whoever has the password, 1 to 16 bytes."""

    address: bytes
    password: bytes

    def __repr__(self) -> str:
        return f"CredentialRow(address={self.address!r}, password=***)"


class GatewayRow(msgspec.Struct, frozen=True, array_like=True):
    """A prefix that is behind the peer with the address `gateway`."""

    prefix: bytes
    length: int
    gateway: bytes


class SourceCredentials(msgspec.Struct, frozen=True, array_like=True, tag="source-credentials"):
    """What changed in one source of an auther."""

    name: str
    source: SourceKind
    part: int
    parts: int
    fresh: bool
    rows: tuple[CredentialRow, ...] = ()
    removed: tuple[bytes, ...] = ()


class SourceRoutes(msgspec.Struct, frozen=True, array_like=True, tag="source-routes"):
    """What changed in one source of a router."""

    name: str
    source: SourceKind
    part: int
    parts: int
    fresh: bool
    rows: tuple[GatewayRow, ...] = ()
    removed: tuple[Prefix, ...] = ()


class SourceState(msgspec.Struct, frozen=True, array_like=True, tag="source-state"):
    """How one source is, after every attempt to read it.

    `loaded_at` is the CLOCK_BOOTTIME of the last success in seconds, None before the
    first; `failing_since` the same of the first failure since. `problems` are lines
    about entries that were left out, the first few of `problem_count`.
    """

    holder: Holder
    name: str
    source: SourceKind
    label: str
    entries: int
    loaded_at: float | None
    failing_since: float | None = None
    error: str = ""
    problems: tuple[str, ...] = ()
    problem_count: int = 0


class PluginState(msgspec.Struct, frozen=True, array_like=True, tag="plugin-state"):
    """How one plugin is. `error` is that of the last question, "" if it was answered."""

    holder: Holder
    name: str
    label: str
    asked: int
    accepted: int
    refused: int
    failed: int
    answered_at: float | None
    error: str = ""


SourceMessage = SourceCredentials | SourceRoutes | SourceState | PluginState

Prefixed = tuple[bytes, int]
"""A prefix as a key: (a16, length over 128 bits)."""


def boot_seconds() -> float:
    """The clock of `loaded_at`, `failing_since` and `answered_at` (I11)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def credential_parts(
    name: str,
    source: SourceKind,
    changed: Mapping[bytes, bytes],
    removed: Sequence[bytes],
    *,
    fresh: bool,
) -> Iterator[SourceCredentials]:
    """The messages that carry a change of an auther's source."""
    parts = _parts(len(changed), len(removed))
    rows, gone = iter(changed.items()), iter(removed)
    for part in range(parts):
        taken = tuple(CredentialRow(*row) for row in islice(rows, ROWS_PER_PART))
        rest = tuple(islice(gone, ROWS_PER_PART - len(taken)))
        yield SourceCredentials(name, source, part, parts, fresh, taken, rest)


def route_parts(
    name: str,
    source: SourceKind,
    changed: Mapping[Prefixed, bytes],
    removed: Sequence[Prefixed],
    *,
    fresh: bool,
) -> Iterator[SourceRoutes]:
    """The messages that carry a change of a router's source."""
    parts = _parts(len(changed), len(removed))
    rows, gone = iter(changed.items()), iter(removed)
    for part in range(parts):
        taken = tuple(GatewayRow(*key, gateway) for key, gateway in islice(rows, ROWS_PER_PART))
        rest = tuple(Prefix(*key) for key in islice(gone, ROWS_PER_PART - len(taken)))
        yield SourceRoutes(name, source, part, parts, fresh, taken, rest)


def _parts(changed: int, removed: int) -> int:
    return max(1, -(-(changed + removed) // ROWS_PER_PART))
