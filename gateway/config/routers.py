"""`routers`: networks behind peers, from the configuration and from elsewhere.

GOST takes the first entry that matches; here the longest prefix decides, so the order of
the entries means nothing. One without a gateway is passed over, as in GOST.
"""

from dataclasses import dataclass, field
from ipaddress import ip_network

from gateway.config import addresses, options, shape
from gateway.config.bag import Bag
from gateway.config.model import Interface, Network, Route, RouterSpec
from gateway.config.option import nearest
from gateway.config.outer import said
from gateway.config.places import parse_places
from gateway.config.section import Values
from gateway.config.tree import Entry, Node, Report, Scalar, items_of
from gateway.config.values import shown, text


@dataclass(slots=True)
class Router:
    """A router, the place of each of its entries, and the nets of the services that use it."""

    spec: RouterSpec
    place: str
    places: dict[Network, str]
    nets: list[tuple[Interface, ...]] = field(default_factory=list)


def parse_routers(top: dict[str, Entry], report: Report) -> dict[str, Router]:
    """The `routers` of a configuration by name."""
    found: dict[str, Router] = {}
    if "routers" not in top:
        return found
    for item in items_of(top["routers"].node, "routers", report):
        entries = shape.entries_of(item, shape.ROUTER, "routers", report)
        router = _router(item, entries, report)
        name = router.spec.name
        if not name:
            report.error(item.place, "routers: a router has no name")
        elif name in found:
            first = f"first at {found[name].place}: leave one out"
            report.error(item.place, f"routers: {shown(name)} is there twice, {first}")
        found.setdefault(name, router)
        report.origins["routers", name] = item.place
        for network, place in router.places.items():
            report.origins["routers", name, str(network)] = place
    return found


def _router(item: Node, entries: dict[str, Entry], report: Report) -> Router:
    name = Values(entries, "routers", item.place, report).get("name", text, "")
    places = parse_places(entries, "routers", report)
    inline: dict[Network, Route] = {}
    where: dict[Network, str] = {}
    if "routes" in entries:
        for node in items_of(entries["routes"].node, "routers.routes", report):
            route = _route(node, report)
            if route is None:
                continue
            earlier = inline.setdefault(route.network, route)
            where.setdefault(route.network, node.place)
            if earlier.gateway != route.gateway:
                first = f"first at {where[route.network]}: leave one out"
                again = f"{route.network} is there twice, {first}"
                report.error(node.place, f"routers.routes: {again}")
    if not inline and not places.any:
        report.warn(item.place, f"routers: {shown(name)} has no routes")
    if places.plugin is not None:
        return Router(RouterSpec(name, plugin=places.plugin), item.place, {})
    spec = RouterSpec(
        name,
        tuple(inline.values()),
        places.file,
        places.redis,
        places.http,
        reload=places.reload,
    )
    return Router(spec, item.place, where)


def _route(node: Node, report: Report) -> Route | None:
    entries = shape.entries_of(node, shape.ROUTER_ROUTE, "routers.routes", report)
    if not entries:
        return None
    values = Values(entries, "routers.routes", node.place, report)
    older = values.get("net", _destination, None)
    network = values.get("dst", _destination, older)
    if network is None:
        if not any(key in entries and not entries[key].node.is_empty for key in ("dst", "net")):
            report.error(node.place, "routers.routes.dst: missing: write ADDRESS/LENGTH")
        return None
    if older is not None and older != network:
        report.warn(entries["net"].place, "routers.routes.net: ignored, as dst is given")
    gateway = values.get("gateway", addresses.optional_gateway, None)
    if gateway is None:
        if "gateway" not in entries or entries["gateway"].node.is_empty:
            missing = f"{network} has no gateway and is passed over"
            report.warn(node.place, f"routers.routes: {missing}: write a peer's address")
        return None
    if gateway.version != network.version:
        report.error(node.place, f"routers.routes: {network} by way of {gateway}: IPv4 and IPv6")
        return None
    return Route(network, gateway)


def _destination(value: Scalar) -> Network | None:
    """A network; without a length it is one address."""
    if "/" in text(value):
        return addresses.network(value)
    return ip_network(addresses.address(value))


def router_of(
    bag: Bag, routers: dict[str, Router], nets: tuple[Interface, ...]
) -> RouterSpec | None:
    """The router a service names."""
    name = said(bag, options.ROUTER)
    if name is None:
        return None
    router = routers.get(name)
    if router is None:
        bag.complain(options.ROUTER, _unknown(name, routers))
        return None
    router.nets.append(nets)
    if bag.one(options.P2P):
        bag.warn(options.ROUTER, "has no use with p2p: one peer gets every packet")
    return router.spec


def _unknown(name: str, routers: dict[str, Router]) -> str:
    near = nearest(name, list(routers))
    if near:
        return f"there is no router {shown(name)}: did you mean {near}?"
    known = ", ".join(shown(name) for name in routers) or "none"
    return f"there is no router {shown(name)} in routers (there is {known})"
