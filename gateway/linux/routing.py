"""The host's own routes for a tunnel: kept as wanted, and put back.

`route_plan` decides; here the kernel's table is read and changed. Whatever is not undone
by the death of the device is written down before it is done: `save` is called with the
record first. CAP_NET_ADMIN is enough for everything here. Only the main table is looked
at: a host that routes by rules and tables of its own keeps the server out by its own.

A table of 100,000 routes takes about a second to read: so `RouteMonitor` looks at what
the kernel tells and calls for `ensure` only if a change concerns us.
"""

import errno
import os
import sys
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace
from socket import AF_INET, AF_INET6
from typing import Protocol, TypeVar

from gateway.errors import HostError
from gateway.linux import route_plan, sysctl
from gateway.linux.nlmsg import F_ACK, F_CREATE, F_REPLACE, Message, Netlink
from gateway.linux.route_plan import PROTOCOL, KernelRoute, Key, RouteRecord, Step, Wanted
from gateway.protocol.packet import Address, Network

NETLINK_ROUTE = 0
_NEWLINK, _DELLINK, _NEWROUTE, _DELROUTE, _GETROUTE = 16, 17, 24, 25, 26
_GROUPS = 0x1 | 0x40 | 0x400  # links, IPv4 routes, IPv6 routes
_CHUNK = 200
_GONE = frozenset({errno.ESRCH, errno.ENODEV, errno.ENOENT})

Save = Callable[[RouteRecord], None]


class Watcher(Protocol):
    """Somebody who has routes in the kernel's table."""

    def concerns(self, kind: int, payload: bytes) -> bool:
        """Whether a message of the kernel's may mean that there is work."""


W = TypeVar("W", bound=Watcher)


class SystemRoutes:
    """The routes of one tunnel device (its index). `save` keeps a record on disk.

    `persistent`: the device outlives us. `spared`: see `Wanted`.
    """

    def __init__(
        self,
        device: int,
        save: Save,
        *,
        persistent: bool = False,
        spared: Container[Key] = frozenset(),
    ) -> None:
        self.record = RouteRecord(sysctl.place())
        self.problems: tuple[str, ...] = ()
        self._wanted = Wanted(device, persistent=persistent, spared=spared)
        self._save = save
        self._keys: frozenset[Key] = frozenset()

    def want(
        self,
        *,
        routes: Sequence[tuple[Network, Address | None]] | None = None,
        endpoints: Sequence[Address] | None = None,
        device: int | None = None,
    ) -> int:
        """Change what is wanted, leave the rest, and make it so; see `ensure`.

        `routes` are networks with their gateway inside the tunnel, or None. `endpoints`
        are the servers that must stay outside. `device` is the new index of a device
        that was made again.
        """
        wanted = self._wanted
        self._wanted = replace(
            wanted,
            routes=wanted.routes if routes is None else tuple(routes),
            endpoints=wanted.endpoints if endpoints is None else tuple(endpoints),
            device=wanted.device if device is None else device,
        )
        self._keys = frozenset(route.key for route in self._wanted.into_tunnel)
        return self.ensure()

    def ensure(self) -> int:
        """Make the kernel's table as wanted; the number of changes, 0 if nothing was amiss.

        What cannot be is in `problems`, in sentences. Raises HostError if the table
        cannot be read, and what `save` raises: it is called before anything is changed
        for what must be undone then, and afterwards for what need not any more.
        """
        with _open() as sock:
            plan = route_plan.plan(read_routes(sock), self._wanted, self.record)
            self._write_down(route_plan.both(self.record, plan.record))
            failed = _apply(sock, plan.steps)
            self._write_down(plan.record)
        self.problems = plan.problems + failed
        return len(plan.steps)

    def close(self) -> tuple[str, ...]:
        """Take all back; sentences about what could not be. Safe to repeat."""
        try:
            self.want(routes=(), endpoints=())
        except HostError as error:
            return (str(error),)
        return self.problems

    def _write_down(self, record: RouteRecord) -> None:
        if record != self.record:
            self._save(record)
            self.record = record

    def concerns(self, kind: int, payload: bytes) -> bool:
        """Whether a message of the kernel's may mean that `ensure` has work."""
        if kind in (_NEWLINK, _DELLINK):
            return bool(self._wanted.endpoints) or _index(payload) == self._wanted.device
        if kind not in (_NEWROUTE, _DELROUTE):
            return False
        route = route_plan.parse(payload)
        if route is None or (kind == _NEWROUTE and route.protocol == PROTOCOL):
            return False
        if route.key in self._keys:
            return True
        return any(
            route_plan.covers_endpoint(route.network, endpoint)
            for endpoint in self._wanted.endpoints
        )


class RouteMonitor:
    """Tells when somebody changed routes or links. For the supervisor's selector."""

    def __init__(self) -> None:
        try:
            self._socket = Netlink(NETLINK_ROUTE, _GROUPS)
            self.lost = False
            """Whether the last `drain` found that messages are missing."""
        except OSError as error:
            raise HostError(f"netlink cannot be opened: {error.strerror}") from None

    def fileno(self) -> int:
        """Readable when there is something to `drain`."""
        return self._socket.fileno()

    def drain(self, routes: Iterable[W]) -> list[W]:
        """Those that are concerned.

        Who reads the whole table then does so soon, but not more often than once a second.

        If the kernel had to leave out messages, all of them.
        """
        everyone = list(routes)
        concerned: dict[int, W] = {}
        self.lost = False
        try:
            for kind, payload in self._socket.drain():
                for index, one in enumerate(everyone):
                    if index not in concerned and one.concerns(kind, payload):
                        concerned[index] = one
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self.lost = True
            return everyone
        return list(concerned.values())

    def close(self) -> None:
        """Close the descriptor."""
        self._socket.close()


def undo(record: RouteRecord) -> tuple[str, ...]:
    """At the next start: put back what a crashed run left; sentences about what could not.

    A record of another boot or network namespace is void. Raises HostError.
    """
    if record.place != sysctl.place() or not (record.placed or record.displaced):
        return ()
    with _open() as sock:
        return _apply(sock, route_plan.undo_plan(read_routes(sock), record))


def _open() -> Netlink:
    try:
        return Netlink(NETLINK_ROUTE)
    except OSError as error:
        raise HostError(f"netlink cannot be opened: {error.strerror}") from None


def read_routes(sock: Netlink) -> list[KernelRoute]:
    """The main table, both families. Raises HostError."""
    found: list[KernelRoute] = []
    try:
        for family in (AF_INET, AF_INET6):
            for _, payload in sock.dump(_GETROUTE, bytes((family,)) + bytes(11)):
                route = route_plan.parse(payload)
                if route is not None:
                    found.append(route)
    except OSError as error:
        raise HostError(f"the routing table cannot be read: {error.strerror}") from None
    return found


def _apply(sock: Netlink, steps: Sequence[Step]) -> tuple[str, ...]:
    problems: list[str] = []
    for start in range(0, len(steps), _CHUNK):
        chunk = steps[start : start + _CHUNK]
        for step, code in zip(chunk, sock.send(map(_message, chunk)), strict=True):
            if code and not (step.verb == "delete" and code in _GONE):
                problems.append(_complaint(step, code))
    return tuple(problems)


def _message(step: Step) -> Message:
    if step.verb == "delete":
        return Message(_DELROUTE, F_ACK, step.route.payload)
    return Message(_NEWROUTE, F_ACK | F_CREATE | F_REPLACE, step.route.payload)


def _complaint(step: Step, code: int) -> str:
    network, reason = step.route.network, os.strerror(code)
    if step.verb == "delete":
        return f"the route to {network} stays: {reason}"
    if step.route.protocol != PROTOCOL:
        return f"the former route to {network} cannot be put back: {reason}"
    if code in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return f"route={network}: {reason}; a gateway must be inside the tunnel's net"
    return f"route={network}: the kernel refuses it ({reason})"


def _index(payload: bytes) -> int:
    """The device of a link message (struct ifinfomsg)."""
    return int.from_bytes(payload[4:8], sys.byteorder)
