"""The configuration as the rest of the program sees it: frozen, checked, complete.

Nothing here is optional because the user left it out: defaults are filled in and
None means "decide at start". Secrets are `Secret` bytes, so that neither a `repr`
nor a log line shows them.
"""

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Literal

import msgspec

from gateway.protocol.forwarding import Role

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network
Offload = Literal["auto", "on", "off"]
Mss = Literal["auto", "off"]

DEFAULT_MTU = 1420
"""Room for UDP over IPv6 (48 bytes) and then some on a 1500-byte path; GOST's value."""

DEFAULT_TTL = 10.0
"""Seconds between two heartbeats; GOST's value."""

PASSPHRASE_LIMIT = 16
"""Bytes of a passphrase in a heartbeat; the rest is not sent."""


class Secret(bytes):
    """Bytes that no `repr`, `str` or format shows. Slices and sums are plain bytes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(***)" if self else "Secret()"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


class Target(msgspec.Struct, frozen=True):
    """A server a client may use. `host` is a name or an IP address without brackets."""

    host: str
    port: int


class Route(msgspec.Struct, frozen=True):
    """A network to reach through the device; `gateway` None: directly on the link."""

    network: Network
    gateway: Address | None = None


class Credential(msgspec.Struct, frozen=True):
    """Who may claim an address.

    `username` is that address, in its shortest text. `password` has 1 to 16 bytes.
    One username may come several times, with different passwords: each is good.
    """

    username: str
    password: bytes

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "password", Secret(self.password))


class Service(msgspec.Struct, frozen=True):
    """One `-L`: a TUN device with its UDP port (server), or with its targets (client).

    `host` is "" (every address of both families) or an IP address without brackets;
    a client does not bind it. `ttl` is in seconds. `passphrase` has up to 16 bytes,
    none means no passphrase. `credentials` None: auth is off; empty: nobody may in.
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
    credentials: tuple[Credential, ...] | None = None
    place: str = ""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "passphrase", Secret(self.passphrase))


class Config(msgspec.Struct, frozen=True):
    """Everything one instance does. `user` None: `gateway` where it exists, else nobody."""

    services: tuple[Service, ...]
    instance: str
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    user: str | None = None
    warnings: tuple[str, ...] = ()
