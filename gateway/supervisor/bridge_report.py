"""What the status says of bridges: peers behind relays, chains by leg, listeners."""

from collections.abc import Sequence

from msgspec.structs import replace

from gateway.linux.udp import local_text
from gateway.protocol.bridge_messages import LegFigures
from gateway.protocol.packet import endpoint_text
from gateway.protocol.status import (
    ChainStatus,
    LegStatus,
    PeerStatus,
    ProcessStatus,
    RelayStatus,
    ServiceStatus,
    Status,
)
from gateway.supervisor.bridges import GAUGES, BridgeChildren
from gateway.supervisor.chains import ChainClient
from gateway.supervisor.relayed import Relayed
from gateway.supervisor.relays import Guest, RelayService
from gateway.supervisor.report import Reporter
from gateway.supervisor.service import TunService

MILLISECONDS = 1000.0


def with_bridges(
    status: Status,
    services: Sequence[TunService],
    relayed: Relayed,
    reporter: Reporter,
    now: float,
) -> Status:
    """The report, completed."""
    problems = list(status.problems)

    def processes(bridges: BridgeChildren, prefix: str) -> tuple[ProcessStatus, ...]:
        return tuple(reporter.process(each, prefix, problems, now) for each in bridges.members)

    guests = {
        endpoint_text(*key): guest
        for relay in relayed.relays
        for key, guest in relay.guests.items()
    }
    completed: list[ServiceStatus] = []
    for service, report in zip(services, status.services, strict=True):
        chain = None
        if service.chain is not None:
            prefix = f"service {service.config.name}: "
            chain = _chain(service.chain, processes(service.chain.bridges, prefix), now)
            problems += _lost(service.config.name, chain)
        peers = tuple(_named(peer, guests.get(peer.endpoint)) for peer in report.peers)
        completed.append(replace(report, peers=peers, chain=chain))
    relays = tuple(
        _relay(each, relayed.pin_of(each), processes(each.bridges, f"relay {each.spec.name}: "))
        for each in relayed.relays
    )
    return replace(
        status,
        services=tuple(completed),
        relays=relays,
        problems=tuple(problems),
        health="degraded" if problems else "healthy",
    )


def _named(peer: PeerStatus, guest: Guest | None) -> PeerStatus:
    if guest is None:
        return peer
    return replace(peer, carrier=guest.carrier, remote=guest.remote, user=guest.user)


def _chain(chain: ChainClient, processes: tuple[ProcessStatus, ...], now: float) -> ChainStatus:
    legs = []
    for index, target in enumerate(chain.targets):
        figures = chain.legs.get(index) or LegFigures(index, "idle")
        legs.append(
            LegStatus(
                target=str(target),
                state=figures.state,
                hops=figures.hops,
                remote=figures.remote,
                rtt_ms=None if figures.rtt is None else figures.rtt * MILLISECONDS,
                connects=figures.connects,
                fails=figures.fails,
                backlog_bytes=figures.backlog,
                dropped=figures.dropped,
                verified=figures.verified,
                error=figures.error,
                since_seconds=max(0.0, now - chain.since.get(index, chain.started)),
            )
        )
    return ChainStatus(
        name=chain.spec.name,
        hops=tuple(tuple(node.label for node in hop.nodes) for hop in chain.spec.hops),
        legs=tuple(legs),
        processes=processes,
        counters=dict(sorted(chain.bridges.counts.items())),
        note=chain.shortfall,
    )


def _lost(service: str, chain: ChainStatus) -> list[str]:
    """A leg in use that has no stream is a problem; one that was never asked for is none."""
    return [
        f"service {service}: the chain to {leg.target} is down: {leg.error}"
        for leg in chain.legs
        if leg.state == "waiting" or (leg.state == "dialling" and leg.fails)
    ]


def _relay(relay: RelayService, pin: str, processes: tuple[ProcessStatus, ...]) -> RelayStatus:
    counts = relay.bridges.counts
    return RelayStatus(
        name=relay.spec.name,
        carrier=relay.spec.carrier,
        listen=local_text(relay.opened.listener),
        auth=relay.users.auth,
        pin=pin,
        streams=counts["streams"],
        strangers=counts["strangers"],
        refused=relay.refused,
        processes=processes,
        counters={name: count for name, count in sorted(counts.items()) if name not in GAUGES},
        note=relay.shortfall,
    )
