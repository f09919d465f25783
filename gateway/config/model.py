"""The configuration as the rest of the program sees it: frozen, checked, complete.

Nothing here is optional because the user left it out: defaults are filled in and
None means "decide at start". Secrets are `Secret` bytes, so that neither a `repr`
nor a log line shows them.
"""

import re
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import msgspec

from gateway.protocol.forwarding import Role

if TYPE_CHECKING:
    from gateway.config.chain_model import ChainSpec, RelaySpec

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network
Offload = Literal["auto", "on", "off"]
Mss = Literal["auto", "off"]
RedisType = Literal["hash", "list", "set"]
Strategy = Literal["round", "random", "fifo", "hash", "parallel", "lowestlatency"]
Choice = tuple[Network, ...] | Literal["auto", "off"]
"""Networks: these, none, or as the program finds right."""

UNREADABLE = "an unreadable URL"
_PUBLIC = re.compile(r"([^:/?#]*://)(?:[^/?#]*@)?([^/?#]*)([^?#]*).*", re.DOTALL)
"""Of a URL: scheme, host and port, path."""

DEFAULT_MTU = 1420
"""Room for UDP over IPv6 (48 bytes) and then some on a 1500-byte path; GOST's value."""

DEFAULT_TTL = 10.0
"""Seconds between two heartbeats; GOST's value."""

PASSPHRASE_LIMIT = 16
"""Bytes of a passphrase in a heartbeat; the rest is not sent."""


FILE_SECONDS = 10.0
REDIS_SECONDS = 10.0
HTTP_SECONDS = 10.0
PLUGIN_SECONDS = 5.0

REDIS_KEY = "gost"
"""GOST's key where none is given, of authers and routers alike."""


class Secret(bytes):
    """Bytes that no `repr`, `str` or format shows. Slices and sums are plain bytes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(***)" if self else "Secret()"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


class Target(msgspec.Struct, frozen=True):
    """A server a client may use. `host` is a name or an IP address without brackets.

    A `backup` is used while no other target is healthy. `weight` counts for `random`.
    """

    host: str
    port: int
    name: str = ""
    backup: bool = False
    weight: int = 1


class Selector(msgspec.Struct, frozen=True):
    """Which of several targets is used.

    After `max_fails` failures in a row a target rests for `fail_timeout` seconds.
    """

    strategy: Strategy = "round"
    max_fails: int = 1
    fail_timeout: float = 10.0


class Commands(msgspec.Struct, frozen=True):
    """What the user runs around a service's life, each through `/bin/sh -c`, as root."""

    pre_up: tuple[str, ...] = ()
    post_up: tuple[str, ...] = ()
    pre_down: tuple[str, ...] = ()
    post_down: tuple[str, ...] = ()


class Route(msgspec.Struct, frozen=True):
    """A network to reach through the device; `gateway` None: directly on the link."""

    network: Network
    gateway: Address | None = None


class Credential(msgspec.Struct, frozen=True):
    """Who may claim an address.

    `username` is that address, in its shortest text. `password` has 1 to 16 bytes.
    One username may come several times, with different passwords: each is good.
    `networks` are those its client may advertise.
    """

    username: str
    password: bytes
    networks: tuple[Network, ...] = ()

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "password", Secret(self.password))


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

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "url", _own(self.url))

    def __repr__(self) -> str:
        return f"HttpSpec({self.label!r}, timeout={self.timeout!r})"

    @property
    def label(self) -> str:
        """How messages call it: without user, password and query, which may be secret."""
        return public_url(self.url)


class PluginSpec(msgspec.Struct, frozen=True):
    """A service that is asked one question at a time, over HTTP.

    `timeout` covers the whole question. `verify`, `server_name` and the files (PEM) are
    about TLS: `ca_file` takes the place of whom the system trusts, `cert_file` and
    `key_file` show who we are. `cache` is for how many seconds a yes is believed.
    """

    url: str
    token: bytes = b""
    timeout: float = PLUGIN_SECONDS
    verify: bool = True
    server_name: str = ""
    cache: float = 20.0
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "url", _own(self.url))
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
    """A URL without what may be secret in it: of that no part is copied, or kept in a cache."""
    found = _PUBLIC.fullmatch(url)
    if found is None:
        return UNREADABLE
    try:
        parts = urlsplit("".join(found.groups()))
    except ValueError:
        return UNREADABLE
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _own(url: str) -> str:
    """A copy that nobody else refers to, as it may have to be wiped."""
    return url.encode().decode()


class Service(msgspec.Struct, frozen=True):
    """One `-L`: a TUN device with its UDP port (server), or with its targets (client).

    `host` is "" (every address of both families) or an IP address without brackets;
    a client does not bind it. `ttl` is in seconds. `passphrase` has up to 16 bytes,
    none means no passphrase. `credentials` None: auth is off. Else each of them lets in,
    and so does each of `authers`, which have other sources; both empty: nobody may in.
    `router` adds networks behind peers to `routes`. `p2p`: the last accepted peer gets
    every packet, and what peers send is for the host alone. `interface` and `mark` (0 for
    none) belong to the outer socket. `netns` is where the device lives, `netns_out` where
    the socket does: a name under /run/netns or a path, None for where we are. `chain` is the
    way to a client's targets, whose hosts it resolves: "" is the last relay itself.
    `place` says where the user wrote this, for messages.
    """

    name: str
    role: Role
    host: str
    port: int
    targets: tuple[Target, ...]
    nets: tuple[Interface, ...]
    device: str | None = None
    mtu: int = DEFAULT_MTU
    routes: tuple[Route, ...] = ()
    keepalive: bool = False
    ttl: float = DEFAULT_TTL
    passphrase: bytes = b""
    workers: int | None = None
    offload: Offload = "auto"
    mss: Mss = "auto"
    source_check: bool = True
    nat: bool = False
    advertise: Choice = "auto"
    accept: Choice = "auto"
    credentials: tuple[Credential, ...] | None = None
    authers: tuple[AutherSpec, ...] = ()
    router: RouterSpec | None = None
    p2p: bool = False
    selector: Selector = Selector()
    dns: tuple[Address, ...] = ()
    interface: str | None = None
    mark: int = 0
    netns: str | None = None
    netns_out: str | None = None
    commands: Commands = Commands()
    chain: "ChainSpec | None" = None
    place: str = ""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "passphrase", Secret(self.passphrase))


class Config(msgspec.Struct, frozen=True):
    """Everything one instance does. `user` None: `gateway` where it exists, else nobody."""

    services: tuple[Service, ...]
    instance: str
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    user: str | None = None
    relays: "tuple[RelaySpec, ...]" = ()
    warnings: tuple[str, ...] = ()
