"""A relay listener at run time: its socket, its bridges, who is behind which port.

The supervisor decides who may in, makes the sockets with large buffers that bridges may
not make, and withdraws the peer of a stream that ended: its port will be used again.
"""

import logging
import random
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf

from gateway.carriers.stream import CarrierError
from gateway.config.chain_model import RelaySpec
from gateway.config.model import Target
from gateway.errors import ConfigError
from gateway.linux import near
from gateway.linux.listening import open_listener
from gateway.log import RateLimiter, event, get_logger
from gateway.protocol.bridge_messages import (
    AskRelay,
    BridgeFigures,
    RelayVerdict,
    Sockets,
    SocketsPlease,
    StreamEnded,
    StreamFigures,
    StreamOpened,
)
from gateway.protocol.messages import AskAuth, FromChild
from gateway.protocol.packet import Endpoint
from gateway.protocol.relay import Address
from gateway.protocol.relay_access import Own, Way, near_address
from gateway.protocol.selector import Node, Selector
from gateway.supervisor.bridges import BridgeChildren, Certificate, answer
from gateway.supervisor.children import Children, Member
from gateway.supervisor.loop import Loop
from gateway.supervisor.relay_users import RelayUsers, address_of
from gateway.supervisor.resolving import Resolving, Verdict
from gateway.workers.base import Child, Place
from gateway.workers.bridge_carriers import DATAGRAMS, Listen, prepare_listen
from gateway.workers.bridge_relay import RelayBridge, RelayParts

BRIDGES = 4
"""A listener has one for each CPU, but no more than these."""
SOCKETS_AT_ONCE = 16
LOG_INTERVAL = 60.0
LONGEST_TURN = 1.0
"""Seconds by which our clock, read once a turn, may be behind a bridge's; ports rest for longer."""
STRANGE = (
    "accept-error", "bad-frame", "bad-grpc", "bad-http", "bad-kcp", "bad-mtls", "bad-mws",
    "bad-mwss", "bad-quic", "bad-request", "bad-snappy", "bad-target", "bad-tls", "client-full",
    "forbidden", "full", "half-open-evicted", "handshake-ended", "handshake-timeout",
    "idle-evicted", "impatient", "no-descriptors", "noise", "request-timeout",
    "stranger-evicted", "unanswered", "unproven", "unreachable", "wrong-path", "wrong-version",
)  # fmt: skip
"""What bridges and carriers count that is worth a line."""

_log = get_logger("relay")

Leave = Callable[[int, Endpoint, float], None]
"""To the service with this port: who registered from there before this time is gone."""


@dataclass(frozen=True)
class OpenedRelay:
    """What a listener holds of the kernel. `listen` is one function, which knows a key."""

    listener: socket.socket
    listen: list[Listen]

    def close(self) -> None:
        """Give it back."""
        self.listener.close()


@dataclass
class Guest:
    """A stream that leads to one of our services."""

    carrier: str
    remote: str
    user: str
    bridge: str
    service: int
    figures: StreamFigures | None = None


def open_relay(spec: RelaySpec, certificate: Certificate) -> OpenedRelay:
    """As root. Raises HostError, ConfigError."""
    try:
        listen = prepare_listen(spec, certificate.file)
    except CarrierError as error:
        raise ConfigError(f"{spec.place}: {error}") from None
    listener = open_listener(spec.host, spec.port, datagrams=spec.carrier in DATAGRAMS)
    return OpenedRelay(listener, [listen])


class RelayService:
    """One relay listener. `own` are the TUN services that streams may lead to."""

    def __init__(
        self,
        spec: RelaySpec,
        opened: OpenedRelay,
        users: RelayUsers,
        own: Sequence[Own],
        cpus: tuple[int, ...],
        leave: Leave,
    ) -> None:
        self.spec = spec
        self.opened = opened
        self.users = users
        self.bridges = BridgeChildren(spec.name)
        self.guests: dict[tuple[bytes, int], Guest] = {}
        self.refused = 0
        self.shortfall = ""
        self._own = tuple(own)
        self._cpus = cpus
        self._leave = leave
        self._limiter = RateLimiter(LOG_INTERVAL)
        self._told: dict[str, int] = {}
        self._is_own = False

    def start(self, loop: Loop, resolving: Resolving) -> None:
        """Know where to ask."""
        self._loop = loop
        self._resolving = resolving

    def fork(self, children: Children) -> None:
        """Start the bridges."""
        count = self.spec.bridges or min(BRIDGES, len(self._cpus))
        if self.spec.carrier in DATAGRAMS:
            count = 1  # datagrams of one connection must come to one process
        for index in range(count):
            self.bridges.start(
                children,
                f"bridge {index}" if count > 1 else "bridge",
                self._cpus,
                self._build,
                self._on_message,
                self._on_end,
            )

    def leads_to(self, service: Own) -> bool:
        """Whether streams may come to this TUN service."""
        if not self.spec.targets:
            return service in self._own
        near = Address(service.near, service.port)
        return any(way.own and way.address == near for way in map(self._way, self.spec.targets))

    def forget(self) -> None:
        """Wipe secrets; called in children. A bridge of its own keeps the certificate's key."""
        self.users.forget()
        if not self._is_own:
            self.opened.listen.clear()

    def _build(self, place: Place) -> Child:
        parts = RelayParts(
            listener=self.opened.listener,
            listen=self.opened.listen[0],
            read_timeout=self.spec.read_timeout,
            auth=self.users.auth,
            own=self._own,
            allowed=tuple(_address(target) for target in self.spec.allow),
            forward=tuple(self._way(target) for target in self.spec.targets),
            selector=_selector(self.spec),
            clients=self.spec.clients,
        )

        def forget() -> None:
            self._is_own = True
            place.forget()

        return RelayBridge(replace(place, forget=forget), parts)

    def _way(self, target: Target) -> Way:
        """Where a fixed target leads: to a service of ours, if it is one."""
        here = target.host in ("", "localhost", "127.0.0.1", "::1")
        for own in self._own:
            if own.port == target.port and (here or target.host in (own.host, own.near)):
                return Way(Address(own.near, own.port), udp=True, own=True)
        return Way(Address(target.host or near.LOOPBACK, target.port), udp=True, own=False)

    def _on_message(self, member: Member, message: FromChild) -> None:
        if isinstance(message, StreamOpened):
            self._on_opened(member, message)
        elif isinstance(message, StreamEnded):
            self._on_ended((message.local, message.port), message.service)
        elif isinstance(message, AskRelay):
            self._judge(member, message)
        elif isinstance(message, SocketsPlease):
            self._give_sockets(member, min(message.count, SOCKETS_AT_ONCE))
        elif isinstance(message, BridgeFigures):
            for figures in message.streams:
                guest = self.guests.get((figures.local, figures.port))
                if guest is not None:
                    guest.figures = figures
            self._tell_refusals()

    def _on_opened(self, member: Member, message: StreamOpened) -> None:
        key = (message.local, message.port)
        self._leave(message.service, Endpoint(*key), message.at - LONGEST_TURN)
        self.guests[key] = Guest(
            message.carrier, message.remote, message.user, member.spec.name, message.service
        )

    def _on_ended(self, key: tuple[bytes, int], service: int) -> None:
        self._leave(service, Endpoint(*key), inf)
        self.guests.pop(key, None)

    def _on_end(self, member: Member) -> None:
        """A bridge died: so did all its streams."""
        gone = [key for key, guest in self.guests.items() if guest.bridge == member.spec.name]
        for key in gone:
            self._on_ended(key, self.guests[key].service)

    def _judge(self, member: Member, question: AskRelay) -> None:
        verdict = self.users.judge(question.username, question.password)
        address = address_of(question.username)
        if verdict == "yes" or address is None or not self.users.plugins:
            self._on_verdict(member, question, verdict)
            return
        names = tuple(spec.name for spec in self.users.plugins)
        patience = max(spec.plugin.timeout for spec in self.users.plugins if spec.plugin)

        def ask(query: int) -> AskAuth:
            return AskAuth(
                query, names, self.spec.name, (address,), question.password, question.client
            )

        key = (self.spec.name, member.spec.name, question.query)
        then = partial(self._on_verdict, member, question)
        if not self._resolving.ask_auth(key, ask, patience, self._loop.boot, then):
            self._on_verdict(member, question, "unknown")

    def _on_verdict(self, member: Member, question: AskRelay, verdict: Verdict) -> None:
        if verdict != "yes":
            self.refused += 1
            held = self._limiter.allow("refused", self._loop.now)
            if held is not None:
                user = question.username.decode("utf-8", "replace")
                event(
                    _log, logging.WARNING, "relay-refused", service=self.spec.name,
                    client=question.client, user=user, held_back=held,
                )  # fmt: skip
        answer(member, RelayVerdict(question.query, verdict))

    def _give_sockets(self, member: Member, count: int) -> None:
        made: list[socket.socket] = []
        try:
            made += (near.open_near() for _ in range(count))
            self.shortfall = near.shortfall(made[0]) if made else ""
        except OSError as error:
            held = self._limiter.allow("no-sockets", self._loop.now)
            if held is not None:
                event(
                    _log, logging.WARNING, "no-sockets", service=self.spec.name,
                    error=error.strerror, held_back=held or None,
                )  # fmt: skip
        answer(member, Sockets(len(made)), [sock.fileno() for sock in made])
        for sock in made:
            sock.close()

    def _tell_refusals(self) -> None:
        """What strangers do, once a minute per kind."""
        counts = self.bridges.counts
        for what in STRANGE:
            if counts[what] > self._told.get(what, 0):
                held = self._limiter.allow(what, self._loop.now)
                if held is not None:
                    event(
                        _log, logging.WARNING, "strangers", service=self.spec.name, what=what,
                        count=counts[what] - self._told.get(what, 0),
                    )  # fmt: skip
                    self._told[what] = counts[what]


def own_services(services: Iterable[tuple[str, int]]) -> list[Own]:
    """Hosts and ports that TUN services listen on."""
    return [Own(host, port, near_address(host)) for host, port in services]


def _address(target: Target) -> Address:
    return Address(target.host, target.port)


def _selector(spec: RelaySpec) -> Selector | None:
    if len(spec.targets) < 2:
        return None
    how = spec.selector
    nodes = [Node(target.backup, target.weight) for target in spec.targets]
    return Selector(how.strategy, nodes, random.random, how.max_fails, how.fail_timeout)
