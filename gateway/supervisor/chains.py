"""A client's chain at run time: loopback ports in place of its targets, and their bridge.

The service's uplink knows datagrams only: each of its targets is a port that a leg of the
bridge listens on. Whenever the uplink connects, the leg is led to its new source port, so
that nobody else on the host is heard there. Whenever a leg has a new stream, the uplink
registers anew at once: the server knows the new stream by nothing else.
"""

import contextlib
import dataclasses
import logging
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

from msgspec.structs import replace

from gateway.carriers.stream import CarrierError
from gateway.config.carrier_options import OVER_UDP
from gateway.config.chain_model import ChainSpec, NodeSpec, RelayUser
from gateway.config.model import Service, Target
from gateway.errors import ConfigError, HostError
from gateway.linux import near
from gateway.linux.channel import ChannelGarbledError
from gateway.linux.marked import open_marked
from gateway.linux.process import wipe
from gateway.linux.udp import Confines
from gateway.log import RateLimiter, event, get_logger
from gateway.protocol.bridge_messages import Dial, Dialling, LegFigures
from gateway.protocol.messages import FromChild
from gateway.protocol.packet import ANY, Endpoint, is_v4
from gateway.protocol.relay import Address
from gateway.protocol.uplink import LOST_PERIODS
from gateway.supervisor.bridges import BridgeChildren, answer
from gateway.supervisor.children import Children, Member
from gateway.supervisor.loop import Loop
from gateway.workers.base import Child, Place
from gateway.workers.bridge_carriers import prepare_dial
from gateway.workers.bridge_chain import ChainBridge, ChainParts, PreparedHop, PreparedNode
from gateway.workers.bridge_marked import MarkedSockets

LOG_INTERVAL = 30.0
SLACK = 5.0
CLEAR = frozenset({"tcp", "ws", "mws"})
"""Carriers whose bytes anybody on the way can read and change."""

_log = get_logger("chain")

KeepOutside = Callable[[Endpoint], None]
"""The way to this server must never lead into the tunnel."""


@dataclass(frozen=True)
class OpenedChain:
    """What a chain holds of the kernel: a socket for each target. `hops` hold secrets."""

    legs: tuple[socket.socket, ...]
    hops: list[PreparedHop]

    def close(self) -> None:
        """Give it back."""
        for leg in self.legs:
            leg.close()


def open_chain(spec: ChainSpec, service: Service) -> OpenedChain:
    """Read the certificates, open the legs. Raises HostError, ConfigError."""
    hops = [PreparedHop(hop, tuple(_prepare(node) for node in hop.nodes)) for hop in spec.hops]
    with contextlib.ExitStack() as stack:
        try:
            legs = tuple(stack.enter_context(near.open_leg()) for _ in service.targets)
        except OSError as error:
            raise HostError(
                f"service {service.name}: no port on 127.0.0.1 ({error.strerror}), which its chain "
                "needs; is the device lo up (ip link set lo up)?"
            ) from None
        stack.pop_all()
    return OpenedChain(legs, hops)


def led(service: Service, opened: OpenedChain) -> Service:
    """The service with the legs' ports as its targets; names stay, for the status."""
    targets = tuple(
        replace(target, host=near.LOOPBACK, port=leg.getsockname()[1], name=_name(target))
        for target, leg in zip(service.targets, opened.legs, strict=True)
    )
    return replace(service, targets=targets)


class ChainClient:
    """The chain of one service. `targets` are where its legs lead."""

    def __init__(
        self, spec: ChainSpec, opened: OpenedChain, service: Service, cpus: tuple[int, ...]
    ) -> None:
        self.spec = spec
        self.opened = opened
        self.legs: dict[int, LegFigures] = {}
        self.since: dict[int, float] = {}
        """When each leg came to be as it is: CLOCK_MONOTONIC."""
        self.bridges = BridgeChildren(service.name)
        self.shortfall = near.shortfall(opened.legs[0]) if opened.legs else ""
        self._name = service.name
        self.targets = tuple(Address(target.host, target.port) for target in service.targets)
        self._patience = _patience(service)
        self._key = str(service.nets[0].ip).encode()
        self._cpus = cpus
        self._is_own = False
        self._limiter = RateLimiter(LOG_INTERVAL, burst=3)

    def start(self, loop: Loop, keep_outside: KeepOutside, register: Callable[[int], None]) -> None:
        """`register` has the uplink register anew, if it uses this port."""
        self._loop = loop
        self._keep_outside = keep_outside
        self._register = register
        self.started = loop.now
        for hop in self.spec.hops:
            for node in hop.nodes:
                _warn(self._name, node)

    def fork(self, children: Children, home: contextlib.AbstractContextManager[object]) -> None:
        """Start the bridge, in the namespace of the service's sockets."""
        self._home = home
        self.bridges.start(
            children, "bridge", self._cpus, self._build, self._on_message, self._on_end, home
        )

    def on_connect(self, sock: socket.socket, endpoint: Endpoint) -> None:
        """The uplink's socket has been connected to `endpoint`, from a new port perhaps."""
        for leg in self.opened.legs:
            if leg.getsockname()[1] == endpoint.port:
                near.lead_leg(leg, sock.getsockname()[1])

    def target_at(self, port: int) -> str:
        """Where the leg on this port leads."""
        for leg, target in zip(self.opened.legs, self.targets, strict=True):
            if leg.getsockname()[1] == port:
                return str(target)
        return ""

    def forget(self) -> None:
        """Wipe secrets, and the certificates' keys with the hops; called in other children."""
        for hop in self.spec.hops:
            _wipe(hop.nodes)
        if not self._is_own:
            for prepared in self.opened.hops:
                _wipe([node.spec for node in prepared.nodes])
            self.opened.hops.clear()

    def _build(self, place: Place) -> Child:
        legs = tuple(zip(self.opened.legs, self.targets, strict=True))

        def forget() -> None:
            self._is_own = True
            place.forget()

        parts = ChainParts(tuple(self.opened.hops), legs, self._patience, self._key)
        return ChainBridge(dataclasses.replace(place, forget=forget), parts)

    def _on_message(self, member: Member, message: FromChild) -> None:
        if not self._makes_sense(message):
            raise ChannelGarbledError
        if isinstance(message, Dialling):
            self._keep_outside(Endpoint(message.address, message.port, message.scope))
            with contextlib.ExitStack() as stack:
                marked = self._open_marked(message)
                made = [stack.enter_context(marked).fileno()] if marked is not None else []
                answer(member, Dial(message.query, message.node), made)
        elif isinstance(message, LegFigures):
            before = self.legs.get(message.leg)
            self.legs[message.leg] = message
            if before is None or _standing(before) != _standing(message):
                self.since[message.leg] = self._loop.now
            self._note(before, message)

    def _makes_sense(self, message: FromChild) -> bool:
        """A bridge that was taken over must not end the supervisor, and so every service."""
        if isinstance(message, Dialling):
            known = 0 <= message.node < len(self.spec.hops[0].nodes)
            return known and len(message.address) == len(ANY)
        return not isinstance(message, LegFigures) or 0 <= message.leg < len(self.targets)

    def _open_marked(self, message: Dialling) -> socket.socket | None:
        """The socket that the bridge may not make; None where it needs none."""
        node = self.spec.hops[0].nodes[message.node]
        if not node.mark:
            return None
        family = socket.AF_INET if is_v4(message.address) else socket.AF_INET6
        kind = socket.SOCK_DGRAM if node.carrier in OVER_UDP else socket.SOCK_STREAM
        try:
            with self._home:
                return open_marked(family, kind, Confines(node.interface, node.mark))
        except (HostError, OSError) as error:
            if self._limiter.allow(("mark", node.label), self._loop.now) is not None:
                event(
                    _log, logging.WARNING, "no-marked-socket", service=self._name,
                    node=node.label, error=error,
                )  # fmt: skip
            return None

    def _on_end(self, _member: Member) -> None:
        self.legs.clear()
        self.since = dict.fromkeys(range(len(self.targets)), self._loop.now)

    def _note(self, before: LegFigures | None, now: LegFigures) -> None:
        state = before.state if before is not None else "idle"
        if now.state == state:
            return
        if now.state in ("open", "up") and state not in ("open", "up"):
            self._tell(logging.INFO, "chain-open", now)
            self._register(self.opened.legs[now.leg].getsockname()[1])
        elif now.state == "waiting":
            self._tell(logging.WARNING, "chain-lost", now)

    def _tell(self, level: int, name: str, leg: LegFigures) -> None:
        held = self._limiter.allow((name, leg.error), self._loop.now)
        if held is not None:
            event(
                _log, level, name, service=self._name, target=self.targets[leg.leg],
                hops=" > ".join(leg.hops) or None, error=leg.error or None, held_back=held or None,
            )  # fmt: skip


def _patience(service: Service) -> float:
    """How long a stream may bring nothing: a little longer than the uplink's own patience."""
    return LOST_PERIODS * service.ttl + SLACK if service.keepalive else inf


def _standing(leg: LegFigures) -> str:
    """Its state; one that is down is dialled and waits by turns."""
    return "down" if leg.state in ("dialling", "waiting") else leg.state


def _wipe(nodes: Iterable[NodeSpec]) -> None:
    for node in nodes:
        if node.user is not None:
            wipe(node.user.password)


def _prepare(node: NodeSpec) -> PreparedNode:
    """With a copy of the password: the configuration's is wiped in the bridge too."""
    if node.user is not None:
        copy = bytes(bytearray(node.user.password))
        node = replace(node, user=RelayUser(node.user.username, copy))
    marked = MarkedSockets() if node.mark else None
    try:
        return PreparedNode(node, prepare_dial(node, marked), marked)
    except CarrierError as error:
        raise ConfigError(f"{node.place}: {error}") from None


def _warn(service: str, node: NodeSpec) -> None:
    if node.tls is not None and not node.tls.verifies:
        event(
            _log, logging.WARNING, "unverified", service=service, node=node.label,
            text="NOTHING IS VERIFIED: whoever is on the way can pose as the server;"
            " set secure=true, ca= or pin=sha256:...",
        )  # fmt: skip
    elif node.carrier in CLEAR or (node.carrier == "grpc" and node.tls is None):
        event(
            _log, logging.WARNING, "in-clear", service=service, node=node.label,
            text=f"NOT ENCRYPTED: {node.carrier} carries the tunnel in clear",
        )  # fmt: skip
    elif node.carrier == "kcp" and _is_open(node):
        event(
            _log, logging.WARNING, "in-clear", service=service, node=node.label,
            text="NOT SECRET: whoever is on the way can read and change the tunnel; set kcp.key,"
            " at both ends, and a kcp.crypt that encrypts",
        )  # fmt: skip


def _is_open(node: NodeSpec) -> bool:
    """Whether kcp has a key that everybody knows, which is GOST's default, or needs none."""
    return not node.options.get("kcp.key") or node.options.get("kcp.crypt") in ("none", "xor")


def _name(target: Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return target.name or f"{host}:{target.port}"
