"""One TUN service at run time: its tables and its children, over what `opening` opened.

A child that dies costs none of what was opened.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial

from gateway.config import model
from gateway.errors import GatewayError, HostError, NoRoomError
from gateway.fastpath.counters import Page
from gateway.fastpath.ring import Ring
from gateway.log import RateLimiter, event, get_logger
from gateway.protocol.forwarding import Role
from gateway.protocol.messages import Asked, FromChild, Punts, Trouble
from gateway.protocol.packet import ANY, pack_address
from gateway.supervisor.acks import Acks
from gateway.supervisor.admission import Admission
from gateway.supervisor.advertising import SCAN_INTERVAL, Advertising
from gateway.supervisor.authers import AutherTable
from gateway.supervisor.chains import ChainClient
from gateway.supervisor.children import Children, Kind, Member, Spec
from gateway.supervisor.commands import ServiceCommands
from gateway.supervisor.dns import LinkDns
from gateway.supervisor.host import HostSide
from gateway.supervisor.hub import Hub
from gateway.supervisor.lans import Lans
from gateway.supervisor.loop import Loop
from gateway.supervisor.networks import Networks
from gateway.supervisor.opening import Opened
from gateway.supervisor.path_mtu import PathMtuDriver, warn_narrow
from gateway.supervisor.resolving import Resolving
from gateway.supervisor.routers import Routed
from gateway.supervisor.traffic import Traffic
from gateway.supervisor.uplink import UplinkDriver, needs_resolver
from gateway.workers.base import Child, Place
from gateway.workers.tun_reader import ReaderParts, TunReader
from gateway.workers.udp_worker import UdpWorker, WorkerParts

TICK = 0.5
SETTLE_PAUSE = 0.001
"""Seconds between two slices of many networks: other events come in between."""
LOOK = 20.0
"""Seconds between two looks at the host's own networks."""
RECREATIONS = 5
RECREATION_PERIOD = 60.0
RECREATION_PAUSE = 2.0
"""Seconds until the next attempt where the host has no room for one."""
LOG_INTERVAL = 60.0

_log = get_logger("service")


class TunService:
    """One `-L` that runs."""

    def __init__(
        self,
        config: model.Service,
        opened: Opened,
        cpus: Sequence[int],
        key: bytes,
        tables: Sequence[AutherTable],
        dns: LinkDns,
        commands: ServiceCommands,
    ) -> None:
        self.config = config
        self.opened = opened
        routes = config.routes if config.router is None else ()
        self.networks = Networks(config.role, config.nets, routes, p2p=config.p2p)
        self.traffic = Traffic(opened.pages)
        self.rings = tuple(Ring(memory, create=False) for memory in opened.rings)
        self.hub: Hub | None = None
        self.uplink: UplinkDriver | None = None
        self.admission = Admission(config.nets, config.credentials, key, tables)
        self.host = HostSide(config, opened.device, opened.inner, opened.outer)
        self.dns = dns
        self.commands = commands
        self.routed: Routed | None = None
        self.chain: ChainClient | None = None
        self.lans: Lans | None = None
        self.advertising: Advertising | None = None
        with opened.inner:
            if config.role is Role.SERVER:
                self.lans = Lans(config, self.admission.digest, self.networks)
            else:
                self.advertising = Advertising(
                    config, opened.device.name, opened.sockets[0], lambda: self.host.masquerades
                )
        self.members: list[Member] = []
        self.trouble = ""
        self._settling = False
        self._cpus = tuple(cpus)
        self._recreated: list[float] = []
        self._recreating = False
        self._limiter = RateLimiter(LOG_INTERVAL)

    def start(self, loop: Loop, children: Children, resolving: Resolving) -> None:
        """Make the tables and begin."""
        self._loop = loop
        self._children = children
        self.networks.publish()
        if self.lans is not None and self.opened.acks is not None:
            acks = Acks(self.opened.acks)
            self.hub = Hub(
                self.config.name,
                self.admission,
                self.networks,
                self.traffic,
                acks,
                self.publish,
                resolving,
                lambda: loop.boot,
                self.lans,
            )
            loop.inside(self.opened.inner).call_every(LOOK, self.lans.look)
            warn_narrow(self.config, self.opened.links)
        elif self.advertising is not None:
            sock, advertising = self.opened.sockets[0], self.advertising
            ask = resolving.ask if needs_resolver(self.config.targets) else None
            path_mtu = PathMtuDriver(self.config, self.opened.echoes, loop)
            self.uplink = uplink = UplinkDriver(
                self.config, sock, loop, ask, self.host, advertising, path_mtu, self.opened.spare
            )
            if self.chain is not None:
                uplink.connected = self.chain.on_connect
                self.chain.start(loop, self.host.keep_outside, uplink.register)
            self.traffic.begin(0)
            with self.opened.inner:
                self._scan(advertising, uplink)
            inside = loop.inside(self.opened.inner)
            inside.call_every(SCAN_INTERVAL, lambda: self._scan(advertising, uplink))
        loop.call_every(TICK, self._tick)

    def fork(self) -> None:
        """Start the tun-reader and the udp-workers. The tables are ready by now.

        Workers have a CPU each. The tun-reader and a worker that is alone have none:
        the scheduler knows better which one is idle.
        """
        self._start(
            "tun-reader", "tun-reader", self.opened.pages[0], self._cpus, self._build_reader
        )
        workers = len(self.opened.rings)
        for index in range(workers):
            cpu = self._cpus[index % len(self._cpus)]
            self._start(
                f"udp-worker {index}",
                "udp-worker",
                self.opened.pages[index + 1],
                (cpu,) if workers > 1 else self._cpus,
                partial(self._build_worker, index),
            )
        if self.chain is not None:
            self.chain.fork(self._children, self.opened.outer)
        if self.uplink is not None:
            self.uplink.start()

    def publish(self) -> None:
        """Send what changed in the tables to every child, as one update (I7)."""
        update = self.networks.publish()
        if self.networks.unsettled and not self._settling:
            self._settling = True
            self._loop.call_in(SETTLE_PAUSE, self._go_on)
        if update is None:
            return
        for member in self.members:
            if member.life is not None:
                member.life.feed.put(update)
        self._children.publish_done()

    def _scan(self, advertising: Advertising, uplink: UplinkDriver) -> None:
        advertising.device = self.opened.device.name
        advertising.scan(uplink.machine)

    def _go_on(self) -> None:
        self._settling = False
        self.publish()

    def forget(self) -> None:
        """Wipe secrets; called in children."""
        self.admission.forget()
        if self.uplink is not None:
            self.uplink.forget()
        if self.chain is not None:
            self.chain.forget()

    def stop(self) -> None:
        """Take back what was told and changed. The children are gone by now."""
        if self.advertising is not None:
            self.advertising.withdraw()
        if self.routed is not None:
            with self.opened.inner:
                self.routed.host.close()
        self.dns.close()
        self.host.close()

    def _start(
        self,
        name: str,
        kind: Kind,
        page: Page,
        cpus: tuple[int, ...],
        build: Callable[[Place], Child],
    ) -> None:
        uplink = self.uplink if kind == "udp-worker" else None
        spec = Spec(
            name=name,
            service=self.config.name,
            kind=kind,
            cpus=cpus,
            page=page,
            arena=self.opened.arena,
            build=build,
            on_message=self._on_message,
            snapshot=self.networks.snapshot,
            on_ready=uplink.listening if uplink is not None else _nothing,
            on_end=uplink.deaf if uplink is not None else _nothing,
        )
        self.members.append(self._children.start(spec))

    def _build_reader(self, place: Place) -> Child:
        opened = self.opened
        return TunReader(
            place,
            ReaderParts(
                opened.device.fd,
                opened.rings,
                opened.doorbells,
                _mss_mtu(self.config),
                asking=self._asking,
            ),
        )

    @property
    def _asking(self) -> bool:
        return self.routed is not None and self.routed.asking is not None

    def _build_worker(self, index: int, place: Place) -> Child:
        opened, config = self.opened, self.config
        sock = opened.sockets[index]
        parts = WorkerParts(
            udp=sock.fileno(),
            tun=opened.device.fd,
            ring=opened.rings[index],
            doorbell=opened.doorbells[index],
            asking=self._asking,
            role=int(_role(config)),
            connected=config.role is Role.CLIENT,
            family=int(sock.family),
            source_check=config.source_check,
            gso=opened.probe.gso,
            merge_tcp="tso4" in opened.device.offloads,
            merge_udp="uso4" in opened.device.offloads,
            own4=_own_address(config, 4),
            own6=_own_address(config, 6),
            mss_mtu=_mss_mtu(config),
            mtu=config.mtu,
        )
        return UdpWorker(place, parts)

    def _on_message(self, message: FromChild) -> None:
        if isinstance(message, Punts):
            if self.hub is not None:
                self.hub.on_punts(message.datagrams, self._loop.boot)
            elif self.uplink is not None:
                self.uplink.on_punts(message.datagrams, self._loop.boot)
        elif isinstance(message, Asked):
            if self.routed is not None and self.routed.asking is not None:
                self.routed.asking.on_asked(message.addresses, self._loop.boot)
        elif isinstance(message, Trouble):
            if message.what == "device-gone":
                self._recreate_device()
            elif self.uplink is not None:
                self.uplink.on_trouble(message)

    def _recreate_device(self) -> None:
        """Several children report one deletion: only the first report finds it gone."""
        if self._recreating or not self._is_gone():
            return
        now = self._loop.now
        self._recreated = [at for at in self._recreated if now - at < RECREATION_PERIOD]
        if len(self._recreated) >= RECREATIONS:
            raise GatewayError(
                f"service {self.config.name}: device {self.opened.device.name!r} was deleted "
                f"{RECREATIONS + 1} times within {RECREATION_PERIOD:.0f} s; find out by whom"
            )
        self._recreated.append(now)
        self._recreate()

    def _is_gone(self) -> bool:
        try:
            return self.opened.device.link() is None
        except HostError:
            return False  # it is asked again with the next report

    def _recreate(self) -> None:
        """Until there is room for it: meanwhile the children wait."""
        try:
            self.opened.device.recreate()
        except NoRoomError as error:
            self._recreating = True
            self._tell_incomplete(error)
            self._loop.call_in(RECREATION_PAUSE, self._recreate)
            return
        except (HostError, OSError) as error:
            raise GatewayError(
                f"service {self.config.name}: device {self.opened.device.name!r} was deleted "
                f"and cannot be made again: {error}"
            ) from None
        self._recreating = False
        self.host.mend(new_device=True)
        self.dns.mend()
        event(
            _log, logging.WARNING, "device-recreated", service=self.config.name,
            device=self.opened.device.name, text="somebody deleted it",
        )  # fmt: skip

    def _tell_incomplete(self, error: HostError) -> None:
        held = self._limiter.allow(str(error), self._loop.now)
        if held is not None:
            event(
                _log, logging.WARNING, "device-incomplete", service=self.config.name, error=error,
                held_back=held or None,
            )  # fmt: skip

    def _tick(self) -> None:
        try:
            if self.opened.device.tend():
                self.host.mend()
        except HostError as error:
            self._tell_incomplete(error)
        if self.hub is not None:
            self.hub.tick(self._loop.boot)
        if self.routed is not None and self.routed.asking is not None:
            self.routed.asking.tick(self._loop.boot)
        if self.uplink is not None:
            self.uplink.tick()


def _nothing() -> None:
    """Nobody waits for this child."""


def _role(service: model.Service) -> Role:
    """What the workers are told: a server with `p2p` has one peer."""
    return Role.POINT if service.p2p and service.role is Role.SERVER else service.role


def _mss_mtu(service: model.Service) -> int:
    """The MTU that SYNs are clamped to, 0 for none."""
    return service.mtu if service.mss == "auto" else 0


def _own_address(service: model.Service, version: int) -> bytes:
    """The first tunnel address of a family, where ICMP errors to peers come from; or ANY."""
    if service.role is not Role.SERVER:
        return ANY
    own = next((net.ip for net in service.nets if net.version == version), None)
    return ANY if own is None else pack_address(own)
