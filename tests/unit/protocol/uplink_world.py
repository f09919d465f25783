"""A pretended world around an uplink: its clock, its servers and its resolver."""

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import NamedTuple

from strategies import a16, endpoint

from gateway.protocol.packet import Endpoint
from gateway.protocol.selector import Node, Selector
from gateway.protocol.targets import Target
from gateway.protocol.uplink import Uplink
from gateway.protocol.uplink_actions import Check, Connect, Resolve, SendHeartbeat


class Server(NamedTuple):
    host: str
    port: int = 8421


S1, S2 = Server("one.example"), Server("two.example")
E1, E2, E3 = endpoint("203.0.113.1"), endpoint("203.0.113.2"), endpoint("2001:db8::3")
OUTSIDE = a16("198.51.100.7")


@dataclass
class World:
    """What happens to questions and heartbeats; tests change it as time goes by."""

    uplink: Uplink
    names: dict[Target, list[Endpoint] | None]
    answering: set[Endpoint] = field(default_factory=set)
    refusing: set[Endpoint] = field(default_factory=set)
    unreachable: bool = False
    rtt: float = 0.02
    rtts: dict[Endpoint, float] = field(default_factory=dict)
    resolve_time: float = 0.01
    now: float = 100.0
    sent: list[tuple[float, Endpoint]] = field(default_factory=list)
    ports: int = 0
    asked: list[tuple[float, Target]] = field(default_factory=list)
    checks: list[tuple[float, Endpoint]] = field(default_factory=list)
    _connected: Endpoint | None = None
    _events: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)
    _number: int = 0

    def start(self) -> "World":
        self.uplink.start(self.now)
        self._act()
        return self

    def run(self, seconds: float) -> "World":
        """Let the time pass, as the supervisor's loop does."""
        end = self.now + seconds
        while True:
            due = self.uplink.due()
            at = min(inf if due is None else due, self._events[0][0] if self._events else inf)
            if at > end:
                self.now = end
                return self
            self.now = max(self.now, at)
            if self._events and self._events[0][0] <= self.now:
                heappop(self._events)[2](self.now)
            else:
                self.uplink.advance(self.now)
                again = self.uplink.due()
                assert again is None or again > self.now, "it spins"
            self._act()

    def event(self, act: Callable[[float], None]) -> None:
        act(self.now)
        self._act()

    def sent_since(self, when: float) -> list[float]:
        return [at for at, _ in self.sent if at >= when]

    def _act(self) -> None:
        for action in self.uplink.actions():
            match action:
                case Resolve(target):
                    self._resolve(target)
                case Connect(where, renew_port):
                    self.ports += renew_port
                    self._connected = where
                case SendHeartbeat():
                    self._send()
                case Check(where, _):
                    self._check(where)

    def _resolve(self, target: Target) -> None:
        self.asked.append((self.now, target))
        found = self.names[target]
        if found is not None:
            self._later(
                self.resolve_time, lambda now: self.uplink.resolved(now, target, tuple(found))
            )

    def _send(self) -> None:
        where, port = self._connected, self.ports
        assert where is not None
        self.sent.append((self.now, where))

        def arrive(now: float) -> None:
            if port != self.ports:
                return  # nobody listens on that port of ours any more
            if where in self.answering:
                self.uplink.ack(now, OUTSIDE)
            elif where in self.refusing:
                self.uplink.refused(now)

        if self.unreachable:
            self._later(0, self.uplink.source_gone)
        else:
            self.uplink.sent(self.now)
            self._later(self.rtts.get(where, self.rtt), arrive)

    def _check(self, where: Endpoint) -> None:
        self.checks.append((self.now, where))
        if where in self.answering:
            wait = self.rtts.get(where, self.rtt)
            self._later(wait, lambda now: self.uplink.checked(now, where))

    def _later(self, seconds: float, act: Callable[[float], None]) -> None:
        self._number += 1
        heappush(self._events, (self.now + seconds, self._number, act))


def world(
    *targets: Server,
    ttl: float = 10,
    keepalive: bool = True,
    names: dict[Target, list[Endpoint] | None] | None = None,
    strategy: str = "",
    backups: tuple[Server, ...] = (),
    key: bytes = b"",
    **state: object,
) -> World:
    targets = targets or (S1,)
    random = Random(7).random
    nodes = [Node(backup=target in backups) for target in targets]
    selector = Selector(strategy, nodes, random) if strategy else None
    uplink = Uplink(targets, ttl, keepalive, random, selector, key)
    known = names if names is not None else {S1: [E1], S2: [E2]}
    return World(uplink, known, **{"answering": {E1, E2, E3}, **state})


def perform(uplink: Uplink, now: float, *, heard: bool = True) -> None:
    """Do what is asked, in a world where every heartbeat leaves and nothing comes back."""
    for action in uplink.actions():
        if isinstance(action, SendHeartbeat):
            uplink.sent(now, heard=heard)


def state_of(it: World) -> str:
    return it.uplink.state.value
