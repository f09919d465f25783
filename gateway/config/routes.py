"""A service's networks: `route`, `routes` and `gw`, and the inline ones of its router.

A gateway must be somebody who can be a peer, and a route must not lead to a target. A
wider one may have a target in it: the way to it is kept outside the tunnel. A server has
no such care: a route around the address it listens on takes its neighbours the answers.
"""

from ipaddress import ip_network

from gateway.config import addresses, options, outer
from gateway.config.bag import Bag
from gateway.config.model import Address, Interface, Route, RouterSpec, Target
from gateway.config.nets import cannot_be_a_peer, within
from gateway.config.option import Option
from gateway.config.routers import Router, router_of

_LOCAL = tuple(map(ip_network, ("127.0.0.0/8", "255.255.255.255/32", "::1/128")))


def routes_of(
    bag: Bag, nets: tuple[Interface, ...], targets: tuple[Target, ...], host: str
) -> tuple[Route, ...]:
    """What `route`, `routes` and `gw` say, each network once. `host`: where a server listens."""
    gw = outer.said(bag, options.GW)
    found: dict[object, Route] = {}
    for option in (options.ROUTE, options.ROUTES):
        for given in bag.many(option):
            route = _with_gateway(given, gw)
            earlier = found.setdefault(route.network, route)
            key = (bag.service, "route", str(route.network))
            bag.report.origins.setdefault(key, bag.place(option))
            if earlier != route:
                bag.complain(option, f"{route.network} is there twice, with different gateways")
            _check_default(bag, option, route, targets)
            _check_local(bag, option, route)
            _check_gateway(bag, option if given.gateway else options.GW, route, nets)
            _check_swallowed(bag, option, route, targets)
            _check_around(bag, option, route, host)
            _check_own(bag, option, route, nets)
    if gw is not None and not found:
        bag.warn(options.GW, "has no use without route or routes")
    elif gw is not None and not any(
        route.network.version == gw.version for route in found.values()
    ):
        bag.warn(options.GW, f"{gw} has no use: there is no route of IPv{gw.version}")
    return tuple(found.values())


def routed_of(
    bag: Bag,
    routers: dict[str, Router],
    nets: tuple[Interface, ...],
    targets: tuple[Target, ...],
    host: str,
) -> RouterSpec | None:
    """The router a service names, its own entries looked at beside the targets and `host`."""
    spec = router_of(bag, routers, nets)
    for route in spec.inline if spec is not None else ():
        _check_swallowed(bag, options.ROUTER, route, targets)
        _check_around(bag, options.ROUTER, route, host)
        _check_own(bag, options.ROUTER, route, nets)
    return spec


def _with_gateway(route: Route, gw: Address | None) -> Route:
    if route.gateway is None and gw is not None and gw.version == route.network.version:
        return Route(route.network, gw)
    return route


def _check_gateway(
    bag: Bag, option: Option[object], route: Route, nets: tuple[Interface, ...]
) -> None:
    if route.gateway is None or not nets:
        return
    if any(route.gateway == net.ip for net in nets):
        bag.complain(option, f'"{route.gateway}" is this host itself: write the address of a peer')
    elif not any(route.gateway in net.network for net in nets):
        advice = "write an address of the tunnel network"
        bag.complain(option, f'"{route.gateway}" is not inside net: {advice}')
    elif cannot_be_a_peer(route.gateway, nets):
        what = "is the network or its broadcast address"
        bag.complain(option, f'"{route.gateway}" {what}: write the address of a peer')


def _check_swallowed(
    bag: Bag, option: Option[object], route: Route, targets: tuple[Target, ...]
) -> None:
    """Refuse a route to a target itself. A wider one is right: the way past it is kept."""
    for target in targets:
        if addresses.is_literal(target.host):
            address = addresses.address(target.host.partition("%")[0])
            if address not in route.network:
                continue
            if route.network.num_addresses == 1:
                advice = "the server cannot be reached through its own tunnel"
                bag.complain(option, f"{route.network} is the target {target.host}: {advice}")
            elif route.network.prefixlen:
                advice = "the way to it is kept outside the tunnel"
                bag.warn(option, f"{route.network} has the target {target.host} in it: {advice}")


def _check_local(bag: Bag, option: Option[object], route: Route) -> None:
    """Refuse what the kernel delivers before it looks for a route."""
    if any(within(route.network, local) for local in _LOCAL):
        bag.complain(option, f'"{route.network}" never leaves this host: leave it out')


def _check_around(bag: Bag, option: Option[object], route: Route, host: str) -> None:
    """Warn of a route that leads a server's own neighbours into the tunnel."""
    if not addresses.is_literal(host):
        return
    address = addresses.address(host.partition("%")[0])
    around = not (address.is_unspecified or address.is_loopback) and address in route.network
    if around and route.network.prefixlen:
        advice = "clients in it can then not be answered"
        bag.warn(option, f"{route.network} has this server's address {address} in it: {advice}")


def _check_own(bag: Bag, option: Option[object], route: Route, nets: tuple[Interface, ...]) -> None:
    for net in nets:
        if within(route.network, net.network):
            bag.warn(
                option,
                f"{route.network} is in the tunnel network, which needs no route: leave it out",
            )


def _check_default(
    bag: Bag, option: Option[object], route: Route, targets: tuple[Target, ...]
) -> None:
    if route.network.prefixlen or targets:
        return
    if route.gateway is None:
        advice = "name a gateway, the peer that shall have it"
        bag.complain(option, f'"{route.network}" on a server: {advice}')
