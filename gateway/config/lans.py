"""What `advertise` and `accept` say about the networks behind clients."""

from ipaddress import IPv4Network, IPv6Network
from typing import Literal, cast

from gateway.config import options
from gateway.config.bag import Bag
from gateway.config.model import Choice, Interface, Network
from gateway.config.option import Option
from gateway.protocol.approval import FORBIDDEN, MAX_NETWORKS, WIDEST


def advertised(bag: Bag, nets: tuple[Interface, ...]) -> Choice:
    """The networks a client tells its server. What no server takes up is an error."""
    chosen = _choice(bag, options.ADVERTISE)
    if isinstance(chosen, str):
        return chosen
    if len(chosen) > MAX_NETWORKS:
        bag.complain(options.ADVERTISE, f"{len(chosen)} networks are too many: {MAX_NETWORKS}")
    for network in chosen:
        if problem := _problem(network, nets):
            bag.complain(options.ADVERTISE, f'"{network}" {problem}')
    return chosen


def accepted(bag: Bag) -> Choice:
    """The networks within which a server takes up what is advertised."""
    return _choice(bag, options.ACCEPT)


def _choice(bag: Bag, option: Option[Network | str]) -> Choice:
    given = bag.many(option)
    networks = tuple(
        dict.fromkeys(item for item in given if isinstance(item, IPv4Network | IPv6Network))
    )
    words = {item for item in given if isinstance(item, str)}
    if not words:
        return networks or "auto"
    if networks or len(words) > 1:
        bag.complain(option, "write auto, off or networks, not several of these")
    return cast("Literal['auto', 'off']", min(words))


def _problem(network: Network, nets: tuple[Interface, ...]) -> str:
    widest = WIDEST[network.version]
    if network.prefixlen < widest:
        return f"is wider than /{widest}: no server takes it up"
    if any(network.version == other.version and network.overlaps(other) for other in FORBIDDEN):
        return "cannot be reached from afar"
    for net in nets:
        if network.version == net.version and network.overlaps(net.network):
            return f"overlaps the tunnel network {net.network}"
    return ""
