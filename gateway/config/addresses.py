"""Addresses as the user writes them: of a host, a network, a route, an endpoint, a device.

Parsers as in `values`: one scalar in, a value out, or `BadValueError`. What no host
may have, and what the data path would drop as unroutable, is refused here.
"""

import ipaddress
import re

from gateway.config.model import Address, Interface, Network, Route
from gateway.config.tree import Scalar
from gateway.config.values import BadValueError, printable, shown, text

PORT_LIMIT = 65535

_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
_DIGITS = re.compile(r"[0-9]{1,3}", re.ASCII)
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII)
_IPV6 = re.compile(r"[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._-]*)?(:[0-9]*)?", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_PORT_RANGE = re.compile(r"[0-9]+-[0-9]+", re.ASCII)
_NO_HOST = "holds neither an IP address nor a host name: write for example 203.0.113.1:8421"
_SURPLUS = (
    (re.compile(r"[^/]+/[0-9]+", re.ASCII), "the length"),
    (re.compile(r"[0-9.]+:[0-9]+|\[.+\]:[0-9]+", re.ASCII), "the port"),
    (re.compile(r"\[.+\]", re.ASCII), "the brackets"),
)
_ZONE = re.compile(r"[A-Za-z0-9._-]{1,15}", re.ASCII)


def address(value: Scalar, advice: str = "") -> Address:
    """An IP address without a zone; IPv4 inside IPv6 counts as IPv4."""
    try:
        found = ipaddress.ip_address(text(value))
    except ValueError:
        for pattern, what in _SURPLUS:
            if pattern.fullmatch(text(value)):
                advice = f" alone: leave out {what}"
        raise BadValueError(f"{shown(value)} is not an IP address{advice}") from None
    return _plain_address(found, value)


def name_server(value: Scalar) -> Address:
    """As `address`, of somebody who can be asked."""
    found = address(value, ": write the address of a name server")
    if found.is_unspecified or found.is_multicast or found == _BROADCAST:
        raise BadValueError(f"{shown(value)} is no name server's address: write its own")
    return found


def gateway(value: Scalar) -> Address:
    """As `address`, of a peer."""
    return address(value, ": write the address of a peer")


def optional_gateway(value: Scalar) -> Address | None:
    """As `gateway`, where None has a meaning too."""
    return gateway(value)


def _plain_address(found: Address, value: Scalar) -> Address:
    if isinstance(found, ipaddress.IPv4Address):
        return found
    if found.scope_id is not None:
        raise BadValueError(f"{shown(value)} has a zone: write the address without it")
    return found.ipv4_mapped or found


def interface(value: Scalar) -> Interface:
    """ADDRESS/LENGTH, the address being a host's."""
    example = "192.168.123.1/24"
    _check_cidr(value, example)
    try:
        found = ipaddress.ip_interface(text(value))
    except ValueError:
        raise BadValueError(_no_network(value, example)) from None
    if problem := _problem(found):
        raise BadValueError(f"{shown(value)} {problem}")
    return found


def network(value: Scalar) -> Network:
    """ADDRESS/LENGTH; bits behind the length are cleared, as GOST does."""
    example = "192.168.100.0/24"
    _check_cidr(value, example)
    try:
        found = ipaddress.ip_network(text(value), strict=False)
    except ValueError:
        raise BadValueError(_no_network(value, example)) from None
    if isinstance(found, ipaddress.IPv6Network) and found.network_address.ipv4_mapped is not None:
        raise BadValueError(f"{shown(value)} holds an IPv4 network: write it as such")
    return found


def _check_cidr(value: Scalar, example: str) -> None:
    """Go's CIDR form only: a length in digits, not a netmask, no zone."""
    found, slash, length = text(value).partition("/")
    if not slash and found:
        advice = f"write ADDRESS/LENGTH, for example {example}"
        raise BadValueError(f"{shown(value)} has no length: {advice}")
    if not _DIGITS.fullmatch(length) or "%" in found:
        raise BadValueError(_no_network(value, example))


def _no_network(value: Scalar, example: str) -> str:
    return f"{shown(value)} is not a network address: write ADDRESS/LENGTH, for example {example}"


def _problem(found: Interface) -> str:
    """Why a host can't have this address in a tunnel; "" if it can."""
    host, net = found.ip, found.network
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
        return "holds an IPv4 address: write it as such"
    if net.prefixlen == 0:
        return "would put every address into the tunnel: write a longer length"
    if host.is_multicast or host.is_loopback or host.is_unspecified or host.is_link_local:
        return "cannot be used in a tunnel: packets from such an address are not forwarded"
    if host.version == 4 and (host.is_reserved or host.packed[0] == 0):
        return "cannot be used in a tunnel: packets from such an address are not forwarded"
    if net.prefixlen >= net.max_prefixlen - 1:
        return ""
    if host == net.network_address:
        example = f"{host + 1}/{net.prefixlen}"
        return f"is the network itself: write this host's address in it, for example {example}"
    if host.version == 4 and host == net.broadcast_address:
        return "is the broadcast address: write this host's address in the network"
    return ""


def route(value: Scalar) -> Route:
    """`NETWORK` or `NETWORK GATEWAY`."""
    words = text(value).split()
    if not 1 <= len(words) <= 2:
        raise BadValueError(f"{shown(value)} is not a route: write NETWORK or NETWORK GATEWAY")
    destination = network(words[0])
    if len(words) == 1:
        return Route(destination)
    peer = gateway(words[1])
    if peer.version != destination.version:
        raise BadValueError(f"{shown(value)} has a gateway of the other IP version")
    return Route(destination, peer)


def device(value: Scalar) -> str:
    """A name Linux gives an interface (net/core/dev.c, dev_valid_name)."""
    name = printable(value)
    bad = any(c in "/:%" or c.isspace() for c in name) or name in (".", "..")
    if bad or len(name.encode()) > 15:
        raise BadValueError(
            f"{shown(value)} is not a device name: write up to 15 letters, digits, '-', '_' or '.'"
        )
    return name


def endpoint(value: str) -> tuple[str, int | None]:
    """HOST:PORT into its parts: an IPv6 host in brackets, the port None if there is none.

    The host is "", a name, or the shortest text of an IP address (a zone is kept).
    """
    if "@" in value:  # it is not shown, as it may hold a password
        raise BadValueError("a user and password cannot stand here: write only HOST:PORT")
    if "/" in value.partition("%")[0]:
        raise BadValueError(f"{shown(value)} has a '/' in it: write only HOST:PORT")
    if value.startswith("["):
        host, bracket, rest = value[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise BadValueError(f"{shown(value)} is not HOST:PORT: write as [2001:db8::1]:8421")
        if ":" not in host:
            why = "has no IPv6 address in its brackets: write as [2001:db8::1]:8421"
            raise BadValueError(f"{shown(value)} {why}")
        return _host(host, value), _port(rest[1:], value)
    host, _, port = value.partition(":")
    if ":" in port:
        advice = "write HOST:PORT, and a comma between several"
        if _IPV6.fullmatch(value):
            advice = "an IPv6 address stands in brackets"
        raise BadValueError(f"{shown(value)} is not HOST:PORT: {advice}")
    if is_port(value):
        raise BadValueError(f"{shown(value)} has no host: write HOST:{value}")
    return _host(host, value), _port(port, value)


def _port(port: str, value: str) -> int | None:
    if not port:
        return None
    if _PORT_RANGE.fullmatch(port):
        raise BadValueError(f"{shown(value)} is a range of ports, which only a URL may have")
    if not _PORT.fullmatch(port) or int(port) > PORT_LIMIT:
        raise BadValueError(f"{shown(value)} has no good port: write a number from 1 to 65535")
    return int(port)


def _host(host: str, value: str) -> str:
    if not host:
        return ""
    bare, percent, zone = host.partition("%")
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        return _host_name(host, value)
    if percent and (found.version == 4 or not _ZONE.fullmatch(zone)):
        raise BadValueError(f"{shown(value)} has a zone that is no device name")
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found) + percent + zone


def _host_name(host: str, value: str) -> str:
    labels = host.removesuffix(".").split(".")
    if labels[-1].isdigit() or ":" in host:
        raise BadValueError(f"{shown(value)} {_NO_HOST}")
    if len(host) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise BadValueError(f"{shown(value)} {_NO_HOST}")
    return host


def is_port(value: str) -> bool:
    """Whether this is the number of a port and nothing else."""
    return bool(_PORT.fullmatch(value)) and 0 < int(value) <= PORT_LIMIT


def server(value: str) -> tuple[str, int | None]:
    """As `endpoint`, of somebody to be reached: what no host can have is refused."""
    host, port = endpoint(value)
    if is_unspecified(host):
        advice = "write the server's own"
        raise BadValueError(f"{shown(value)} has an unspecified address: {advice}")
    _check_host(host, value, "write the server's own")
    return host, port


def listener(value: str) -> tuple[str, int | None]:
    """As `endpoint`, to listen on: "" or an IP address that a host can have."""
    if _PORT.fullmatch(value):
        raise BadValueError(f"{shown(value)} has no colon before the port: write :{value}")
    host, port = endpoint(value)
    advice = "write an IP address of this host, or only :PORT for all"
    if host and not is_literal(host):
        raise BadValueError(f"{shown(value)} is a name to listen on: {advice}")
    _check_host(host, value, advice)
    return host, port


def _check_host(host: str, value: str, advice: str) -> None:
    """Refuse an address that no host can have alone."""
    if not is_literal(host):
        return
    found = ipaddress.ip_address(host)
    if found.is_multicast:
        raise BadValueError(f"{shown(value)} has a multicast address: {advice}")
    if found == _BROADCAST:
        raise BadValueError(f"{shown(value)} has a broadcast address: {advice}")
    if found.version == 6 and found.is_link_local and "%" not in host:
        example = f"write for example [{host}%eth0]:8421, with %25 for % in a URL"
        raise BadValueError(f"{shown(value)} is link-local and has no device: {example}")


def is_unspecified(host: str) -> bool:
    """Whether a host that `endpoint` gave is `0.0.0.0` or `::`."""
    return is_literal(host) and ipaddress.ip_address(host).is_unspecified


def is_literal(host: str) -> bool:
    """Whether a host that `endpoint` gave is an IP address, with or without a zone."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
