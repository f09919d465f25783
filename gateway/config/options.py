"""The one table of options: what URLs and YAML may say about a service.

A URL gives an option as a query key, YAML as a key of the handler's, the listener's
or the service's `metadata`. Names and aliases are compared without regard to case,
and GOST's prefix `tun.` may stand before any. The docs' table is this one.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from gateway.config import addresses, values
from gateway.config.model import DEFAULT_MTU, DEFAULT_TTL, Address, Interface, Network, Route
from gateway.config.tree import Scalar

T_co = TypeVar("T_co", covariant=True)

Section = Literal["handler", "listener", "service"]
Side = Literal["both", "server", "client"]
Standing = Literal["used", "useless", "later", "foreign"]
"""useless: known, without a meaning here; later: not supported yet; foreign: not ours."""

SECTIONS: tuple[Section, ...] = ("handler", "listener", "service")

UDP_PAYLOAD_LIMIT = 65507
"""Bytes of the largest UDP payload over IPv4: a larger MTU could never be used."""


@dataclass(frozen=True, slots=True)
class Option(Generic[T_co]):
    """One option. `kind`, `default` and `help` are for readers."""

    name: str
    section: Section
    parse: Callable[[Scalar], T_co]
    kind: str
    help: str
    default: str = "none"
    aliases: tuple[str, ...] = ()
    many: bool = False
    side: Side = "both"
    secret: bool = False
    standing: Standing = "used"


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


def _networks_or_word(value: Scalar) -> Network | str:
    word = values.text(value).strip().lower()
    if word in ("auto", "off"):
        return word
    try:
        return addresses.network(value)
    except values.BadValueError as error:
        raise values.BadValueError(f"{error}, or auto, or off") from None


def _known(name: str, section: Section, standing: Standing, help_: str) -> Option[str]:
    return Option(name, section, values.text, "", help_, standing=standing)


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
    addresses.address,
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
    "duration, up to 24h",
    "The time between two heartbeats.",
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
    values.ranged(1, 64),
    "number, 1 to 64",
    "How many udp-workers share the UDP port.",
    default="one for each CPU",
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
    USER,
    _known("bufferSize", "handler", "useless", "GOST ignores it too."),
    _known("guid", "listener", "useless", "It is for Windows."),
    _known("peer", "listener", "useless", "It is for macOS."),
    _known("p2p", "handler", "later", "One peer that gets every packet."),
    _known("router", "listener", "later", "The name of a router object."),
    _known("dns", "listener", "later", "Name servers to use through the tunnel."),
    _known("interface", "service", "later", "The interface to send datagrams from."),
    _known("so_mark", "service", "later", "The firewall mark of datagrams."),
    _known("netns", "service", "later", "The network namespace of the device."),
    _known("netns.out", "service", "later", "The network namespace of the socket."),
    _known("preUp", "service", "later", "A command to run before the start."),
    _known("postUp", "service", "later", "A command to run after the start."),
    _known("preDown", "service", "later", "A command to run before the stop."),
    _known("postDown", "service", "later", "A command to run after the stop."),
    _known("strategy", "service", "later", "How to choose among several targets."),
    _known("maxFails", "service", "later", "Failures after which a target is avoided."),
    _known("failTimeout", "service", "later", "How long a target is avoided."),
    _known("enableStats", "service", "useless", "Statistics are always kept."),
    _known("labels", "service", "useless", "Nothing reads them."),
    _known("skipauth", "handler", "useless", "It never matches in GOST's TUN either."),
    _known("retries", "service", "foreign", "It is for chains."),
    _known("dialTimeout", "service", "foreign", "It is for chains."),
    _known("ignoreChain", "service", "foreign", "It is for chains."),
    _known("admission", "service", "foreign", ""),
    _known("bypass", "service", "foreign", ""),
    _known("resolver", "service", "foreign", ""),
    _known("hosts", "service", "foreign", ""),
    _known("limiter.in", "service", "foreign", ""),
    _known("limiter.out", "service", "foreign", ""),
    _known("limiter.conn.in", "service", "foreign", ""),
    _known("limiter.conn.out", "service", "foreign", ""),
    _known("climiter", "service", "foreign", ""),
    _known("rlimiter", "service", "foreign", ""),
    _known("proxyProtocol", "service", "foreign", ""),
)

_BY_NAME = {name.lower(): option for option in OPTIONS for name in (option.name, *option.aliases)}


def find_option(key: str) -> Option[object] | None:
    """The option a key names, if any."""
    return _BY_NAME.get(key.lower().removeprefix("tun."))


def nearest_option(key: str) -> str:
    """The name of an option like an unknown key; "" if none is like it."""
    names = [name for option in used_options() for name in (option.name, *option.aliases)]
    return nearest(key.lower().removeprefix("tun."), names)


def used_options() -> list[Option[object]]:
    """The options that do something."""
    return [option for option in OPTIONS if option.standing == "used"]


def nearest(word: str, names: list[str]) -> str:
    """The name most like a word, without regard to case; "" if none is like it."""
    spelled = {name.lower(): name for name in names}
    found = difflib.get_close_matches(word.lower(), spelled, n=1)
    return spelled[found[0]] if found else ""
