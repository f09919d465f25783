"""How addresses and networks lie to each other."""

from collections.abc import Sequence
from ipaddress import IPv4Network

from gateway.config.model import Address, Interface, Network


def cannot_be_a_peer(address: Address, nets: Sequence[Interface]) -> str:
    """Why nobody can have an address in any of these networks; "" if somebody can."""
    around = [net.network for net in nets if address in net.network]
    if not around:
        return "is not inside net: no client can have it"
    for network in around:
        if network.prefixlen >= network.max_prefixlen - 1:
            return ""
        last = network.broadcast_address if isinstance(network, IPv4Network) else None
        if address not in (network.network_address, last):
            return ""
    return "is the network or its broadcast address: no client can have it"


def within(inner: Network, outer: Network) -> bool:
    """Whether a network is part of another, or the same."""
    return (
        inner.version == outer.version
        and inner.prefixlen >= outer.prefixlen
        and inner.network_address in outer
    )
