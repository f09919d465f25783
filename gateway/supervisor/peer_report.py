"""The part of the status that is about a server's peers."""

from gateway.protocol.messages import PeerStatus
from gateway.protocol.packet import ANY, unpack_address
from gateway.protocol.peer import Peer
from gateway.supervisor.hub import Hub
from gateway.supervisor.service import TunService


def peers(service: TunService, problems: list[str], boot: float) -> tuple[PeerStatus, ...]:
    """All of a service; what is wrong with them is the instance's problem too."""
    hub = service.hub
    if hub is None:
        return ()
    found = []
    for peer in hub.peers:
        conflict = peer.in_conflict(boot)
        if conflict:
            addresses = ", ".join(str(unpack_address(a)) for a in peer.addresses)
            problems.append(
                f"service {service.config.name}: two hosts claim {addresses}; "
                f"{peer.endpoint} has it"
            )
        found.append(_peer(service, hub, peer, conflict, hub.last_seen(peer, boot), boot))
    return tuple(found)


def _peer(
    service: TunService, hub: Hub, peer: Peer, conflict: bool, last_seen: float, boot: float
) -> PeerStatus:
    rx_packets, rx_bytes, tx_packets, tx_bytes, tx_dropped, single = service.traffic.row(peer.slot)
    said = hub.lans.said(peer.slot)
    networks = (*service.networks.behind(peer.addresses), *service.networks.led(peer.slot))
    return PeerStatus(
        addresses=tuple(str(unpack_address(address)) for address in peer.addresses),
        endpoint=str(peer.endpoint),
        local="" if peer.local == ANY else str(unpack_address(peer.local)),
        since_seconds=boot - peer.since,
        last_seen_seconds=boot - last_seen,
        lease_left_seconds=peer.lease.until - boot,
        rtt_ms=said.rtt * 1000 if said is not None and said.rtt is not None else None,
        loss_percent=said.loss * 100 if said is not None and said.loss is not None else None,
        rx_packets=rx_packets,
        rx_bytes=rx_bytes,
        tx_packets=tx_packets,
        tx_bytes=tx_bytes,
        tx_dropped=tx_dropped,
        single_sends=bool(single),
        heartbeats=peer.heartbeats,
        moves=peer.moves,
        conflict=conflict,
        networks=tuple(_network(*net) for net in networks),
        advertised=hub.lans.status(peer.slot, hub.peers),
        software=said.software if said is not None else "",
    )


def _network(prefix: bytes, length: int) -> str:
    address = unpack_address(prefix)
    return f"{address}/{length - 96 if address.version == 4 else length}"
