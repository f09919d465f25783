"""Sources of an instance: who keeps them, and which services hear what they say.

The resolver loads them and is asked; authers and routers keep what it says through its
deaths; the services take up what changed.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from gateway.config import model
from gateway.fastpath.counters import Page
from gateway.linux import process
from gateway.linux.shared import Arena
from gateway.log import event, get_logger
from gateway.protocol.messages import FromChild, SourceMessage, SourceState
from gateway.sources.run import Sources
from gateway.supervisor.admission import digest_of
from gateway.supervisor.authers import Authers
from gateway.supervisor.children import Children, Spec
from gateway.supervisor.host_routes import HostRoutes
from gateway.supervisor.loop import Loop
from gateway.supervisor.resolving import Resolving
from gateway.supervisor.route_asking import RouteAsking
from gateway.supervisor.routers import RouteChanges, Routed, Routers, RouterTable
from gateway.supervisor.service import TunService
from gateway.supervisor.source_report import SourceLog
from gateway.supervisor.uplink import needs_resolver
from gateway.workers.base import Place
from gateway.workers.resolver import Resolver

RESOLVER_MESSAGES = 1
"""A turn: a part of a table takes some milliseconds, and heartbeats come in between."""

_log = get_logger("sourcing")


class Sourcing:
    """All of one instance. Made as root: what the sources need is imported here."""

    def __init__(self, config: model.Config, key: bytes, loop: Loop) -> None:
        """`key`: of the digests. Raises MissingExtraError."""
        self.resolving = Resolving()
        self.authers = _authers(config, key, loop.boot)
        self._routers = _routers(config, loop.boot)
        self._config = config
        self._loop = loop
        self._services: Sequence[TunService] = ()
        self._log = SourceLog()
        _check_extras(self.authers, self._routers)

    def lead(self, services: Sequence[TunService]) -> None:
        """Give each service its router."""
        self._services = services
        for service in services:
            service.routed = self._routed(service)

    def begin(self, service: TunService) -> None:
        """What is known of a service's routes counts from now on."""
        if service.routed is not None:
            with service.opened.inner:
                service.routed.host.start(self._loop.inside(service.opened.inner))
            service.routed.begin(self._loop.now)

    def start(self, children: Children, forget_services: Callable[[], None]) -> None:
        """Hear what changes, and fork the resolver where somebody needs it."""
        self.authers.changed = self._on_credentials
        self._routers.changed = self._on_routes
        if self._needs_resolver():
            self._start_resolver(children, forget_services)

    def refresh(self) -> None:
        """Load every source again, now. Until there is a resolver they are not loaded yet."""
        event(_log, logging.INFO, "refresh", instance=self._config.instance)
        self.resolving.refresh()

    def forget(self) -> None:
        """Wipe what only the resolver needs; called in other children."""
        self.authers.forget()
        self._routers.forget()

    def _routed(self, service: TunService) -> Routed | None:
        table = self._routers.of(service.config.router)
        if table is None:
            return None
        if service.config.p2p:
            event(
                _log, logging.WARNING, "router-ignored", service=service.config.name,
                text="p2p: every packet goes to the one peer",
            )  # fmt: skip
            return None
        host = HostRoutes(service.config, service.opened.device, service.host)
        routed = Routed(service.config, table, service.networks, service.lans, host)
        if table.spec.plugin is not None and service.lans is not None:
            routed.asking = RouteAsking(
                table.spec.name,
                table.spec.plugin,
                service.config,
                self.resolving,
                lambda changes: self._on_routes(table, changes, service),
            )
        return routed

    def _needs_resolver(self) -> bool:
        names = any(needs_resolver(service.targets) for service in self._config.services)
        return names or bool(self.authers.tables) or self._routers.need_resolver

    def _start_resolver(self, children: Children, forget_services: Callable[[], None]) -> None:
        arena = Arena([Page.bytes_for(1)])
        spec = Spec(
            name="resolver",
            service="",
            kind="resolver",
            cpus=process.usable_cpus(),
            page=Page(arena.carve(Page.bytes_for(1)), 1),
            arena=arena,
            build=lambda place: self._build_resolver(replace(place, forget=forget_services)),
            on_message=self._on_resolver,
            snapshot=list,
            messages_per_turn=RESOLVER_MESSAGES,
        )
        self.resolving.member = children.start(spec)

    def _build_resolver(self, place: Place) -> Resolver:
        """It alone keeps the passwords and tokens of sources."""
        authers, routers = self.authers.for_resolver(), self._routers.for_resolver()
        if not authers and not routers:
            return Resolver(place)
        return Resolver(place, (), lambda deliver: Sources(authers, routers, deliver))

    def _on_resolver(self, message: FromChild) -> None:
        if isinstance(message, SourceState):
            self._log.take(message, self._loop.now)
        self.resolving.on_message(message)
        self.authers.on_message(message)
        self._routers.on_message(message)

    def _on_routes(
        self, table: RouterTable, changes: RouteChanges, only: TunService | None = None
    ) -> None:
        for service in self._services:
            if only not in (None, service):
                continue
            if service.routed is not None and service.routed.table is table:
                service.routed.take(changes, self._loop.now)
                service.publish()

    def _on_credentials(self, auther: str, addresses: Iterable[bytes]) -> None:
        for service in self._services:
            if service.hub is not None and auther in (s.name for s in service.config.authers):
                service.hub.on_credentials(addresses)


def _authers(config: model.Config, key: bytes, boot: float) -> Authers:
    specs = {spec.name: spec for service in config.services for spec in service.authers}
    specs |= {spec.name: spec for relay in config.relays for spec in relay.authers}
    return Authers(specs.values(), lambda password: digest_of(password, key), boot)


def _routers(config: model.Config, boot: float) -> Routers:
    specs = {service.router.name: service.router for service in config.services if service.router}
    return Routers(specs.values(), boot)


def _check_extras(authers: Authers, routers: Routers) -> None:
    """Import what the sources need while we are root. Raises MissingExtraError."""

    async def nobody(_message: SourceMessage) -> None:
        pass

    Sources(authers.for_resolver(), routers.for_resolver(), nobody)
