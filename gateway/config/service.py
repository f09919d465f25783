"""One service out of the tree: its options, and what they demand of each other."""

from dataclasses import dataclass
from typing import cast

from gateway.config import addresses, host_options, options, outer, shape
from gateway.config.auth import Admitted, Auther, credentials_of
from gateway.config.bag import Bag, check_side, gather
from gateway.config.chains import Chains
from gateway.config.ends import ends, listen_of, selector_of, targets_of
from gateway.config.lans import accepted, advertised
from gateway.config.model import (
    DEFAULT_MTU,
    DEFAULT_TTL,
    PASSPHRASE_LIMIT,
    Interface,
    Mss,
    Offload,
    Service,
    Target,
)
from gateway.config.nets import within
from gateway.config.routers import Router
from gateway.config.routes import routed_of, routes_of
from gateway.config.tree import Entry, Node, Report, mapping_of
from gateway.config.values import BadValueError, printable
from gateway.protocol.forwarding import Role

ADDRESS_LIMIT = 16
"""Addresses one heartbeat may claim."""

IPV6_MTU = 1280
"""The smallest MTU of a link that carries IPv6 (RFC 8200, section 5)."""

TTL_LEAST = 0.1
TTL_LIMIT = 86400.0


@dataclass(frozen=True, slots=True)
class Built:
    """A service, and the user its options ask for."""

    service: Service
    user: str | None
    user_place: str


def build_service(
    node: Node,
    authers: dict[str, Auther],
    routers: dict[str, Router],
    chains: Chains,
    report: Report,
) -> Built | None:
    """The service a mapping describes; None if it is not a TUN service.

    Problems are reported, and a default stands in for what is wrong.
    """
    entries = mapping_of(node, "services", report)
    if not entries:
        if node.is_empty:
            report.error(node.place, "services: an empty service")
        return None
    handler, listener = ends(entries, node, report)
    if handler is None or listener is None:
        return None
    chain, chained = chains.chain_of(handler, listener)
    shape.check_keys(entries, shape.SERVICE, "", report)
    shape.check_keys(handler, shape.HANDLER, "handler", report)
    shape.check_keys(listener, shape.LISTENER, "listener", report)
    targets, role = targets_of(entries, node.place, report, chained=chained)
    if chained and role is Role.SERVER:
        report.warn(node.place, "handler.chain: has no use on a server")
    host, port = listen_of(entries, node, role, report)
    near = host if role is Role.SERVER else ""
    bag = gather(entries, node.place, report)
    check_side(bag, role)
    nets = _nets(bag, entries["listener"].place if "listener" in entries else node.place)
    _check_targets(bag, nets, targets)
    if any(near == str(net.ip) for net in nets):
        advice = "nobody can reach it there: write :PORT, or an outer address"
        report.error(entries["addr"].node.place, f"addr: {near} is the address in net: {advice}")
    admitted = _admitted(handler, authers, nets, role, report)
    service = Service(
        name=_name(entries, report),
        role=role,
        host=host,
        port=port,
        targets=targets,
        nets=nets,
        device=bag.one(options.NAME),
        mtu=_mtu(bag, nets),
        routes=routes_of(bag, nets, targets, near),
        keepalive=bag.one(options.KEEPALIVE) or False,
        ttl=_ttl(bag),
        passphrase=_passphrase(bag, role),
        workers=bag.one(options.WORKERS) or None,
        offload=cast("Offload", bag.one(options.OFFLOAD) or "auto"),
        mss=cast("Mss", bag.one(options.MSS) or "auto"),
        source_check=bag.one(options.SOURCE_CHECK) is not False,
        nat=bag.one(options.NAT) or False,
        advertise=advertised(bag, nets),
        accept=accepted(bag),
        credentials=admitted.credentials if admitted is not None else None,
        authers=admitted.authers if admitted is not None else (),
        router=routed_of(bag, routers, nets, targets, near),
        p2p=bag.one(options.P2P) or False,
        selector=selector_of(entries, bag, report),
        dns=outer.name_servers(bag),
        interface=outer.said(bag, host_options.INTERFACE),
        mark=outer.said(bag, host_options.SO_MARK) or 0,
        netns=outer.said(bag, host_options.NETNS),
        netns_out=outer.said(bag, host_options.NETNS_OUT),
        chain=chain if role is Role.CLIENT else None,
        commands=outer.commands(bag),
        place=node.place,
    )
    _trace(entries, handler, service, admitted, report)
    user = bag.one(options.USER)
    return Built(service, user, bag.place(options.USER) if user else "")


def _trace(
    entries: dict[str, Entry],
    handler: dict[str, Entry],
    service: Service,
    admitted: Admitted | None,
    report: Report,
) -> None:
    """Note where was said what is no option."""
    for key in ("name", "addr"):
        if key in entries:
            report.origins[service.place, "service", key] = entries[key].node.place
    for key in ("auther", "authers", "auth"):
        if key in handler:
            report.origins.setdefault((service.place, "auther"), handler[key].node.place)
    for username, place in admitted.places if admitted is not None else ():
        report.origins.setdefault((service.place, "credential", username), place)


def _name(entries: dict[str, Entry], report: Report) -> str:
    value = entries["name"].node.value if "name" in entries else None
    if value is None:
        return ""
    if isinstance(value, dict | tuple):
        report.error(entries["name"].node.place, "name: expected one value, the service's name")
        return ""
    try:
        return printable(value)
    except BadValueError as error:
        report.error(entries["name"].place, f"name: {error}")
        return ""


def _nets(bag: Bag, place: str) -> tuple[Interface, ...]:
    nets = bag.many(options.NET)
    if not bag.has(options.NET):
        if options.NET.name in bag.unread:
            return ()
        advice = "write this host's address in the tunnel, for example net=192.168.123.1/24"
        bag.report.error(place, f"net: missing: {advice}")
        return ()
    if bag.is_void(options.NET):
        why = f"{bag.shown(options.NET) or 'an empty list'} has no address"
        bag.complain(options.NET, f"{why}: write for example 192.168.123.1/24")
    if len(nets) > ADDRESS_LIMIT:
        bag.complain(options.NET, f"{len(nets)} addresses are too many: at most {ADDRESS_LIMIT}")
    for index, net in enumerate(nets):
        for earlier in nets[:index]:
            if net.ip == earlier.ip:
                bag.complain(options.NET, f"{net.ip} is there twice: leave one out")
            elif net.network == earlier.network:
                bag.complain(options.NET, f"{net} and {earlier} are in one network: leave one out")
            elif within(net.network, earlier.network) or within(earlier.network, net.network):
                bag.warn(options.NET, f"{net} and {earlier}: one network is part of the other")
    return nets


def _check_targets(bag: Bag, nets: tuple[Interface, ...], targets: tuple[Target, ...]) -> None:
    """Refuse a server that could only be reached through its own tunnel."""
    for target in targets:
        if not addresses.is_literal(target.host):
            continue
        address = addresses.address(target.host.partition("%")[0])
        for net in nets:
            if address in net.network:
                advice = "the server cannot be reached through its own tunnel"
                bag.complain(options.NET, f"{net} has the target {target.host} in it: {advice}")


def _mtu(bag: Bag, nets: tuple[Interface, ...]) -> int:
    mtu = bag.one(options.MTU)
    if mtu is not None and mtu < IPV6_MTU and any(net.version == 6 for net in nets):
        bag.complain(options.MTU, f"{mtu} is too small: IPv6 in net needs {IPV6_MTU} or more")
    return mtu or DEFAULT_MTU


def _ttl(bag: Bag) -> float:
    ttl = bag.one(options.TTL)
    if ttl is None:
        return DEFAULT_TTL
    if ttl <= 0:
        why = f"{bag.shown(options.TTL)} is not above 0"
        bag.warn(options.TTL, f"{why}: {DEFAULT_TTL:.0f}s is used, as in GOST")
        return DEFAULT_TTL
    if not TTL_LEAST <= ttl <= TTL_LIMIT:
        why = f"{bag.shown(options.TTL)} is too {'short' if ttl < TTL_LEAST else 'long'}"
        bag.complain(options.TTL, f"{why}: write 100ms to 24h, for example 10s")
    elif ttl < 1:
        why = f"{bag.shown(options.TTL)} is below 1s"
        bag.warn(options.TTL, f"{why}: so many heartbeats are of no use")
    return ttl


def _passphrase(bag: Bag, role: Role) -> bytes:
    passphrase = bag.one(options.PASSPHRASE) or b""
    if role is Role.CLIENT and bag.has(options.PASSPHRASE) and not passphrase:
        bag.warn(options.PASSPHRASE, "is empty: none is sent")
    if len(passphrase) > PASSPHRASE_LIMIT:
        size = f"longer than {PASSPHRASE_LIMIT} bytes"
        bag.warn(options.PASSPHRASE, f"{size}: only the first {PASSPHRASE_LIMIT} count")
    return passphrase[:PASSPHRASE_LIMIT]


def _admitted(
    handler: dict[str, Entry],
    authers: dict[str, Auther],
    nets: tuple[Interface, ...],
    role: Role,
    report: Report,
) -> Admitted | None:
    found = credentials_of(handler, authers, nets if role is Role.SERVER else (), report)
    if role is Role.SERVER or found is None:
        return found
    key = next(key for key in ("auther", "authers", "auth") if key in handler)
    text = "has no use on a client: write passphrase"
    report.warn(handler[key].place, f"handler.{handler[key].key}: {text}")
    return None
