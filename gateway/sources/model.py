"""What sources there are: frozen descriptions, which the configuration makes.

An auther or router has up to one source of each kind. `reload` is in seconds: 0 loads
once, and what is above 0 counts as at least `RELOAD_MINIMUM`, as in GOST.
"""

from typing import Literal
from urllib.parse import urlsplit

import msgspec

from gateway.config.model import Credential, Route, Secret

SourceKind = Literal["inline", "file", "redis", "http"]
Holder = Literal["auther", "router"]
RedisType = Literal["hash", "list", "set"]

AUTHER_ORDER: tuple[SourceKind, ...] = ("http", "redis", "file", "inline")
"""Who is believed about an address: the first of these that names it. GOST's order."""

ROUTER_ORDER: tuple[SourceKind, ...] = ("inline", "file", "redis", "http")
"""Who is believed about a prefix: the first of these that has it. GOST's order."""

RELOAD_MINIMUM = 1.0

BYTE_LIMIT = 64 * 1024 * 1024
"""Bytes of one source."""

ENTRY_LIMIT = 1_000_000
"""Entries of one source."""

FILE_SECONDS = 10.0
REDIS_SECONDS = 10.0
HTTP_SECONDS = 10.0
PLUGIN_SECONDS = 5.0

REDIS_KEY = "gost"
"""GOST's key where none is given, of authers and routers alike."""


class FileSpec(msgspec.Struct, frozen=True):
    """A text file, opened by its path at every load."""

    path: str
    timeout: float = FILE_SECONDS

    @property
    def label(self) -> str:
        """How messages call it."""
        return self.path


class RedisSpec(msgspec.Struct, frozen=True):
    """One key of a Redis server. `host` is a name or an IP address without brackets.

    An auther reads a hash, whatever `type` says.
    """

    host: str
    port: int = 6379
    db: int = 0
    username: str = ""
    password: bytes = b""
    key: str = REDIS_KEY
    type: RedisType = "hash"
    timeout: float = REDIS_SECONDS

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "password", Secret(self.password))

    @property
    def label(self) -> str:
        """How messages call it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis {host}:{self.port}/{self.db} {self.key}"


class HttpSpec(msgspec.Struct, frozen=True):
    """A text at a URL; the answer must have status 200."""

    url: str
    timeout: float = HTTP_SECONDS

    def __repr__(self) -> str:
        return f"HttpSpec({self.label!r}, timeout={self.timeout!r})"

    @property
    def label(self) -> str:
        """How messages call it: without user, password and query, which may be secret."""
        return public_url(self.url)


class PluginSpec(msgspec.Struct, frozen=True):
    """A service that is asked one question at a time, over HTTP.

    `timeout` covers the whole question. `verify` and `server_name` are about TLS.
    `cache` is for how many seconds a yes is believed.
    """

    url: str
    token: bytes = b""
    timeout: float = PLUGIN_SECONDS
    verify: bool = True
    server_name: str = ""
    cache: float = 20.0

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "token", Secret(self.token))

    def __repr__(self) -> str:
        return f"PluginSpec({self.label!r}, timeout={self.timeout!r})"

    @property
    def label(self) -> str:
        """How messages call it."""
        return public_url(self.url)


class AutherSpec(msgspec.Struct, frozen=True):
    """One of `authers`. With a plugin GOST asks nobody else, and so do we."""

    name: str
    inline: tuple[Credential, ...] = ()
    file: FileSpec | None = None
    redis: RedisSpec | None = None
    http: HttpSpec | None = None
    plugin: PluginSpec | None = None
    reload: float = 0.0


class RouterSpec(msgspec.Struct, frozen=True):
    """One of `routers`. Inline routes without a gateway are no entries."""

    name: str
    inline: tuple[Route, ...] = ()
    file: FileSpec | None = None
    redis: RedisSpec | None = None
    http: HttpSpec | None = None
    plugin: PluginSpec | None = None
    reload: float = 0.0


def public_url(url: str) -> str:
    """A URL without what may be secret in it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an unreadable URL"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
