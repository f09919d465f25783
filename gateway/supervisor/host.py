"""What a service changes on its host beside the device: system routes and NAT.

Both are looked after while it runs: routes whenever the kernel tells of a change (not
more often than once a second), NAT every few seconds. Both are taken back when it ends,
and by the next start (`leftovers`) when it was killed.

A client's default route is entered at its first connect and not before: until then
nobody knows which way past the tunnel must be kept, and a server's name could not be
resolved through it.
"""

import logging
from collections.abc import Callable, Container
from functools import partial
from typing import Literal

from msgspec.structs import replace

from gateway.config.model import Service
from gateway.errors import HostError
from gateway.linux.nat import Masquerade
from gateway.linux.netns import Namespace
from gateway.linux.resolved import DnsRecord
from gateway.linux.route_plan import Key, RouteRecord
from gateway.linux.routing import RouteMonitor, SystemRoutes
from gateway.log import RateLimiter, event, get_logger
from gateway.protocol.forwarding import Role
from gateway.protocol.packet import Address, Endpoint, Network, unpack_address
from gateway.protocol.status import HostStatus
from gateway.supervisor.device import Device
from gateway.supervisor.leftovers import Left, Leftovers
from gateway.supervisor.loop import Loop, Timer

TEND_INTERVAL = 5.0
MEND_INTERVAL = 1.0
LOG_INTERVAL = 60.0

_log = get_logger("host")


class HostSide:
    """The host's side of one service. Does nothing where there are neither routes nor NAT.

    `inner` is the device's network namespace, where all of it is done, `outer` that of the
    socket. Where they differ, or where the socket is held to a device, no route can lead its
    datagrams into the tunnel.
    """

    def __init__(
        self, service: Service, device: Device, inner: Namespace, outer: Namespace
    ) -> None:
        self._service = service
        self._device = device
        self._inner = inner
        self._apart = service.interface is not None or not inner.same_as(outer)
        self._routes: SystemRoutes | None = None
        self._monitor: RouteMonitor | None = None
        self._masquerade: Masquerade | None = None
        self._endpoints: tuple[Endpoint, ...] = ()
        self._left = Left(netns=str(inner.path or ""))
        self._timer: Timer | None = None
        self._mended = 0.0
        self._troubles: dict[str, str] = {}
        self._told: tuple[str, ...] = ()
        self._limiter = RateLimiter(LOG_INTERVAL, burst=3)
        self._extra: list[tuple[Network, Address | None]] = []
        self._moved = False
        """Whether the device was made again, and the routes do not know it yet."""
        self.spared: Container[Key] = frozenset()
        """Routes into the device that somebody else looks after."""

    @property
    def masquerades(self) -> bool:
        """Whether our own NAT is in effect."""
        return self._masquerade is not None and self._masquerade.is_up

    @property
    def status(self) -> HostStatus:
        """For the report; `problems` are sentences."""
        routes = self._routes.problems if self._routes is not None else ()
        return HostStatus(self._nat_state(), (*self._troubles.values(), *routes))

    def start(self, loop: Loop, leftovers: Leftovers) -> None:
        """Masquerade and route. Raises HostError where NAT was asked for and cannot be."""
        self._loop = loop.inside(self._inner)
        self._leftovers = leftovers
        self._save(replace(self._left, device=self._device.former))
        with self._inner:
            if self._service.nat:
                self._masquerade = Masquerade(self._device.name, self._service.nets)
                self._raise_nat(self._masquerade)
            if self._wanted():
                self._open_routes()
                self._want(routes=self._wanted())
        self._loop.call_every(TEND_INTERVAL, self._tend)

    def want_routes(self, extra: list[tuple[Network, Address | None]]) -> None:
        """Beside those of the configuration, these too: networks with their gateways."""
        self._extra = extra
        with self._inner:
            self._want_all()

    def keep_outside(self, *endpoints: Endpoint) -> None:
        """Before the uplink sends there: its datagrams must never take the tunnel."""
        if endpoints != self._endpoints:
            self._endpoints = endpoints
            with self._inner:
                self._want_all()

    def mend(self, *, new_device: bool = False) -> None:
        """After the device was set up again, or made again (`new_device`)."""
        self._moved |= new_device
        with self._inner:
            if self._routes is not None:
                self._attempt(self._follow)
            if self._masquerade is not None:
                self._tend_nat(self._masquerade)

    def close(self) -> None:
        """Take everything back. Safe to repeat."""
        with self._inner:
            self._take_back()

    def record_dns(self, record: DnsRecord | None) -> None:
        """Name servers were set for the device, or are not any more: for the next start."""
        self._save(replace(self._left, dns=record))

    def _take_back(self) -> None:
        sentences: tuple[str, ...] = ()
        if self._timer is not None:
            self._timer.cancel()
        if self._monitor is not None:
            self._loop.unwatch(self._monitor.fileno())
            self._monitor.close()
            self._monitor = None
        if self._routes is not None:
            sentences += self._routes.close()
            self._routes = None
        if self._masquerade is not None:
            left = self._masquerade.down()
            self._masquerade = None
            if not left:  # else the next start tries again
                self._save(replace(self._left, nat=None))
            sentences += left
        sentences += self._let_go()
        for sentence in sentences:
            self._tell("not-put-back", sentence)

    def _let_go(self) -> tuple[str, ...]:
        """Of the device, which is given back where the kernel can be asked."""
        if self._left.device is not None:
            try:
                self._device.link()
            except HostError as error:
                return (f"device {self._device.name} is not as it was: {error}",)
        self._save(replace(self._left, device=None))
        return ()

    def _nat_state(self) -> Literal["off", "on", "failed"]:
        if self._masquerade is None:
            return "off"
        return "on" if self.masquerades and "nat" not in self._troubles else "failed"

    def _wanted(self) -> list[tuple[Network, Address | None]]:
        """The routes for now. A server's own packets never take a peer for a default route."""
        default = self._service.role is Role.CLIENT and bool(self._endpoints)
        routes = [(route.network, route.gateway) for route in self._service.routes]
        return [found for found in (*routes, *self._extra) if default or found[0].prefixlen]

    def _want_all(self) -> None:
        """At any time: the routes for now, and the server outside."""
        if self._routes is None and self._wanted():
            try:
                self._open_routes()
            except HostError as error:
                self._troubles["routes"] = str(error)
                self._tell_problems()
                return
        endpoints_now = () if self._apart else self._endpoints
        found = dict.fromkeys(unpack_address(each.address) for each in endpoints_now)
        endpoints = tuple(
            address
            for address in found
            if not (address.is_loopback or address.is_link_local)  # no route leads these astray
        )
        self._want(routes=self._wanted(), endpoints=endpoints)

    def _open_routes(self) -> None:
        link = self._device.link()
        if link is None:
            raise HostError(f"device {self._device.name!r} is gone: somebody deleted it")
        routes = SystemRoutes(
            link.index, self._save_routes, persistent=self._device.persistent, spared=self.spared
        )
        self._monitor = RouteMonitor()
        self._routes = routes
        self._moved = False
        self._loop.watch(self._monitor.fileno(), lambda _: self._on_change())

    def _want(
        self,
        *,
        routes: list[tuple[Network, Address | None]] | None = None,
        endpoints: tuple[Address, ...] | None = None,
    ) -> None:
        if self._routes is not None:
            self._attempt(partial(self._routes.want, routes=routes, endpoints=endpoints))

    def _follow(self) -> int:
        """Routes as they are wanted, into the device as it is now. How many were changed."""
        link = self._device.link() if self._moved else None
        if self._routes is None:
            return 0
        count = self._routes.want(device=link.index if link is not None else None)
        self._moved = self._moved and link is None
        return count

    def _attempt(self, change: Callable[[], int]) -> int:
        try:
            count = change()
        except HostError as error:
            self._troubles["routes"] = str(error)
            count = 0
        else:
            self._troubles.pop("routes", None)
        self._tell_problems()
        return count

    def _on_change(self) -> None:
        if self._routes is None or self._monitor is None:
            return
        if self._monitor.drain([self._routes]) and self._timer is None:
            wait = max(0.0, self._mended + MEND_INTERVAL - self._loop.now)
            self._timer = self._loop.call_in(wait, self._mend_routes)

    def _mend_routes(self) -> None:
        self._timer = None
        self._mended = self._loop.now
        if self._routes is not None:
            count = self._attempt(self._follow)
            if count and not self._routes.problems:
                self._tell("routes-mended", f"{count} changes undone")

    def _tend(self) -> None:
        if self._masquerade is not None:
            self._tend_nat(self._masquerade)
        if self._routes is None and "routes" in self._troubles:
            self._want_all()
        elif self._routes is not None and (self._routes.problems or "routes" in self._troubles):
            self._attempt(self._follow)

    def _tend_nat(self, masquerade: Masquerade) -> None:
        try:
            masquerade.follow(self._device.name)
            self._raise_nat(masquerade)
        except HostError as error:
            self._troubles["nat"] = str(error)
        else:
            self._troubles.pop("nat", None)
        self._tell_problems()

    def _raise_nat(self, masquerade: Masquerade) -> None:
        record = masquerade.plan()
        self._save(replace(self._left, nat=record))
        masquerade.up(record)

    def _save_routes(self, record: RouteRecord) -> None:
        self._save(replace(self._left, routes=record))

    def _save(self, left: Left) -> None:
        if left != self._left:
            self._left = left
            self._leftovers.save(self._service.name, left)

    def _tell_problems(self) -> None:
        problems = self.status.problems
        for problem in problems:
            if problem not in self._told:
                self._tell("host-problem", problem)
        self._told = problems

    def _tell(self, name: str, text: str) -> None:
        held = self._limiter.allow((name, text), self._loop.now)
        if held is not None:
            event(
                _log, logging.WARNING, name, service=self._service.name, text=text, held_back=held
            )  # fmt: skip
