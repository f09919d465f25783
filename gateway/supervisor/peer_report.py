"""The part of the status that is about a server's peers.

There may be 16,384, and while they are written down nothing else is done (I8): so
addresses become text by the C library, which is many times quicker than `ipaddress`,
and once; rows are filled by place; and there is no collection of garbage, since nothing
here makes any.
"""

import gc
import socket
from collections.abc import Iterator
from functools import lru_cache

from gateway.protocol.packet import ANY, Endpoint, is_v4, unpack_address
from gateway.protocol.peer import Peer
from gateway.protocol.peers import CAPACITY
from gateway.protocol.status import PeerStatus
from gateway.supervisor.hub import Hub
from gateway.supervisor.service import TunService

MOST_NETWORKS = 64
"""Of one peer: a router may lead 100,000 to him."""


def peers(service: TunService, problems: list[str], boot: float) -> tuple[PeerStatus, ...]:
    """All of a service; what is wrong with them is the instance's problem too."""
    hub = service.hub
    if hub is None:
        return ()
    gc.disable()
    try:
        return tuple(_rows(service, hub, problems, boot))
    finally:
        gc.enable()


def _rows(service: TunService, hub: Hub, problems: list[str], boot: float) -> Iterator[PeerStatus]:
    for peer in hub.peers:
        conflict = peer.in_conflict(boot)
        if conflict:
            addresses = ", ".join(map(address_text, peer.addresses))
            problems.append(
                f"service {service.config.name}: two hosts claim {addresses}; "
                f"{_endpoint_text(peer.endpoint)} has it"
            )
        yield _peer(service, hub, peer, conflict, boot)


def _peer(service: TunService, hub: Hub, peer: Peer, conflict: bool, boot: float) -> PeerStatus:
    row, moved = service.traffic.look(peer.slot, boot)
    rx_packets, rx_bytes, tx_packets, tx_bytes, tx_dropped, single = row
    said = hub.lans.said(peer.slot)
    networks, left_out = service.networks.leading_to(peer.slot, peer.addresses, MOST_NETWORKS)
    # By place, not by name: that takes a tenth of the time. The order is the struct's.
    return PeerStatus(
        tuple(map(address_text, peer.addresses)),
        _endpoint_text(peer.endpoint),
        "" if peer.local == ANY else address_text(peer.local),
        boot - peer.since,
        boot - max(peer.last_heartbeat, moved),
        peer.lease.until - boot,
        said.rtt * 1000 if said is not None and said.rtt is not None else None,
        said.loss * 100 if said is not None and said.loss is not None else None,
        rx_packets,
        rx_bytes,
        tx_packets,
        tx_bytes,
        tx_dropped,
        bool(single),
        peer.heartbeats,
        peer.moves,
        conflict,
        tuple([_network(*net) for net in networks]),
        hub.lans.status(peer.slot, hub.peers),
        said.software if said is not None else "",
        "",
        "",
        "",  # of one behind a relay: see `bridge_report`
        left_out,
    )


@lru_cache(maxsize=4 * CAPACITY)
def address_text(address: bytes) -> str:
    """`str(unpack_address(address))`."""
    if is_v4(address):
        return socket.inet_ntop(socket.AF_INET, address[12:])
    if not any(address[:8]):  # the two write some of these differently
        return str(unpack_address(address))
    return socket.inet_ntop(socket.AF_INET6, address)


def _endpoint_text(endpoint: Endpoint) -> str:
    # Not kept: behind a relay listener each stream has a new port, and none comes back soon.
    if endpoint.scope or not is_v4(endpoint.address):
        zone = f"%{endpoint.scope}" if endpoint.scope else ""
        return f"[{address_text(endpoint.address)}{zone}]:{endpoint.port}"
    return f"{address_text(endpoint.address)}:{endpoint.port}"


def _network(prefix: bytes, length: int) -> str:
    return f"{address_text(prefix)}/{length - 96 if is_v4(prefix) else length}"
