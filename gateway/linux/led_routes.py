"""Routes into a tunnel device to networks behind its peers, as many as a router tells.

`SystemRoutes` compares the whole table with the whole of what is wanted; with 100,000
routes that takes seconds. Here every change is a step by itself: `change` notes what is
wanted, `step` carries some hundreds of them out, and what the kernel tells of somebody
else's change is noted as a step too.

A route of somebody else's to the same network stays, and so does a network on a device of
this host; both are problems that are looked at again. Ours carry `route_plan.PROTOCOL`.
They vanish with the device; for one that outlives us they are taken back by hand.
"""

import errno
import os
import struct
import sys
from collections.abc import Callable, Container, Iterable, Mapping
from itertools import islice
from socket import AF_INET, AF_INET6

from gateway.errors import HostError
from gateway.linux import route_plan
from gateway.linux.nlmsg import F_ACK, F_CREATE, F_EXCL, F_REPLACE, Message, Netlink, attribute
from gateway.linux.route_plan import MAIN_TABLE, METRIC, PROTOCOL, UNICAST
from gateway.protocol.packet import is_v4
from gateway.protocol.routes import network_of

STEP = 200
"""Changes a step: some milliseconds."""
PROBLEMS_KEPT = 20

NETLINK_ROUTE = 0
_NEWLINK, _DELLINK, _NEWROUTE, _DELROUTE, _GETROUTE = 16, 17, 24, 25, 26
_DST, _OIF, _GATEWAY, _PRIORITY = 1, 4, 5, 6
_HEADER = struct.Struct("=BBBBBBBBI")
_FIB_MATCH = 0x2000
_IFF_UP = 1
_PROTOCOL_AT = 5
_GONE = frozenset({errno.ESRCH, errno.ENODEV, errno.ENOENT})

Prefixed = tuple[bytes, int]
"""A prefix: (a16, length over 128 bits)."""


class LedRoutes:
    """The routes of one device (its index). As a container: the keys that are its affair."""

    def __init__(self, device: int, *, persistent: bool = False) -> None:
        self._device = device
        self._persistent = persistent
        self._up = True
        self._wanted: dict[Prefixed, bytes] = {}
        self._placed: set[Prefixed] = set()
        self._pending: dict[Prefixed, None] = {}
        self._problems: dict[Prefixed, str] = {}

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and _prefix(key) in self._wanted

    @property
    def unsettled(self) -> bool:
        """Whether there are steps to do."""
        return bool(self._pending)

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be, in sentences; the first few."""
        shown = tuple(islice(self._problems.values(), PROBLEMS_KEPT))
        rest = len(self._problems) - len(shown)
        return (*shown, f"{rest} more routes of the router cannot be entered") if rest else shown

    def change(self, networks: Mapping[Prefixed, bytes], removed: Iterable[Prefixed] = ()) -> None:
        """These networks shall lead to these gateways (a16), those nowhere."""
        for prefix in removed:
            self._problems.pop(prefix, None)
            if self._wanted.pop(prefix, None) is not None:
                self._pending[prefix] = None
        for prefix, gateway in networks.items():
            if self._wanted.get(prefix) != gateway:
                self._wanted[prefix] = gateway
                self._pending[prefix] = None

    def renew(self) -> None:
        """Look at every route again."""
        self._pending |= dict.fromkeys(self._wanted)

    def move(self, device: int) -> None:
        """The device has this index now: it may have been made again, without routes."""
        if device != self._device:
            self._device = device
            self._placed.clear()
            self.renew()

    def retry(self, local: Iterable[Prefixed]) -> None:
        """Try again what could not be, and give way to these networks; see `step`."""
        self._pending |= dict.fromkeys(self._problems)
        self._pending |= dict.fromkeys(prefix for prefix in local if prefix in self._placed)

    def step(self, local: Container[Prefixed] = frozenset()) -> int:
        """Some changes, how many; `local` are networks on devices of this host.

        Raises HostError if netlink cannot be used.
        """
        prefixes = list(islice(self._pending, STEP))
        if not prefixes:
            return 0
        try:
            with Netlink(NETLINK_ROUTE) as sock:
                self._carry_out(sock, prefixes, local)
        except OSError as error:
            raise HostError(f"routes cannot be changed: {error.strerror}") from None
        return len(prefixes)

    def concerns(self, kind: int, payload: bytes) -> bool:
        """Whether somebody changed a route of ours; that is a step to do then."""
        if kind in (_NEWLINK, _DELLINK):
            return self._on_link(kind, payload)
        if kind not in (_NEWROUTE, _DELROUTE) or len(payload) < _HEADER.size:
            return False
        if kind == _NEWROUTE and payload[_PROTOCOL_AT] == PROTOCOL:
            return False
        route = route_plan.parse(payload)
        if route is None or route.metric != METRIC[route.family]:
            return False
        prefix = _prefix(route.key)
        if prefix not in self._wanted:
            return False
        self._placed.discard(prefix)
        self._pending[prefix] = None
        return True

    def sweep(
        self,
        read: Callable[[Netlink], Iterable[route_plan.KernelRoute]],
        spared: Container[Prefixed] = frozenset(),
    ) -> None:
        """Take away what a killed run left on a device that outlives us; not the spared ones."""
        with Netlink(NETLINK_ROUTE) as sock:
            left = [
                Message(_DELROUTE, F_ACK, route.payload)
                for route in read(sock)
                if route.protocol == PROTOCOL
                and route.leads_to(self._device)
                and route.metric == METRIC[route.family]
                and _prefix(route.key) not in spared
            ]
            for start in range(0, len(left), STEP):
                sock.send(left[start : start + STEP])

    def close(self) -> None:
        """Take all back. Raises HostError if netlink cannot be used."""
        self._pending.clear()
        self.change({}, list(self._wanted))
        if not self._persistent:
            return
        while self._pending:
            self.step()

    def _carry_out(
        self, sock: Netlink, prefixes: Iterable[Prefixed], local: Container[Prefixed]
    ) -> None:
        steps: dict[Prefixed, Message] = {}
        for prefix in prefixes:
            del self._pending[prefix]
            message = self._message(prefix, local)
            if message is not None:
                steps[prefix] = message
        for (prefix, message), code in zip(steps.items(), sock.send(steps.values()), strict=True):
            if message.kind == _DELROUTE:
                self._judge_end(prefix, code)
            else:
                self._judge(sock, prefix, code)

    def _message(self, prefix: Prefixed, local: Container[Prefixed]) -> Message | None:
        gateway = self._wanted.get(prefix)
        if gateway is not None and prefix in local:
            self._problems[prefix] = f"{network_of(*prefix)}: a device of this host has it"
            gateway = None
        if gateway is None:
            if prefix not in self._placed:
                return None
            self._placed.discard(prefix)
            return Message(_DELROUTE, F_ACK, _payload(prefix, self._device))
        how = F_REPLACE if prefix in self._placed else F_EXCL
        return Message(_NEWROUTE, F_ACK | F_CREATE | how, _payload(prefix, self._device, gateway))

    def _judge_end(self, prefix: Prefixed, code: int) -> None:
        if code and code not in _GONE:
            self._placed.add(prefix)
            self._problems[prefix] = (
                f"the route to {network_of(*prefix)} stays: {os.strerror(code)}"
            )
        elif prefix not in self._wanted:
            self._problems.pop(prefix, None)

    def _judge(self, sock: Netlink, prefix: Prefixed, code: int) -> None:
        gateway = self._wanted[prefix]
        if code == errno.EEXIST and self._is_ours(sock, prefix):
            renewed = Message(
                _NEWROUTE, F_ACK | F_CREATE | F_REPLACE, _payload(prefix, self._device, gateway)
            )
            [code] = sock.send((renewed,))
        if not code:
            self._placed.add(prefix)
            self._problems.pop(prefix, None)
            return
        own = "this host has a route of its own to it"
        reason = own if code == errno.EEXIST else f"the kernel refuses it ({os.strerror(code)})"
        self._problems[prefix] = f"{network_of(*prefix)}: {reason}"

    def _is_ours(self, sock: Netlink, prefix: Prefixed) -> bool:
        family, destination, _ = _kernel(prefix)
        head = _HEADER.pack(family, 8 * len(destination), 0, 0, 0, 0, 0, 0, _FIB_MATCH)
        found = sock.ask(_GETROUTE, head + attribute(_DST, destination))
        route = route_plan.parse(found) if found is not None else None
        return route is not None and route.protocol == PROTOCOL and _prefix(route.key) == prefix

    def _on_link(self, kind: int, payload: bytes) -> bool:
        if len(payload) < 12 or int.from_bytes(payload[4:8], sys.byteorder) != self._device:
            return False
        flags = int.from_bytes(payload[8:12], sys.byteorder)
        was, self._up = self._up, kind == _NEWLINK and bool(flags & _IFF_UP)
        if not self._up:
            self._placed.clear()  # the kernel takes them away and tells nobody
        if was or not self._up:
            return False
        self.renew()
        return True


def _kernel(prefix: Prefixed) -> tuple[int, bytes, int]:
    a16, length = prefix
    if length >= 96 and is_v4(a16):
        return AF_INET, a16[12:], length - 96
    return AF_INET6, a16, length


def _prefix(key: tuple[object, ...]) -> Prefixed | None:
    """Of a key of the kernel's; None for another metric than ours."""
    family, destination, length, metric = key
    if not isinstance(destination, bytes) or not isinstance(length, int):
        return None
    if family == AF_INET and metric == METRIC[AF_INET]:
        return bytes(10) + b"\xff\xff" + destination, length + 96
    if family == AF_INET6 and metric == METRIC[AF_INET6]:
        return destination, length
    return None


def _payload(prefix: Prefixed, device: int, gateway: bytes | None = None) -> bytes:
    """Of a message that enters the route or, without a gateway, takes it away."""
    family, destination, length = _kernel(prefix)
    via = b""
    if gateway is not None:
        via = attribute(_GATEWAY, gateway[12:] if family == AF_INET else gateway)
    return (
        _HEADER.pack(family, length, 0, 0, MAIN_TABLE, PROTOCOL, 0, UNICAST, 0)
        + attribute(_DST, destination)
        + attribute(_PRIORITY, METRIC[family].to_bytes(4, sys.byteorder))
        + attribute(_OIF, device.to_bytes(4, sys.byteorder))
        + via
    )
