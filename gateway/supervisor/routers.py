"""Routers: which networks are behind whom, as sources say it while the program runs (I7).

A `RouterTable` is one router of the configuration, kept through the resolver's deaths.
`Routed` is what one service makes of it: each prefix leads to the peer who holds its
gateway's address, in the gateway's own look-ups and in the host's routing table, and beats
what peers advertise. What cannot lead anywhere is left out, and said.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from gateway.config.model import RouterSpec, Service
from gateway.linux.channel import ChannelGarbledError
from gateway.linux.process import wipe, wipe_text
from gateway.log import RateLimiter, event, get_logger
from gateway.protocol.messages import (
    FromChild,
    PluginState,
    SourceKind,
    SourceRoutes,
    SourceState,
)
from gateway.protocol.packet import pack_address, pack_network, unpack_address
from gateway.protocol.routes import is_prefix, network_of, prefix_of
from gateway.sources.layers import Changes, RouteLayers
from gateway.sources.parse import routes_of_config
from gateway.sources.tables import Prefixed, route_parts
from gateway.supervisor.host_routes import HostRoutes
from gateway.supervisor.lans import Lans
from gateway.supervisor.networks import Networks
from gateway.supervisor.route_asking import RouteAsking

PROBLEMS_SHOWN = 20
LOG_INTERVAL = 60.0
LABEL = "the configuration"

_log = get_logger("routers")

RouteChanges = Changes[Prefixed]


@dataclass
class RouterTable:
    """One router. `rivals` are prefixes that several sources lead to different gateways."""

    spec: RouterSpec
    layers: RouteLayers = field(default_factory=RouteLayers)
    states: dict[SourceKind, SourceState] = field(default_factory=dict)
    plugin: PluginState | None = None
    rivals: dict[Prefixed, None] = field(default_factory=dict)

    def take(self, message: SourceRoutes) -> RouteChanges:
        """Take one part of a change."""
        changes = self.layers.apply(message)
        for key in _keys(message):
            gateways = {gateway for _, gateway in self.layers.holders(key)}
            if len(gateways) > 1:
                self.rivals[key] = None
            else:
                self.rivals.pop(key, None)
        return changes

    def overruled(self, kind: SourceKind) -> list[Prefixed]:
        """The prefixes of this source where another one is believed."""
        found = []
        for key in self.rivals:
            known = dict(self.layers.holders(key))
            if kind in known and known[kind] != next(iter(known.values())):
                found.append(key)
        return found

    def why_overruled(self, key: Prefixed) -> str:
        """A line about one of them."""
        source, gateway = next(self.layers.holders(key))
        return (
            f"{network_of(*key)} is in {source} too: the gateway {unpack_address(gateway)} counts"
        )


class Routers:
    """All of one instance, by name. `changed` hears what is believed anew."""

    def __init__(self, specs: Iterable[RouterSpec], boot: float) -> None:
        self.tables = {spec.name: RouterTable(spec) for spec in specs}
        self.changed: Callable[[RouterTable, RouteChanges], None] = lambda _table, _changes: None
        self._bare = [replace(table.spec, inline=()) for table in self.tables.values()]
        for table in self.tables.values():
            _take_inline(table, boot)

    def of(self, spec: RouterSpec | None) -> RouterTable | None:
        """The table of one service."""
        return None if spec is None else self.tables[spec.name]

    def for_resolver(self) -> list[RouterSpec]:
        """What the resolver keeps: the inline entries are here already."""
        return self._bare

    @property
    def need_resolver(self) -> bool:
        """Whether any of them has more than what stands in the configuration."""
        return any(
            place is not None
            for spec in self._bare
            for place in (spec.file, spec.redis, spec.http, spec.plugin)
        )

    def on_message(self, message: FromChild) -> None:
        """From the resolver. ChannelGarbledError for a prefix that is none."""
        if isinstance(message, SourceRoutes):
            if not all(is_prefix(*key) for key in _keys(message)):
                raise ChannelGarbledError
            table = self.tables.get(message.name)
            if table is not None:
                changes = table.take(message)
                if changes.set or changes.removed:
                    self.changed(table, changes)
        elif isinstance(message, SourceState | PluginState) and message.holder == "router":
            table = self.tables.get(message.name)
            if table is None:
                return
            if isinstance(message, PluginState):
                table.plugin = message
            else:
                table.states[message.source] = message

    def forget(self) -> None:
        """Wipe what only the resolver needs; called in other children."""
        for spec in (*self._bare, *(table.spec for table in self.tables.values())):
            if spec.redis is not None:
                wipe(spec.redis.password)
            if spec.http is not None:
                wipe_text(spec.http.url)
            if spec.plugin is not None:
                wipe(spec.plugin.token)
                wipe_text(spec.plugin.url)


class Routed:
    """What one service makes of its router."""

    def __init__(
        self,
        service: Service,
        table: RouterTable,
        networks: Networks,
        lans: Lans | None,
        host: HostRoutes,
    ) -> None:
        self.table = table
        self.host = host
        self.asking: RouteAsking | None = None
        self._service = service
        self._networks = networks
        self._lans = lans
        self._nets = tuple(pack_network(net.network) for net in service.nets)
        self._own = frozenset(pack_address(net.ip) for net in service.nets)
        self._unfit: dict[Prefixed, str] = {}
        self._limiter = RateLimiter(LOG_INTERVAL, burst=PROBLEMS_SHOWN)

    def begin(self, now: float) -> None:
        """Before the fork: what is known by now counts at once."""
        self.take(Changes(dict(self.table.layers.items())), now)
        self._networks.settle()

    def take(self, changes: RouteChanges, now: float) -> None:
        """Take up what is believed anew. The caller publishes."""
        led: dict[Prefixed, bytes] = {}
        removed = list(changes.removed)
        for prefix, gateway in changes.set.items():
            reason = self._reason(prefix, gateway)
            if reason:
                removed.append(prefix)
                self._complain(prefix, reason, now)
            else:
                led[prefix] = gateway
                self._unfit.pop(prefix, None)
        for prefix in changes.removed:
            self._unfit.pop(prefix, None)
        if self._lans is not None:
            self._networks.tell(led, removed)
            self._lans.tell(led, removed)
        self.host.change(led, removed)

    def problems(self, kind: SourceKind) -> tuple[list[str], int]:
        """The first lines about entries of a source that count for nothing here; how many."""
        lines = [
            reason
            for prefix, reason in self._unfit.items()
            if next(self.table.layers.holders(prefix), (None,))[0] == kind
        ]
        overruled = self.table.overruled(kind)
        count = len(lines) + len(overruled)
        lines += map(self.table.why_overruled, overruled[:PROBLEMS_SHOWN])
        return lines[:PROBLEMS_SHOWN], count

    def _reason(self, prefix: Prefixed, gateway: bytes) -> str:
        if gateway in self._own:
            return f"the gateway {unpack_address(gateway)} is this gateway itself: name a peer"
        if not any(prefix_of(gateway, length) == net for net, length in self._nets):
            return f"the gateway {unpack_address(gateway)} is outside net: name a peer's address"
        if self._networks.is_reserved(prefix):
            return "the tunnel itself has these addresses"
        return ""

    def _complain(self, prefix: Prefixed, reason: str, now: float) -> None:
        line = f"{network_of(*prefix)}: {reason}"
        known, self._unfit[prefix] = self._unfit.get(prefix), line
        held = self._limiter.allow("unfit", now) if known != line else None
        if held is not None:
            event(
                _log, logging.WARNING, "route-left-out", service=self._service.name,
                router=self.table.spec.name, text=line, held_back=held or None,
            )  # fmt: skip


def _keys(message: SourceRoutes) -> Iterator[Prefixed]:
    yield from ((row.prefix, row.length) for row in message.rows)
    yield from ((row.prefix, row.length) for row in message.removed)


def _take_inline(table: RouterTable, boot: float) -> None:
    """The entries of the configuration need no resolver."""
    name, inline = table.spec.name, table.spec.inline
    if not inline:
        return
    parsed = routes_of_config(inline)
    for part in route_parts(name, "inline", parsed.table, (), fresh=True):
        table.take(part)
    table.states["inline"] = SourceState(
        "router", name, "inline", LABEL, len(parsed.table), boot,
        problems=tuple(parsed.problems), problem_count=parsed.problem_count,
    )  # fmt: skip
