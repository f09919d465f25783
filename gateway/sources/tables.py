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
from typing import Literal

from gateway.protocol.messages import (
    CredentialRow,
    GatewayRow,
    PluginState,
    Prefix,
    SourceCredentials,
    SourceKind,
    SourceMessage,
    SourceRoutes,
    SourceState,
)

__all__ = [
    "ROUTES_PER_PART",
    "ROWS_PER_PART",
    "CredentialRow",
    "Direction",
    "GatewayRow",
    "PluginState",
    "Prefixed",
    "SourceCredentials",
    "SourceMessage",
    "SourceRoutes",
    "SourceState",
    "boot_seconds",
    "credential_parts",
    "route_parts",
]  # fmt: skip

ROWS_PER_PART = 4000
"""A row takes up to 40 bytes: a part stays well under `messages.MESSAGE_LIMIT`."""

ROUTES_PER_PART = 1000
"""Fewer, as the receiver has more to do with each: its tables, the FIBs', the host's routes."""


Prefixed = tuple[bytes, int]
"""A prefix as a key: (a16, length over 128 bits)."""


Direction = GatewayRow | Literal[False]
"""What a router's plugin answers: a route, or that it knows none."""


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
    parts = _parts(len(changed), len(removed), ROWS_PER_PART)
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
    parts = _parts(len(changed), len(removed), ROUTES_PER_PART)
    rows, gone = iter(changed.items()), iter(removed)
    for part in range(parts):
        taken = tuple(GatewayRow(*key, gateway) for key, gateway in islice(rows, ROUTES_PER_PART))
        rest = tuple(Prefix(*key) for key in islice(gone, ROUTES_PER_PART - len(taken)))
        yield SourceRoutes(name, source, part, parts, fresh, taken, rest)


def _parts(changed: int, removed: int, rows: int) -> int:
    return max(1, -(-(changed + removed) // rows))
