"""Where a relay listener may lead a stream: to the gateway's own services, and to a list.

A relay that went wherever it is asked would be an open proxy into its network. So an
address is either one of this very gateway's TUN services, whose port the client knows
and whose host it may leave out, or it is on the list that the configuration gives.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from gateway.protocol.relay import Address, Command, Request, Status

_ELSEWHERE = frozenset({Command.BIND, Command.ASSOCIATE})
"""Commands of the protocol that would reach or be reached by anybody."""


@dataclass(frozen=True, slots=True)
class Own:
    """A TUN service: the host it listens on ("" for all), its port, and where to reach it."""

    host: str
    port: int
    near: str


@dataclass(frozen=True, slots=True)
class Way:
    """A stream's end: where to connect to. `own`: it is a TUN service of this gateway."""

    address: Address
    udp: bool
    own: bool


def near_address(host: str) -> str:
    """From where it listens to where a process of the same host reaches it."""
    if not host or ip_address(host.partition("%")[0]).is_unspecified:
        return "127.0.0.1"
    return host


def find_way(
    request: Request,
    own: Iterable[Own],
    allowed: Iterable[Address],
    is_local: Callable[[str], bool],
) -> Way | Status:
    """Where the request leads, or the status that refuses it.

    `is_local` tells whether an IP address is one of this host's. A listed address is led to
    as the list spells it: nothing that a client wrote gets to a resolver.
    """
    if request.command != Command.CONNECT:
        return Status.FORBIDDEN if request.command in _ELSEWHERE else Status.BAD_REQUEST
    address = request.address
    if address is None:
        return Status.BAD_REQUEST
    if request.udp:
        for service in own:
            if service.port == address.port and _is_here(address.host, service, is_local):
                return Way(Address(service.near, service.port), udp=True, own=True)
    for entry in allowed:
        if _same(address, entry):
            return Way(entry, request.udp, own=False)
    return Status.FORBIDDEN


def _is_here(host: str, service: Own, is_local: Callable[[str], bool]) -> bool:
    if not host or host.lower() == "localhost":
        return True
    literal = _literal(host)
    if literal is None:
        return False
    return (
        literal.is_unspecified
        or literal.is_loopback
        or literal == _literal(service.host)
        or is_local(str(literal))
    )


def _same(first: Address, second: Address) -> bool:
    if first.port != second.port:
        return False
    literal = _literal(first.host)
    if literal is not None:
        return literal == _literal(second.host)
    return first.host.rstrip(".").lower() == second.host.rstrip(".").lower()


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
