"""The host's own routes to the networks of a router: so the server itself reaches them.

A server has `LedRoutes`, which follow a table of any size in steps, one a turn. A client's
router tells the same host that has its `route=`, so they are joined: the way to the server
past the tunnel must hold for all of them.
"""

import contextlib
import logging
from collections.abc import Iterable, Mapping

from pyroute2.netlink.exceptions import NetlinkError

from gateway.config.model import Service
from gateway.errors import HostError
from gateway.linux import lan, routing
from gateway.linux.led_routes import LedRoutes
from gateway.linux.routing import RouteMonitor
from gateway.log import RateLimiter, event, get_logger
from gateway.protocol.forwarding import Role
from gateway.protocol.packet import pack_network, unpack_address
from gateway.protocol.routes import network_of
from gateway.supervisor.device import Device
from gateway.supervisor.host import HostSide
from gateway.supervisor.loop import Loop

PAUSE = 0.001
"""Seconds between two steps: other events of the loop come in between."""
TEND_INTERVAL = 1.0
LOOK_INTERVAL = 20.0
LOG_INTERVAL = 60.0
CLIENT_LIMIT = 1000
"""Routes of a client's router: with each change the kernel's whole table is compared."""

_DEFAULT = (0, 96)

_log = get_logger("host-routes")

Prefixed = tuple[bytes, int]


class HostRoutes:
    """Those of one service."""

    def __init__(self, service: Service, device: Device, host: HostSide) -> None:
        self._service = service
        self._device = device
        self._host = host
        self._loop: Loop | None = None
        self._configured = {pack_network(route.network) for route in service.routes}
        self._wanted: dict[Prefixed, bytes] = {}
        self._led: LedRoutes | None = None
        self._monitor: RouteMonitor | None = None
        self._local: frozenset[Prefixed] = frozenset()
        self._stepping = False
        self._trouble = ""
        self._told: tuple[str, ...] = ()
        self._limiter = RateLimiter(LOG_INTERVAL, burst=3)
        link = device.link()
        if service.role is Role.SERVER and link is not None:
            self._led = LedRoutes(link.index, persistent=device.persistent)
            host.spared = self._led

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be, in sentences."""
        led = self._led.problems if self._led is not None else ()
        return (*((self._trouble,) if self._trouble else ()), *led)

    def start(self, loop: Loop) -> None:
        """Begin. Raises HostError where the kernel's table cannot be watched."""
        self._loop = loop
        if self._led is not None:
            self._monitor = RouteMonitor()
            loop.watch(self._monitor.fileno(), lambda _: self._on_notice())
            loop.call_every(TEND_INTERVAL, self._tend)
            loop.call_every(LOOK_INTERVAL, self._look)
            if self._device.persistent:
                self._led.sweep(routing.read_routes, self._configured)
            self._look()
        self._go_on()

    def change(self, networks: Mapping[Prefixed, bytes], removed: Iterable[Prefixed]) -> None:
        """These networks are behind these gateways now, those behind none."""
        ours = {p: g for p, g in networks.items() if p not in self._configured}
        if self._led is not None:
            # A server's own packets never take a peer for a default route.
            ours = {p: g for p, g in ours.items() if p[1] not in _DEFAULT}
            self._led.change(ours, removed)
            self._go_on()
            return
        for prefix in removed:
            self._wanted.pop(prefix, None)
        self._wanted |= ours
        self._go_on()

    def close(self) -> None:
        """Take back what does not go with the device. Safe to repeat."""
        if self._monitor is not None and self._loop is not None:
            self._loop.unwatch(self._monitor.fileno())
            self._monitor.close()
            self._monitor = None
        if self._led is not None:
            led, self._led = self._led, None
            try:
                led.close()
            except HostError as error:
                self._tell(str(error))

    def _go_on(self) -> None:
        if self._loop is None or self._stepping:
            return
        if self._led is None or self._led.unsettled:
            self._stepping = True
            self._loop.call_in(PAUSE, self._step)

    def _step(self) -> None:
        self._stepping = False
        if self._led is None:
            self._join()
            return
        try:
            self._led.step(self._local)
        except HostError as error:
            self._trouble = str(error)  # tried again by the retry
        else:
            self._trouble = ""
            self._go_on()
        self._tell_problems()

    def _join(self) -> None:
        """A client's: into the table of its `route=`."""
        many = len(self._wanted) > CLIENT_LIMIT
        self._trouble = (
            f"the router tells of {len(self._wanted)} networks: a client enters no more than "
            f"{CLIENT_LIMIT} in its routing table; use wider ones"
            if many
            else ""
        )
        self._host.want_routes(
            [] if many else [(network_of(*p), unpack_address(g)) for p, g in self._wanted.items()]
        )
        self._tell_problems()

    def _on_notice(self) -> None:
        if self._monitor is None or self._led is None:
            return
        self._monitor.drain([self._led])
        if self._monitor.lost:
            self._led.renew()
        self._go_on()

    def _tend(self) -> None:
        try:
            link = self._device.link()
        except HostError:
            return  # what was known stays good
        if self._led is not None and link is not None:
            self._led.move(link.index)
            self._go_on()

    def _look(self) -> None:
        if self._led is None:
            return
        with contextlib.suppress(HostError, OSError, NetlinkError):  # what was known stays
            self._local = frozenset(pack_network(item.network) for item in lan.connected())
        self._led.retry(self._local)
        self._go_on()

    def _tell_problems(self) -> None:
        problems = self.problems
        for problem in problems:
            if problem not in self._told:
                self._tell(problem)
        self._told = problems

    def _tell(self, text: str) -> None:
        held = self._limiter.allow("route", self._loop.now if self._loop is not None else 0.0)
        if held is not None:
            event(
                _log, logging.WARNING, "host-problem", service=self._service.name, text=text,
                held_back=held or None,
            )  # fmt: skip
