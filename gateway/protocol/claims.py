"""Which tunnel addresses a client may claim at all, whoever it is.

Inside the server's `net`, and no address that means more than one host or another one:
the server's own, network, broadcast, multicast, loopback, unspecified.
"""

from collections.abc import Iterable

from gateway.protocol.forwarding import Refusal
from gateway.protocol.packet import Address, Interface, unpack_address


def check_claim(
    addresses: Iterable[bytes], nets: tuple[Interface, ...]
) -> tuple[Refusal, Address] | None:
    """Why a client may not have these addresses (a16), and for which one; None: it may.

    `nets` are the server's own interfaces. A /31, /32, /127 or /128 has neither network
    nor broadcast address (RFC 3021, RFC 6164). IPv6 has no broadcast, but its network
    address is the routers' anycast one (RFC 4291, 2.6.1).
    """
    for packed in addresses:
        address = unpack_address(packed)
        refusal = _check_address(address, nets)
        if refusal is not None:
            return refusal, address
    return None


def _check_address(address: Address, nets: tuple[Interface, ...]) -> Refusal | None:
    if any(address == net.ip for net in nets):
        return Refusal.OWN_ADDRESS
    if address.is_multicast or address.is_loopback or address.is_unspecified:
        return Refusal.FORBIDDEN_ADDRESS
    if address.version == 4 and address.packed == b"\xff\xff\xff\xff":
        return Refusal.FORBIDDEN_ADDRESS
    within = [net.network for net in nets if address in net.network]
    if not within:
        return Refusal.OUTSIDE_NET
    for network in within:
        if network.prefixlen >= network.max_prefixlen - 1:
            continue
        if address == network.network_address:
            return Refusal.FORBIDDEN_ADDRESS
        if network.version == 4 and address == network.broadcast_address:
            return Refusal.FORBIDDEN_ADDRESS
    return None
