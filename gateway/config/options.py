"""The one table of options: what URLs and YAML may say about a service.

A URL gives an option as a query key, YAML as a key of the handler's, the listener's
or the service's `metadata`. Names and aliases are compared without regard to case, and
GOST's prefix `tun.` may stand before any. The docs' table is this one.
"""

from gateway.config import addresses, values
from gateway.config.host_options import HOST_OPTIONS
from gateway.config.model import DEFAULT_MTU, DEFAULT_TTL, Address, Interface, Network, Route
from gateway.config.option import Option, Section, nearest
from gateway.config.strangers import STRANGERS
from gateway.config.tree import Scalar

SECTIONS: tuple[Section, ...] = ("handler", "listener", "service")
"""The parts of a service that have `metadata`."""

UDP_PAYLOAD_LIMIT = 65507
"""Bytes of the largest UDP payload over IPv4: a larger MTU could never be used."""


def _passphrase(value: Scalar) -> bytes:
    secret = values.text(value).encode()
    if b"\0" in secret:
        raise values.BadValueError("must not contain NUL characters")
    return secret


def _user(value: Scalar) -> str:
    name = values.printable(value)
    if len(name) > 32 or not all(c.isalnum() or c in "._-$" for c in name):
        raise values.BadValueError(f"{values.shown(value)} is not a user's name")
    return name


def _workers(value: Scalar) -> int:
    """A number; 0 stands for the word auto."""
    if values.text(value).lower() == "auto":
        return 0
    return values.ranged(1, 64, ", or auto")(value)


def _networks_or_word(value: Scalar) -> Network | str:
    word = values.text(value).strip().lower()
    if word in ("auto", "off"):
        return word
    try:
        return addresses.network(value)
    except values.BadValueError as error:
        raise values.BadValueError(f"{error}, or auto, or off") from None


NET: Option[Interface] = Option(
    "net",
    "listener",
    addresses.interface,
    "list of ADDRESS/LENGTH",
    "This host's addresses in the tunnel network, each with the length of that network.",
    default="required",
    many=True,
)
NAME: Option[str] = Option(
    "name",
    "listener",
    addresses.device,
    "device name",
    "The TUN device to create, or an existing persistent one to use.",
    default="the kernel's choice, `tun0`...",
)
MTU: Option[int] = Option(
    "mtu",
    "listener",
    values.ranged(576, UDP_PAYLOAD_LIMIT),
    f"number, 576 to {UDP_PAYLOAD_LIMIT}",
    "The largest packet the device takes. Every datagram is 28 bytes longer over IPv4, "
    "48 over IPv6. With an IPv6 `net` it is at least 1280.",
    default=str(DEFAULT_MTU),
)
ROUTE: Option[Route] = Option(
    "route",
    "listener",
    lambda value: Route(addresses.network(value)),
    "list of networks",
    "Networks this host reaches through the tunnel; all of them by way of `gw`, if it is given.",
    many=True,
)
ROUTES: Option[Route] = Option(
    "routes",
    "listener",
    addresses.route,
    "list of `NETWORK` or `NETWORK GATEWAY`",
    "As `route`, with a gateway for each.",
    many=True,
)
GW: Option[Address] = Option(
    "gw",
    "listener",
    addresses.gateway,
    "IP address",
    "The gateway of each `route`, and of each entry of `routes` without one, that is of the same "
    "IP version.",
)
KEEPALIVE: Option[bool] = Option(
    "keepAlive",
    "handler",
    values.boolean,
    "boolean",
    "Send a heartbeat every `ttl`, and look for the server again when three went unanswered. "
    "Recommended.",
    default="false",
    side="client",
)
TTL: Option[float] = Option(
    "ttl",
    "handler",
    values.duration,
    "duration, 100ms to 24h",
    "The time between two heartbeats. 0 and below stand for the default, as in GOST; below 1s "
    "there is a warning.",
    default=f"{DEFAULT_TTL:.0f}s",
    side="client",
)
PASSPHRASE: Option[bytes] = Option(
    "passphrase",
    "handler",
    _passphrase,
    "text, 16 bytes count",
    "Proves to a server with auth that this client may use its addresses.",
    aliases=("token",),
    side="client",
    secret=True,
)
WORKERS: Option[int] = Option(
    "workers",
    "listener",
    _workers,
    "number, 1 to 64, or auto",
    "How many udp-workers share the UDP port. auto: one for each CPU.",
    default="auto",
    side="server",
)
OFFLOAD: Option[str] = Option(
    "offload",
    "listener",
    values.choice("auto", "on", "off"),
    "auto, on or off",
    "Super-packets on the device and the socket: as far as the kernel can, required, or not used.",
    default="auto",
)
MSS: Option[str] = Option(
    "mss",
    "listener",
    values.choice("auto", "off"),
    "auto or off",
    "Clamp the MSS that TCP connections through the tunnel announce to what fits its `mtu`, so "
    "that hosts on a LAN need not learn it from ICMP.",
    default="auto",
)
SOURCE_CHECK: Option[bool] = Option(
    "sourceCheck",
    "handler",
    values.switch,
    "on or off",
    "Take a packet only from the endpoint that registered its source address. Off is what GOST "
    "does: anyone can send in anyone's name.",
    default="on",
    side="server",
)
NAT: Option[bool] = Option(
    "nat",
    "listener",
    values.boolean,
    "boolean",
    "Let the tunnel into this host's LANs: switch forwarding on, and hide the tunnel's addresses "
    "from the LAN (masquerade) by an nftables table of its own. All is put back at the end.",
    default="false",
    side="client",
)
ADVERTISE: Option[Network | str] = Option(
    "advertise",
    "handler",
    _networks_or_word,
    "auto, off, or list of networks",
    "The networks behind this client that the server is told, up to 16. auto: private networks of "
    "this host's devices, as far as it forwards and masquerades into them.",
    default="auto",
    many=True,
    side="client",
)
ACCEPT: Option[Network | str] = Option(
    "accept",
    "handler",
    _networks_or_word,
    "auto, off, or list of networks",
    "Which advertised networks are taken up: those inside the listed ones. auto: private networks "
    "without auth, and none with it; those under `networks` of a peer's credential always.",
    default="auto",
    many=True,
    side="server",
)
ROUTER: Option[str] = Option(
    "router",
    "listener",
    values.printable,
    "name of a router",
    "An entry of `routers`: networks behind peers, which may change while the program runs.",
)
P2P: Option[bool] = Option(
    "p2p",
    "handler",
    values.boolean,
    "boolean",
    "One peer only: the last one that was let in gets every packet, and routes count for nothing.",
    default="false",
    side="server",
)
USER: Option[str] = Option(
    "user",
    "service",
    _user,
    "user name or number",
    "Who the program becomes once everything is open. One for all services.",
    default="`gateway` where it exists, else `nobody`",
)

OPTIONS: tuple[Option[object], ...] = (
    NET,
    NAME,
    MTU,
    ROUTE,
    ROUTES,
    GW,
    KEEPALIVE,
    TTL,
    PASSPHRASE,
    WORKERS,
    OFFLOAD,
    MSS,
    SOURCE_CHECK,
    NAT,
    ADVERTISE,
    ACCEPT,
    ROUTER,
    P2P,
    USER,
    *HOST_OPTIONS,
    *STRANGERS,
)

_BY_NAME = {name.lower(): option for option in OPTIONS for name in (option.name, *option.aliases)}


def find_option(key: str) -> Option[object] | None:
    """The option a key names, if any."""
    return _BY_NAME.get(key.lower().removeprefix("tun."))


_WORDS = {
    "password": "passphrase",
    "pass": "passphrase",
    "gateway": "gw",
    "device": "name",
    "dev": "name",
    "interval": "ttl",
    "address": "net",
    "ip": "net",
    "masquerade": "nat",
}
"""Words for an option elsewhere."""


def nearest_option(key: str) -> str:
    """The name of an option like an unknown key; "" if none is like it."""
    if key.lower() in _WORDS:
        return _WORDS[key.lower()]
    names = [name for option in used_options() for name in (option.name, *option.aliases)]
    return nearest(key.lower().removeprefix("tun."), names)


def used_options() -> list[Option[object]]:
    """The options that do something."""
    return [option for option in OPTIONS if option.standing == "used"]
