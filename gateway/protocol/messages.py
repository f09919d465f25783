"""What processes tell each other.

`msgspec` structs, one per `SOCK_SEQPACKET` message, as MessagePack arrays with a tag. All
grow by addition only: a new field goes last and has a default, a field is never renamed
or reused (msgspec, "Schema Evolution").

Addresses are 16 bytes, IPv4 as v4-mapped IPv6; a prefix length counts over all 128 bits.
"""

from typing import Literal

import msgspec

from gateway.protocol.bridge_messages import FromBridge, ToBridge
from gateway.protocol.fields import A16, Port, PrefixLength, Scope

CONTROL_VERSION = 1

MESSAGE_LIMIT = 200_000
"""Bytes of one control message: a default AF_UNIX send buffer takes 212,000."""


class PeerEntry(msgspec.Struct, frozen=True, array_like=True):
    """One row of the FIB's peer part. `incarnation` tells apart the users of a slot."""

    slot: int
    incarnation: int
    address: bytes
    port: int
    scope: int
    local: bytes


class RouteEntry(msgspec.Struct, frozen=True, array_like=True):
    """Prefix to target: a peer's slot, or one of `forwarding.LOCAL`, `VOID`."""

    prefix: bytes
    length: int
    target: int


class Prefix(msgspec.Struct, frozen=True, array_like=True):
    """A route that is withdrawn."""

    prefix: bytes
    length: int


class Update(msgspec.Struct, frozen=True, array_like=True, tag="update"):
    """A difference. Applied only by a replica that is at `generation - 1` (I7)."""

    generation: int
    peers: tuple[PeerEntry, ...] = ()
    gone: tuple[int, ...] = ()
    routes: tuple[RouteEntry, ...] = ()
    withdrawn: tuple[Prefix, ...] = ()


class Snapshot(msgspec.Struct, frozen=True, array_like=True, tag="snapshot"):
    """The whole table in `parts` messages, numbered from 0; replaces what was there."""

    generation: int
    part: int
    parts: int
    peers: tuple[PeerEntry, ...] = ()
    routes: tuple[RouteEntry, ...] = ()


class AskAuth(msgspec.Struct, frozen=True, array_like=True, tag="ask-auth"):
    """To the resolver: do the plugins of these authers let `client` have every address?

    One that says yes to an address is enough for it. `query` comes back in the verdict.
    """

    query: int
    authers: tuple[str, ...]
    service: str
    addresses: tuple[bytes, ...]
    password: bytes
    client: str

    def __repr__(self) -> str:
        return f"AskAuth(query={self.query}, authers={self.authers!r}, password=***)"


class AskRoute(msgspec.Struct, frozen=True, array_like=True, tag="ask-route"):
    """To the resolver: which network is `destination` in, and who is its gateway?"""

    query: int
    router: str
    destination: bytes


class Stop(msgspec.Struct, frozen=True, array_like=True, tag="stop"):
    """Finish the burst in hand and exit 0."""


class Refresh(msgspec.Struct, frozen=True, array_like=True, tag="refresh"):
    """To the resolver: load every source again now."""


class Resolve(msgspec.Struct, frozen=True, array_like=True, tag="resolve"):
    """To the resolver: the addresses of `host`, please. `query` comes back in the answer."""

    query: int
    host: str
    port: int


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """A child works from now on: it listens to what it is there for. Said once."""

    pid: int
    version: int = CONTROL_VERSION


class SnapshotPlease(msgspec.Struct, frozen=True, array_like=True, tag="snapshot-please"):
    """A replica at `generation` saw a gap."""

    generation: int


class PuntedDatagram(msgspec.Struct, frozen=True, array_like=True):
    """A datagram that only the supervisor may judge, and where it came from and to."""

    address: A16
    port: Port
    scope: Scope
    local: A16
    datagram: bytes


class Punts(msgspec.Struct, frozen=True, array_like=True, tag="punts"):
    """The punts of one burst, in order of arrival."""

    datagrams: tuple[PuntedDatagram, ...]


class Asked(msgspec.Struct, frozen=True, array_like=True, tag="asked"):
    """Addresses in peers' or the host's packets that lead to nobody, each once."""

    addresses: tuple[A16, ...]


class Trouble(msgspec.Struct, frozen=True, array_like=True, tag="trouble"):
    """Something a child cannot mend: `device-gone`, `refused` or `source-gone`."""

    what: Literal["device-gone", "refused", "source-gone"]
    errno: int = 0


class Resolved(msgspec.Struct, frozen=True, array_like=True, tag="resolved"):
    """The resolver's answer: (address, scope) pairs, or why there are none."""

    query: int
    addresses: tuple[tuple[A16, Scope], ...] = ()
    error: str = ""


class AuthVerdict(msgspec.Struct, frozen=True, array_like=True, tag="auth-verdict"):
    """What the plugins say. `unknown`: no yes, and at least one of them did not answer."""

    query: int
    verdict: Literal["yes", "no", "unknown"]


SourceKind = Literal["inline", "file", "redis", "http"]
Holder = Literal["auther", "router"]


class CredentialRow(msgspec.Struct, frozen=True, array_like=True):
    """Who may claim `address`: whoever has the password, 1 to 16 bytes."""

    address: A16
    password: bytes

    def __repr__(self) -> str:
        return f"CredentialRow(address={self.address!r}, password=***)"


class GatewayRow(msgspec.Struct, frozen=True, array_like=True):
    """A prefix that is behind the peer with the address `gateway`."""

    prefix: A16
    length: PrefixLength
    gateway: A16


class RouteVerdict(msgspec.Struct, frozen=True, array_like=True, tag="route-verdict"):
    """What a router's plugin says. `known` False: it did not answer."""

    query: int
    row: GatewayRow | None
    known: bool


class SourceCredentials(msgspec.Struct, frozen=True, array_like=True, tag="source-credentials"):
    """What changed in one source of an auther."""

    name: str
    source: SourceKind
    part: int
    parts: int
    fresh: bool
    rows: tuple[CredentialRow, ...] = ()
    removed: tuple[A16, ...] = ()


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

ToChild = Update | Snapshot | Stop | Resolve | AskAuth | AskRoute | Refresh | ToBridge
FromChild = (
    Ready
    | SnapshotPlease
    | Punts
    | Asked
    | Trouble
    | Resolved
    | AuthVerdict
    | RouteVerdict
    | SourceMessage
    | FromBridge
)
