"""The instance from its first to its last moment.

    open everything (as root) ─> leave root ─> restore peers ─> fork ─> loop ─> stop

Whatever goes wrong on the way, what was opened so far is given back in reverse order.
"""

import gc
import logging
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from gateway.config import model
from gateway.linux import process
from gateway.log import event, get_logger, setup
from gateway.protocol.forwarding import Role
from gateway.protocol.instances import RUN_DIRECTORY_VARIABLE, run_directory, socket_path
from gateway.protocol.status import Status
from gateway.supervisor import control
from gateway.supervisor.bridge_report import with_bridges
from gateway.supervisor.bridges import Certificate
from gateway.supervisor.chains import ChainClient, led, open_chain
from gateway.supervisor.children import Children
from gateway.supervisor.client_facts import client_facts
from gateway.supervisor.commands import ServiceCommands, Step
from gateway.supervisor.device import Device, DeviceOpener
from gateway.supervisor.dns import LinkDns
from gateway.supervisor.leftovers import Leftovers
from gateway.supervisor.loop import Loop
from gateway.supervisor.opening import Opened, open_service
from gateway.supervisor.relayed import Relayed, forget_relayed
from gateway.supervisor.report import Reporter
from gateway.supervisor.service import TunService
from gateway.supervisor.sourcing import Sourcing
from gateway.supervisor.state import (
    STATE_DIRECTORY_VARIABLE,
    WRITE_INTERVAL,
    StateFile,
    Writing,
    state_directory,
)
from gateway.supervisor.steward import Steward

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
        self._sourcing = Sourcing(config, self._state.key, self.loop)
        self._leftovers = Leftovers(directory, config.instance, owner)
        self._leftovers.undo()
        self._around = [(LinkDns(s), ServiceCommands(s, config.instance)) for s in config.services]
        self._steward = self._start_steward()
        self.services = [
            self._service(service, dns, commands, open_device, cpus)
            for service, (dns, commands) in zip(config.services, self._around, strict=True)
        ]
        self._sourcing.lead(self.services)
        self._relayed = Relayed(config, self.services)
        certificate = Certificate(directory, owner)
        self._relayed.open(certificate, self._sourcing.authers, self._state.key, cpus, stack)
        self.user = process.leave_root(config.user, _kept(config))
        process.name_process("gateway", f"gateway: supervisor of {config.instance}")
        self._reporter = Reporter(config.instance, self.user)
        self._control = control.Control(
            self.loop,
            control_socket,
            path,
            self.status,
            lambda addresses: client_facts(self.services, addresses, self._relayed),
        )
        stack.callback(self._control.close)
        self.children = Children(self.loop, self._forget)

    def start(self) -> None:
        """Restore the peers, fork the children."""
        # What there is now lives as long as we do. Looking through it for garbage would find
        # none, and each page looked at would be the children's no more, but a copy of our own.
        gc.collect()
        gc.freeze()
        stack = self._stack
        stack.callback(self.loop.drop_timers)  # commands of the end turn the loop once more
        saving = stack.enter_context(ExitStack())
        writing = Writing(self.loop, self._save)
        for service in self.services:
            stack.callback(service.stop)
            service.host.start(self.loop, self._leftovers)
            service.start(self.loop, self.children, self._sourcing.resolving)
            if service.hub is not None:
                service.hub.changed = writing.changed
            self._sourcing.begin(service)
            self._restore(service)
        saving.callback(self._save, last=True)  # sooner it would drop who is not restored yet
        stack.callback(self._stop_children)
        self._sourcing.start(self.children, self._forget_services)
        for service in self.services:
            service.fork()
        self._relayed.start(self.loop, self._sourcing.resolving, self.children)
        for service in self.services:
            service.dns.start(
                self.loop, self._steward, service.opened.device, service.host.record_dns
            )
            self._run(service, "postUp", give_up=lambda: self.loop.stopping)
            stack.callback(self._run, service, "preDown")
        self.loop.call_every(SAMPLE_INTERVAL, self._sample)
        self.loop.call_every(WRITE_INTERVAL, writing.changed)  # leases do, all the time
        self._announce()

    def status(self) -> Status:
        """The report, for the control socket."""
        status = self._reporter.status(
            self.services,
            self._sourcing.resolving.member,
            self._steward,
            self.loop.now,
            self.loop.boot,
        )
        return with_bridges(status, self.services, self._relayed, self._reporter, self.loop.now)

    def refresh(self) -> None:
        """Load every source again."""
        self._sourcing.refresh()

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
        self._sourcing.forget()
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
        tables = self._sourcing.authers.of(config.authers)
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

    def _save(self, *, last: bool = False) -> None:
        states = {}
        for service in self.services:
            if service.hub is not None:
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
        self._sourcing.forget()
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
