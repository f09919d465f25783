"""Chains and relay listeners as the rest of the program sees them: frozen and checked.

`options` are keyword options of a carrier by the names of `carrier_options`, only those
that were given: the carrier knows its own defaults. Secrets among them are `Secret`.
"""

from typing import Literal

import msgspec

from gateway.config.model import AutherSpec, Secret, Selector, Target
from gateway.config.tree import Plain

Carrier = Literal["tcp", "tls", "mtls", "ws", "wss", "mws", "mwss", "grpc", "quic", "kcp"]
Value = str | int | float | bool | bytes | tuple[str, ...] | dict[str, str]
Options = dict[str, Value]

READ_TIMEOUT = 15.0
"""Seconds a client has for its relay request; GOST's value."""
CLIENTS = 8192
"""Streams that each bridge of a listener leads at a time."""


class ClientTlsSpec(msgspec.Struct, frozen=True):
    """What a dialler shows and checks. `server_name` is never empty.

    `secure`: chain and name are verified; `ca_file` alone: the chain; `pin`: this very
    certificate. None of them: nothing is.
    """

    server_name: str
    secure: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    pin: str | None = None
    alpn: tuple[str, ...] = ()
    min_version: str | None = None
    max_version: str | None = None
    cipher_suites: tuple[str, ...] = ()

    @property
    def verifies(self) -> bool:
        """Whether a server has to prove who it is."""
        return bool(self.secure or self.ca_file or self.pin)


class ServerTlsSpec(msgspec.Struct, frozen=True):
    """What a listener shows. No `cert_file`: a certificate of its own, generated and kept."""

    cert_file: str | None = None
    key_file: str | None = None
    ca_file: str | None = None
    alpn: tuple[str, ...] = ()
    min_version: str | None = None
    max_version: str | None = None
    cipher_suites: tuple[str, ...] = ()
    reject_unknown_sni: bool = False
    server_names: tuple[str, ...] = ()


class RelayUser(msgspec.Struct, frozen=True):
    """A name and its password, each up to 255 bytes."""

    username: bytes
    password: bytes

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "password", Secret(self.password))


class NodeSpec(msgspec.Struct, frozen=True):
    """A relay server: how to reach it, and who we are there. `tls` None: not over TLS.

    `interface` and `mark` (0 for none) belong to the outer socket of a first hop.
    """

    name: str
    carrier: Carrier
    host: str
    port: int
    user: RelayUser | None = None
    tls: ClientTlsSpec | None = None
    options: Options = {}
    backup: bool = False
    weight: int = 1
    interface: str | None = None
    mark: int = 0
    place: str = ""
    said: dict[str, Plain] = {}
    """The dialler's metadata in the user's words."""

    def __repr__(self) -> str:
        return f"NodeSpec({self.label!r})"  # options may hold keys

    @property
    def label(self) -> str:
        """How the status and the log call it: `wss 203.0.113.7:443`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.carrier} {host}:{self.port}"


class HopSpec(msgspec.Struct, frozen=True):
    """Nodes, one of which is used."""

    name: str
    nodes: tuple[NodeSpec, ...]
    selector: Selector = Selector()


class ChainSpec(msgspec.Struct, frozen=True):
    """The way to a client's targets: each hop is reached through the one before it."""

    name: str
    hops: tuple[HopSpec, ...]
    place: str = ""


class RelaySpec(msgspec.Struct, frozen=True):
    """A relay listener. `users` and `authers` both empty: nobody may in; None: everybody.

    With `targets` every stream leads to one of them, whatever its client asks for. Else it
    leads to this instance's own TUN services, and to what `allow` lists.
    """

    name: str
    carrier: Carrier
    host: str
    port: int
    tls: ServerTlsSpec | None = None
    options: Options = {}
    users: tuple[RelayUser, ...] | None = None
    authers: tuple[AutherSpec, ...] = ()
    targets: tuple[Target, ...] = ()
    selector: Selector = Selector()
    allow: tuple[Target, ...] = ()
    bridges: int | None = None
    read_timeout: float = READ_TIMEOUT
    clients: int = CLIENTS
    place: str = ""
    said: dict[str, Plain] = {}
    """The listener's metadata in the user's words."""

    def __repr__(self) -> str:
        return f"RelaySpec({self.name!r}, {self.carrier!r}, port={self.port})"

    @property
    def auth(self) -> bool:
        """Whether a client has to say who it is."""
        return self.users is not None
