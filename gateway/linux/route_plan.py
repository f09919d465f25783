"""Which system routes to add, replace, delete and put back. Pure: snapshot in, plan out.

The tunnel's networks are routed into its device. A default route is entered as its two
halves: they win over any default route by being longer, leave that one alone, and vanish
with the device, so that a crash needs no repair.

The way to the server must not lead through the tunnel, or each packet to it would come
back as a new one for ever. Where a tunnel route would take the endpoint, it gets a host
route: a copy of the best route outside the tunnel, whatever that is made of. Beside it
stands a *guard*, an unreachable route of a worse metric: the kernel deletes the host
route together with its link, and in that moment the guard holds.

A route of somebody else's with the same network and metric gives way and is put back
later, as the kernel described it. A network that is on a device of this host does not
give way: it is right here.

Ours carry a protocol number (`ip route show proto 71`), so that they are known.
Formats: rtnetlink(7), linux/rtnetlink.h.
"""

import socket
import struct
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_network
from typing import Literal, NamedTuple

import msgspec

from gateway.linux.nlmsg import attribute, attributes
from gateway.protocol.packet import Address, Network

PROTOCOL = 71
GUARD_METRIC = 0x7FFFFFFF
MAIN_TABLE = 254
UNICAST = 1
UNREACHABLE = 7
_BY_KERNEL = 2
_BY_ADVERTISEMENT = 9
_UNSET_METRIC = {socket.AF_INET: 0, socket.AF_INET6: 1024}
METRIC: dict[int, int] = {socket.AF_INET: 0, socket.AF_INET6: 1}
"""Ours: the best there is. IPv6 takes 0 for 1024."""
_SCOPE_LINK = 253
_ONLINK = 4
_HEADER = struct.Struct("=BBBBBBBBI")
_TABLE, _DST, _OIF, _GATEWAY, _PRIORITY = 15, 1, 4, 5, 6
_MULTIPATH, _VIA, _PREF, _CACHEINFO, _EXPIRES, _NH_ID = 9, 18, 20, 12, 23, 30
_SILENT = frozenset({_CACHEINFO, _EXPIRES, _PREF, 27, 28})
_NEXTHOP = struct.Struct("=HBBi")
_U32 = struct.Struct("=I")
_SIZES = {socket.AF_INET: 4, socket.AF_INET6: 16}

Key = tuple[int, bytes, int, int]
"""Family, destination, length and metric: what the kernel tells routes of one table by."""


class KernelRoute(NamedTuple):
    """A route of the main table. `hops` are (device index, gateway or via as bytes)."""

    family: int
    destination: bytes
    length: int
    metric: int
    protocol: int
    kind: int
    hops: tuple[tuple[int, bytes], ...]
    payload: bytes

    @property
    def key(self) -> Key:
        """See `Key`."""
        return self.family, self.destination, self.length, self.metric

    @property
    def network(self) -> Network:
        """Where it leads."""
        return ip_network((self.destination, self.length), strict=False)

    def leads_to(self, device: int) -> bool:
        """Whether any of its hops is that device."""
        return any(index == device for index, _ in self.hops)


@dataclass(frozen=True)
class Wanted:
    """What should hold: networks into the device (index), the server kept outside.

    `persistent`: the device outlives us, so its routes must be taken back by hand.
    `endpoints` are the servers in use now, of one client or none. `spared` are routes into
    the device that are somebody else's affair.
    """

    device: int
    routes: tuple[tuple[Network, Address | None], ...] = ()
    endpoints: tuple[Address, ...] = ()
    persistent: bool = False
    spared: Container[Key] = frozenset()

    @cached_property
    def into_tunnel(self) -> tuple[KernelRoute, ...]:
        """The routes into the device, a default route as its halves."""
        return tuple(
            unicast(part, self.device, gateway)
            for network, gateway in self.routes
            for part in (network.subnets() if network.prefixlen == 0 else (network,))
        )


class RouteRecord(msgspec.Struct, frozen=True):
    """What must be undone after a crash, as payloads of route messages; kept on disk.

    `placed` are ours that nothing else removes, `displaced` those of others that gave way.
    """

    place: str
    placed: tuple[bytes, ...] = ()
    displaced: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Step:
    """One change of the kernel's table. `replace` also adds."""

    verb: Literal["replace", "delete"]
    route: KernelRoute


@dataclass(frozen=True)
class Plan:
    """What to do, in order; what to write down before; and what cannot be, in sentences."""

    steps: tuple[Step, ...]
    record: RouteRecord
    problems: tuple[str, ...] = ()


def plan(present: Sequence[KernelRoute], wanted: Wanted, former: RouteRecord) -> Plan:
    """How to come from `present` to `wanted`. `former` is the record written last.

    If nothing is amiss the plan has no steps. The order is such that the server is
    never without a way: its host route comes before what would swallow it.
    """
    problems: list[str] = []
    by_key = {route.key: route for route in present}
    into = {route.key: route for route in wanted.into_tunnel}
    for key, local in _local(present, into.values()).items():
        if not local.leads_to(wanted.device):
            problems.append(f"route={local.network}: a device of this host has that network")
        del into[key]
    for key in [route.key for route in into.values() if _is_endpoint(route, wanted.endpoints)]:
        problems.append(f"route={into[key].network}: that is the server itself")
        del into[key]
    displaced = {route.key: route for route in _parsed(former.displaced)}
    outside = [*present, *displaced.values()]
    past = {route.key: route for route in _past_tunnel(outside, wanted, into.values())}
    targets = past | into

    placed = {route.key for route in _parsed(former.placed)}
    steps: list[Step] = []
    for key, target in targets.items():
        there = by_key.get(key)
        if there is not None and _same(there, target):
            continue
        if there is not None and there.protocol != PROTOCOL:
            displaced[key] = there
            steps.append(Step("delete", there))
        steps.append(Step("replace", target))
    steps += [Step("delete", route) for route in _leavings(present, wanted, targets, placed)]
    for key in [key for key in displaced if key not in targets]:
        back = displaced.pop(key)
        if key not in by_key or by_key[key].protocol == PROTOCOL:
            steps.append(Step("replace", _restorable(back)))

    lasting = [*past.values(), *(into.values() if wanted.persistent else ())]
    record = RouteRecord(
        former.place,
        tuple(route.payload for route in lasting),
        tuple(route.payload for route in displaced.values()),
    )
    return Plan(tuple(steps), record, tuple(problems))


def both(one: RouteRecord, other: RouteRecord) -> RouteRecord:
    """A record for the time between two."""
    placed = dict.fromkeys(one.placed + other.placed)
    displaced = dict.fromkeys(one.displaced + other.displaced)
    return RouteRecord(one.place, tuple(placed), tuple(displaced))


def undo_plan(present: Sequence[KernelRoute], record: RouteRecord) -> tuple[Step, ...]:
    """Back to how it was: ours away where they still are ours, the others' where free."""
    by_key = {route.key: route for route in present}
    steps: list[Step] = []
    for route in _parsed(record.placed):
        there = by_key.get(route.key)
        if there is not None and there.protocol == PROTOCOL:
            steps.append(Step("delete", there))
    for route in _parsed(record.displaced):
        there = by_key.get(route.key)
        if there is None or there.protocol == PROTOCOL:
            steps.append(Step("replace", _restorable(route)))
    return tuple(steps)


def covers_endpoint(network: Network, endpoint: Address) -> bool:
    """Whether a route to this network would take packets to this server."""
    return network.version == endpoint.version and endpoint in network


def parse(payload: bytes) -> KernelRoute | None:
    """A route message's payload; None for what is not of the main table or not plain."""
    if len(payload) < _HEADER.size:
        return None
    family, length, source, tos, table, protocol, _, kind, flags = _HEADER.unpack_from(payload)
    if family not in (socket.AF_INET, socket.AF_INET6) or source or tos:
        return None
    found = dict(attributes(payload[_HEADER.size :]))
    if _TABLE in found:
        table = _number(found[_TABLE])
    if table != MAIN_TABLE or flags & 0x200:  # RTM_F_CLONED: an exception, no route
        return None
    size = _SIZES[family]
    destination = found.get(_DST, bytes(size))
    if len(destination) != size or length > size * 8:
        return None
    metric = _number(found[_PRIORITY]) if _PRIORITY in found else _UNSET_METRIC[family]
    hops = tuple(_hops(found))
    return KernelRoute(family, destination, length, metric, protocol, kind, hops, payload)


def unicast(network: Network, device: int, gateway: Address | None = None) -> KernelRoute:
    """A route of ours into a device."""
    attached = b"" if gateway is None else attribute(_GATEWAY, gateway.packed)
    scope = _SCOPE_LINK if gateway is None and network.version == 4 else 0
    return _build(network, UNICAST, attached + attribute(_OIF, _U32.pack(device)), scope=scope)


def guard(endpoint: Address) -> KernelRoute:
    """The unreachable route that keeps a server out of the tunnel at any rate."""
    return _build(ip_network(endpoint), UNREACHABLE, b"", metric=GUARD_METRIC)


def way_past(base: KernelRoute, endpoint: Address) -> KernelRoute:
    """A host route that leads where `base` leads: same gateway, device, nexthops, metrics."""
    scope, flags = base.payload[6], _HEADER.unpack_from(base.payload)[8] & _ONLINK
    kept = b"".join(
        attribute(kind, value)
        for kind, value in _clean(base.payload)
        if kind not in (_DST, _PRIORITY, _TABLE)
    )
    past = _build(ip_network(endpoint), UNICAST, kept, scope=scope, flags=flags)
    return past._replace(hops=base.hops)


def _past_tunnel(
    outside: Sequence[KernelRoute], wanted: Wanted, into: Iterable[KernelRoute]
) -> Iterator[KernelRoute]:
    swallowing = [route.network for route in into] if wanted.endpoints else []
    for endpoint in dict.fromkeys(wanted.endpoints):
        if not any(covers_endpoint(network, endpoint) for network in swallowing):
            continue
        best = _best(outside, endpoint, wanted.device)
        if best is not None and best.length < 8 * len(best.destination):
            yield way_past(best, endpoint)
        yield guard(endpoint)


def _best(present: Iterable[KernelRoute], endpoint: Address, device: int) -> KernelRoute | None:
    """The route an endpoint has if neither the tunnel nor we were there."""
    candidates = [
        route
        for route in present
        if route.protocol != PROTOCOL
        and route.kind == UNICAST
        and not route.leads_to(device)
        and covers_endpoint(route.network, endpoint)
    ]
    return max(candidates, key=lambda route: (route.length, -route.metric), default=None)


def _local(present: Iterable[KernelRoute], into: Iterable[KernelRoute]) -> dict[Key, KernelRoute]:
    """Those of `into` whose network is that of an address of this host, by key."""
    wanted = {(route.family, route.destination, route.length): route.key for route in into}
    return {
        wanted[route.family, route.destination, route.length]: route
        for route in present
        if route.protocol in (_BY_KERNEL, _BY_ADVERTISEMENT)
        and (route.family, route.destination, route.length) in wanted
        and route.hops
        and not route.hops[0][1]
    }


def _is_endpoint(route: KernelRoute, endpoints: Iterable[Address]) -> bool:
    return any(route.destination == one.packed for one in endpoints) and (
        route.length == 8 * len(route.destination)
    )


def _leavings(
    present: Iterable[KernelRoute],
    wanted: Wanted,
    targets: Collection[Key],
    placed: Collection[Key],
) -> list[KernelRoute]:
    """Ours that are not wanted any more: first those into the tunnel, then those past it."""
    ours = [
        route
        for route in present
        if route.protocol == PROTOCOL
        and route.key not in targets
        and route.key not in wanted.spared
        and (route.leads_to(wanted.device) or route.key in placed)
    ]
    return sorted(ours, key=lambda route: not route.leads_to(wanted.device))


def _restorable(route: KernelRoute) -> KernelRoute:
    """The route without what the kernel tells but does not take back."""
    header = list(_HEADER.unpack_from(route.payload))
    header[8] &= _ONLINK
    attached = b"".join(attribute(kind, value) for kind, value in _clean(route.payload))
    return route._replace(payload=_HEADER.pack(*header) + attached)


def _same(there: KernelRoute, target: KernelRoute) -> bool:
    if (there.protocol, there.kind) != (target.protocol, target.kind):
        return False
    return target.kind == UNREACHABLE or there.hops == target.hops


def _parsed(payloads: Iterable[bytes]) -> Iterator[KernelRoute]:
    """Routes of a record, which may be damaged."""
    for payload in payloads:
        route = parse(payload)
        if route is not None:
            yield route


def _hops(found: dict[int, bytes]) -> Iterator[tuple[int, bytes]]:
    multipath = found.get(_MULTIPATH)
    if multipath is None:
        if _OIF in found:
            yield _number(found[_OIF]), found.get(_GATEWAY, found.get(_VIA, b""))
        return
    at = 0
    while at + _NEXTHOP.size <= len(multipath):
        size, _, _, device = _NEXTHOP.unpack_from(multipath, at)
        if size < _NEXTHOP.size:
            return
        inner = dict(attributes(multipath[at + _NEXTHOP.size : at + size]))
        yield device, inner.get(_GATEWAY, inner.get(_VIA, b""))
        at += size + (-size % 4)


def _clean(payload: bytes) -> list[tuple[int, bytes]]:
    found = [item for item in attributes(payload[_HEADER.size :]) if item[0] not in _SILENT]
    if any(kind == _NH_ID for kind, _ in found):
        resolved = (_OIF, _GATEWAY, _VIA, _MULTIPATH)
        found = [item for item in found if item[0] not in resolved]
    return found


def _build(
    network: Network,
    kind: int,
    attached: bytes,
    *,
    metric: int | None = None,
    scope: int = 0,
    flags: int = 0,
) -> KernelRoute:
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    metric = METRIC[family] if metric is None else metric
    destination, length = network.network_address.packed, network.prefixlen
    payload = (
        _HEADER.pack(family, length, 0, 0, MAIN_TABLE, PROTOCOL, scope, kind, flags)
        + attribute(_DST, destination)
        + attribute(_PRIORITY, _U32.pack(metric))
        + attached
    )
    hops = tuple(_hops(dict(attributes(attached))))
    return KernelRoute(family, destination, length, metric, PROTOCOL, kind, hops, payload)


def _number(value: bytes) -> int:
    number: int = _U32.unpack_from(value)[0] if len(value) >= 4 else 0
    return number
