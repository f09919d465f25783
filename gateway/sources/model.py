"""Which sources there are, who is believed, and the limits of one.

What a configuration says about a source is in `config.specs`. A `reload` above 0 counts
as at least `RELOAD_MINIMUM`, as in GOST.
"""

from gateway.config.model import (
    AutherSpec,
    FileSpec,
    HttpSpec,
    PluginSpec,
    RedisSpec,
    RedisType,
    RouterSpec,
    public_url,
)
from gateway.protocol.messages import Holder, SourceKind

__all__ = [
    "AUTHER_ORDER", "BYTE_LIMIT", "ENTRY_LIMIT", "RELOAD_MINIMUM", "ROUTER_ORDER", "AutherSpec",
    "FileSpec", "Holder", "HttpSpec", "PluginSpec", "RedisSpec", "RedisType", "RouterSpec",
    "SourceKind", "public_url",
]  # fmt: skip

AUTHER_ORDER: tuple[SourceKind, ...] = ("http", "redis", "file", "inline")
"""Who is believed about an address: the first of these that names it. GOST's order."""

ROUTER_ORDER: tuple[SourceKind, ...] = ("inline", "file", "redis", "http")
"""Who is believed about a prefix: the first of these that has it. GOST's order."""

RELOAD_MINIMUM = 1.0

BYTE_LIMIT = 64 * 1024 * 1024
"""Bytes of one source."""

ENTRY_LIMIT = 1_000_000
"""Entries of one source."""
