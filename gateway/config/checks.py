"""What parts of a configuration demand of each other: services, credentials, routers.

An error is what cannot be; a warning is what can, and is seldom meant.
"""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address
from itertools import combinations

from gateway.config.auth import Auther
from gateway.config.carrier_options import OVER_UDP
from gateway.config.chain_model import RelaySpec
from gateway.config.model import Interface, Network, Service
from gateway.config.nets import cannot_be_a_peer, within
from gateway.config.routers import Router
from gateway.config.tree import Report
from gateway.config.values import shown
from gateway.protocol.forwarding import Role

OTHER = ": change one"

Placed = tuple[Network, str, str]
"""A network, whose it is, and where that was said."""


def check_services(services: Sequence[Service], report: Report) -> None:
    """Report what two services cannot both have."""
    for first, second in combinations(services, 2):
        there = f"the service at {first.place} has"
        if second.name == first.name and second.name:
            report.error(second.place, f"name: {there} the name {shown(first.name)} too{OTHER}")
        if second.device is not None and second.device == first.device:
            report.error(second.place, f"name: {there} the device {shown(first.device)} too{OTHER}")
        if _same_port(first, second):
            report.error(second.place, f"addr: {there} the UDP port {first.port} too{OTHER}")
        for net in second.nets:
            for other in first.nets:
                same = net.version == other.version
                if same and net.network.overlaps(other.network):
                    both = f"{net} overlaps {other} of another service"
                    report.error(second.place, f"net: {both}{OTHER}")
        _check_routes(first, second, report)


def _same_port(first: Service, second: Service) -> bool:
    if first.role is not Role.SERVER or second.role is not Role.SERVER or not first.port:
        return False
    return first.port == second.port and (
        _covers(first.host, second.host) or _covers(second.host, first.host)
    )


def _covers(host: str, other: str) -> bool:
    """Whether listening on `host` takes what arrives for `other` too."""
    return host in ("", "::", other) or (host == "0.0.0.0" and ":" not in other)  # noqa: S104


def _check_routes(first: Service, second: Service, report: Report) -> None:
    """The host has one way to a network, whichever service it leads through."""
    other = f"the service at {first.place}"
    taken = {route.network for route in first.routes}
    for route in second.routes:
        if route.network in taken:
            report.error(second.place, f"route: {other} has {route.network} too")
    for one, two in ((first, second), (second, first)):
        for route in one.routes:
            for net in two.nets:
                if within(route.network, net.network):
                    there = f"is in {net.network} of the service at {two.place}"
                    report.error(one.place, f"route: {route.network} {there}")


def check_relays(relays: Sequence[RelaySpec], services: Sequence[Service], report: Report) -> None:
    """Report what relays cannot have beside each other, and what leads nowhere."""
    for first, second in combinations(relays, 2):
        there = f"the service at {first.place} has"
        alike = (first.carrier in OVER_UDP) == (second.carrier in OVER_UDP)
        covered = _covers(first.host, second.host) or _covers(second.host, first.host)
        if alike and first.port == second.port and covered:
            report.error(second.place, f"addr: {there} the port {first.port} too{OTHER}")
    for relay in relays:
        for service in services:
            same = relay.carrier in OVER_UDP and service.role is Role.SERVER
            covered = _covers(relay.host, service.host) or _covers(service.host, relay.host)
            if same and relay.port == service.port and covered:
                there = f"the service at {service.place} has the UDP port {relay.port} too"
                report.error(relay.place, f"addr: {there}{OTHER}")
        servers = any(service.role is Role.SERVER for service in services)
        if not (servers or relay.allow or relay.targets):
            text = "leads nowhere: there is no TUN server here, no target and no allow"
            report.warn(relay.place, f"relay: {text}")


def check_authers(authers: Iterable[Auther], report: Report) -> None:
    """Look at credentials beside the nets of all the services that ask for them."""
    asked: dict[tuple[Interface, ...], list[Placed]] = {}
    for auther in authers:
        nets = [net for served in auther.nets for net in served]
        networks = []
        for credential, place in auther.credentials:
            problem = cannot_be_a_peer(ip_address(credential.username), nets) if nets else ""
            if problem:
                report.warn(place, f"username: {credential.username} {problem}")
            networks += [(net, credential.username, place) for net in credential.networks]
        for served in auther.nets:
            asked.setdefault(served, []).extend(networks)
    for served, networks in asked.items():
        _check_networks(served, networks, report)


def _check_networks(
    nets: tuple[Interface, ...], networks: Sequence[Placed], report: Report
) -> None:
    """Look at what the credentials of one service allow its peers."""
    for network, _, place in networks:
        for net in nets:
            if within(network, net.network) or within(net.network, network):
                text = f"networks: {network} overlaps the tunnel network {net.network}"
                report.warn(place, f"{text}: it is never taken up")
    for (network, owner, place), (other, first, _) in _overlapping(networks):
        if owner != first:
            text = f"networks: {network} of {owner} overlaps {other} of {first}"
            report.warn(place, f"{text}: only who comes first gets it")


def check_routers(routers: Iterable[Router], report: Report) -> None:
    """Look at inline routes beside the nets of all the services that use them."""
    for router in routers:
        nets = [net for served in router.nets for net in served]
        for route in router.spec.inline if nets else ():
            if route.gateway is None:
                continue
            place = router.places[route.network]
            if any(route.gateway == net.ip for net in nets):
                text = f"{route.gateway} is this host itself: write the address of a peer"
                report.error(place, f"routers.routes.gateway: {text}")
            elif problem := cannot_be_a_peer(route.gateway, nets):
                report.error(place, f"routers.routes.gateway: {route.gateway} {problem}")


def _overlapping(networks: Iterable[Placed]) -> Iterator[tuple[Placed, Placed]]:
    """Each network that is part of another, with that other; sorted, each meets few."""
    around: list[Placed] = []
    for found in sorted(networks, key=lambda placed: _order(placed[0])):
        while around and not within(found[0], around[-1][0]):
            around.pop()
        if around:
            yield found, around[-1]
        around.append(found)


def _order(network: Network) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen
