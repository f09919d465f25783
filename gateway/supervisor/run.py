"""The instance from its first to its last moment.

    open everything (as root) ─> leave root ─> restore peers ─> fork ─> loop ─> stop

Whatever goes wrong on the way, what was opened so far is given back in reverse order.
"""

import logging
import os
import signal
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from gateway.config import model
from gateway.fastpath.counters import Page
from gateway.linux import process
from gateway.linux.shared import Arena
from gateway.log import event, get_logger, setup
from gateway.protocol.forwarding import Role
from gateway.protocol.instances import RUN_DIRECTORY_VARIABLE, run_directory, socket_path
from gateway.protocol.messages import FromChild, SourceMessage, SourceState
from gateway.protocol.status import Status
from gateway.sources.run import Sources
from gateway.supervisor import control
from gateway.supervisor.admission import digest_of
from gateway.supervisor.authers import Authers
from gateway.supervisor.bridge_report import with_bridges
from gateway.supervisor.bridges import Certificate
from gateway.supervisor.chains import ChainClient, led, open_chain
from gateway.supervisor.children import Children, Spec
from gateway.supervisor.client_facts import client_facts
from gateway.supervisor.commands import ServiceCommands, Step
from gateway.supervisor.device import Device, DeviceOpener
from gateway.supervisor.dns import LinkDns
from gateway.supervisor.host_routes import HostRoutes
from gateway.supervisor.leftovers import Leftovers
from gateway.supervisor.loop import Loop
from gateway.supervisor.opening import Opened, open_service
from gateway.supervisor.relayed import Relayed, forget_relayed
from gateway.supervisor.report import Reporter
from gateway.supervisor.resolving import Resolving
from gateway.supervisor.route_asking import RouteAsking
from gateway.supervisor.routers import RouteChanges, Routed, Routers, RouterTable
from gateway.supervisor.service import TunService
from gateway.supervisor.source_report import SourceLog
from gateway.supervisor.state import (
    STATE_DIRECTORY_VARIABLE,
    WRITE_DELAY,
    WRITE_INTERVAL,
    StateFile,
    state_directory,
)
from gateway.supervisor.steward import Steward
from gateway.supervisor.uplink import needs_resolver
from gateway.workers.base import Place
from gateway.workers.resolver import Resolver

RESOLVER_MESSAGES = 1
"""A turn: a part of a table takes some milliseconds, and heartbeats come in between."""
SAMPLE_INTERVAL = 2.0
CLIENT_WORKERS = 1

_log = get_logger("run")

OpenDevice = Callable[[model.Service], Device]


def run(config: model.Config, open_device: OpenDevice | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit status. Raises GatewayError (see `errors`).

    SIGHUP loads every source of credentials and routes again.

    `open_device` replaces the TUN device; tests use it.
    """
    setup(config.log_level)
    with ExitStack() as stack:
        instance = Instance(config, open_device or DeviceOpener(), stack)
        instance.start()
        instance.loop.run()
    return 0


class Instance:
    """Everything that runs. What `stack` holds is taken back when the program ends."""

    def __init__(self, config: model.Config, open_device: OpenDevice, stack: ExitStack) -> None:
        self.loop = Loop()
        self._config = config
        self._stack = stack
        stack.callback(self.loop.close)
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.on_signal(number, self.loop.stop)
        self.loop.on_signal(signal.SIGHUP, self.refresh)
        owner = process.future_owner(config.user)
        cpus = process.usable_cpus()

        path = Path(socket_path(run_directory(os.environ), config.instance))
        named = RUN_DIRECTORY_VARIABLE in os.environ
        control_socket = control.listen(path, owner, named=named)
        stack.callback(path.unlink, missing_ok=True)
        directory = state_directory(os.environ)
        named = STATE_DIRECTORY_VARIABLE in os.environ
        self._state = StateFile(directory, config.instance, owner, named=named)
        self._authers = _authers(config, self._state.key, self.loop.boot)
        self._routers = _routers(config, self.loop.boot)
        _check_extras(self._authers, self._routers)
        self._leftovers = Leftovers(directory, config.instance, owner)
        self._leftovers.undo()
        self._around = [(LinkDns(s), ServiceCommands(s, config.instance)) for s in config.services]
        self._steward = self._start_steward()
        self.services = [
            self._service(service, dns, commands, open_device, cpus)
            for service, (dns, commands) in zip(config.services, self._around, strict=True)
        ]
        self._resolving = Resolving()
        for service in self.services:
            service.routed = self._routed(service)
        self._relayed = Relayed(config, self.services)
        certificate = Certificate(directory, owner)
        self._relayed.open(certificate, self._authers, self._state.key, cpus, stack)
        self.user = process.leave_root(config.user, _kept(config))
        process.name_process("gateway", f"gateway: supervisor of {config.instance}")
        self._reporter = Reporter(config.instance, self.user)
        self._control = control.Control(
            self.loop,
            control_socket,
            path,
            self.status,
            lambda addresses: client_facts(self.services, addresses),
        )
        stack.callback(self._control.close)
        self.children = Children(self.loop, self._forget)
        self._source_log = SourceLog()

    def start(self) -> None:
        """Restore the peers, fork the children."""
        stack = self._stack
        stack.callback(self._save, last=True)
        for service in self.services:
            stack.callback(service.stop)
            service.host.start(self.loop, self._leftovers)
            service.start(self.loop, self.children, self._resolving)
            if service.routed is not None:
                with service.opened.inner:
                    service.routed.host.start(self.loop.inside(service.opened.inner))
                service.routed.begin(self.loop.now)
            self._restore(service)
        self._authers.changed = self._on_credentials
        self._routers.changed = self._on_routes
        stack.callback(self._stop_children)
        if self._needs_resolver():
            self._start_resolver()
        for service in self.services:
            service.fork()
        self._relayed.start(self.loop, self._resolving, self.children)
        for service in self.services:
            service.dns.start(
                self.loop, self._steward, service.opened.device, service.host.record_dns
            )
            self._run(service, "postUp", give_up=lambda: self.loop.stopping)
            stack.callback(self._run, service, "preDown")
        self.loop.call_every(SAMPLE_INTERVAL, self._sample)
        self.loop.call_every(WRITE_DELAY, self._save_if_changed)
        self.loop.call_every(WRITE_INTERVAL, self._save)
        self._announce()

    def status(self) -> Status:
        """The report, for the control socket."""
        status = self._reporter.status(
            self.services, self._resolving.member, self._steward, self.loop.now, self.loop.boot
        )
        return with_bridges(status, self.services, self._relayed, self._reporter, self.loop.now)

    def refresh(self) -> None:
        """Load every source again, now."""
        event(_log, logging.INFO, "refresh", instance=self._config.instance)
        self._resolving.refresh()

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
                self._resolving,
                lambda changes: self._on_routes(table, changes, service),
            )
        return routed

    def _start_steward(self) -> Steward | None:
        tasks = [task for pair in self._around for each in pair for task in each.tasks]
        if not tasks:
            return None
        title = f"gateway: steward of {self._config.instance}"
        steward = Steward(self.loop, tasks, title, self._forget_configured)
        self._stack.callback(steward.close)
        return steward

    def _forget_configured(self) -> None:
        """In the steward, which is forked before there are services."""
        self._authers.forget()
        self._routers.forget()
        for service in self._config.services:
            process.wipe(service.passphrase)
            for credential in service.credentials or ():
                process.wipe(credential.password)
        forget_relayed(self._config)

    def _run(
        self, service: TunService, step: Step, give_up: Callable[[], bool] | None = None
    ) -> None:
        service.commands.run(step, self._steward, service.opened.device.name, give_up=give_up)

    def _service(
        self,
        config: model.Service,
        dns: LinkDns,
        commands: ServiceCommands,
        open_device: OpenDevice,
        cpus: tuple[int, ...],
    ) -> TunService:
        """Opened; of a chain the legs are its targets."""
        opened = self._open(config, commands, cpus, open_device)
        chain = None
        if config.chain is not None:
            with opened.outer:
                legs = open_chain(config.chain, config)
            self._stack.callback(legs.close)
            chain = ChainClient(config.chain, legs, config, cpus)
            config = led(config, legs)
        tables = self._authers.of(config.authers)
        service = TunService(config, opened, cpus, self._state.key, tables, dns, commands)
        service.chain = chain
        return service

    def _open(
        self,
        service: model.Service,
        commands: ServiceCommands,
        cpus: tuple[int, ...],
        open_device: OpenDevice,
    ) -> Opened:
        self._stack.callback(commands.run, "postDown", self._steward)
        commands.run("preUp", self._steward, give_up=lambda: self.loop.stopping)
        workers = CLIENT_WORKERS
        if service.role is Role.SERVER:
            workers = service.workers or len(cpus)
        opened = open_service(service, workers, open_device)
        self._stack.callback(opened.close)
        return opened

    def _needs_resolver(self) -> bool:
        names = any(needs_resolver(service.targets) for service in self._config.services)
        return names or bool(self._authers.tables) or self._routers.need_resolver

    def _start_resolver(self) -> None:
        arena = Arena([Page.bytes_for(1)])
        spec = Spec(
            name="resolver",
            service="",
            kind="resolver",
            cpus=process.usable_cpus(),
            page=Page(arena.carve(Page.bytes_for(1)), 1),
            arena=arena,
            build=self._build_resolver,
            on_message=self._on_resolver,
            snapshot=list,
            messages_per_turn=RESOLVER_MESSAGES,
        )
        self._resolving.member = self.children.start(spec)

    def _build_resolver(self, place: Place) -> Resolver:
        """It alone keeps the passwords and tokens of sources."""
        authers, routers = self._authers.for_resolver(), self._routers.for_resolver()
        place = replace(place, forget=self._forget_services)
        if not authers and not routers:
            return Resolver(place)
        return Resolver(place, (), lambda deliver: Sources(authers, routers, deliver))

    def _on_resolver(self, message: FromChild) -> None:
        if isinstance(message, SourceState):
            self._source_log.take(message, self.loop.now)
        self._resolving.on_message(message)
        self._authers.on_message(message)
        self._routers.on_message(message)

    def _on_routes(
        self, table: RouterTable, changes: RouteChanges, only: TunService | None = None
    ) -> None:
        for service in self.services:
            if only not in (None, service):
                continue
            if service.routed is not None and service.routed.table is table:
                service.routed.take(changes, self.loop.now)
                service.publish()

    def _on_credentials(self, auther: str, addresses: Iterable[bytes]) -> None:
        for service in self.services:
            if service.hub is not None and auther in (s.name for s in service.config.authers):
                service.hub.on_credentials(addresses)

    def _restore(self, service: TunService) -> None:
        saved = self._state.peers_of(service.config.name)
        if service.hub is None or saved is None:
            return
        count = service.hub.restore(saved, self._state.down(), self.loop.boot)
        event(_log, logging.INFO, "peers-restored", service=service.config.name, peers=count)

    def _announce(self) -> None:
        for service in self.services:
            config = service.config
            event(
                _log, logging.INFO, "started", instance=self._config.instance,
                service=config.name, role=config.role.name.lower(),
                device=service.opened.device.name,
                nets=",".join(str(net) for net in config.nets), user=self.user,
            )  # fmt: skip
            if service.hub is not None and not service.admission.auth:
                event(
                    _log, logging.WARNING, "no-auth", service=config.name,
                    text="NO AUTHENTICATION: anyone who can reach the port can join the tunnel;"
                    " set handler.auther or user:password@ in the URL",
                )  # fmt: skip

    def _sample(self) -> None:
        self._reporter.sample(
            [member.pid for member in self.children.members if member.pid], self.loop.now
        )

    def _save_if_changed(self) -> None:
        if any(service.hub is not None and service.hub.changed for service in self.services):
            self._save()

    def _save(self, *, last: bool = False) -> None:
        states = {}
        for service in self.services:
            if service.hub is not None:
                service.hub.changed = False
                states[service.config.name] = service.hub.export(self.loop.boot)
        if states:
            self._state.save(states, last=last)

    def _stop_children(self) -> None:
        """In the order packets flow: no new ones come in, then what is queued goes out."""
        self.children.stop("tun-reader")
        self.children.stop("udp-worker")
        self.children.stop("bridge")
        self.children.stop("resolver")
        event(_log, logging.INFO, "stopped", instance=self._config.instance)

    def _forget(self) -> None:
        self._authers.forget()
        self._routers.forget()
        self._forget_services()

    def _forget_services(self) -> None:
        for service in self.services:
            service.forget()
        self._relayed.forget()


def _kept(config: model.Config) -> tuple[str, ...]:
    """What the supervisor needs to look after the host; entering namespaces costs more."""
    elsewhere = any(service.netns or service.netns_out for service in config.services)
    more = ("sys_admin",) if elsewhere else ()
    return (*process.KEPT_BY_SUPERVISOR, *more)


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
