"""What the supervisor and its bridges tell each other; part of `messages`' vocabulary.

A bridge of a relay listener asks whether a user may in and for sockets with large buffers,
and tells who is behind which local port. A bridge of a chain asks before it connects, so
that the way to the server is kept outside the tunnel, and tells how its legs are.
"""

from typing import Literal

import msgspec

from gateway.protocol.fields import A16, Port, Scope


class AskRelay(msgspec.Struct, frozen=True, array_like=True, tag="ask-relay"):
    """May this user in? `query` comes back in the verdict; `client` is his address in text."""

    query: int
    username: bytes
    password: bytes
    client: str

    def __repr__(self) -> str:
        return f"AskRelay(query={self.query}, username={self.username!r}, password=***)"


class RelayVerdict(msgspec.Struct, frozen=True, array_like=True, tag="relay-verdict"):
    """The answer. `unknown`: who could say does not answer."""

    query: int
    verdict: Literal["yes", "no", "unknown"]


class SocketsPlease(msgspec.Struct, frozen=True, array_like=True, tag="sockets-please"):
    """Some more UDP sockets with large buffers, please: a bridge may not make them."""

    count: int


class Sockets(msgspec.Struct, frozen=True, array_like=True, tag="sockets"):
    """As many descriptors come with this message."""

    count: int


class StreamOpened(msgspec.Struct, frozen=True, array_like=True, tag="stream-opened"):
    """A stream leads to the service at `service` (a port) from a local address and port.

    `at` is CLOCK_BOOTTIME: whoever registered from there before is somebody else.
    """

    local: A16
    port: Port
    service: Port
    carrier: str
    remote: str
    at: float
    user: str = ""


class StreamEnded(msgspec.Struct, frozen=True, array_like=True, tag="stream-ended"):
    """Its local port is free again: whoever registered from there is gone."""

    local: A16
    port: Port
    service: Port
    reason: str = ""


class StreamFigures(msgspec.Struct, frozen=True, array_like=True):
    """How one stream is: round trip in seconds, or None; bytes waiting; datagrams dropped."""

    local: A16
    port: Port
    rtt: float | None
    backlog: int
    dropped: int


class BridgeFigures(msgspec.Struct, frozen=True, array_like=True, tag="bridge-figures"):
    """What a bridge has counted since its start, and some of its streams."""

    counts: dict[str, int]
    streams: tuple[StreamFigures, ...] = ()


class Dialling(msgspec.Struct, frozen=True, array_like=True, tag="dialling"):
    """A chain is about to connect to `address` (a16): it waits for `Dial`.

    `node` is which one of its first hop that is.
    """

    query: int
    leg: int
    address: A16
    port: Port
    scope: Scope = 0
    node: int = 0


class Dial(msgspec.Struct, frozen=True, array_like=True, tag="dial"):
    """The way there is prepared. With a node that has a mark comes a socket that has it."""

    query: int
    node: int = 0


LegState = Literal["idle", "dialling", "open", "up", "waiting"]


class LegFigures(msgspec.Struct, frozen=True, array_like=True, tag="leg-figures"):
    """How one leg of a chain is: a target, and the stream that leads to it.

    `hops` are the nodes in use, from the first on. `open`: the stream is there, the server
    has not answered yet. `waiting`: for the next try, after `error`. `verified`: there is TLS
    on the way, and every end of it has proved who it is. `fails` are tries since the last success.
    """

    leg: int
    state: LegState
    hops: tuple[str, ...] = ()
    remote: str = ""
    rtt: float | None = None
    connects: int = 0
    fails: int = 0
    backlog: int = 0
    dropped: int = 0
    verified: bool = False
    error: str = ""


ToBridge = RelayVerdict | Sockets | Dial
FromBridge = (
    AskRelay | SocketsPlease | StreamOpened | StreamEnded | BridgeFigures | Dialling | LegFigures
)
