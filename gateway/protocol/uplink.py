"""The uplink: how a client finds its server, watches it and finds it again.

    resolving ──resolved──> registering ──ack──> up <──ack── lost
                                 │               │            ^
                                 └── no ack for 3 periods, ───┘
                                     refused, source gone

    with keepalive off:  resolving ──> unwatched <──ack── lost
                                           └─ refused, ─────^
                                              source gone

While up there is a heartbeat every `ttl`; while registering the first one is repeated
sooner, after half a second and then twice as long each time, as a first datagram is the
one most easily lost. While lost there are probes, twice a second with jitter, each a
heartbeat from a new source port, since a mapping on the way may be what died. Probes
take turns among all known endpoints of all targets, beginning with the last good one.
Names are resolved anew meanwhile, at most once a second each; no answer is waited for,
an empty one changes nothing. Refusals never hasten a probe, so they cannot spin. With
keepalive off silence means nothing: one heartbeat at start, and nothing more until the
kernel says that it went nowhere.

A probe's ack cannot reach a port that was given up already, so the pause between
probes follows a known round trip over the usual half second; while none is known,
every fourth pause is a long one, in case the way is longer than that.

The machine does nothing itself: it takes events and the time, and leaves `actions`.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Protocol

from gateway.protocol.packet import Endpoint

LOST_PERIODS = 3
FIRST_REPEAT = 0.5
"""Seconds after which the first heartbeat is repeated; doubled each time, up to `ttl`."""
PROBE_INTERVAL = 0.5
PROBE_JITTER = 0.1
"""Seconds that a pause between probes may be shorter or longer."""
PROBE_ROUND_TRIPS = 1.5
LONGEST_PROBE_INTERVAL = 3.0
PATIENT_PROBE_INTERVAL = 1.0
PATIENT_EVERY = 4
PATIENT_AFTER = 20
"""Probes without an answer, and with no round trip known, before some pauses get longer."""
RESOLVE_INTERVAL = 1.0
RESOLVE_PATIENCE = 5.0
"""Seconds after which an unanswered question is asked again."""
LOSS_WINDOW = 20
RTT_GAIN = 1 / 8
"""Weight of a new sample in the smoothed RTT (RFC 6298, 2.3)."""


class Target(Protocol):
    """A server as the user named it."""

    @property
    def host(self) -> str:
        """A name, or an address as text."""

    @property
    def port(self) -> int:
        """The UDP port."""


class State(Enum):
    """The values are those of `messages.UplinkStatus`."""

    RESOLVING = "resolving"
    REGISTERING = "registering"
    UP = "up"
    LOST = "lost"
    UNWATCHED = "unwatched"


@dataclass(frozen=True)
class Resolve:
    """Find the target's addresses and answer with `resolved` or `resolve_failed`."""

    target: Target


@dataclass(frozen=True)
class Connect:
    """Connect the socket to the endpoint; `renew_port`: from a new source port."""

    endpoint: Endpoint
    renew_port: bool


@dataclass(frozen=True)
class SendHeartbeat:
    """Send a heartbeat to where the socket is connected."""


Action = Resolve | Connect | SendHeartbeat


class _Known:
    """A target, what its name stood for last, and when that was asked."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.endpoints: tuple[Endpoint, ...] = ()
        self.asked = -inf
        self.waiting = False

    def askable(self) -> float:
        """When it may be asked again."""
        return self.asked + (RESOLVE_PATIENCE if self.waiting else RESOLVE_INTERVAL)


class Uplink:
    """The client's side of a service. `random` gives floats from [0, 1)."""

    def __init__(
        self,
        targets: Sequence[Target],
        ttl: float,
        keepalive: bool,
        random: Callable[[], float],
    ) -> None:
        self.ttl = ttl
        self.keepalive = keepalive
        self.state = State.RESOLVING
        self.state_since = 0.0
        self.endpoint: Endpoint | None = None
        self.last_ack: float | None = None
        self.observed: bytes | None = None
        self.heartbeats = 0
        self.acks = 0
        self.reconnects = 0
        self._random = random
        self._known = [_Known(target) for target in targets]
        self._current = self._known[0]
        self._asking = 0
        self._ask_at = inf
        self._heartbeat_at = inf
        self._repeat = ttl
        self._lost_at = inf
        self._probe_at = inf
        self._sent = -inf
        self._probes = 0
        self._was_up = False
        self._figures = _Figures()
        self._actions: list[Action] = []

    @property
    def target(self) -> Target:
        """The target in use, or being tried."""
        return self._current.target

    @property
    def rtt(self) -> float | None:
        """Round trip in seconds, smoothed; None before the first."""
        return self._figures.rtt

    @property
    def rtt_last(self) -> float | None:
        """The latest round trip in seconds."""
        return self._figures.rtt_last

    @property
    def loss(self) -> float | None:
        """Share of unanswered heartbeats, 0 to 1, over the last 20 that were sent while up."""
        return self._figures.loss

    def start(self, now: float) -> None:
        """Begin. Called once."""
        self._enter(State.RESOLVING, now)
        self._ask_next(now)

    def resolved(self, now: float, target: Target, endpoints: Sequence[Endpoint]) -> None:
        """The answer to a `Resolve`, best endpoint first. None at all is a failure."""
        if not endpoints:
            self.resolve_failed(now, target)
            return
        known = self._find(target)
        known.waiting = False
        known.endpoints = tuple(endpoints)
        if self.state is State.RESOLVING:
            self._register(known, now)

    def resolve_failed(self, now: float, target: Target) -> None:
        """The name means nothing now; what it meant before stays good."""
        self._find(target).waiting = False
        if self.state is State.RESOLVING:
            self._ask_at = max(now, min(known.askable() for known in self._known))

    def ack(self, now: float, observed: bytes) -> None:
        """An ack came: the server saw us at the address `observed` (a16)."""
        if self.state is State.RESOLVING:
            return  # nothing was asked yet
        self.acks += 1
        self.last_ack = now
        self.observed = observed
        self._figures.answered(now)
        self._lost_at = now + LOST_PERIODS * self.ttl if self.keepalive else inf
        if self.state in (State.UP, State.UNWATCHED):
            self._was_up = True
            return
        self._probe_at = inf
        self._heartbeat_at = self._sent + self.ttl if self.keepalive else inf
        self.reconnects += self._was_up
        self._was_up = True
        self._enter(State.UP if self.keepalive else State.UNWATCHED, now)

    def refused(self, now: float) -> None:
        """The kernel said ECONNREFUSED: nobody listens there."""
        self._lose(now)

    def source_gone(self, now: float) -> None:
        """The kernel said ENETUNREACH or EADDRNOTAVAIL: our own address went."""
        self._lose(now)

    def due(self) -> float | None:
        """When `advance` is needed next; None: only an event can bring anything."""
        at = min(self._ask_at, self._heartbeat_at, self._lost_at, self._probe_at)
        return None if at == inf else at

    def advance(self, now: float) -> None:
        """Do what time asks for; late calls do each thing once."""
        if now >= self._lost_at:
            self._lose(now)
        if now >= self._ask_at:
            self._ask_next(now)
        if now >= self._probe_at:
            self._probe(now)
        if now >= self._heartbeat_at:
            self._send(now)
            self._heartbeat_at = now + self._next_gap()

    def actions(self) -> list[Action]:
        """What is to be done, in order; each is given out once."""
        drained, self._actions = self._actions, []
        return drained

    def _register(self, known: _Known, now: float) -> None:
        self._ask_at = inf
        self._current = known
        self.endpoint = known.endpoints[0]
        self._actions.append(Connect(self.endpoint, renew_port=False))
        self._enter(State.REGISTERING if self.keepalive else State.UNWATCHED, now)
        self._send(now)
        if self.keepalive:
            self._repeat = FIRST_REPEAT
            self._heartbeat_at = now + self._next_gap()
            self._lost_at = now + LOST_PERIODS * self.ttl

    def _next_gap(self) -> float:
        """Seconds from this heartbeat to the next."""
        if self.state is State.UP:
            return self.ttl
        gap = min(self._repeat, self.ttl)
        self._repeat *= 2
        return gap

    def _lose(self, now: float) -> None:
        """Probe from now on, but no sooner after the last heartbeat than a probe would."""
        if self.state in (State.LOST, State.RESOLVING):
            return
        self._heartbeat_at = inf
        self._lost_at = inf
        self._probes = 0
        self._probe_at = max(now, self._sent + self._pause())
        self._enter(State.LOST, now)

    def _probe(self, now: float) -> None:
        for known in self._known:
            if now >= known.askable():
                self._ask(known, now)
        previous = self.endpoint
        self.endpoint = self._next_endpoint()
        if previous is not None and self.endpoint.address != previous.address:
            self._figures.forget_rtt()
        self._actions.append(Connect(self.endpoint, renew_port=True))
        self._figures.reconnected()
        self._send(now)
        self._probes += 1
        self._probe_at = now + self._pause()

    def _next_endpoint(self) -> Endpoint:
        """The last good endpoint first, then all in turn."""
        turns = [(known, endpoint) for known in self._known for endpoint in known.endpoints]
        at = (self._current, self.endpoint)
        if at not in turns:
            following = 0
        elif self._probes == 0:
            following = turns.index(at)
        else:
            following = (turns.index(at) + 1) % len(turns)
        self._current, endpoint = turns[following]
        return endpoint

    def _pause(self) -> float:
        """Seconds to the next probe."""
        jitter = (2 * self._random() - 1) * PROBE_JITTER
        if self.rtt is not None:
            wanted = min(self.rtt * PROBE_ROUND_TRIPS, LONGEST_PROBE_INTERVAL)
            return max(PROBE_INTERVAL, wanted) + jitter
        if self._probes > PATIENT_AFTER and self._probes % PATIENT_EVERY == 0:
            return PATIENT_PROBE_INTERVAL + jitter
        return PROBE_INTERVAL + jitter

    def _send(self, now: float) -> None:
        self._actions.append(SendHeartbeat())
        self.heartbeats += 1
        self._sent = now
        self._figures.sent(now, counts=self.state in (State.UP, State.UNWATCHED))

    def _ask_next(self, now: float) -> None:
        """Ask one target and come back soon: another may answer faster."""
        for step in range(len(self._known)):
            known = self._known[(self._asking + step) % len(self._known)]
            if now >= known.askable():
                self._asking = (self._asking + step + 1) % len(self._known)
                self._current = known
                self._ask(known, now)
                break
        soonest = min(known.askable() for known in self._known)
        self._ask_at = max(now + RESOLVE_INTERVAL, soonest)

    def _ask(self, known: _Known, now: float) -> None:
        known.asked = now
        known.waiting = True
        self._actions.append(Resolve(known.target))

    def _find(self, target: Target) -> _Known:
        for known in self._known:
            if known.target == target:
                return known
        raise ValueError(f"{target.host}:{target.port} is no target of this uplink")

    def _enter(self, state: State, now: float) -> None:
        self.state = state
        self.state_since = now


class _Figures:
    """RTT and loss. A heartbeat is settled by the next ack, or by a later one's."""

    def __init__(self) -> None:
        self.rtt: float | None = None
        self.rtt_last: float | None = None
        self._outstanding: list[tuple[float, bool]] = []  # when sent, whether it counts
        self._settled: deque[bool] = deque(maxlen=LOSS_WINDOW)

    @property
    def loss(self) -> float | None:
        if not self._settled:
            return None
        return self._settled.count(False) / len(self._settled)

    def sent(self, now: float, *, counts: bool) -> None:
        self._outstanding.append((now, counts))

    def answered(self, now: float) -> None:
        """The newest heartbeat was answered, earlier ones were not.

        Which one an ack belongs to is only known when one is outstanding.
        """
        if not self._outstanding:
            return
        if len(self._outstanding) == 1:
            self._sample(now - self._outstanding[0][0])
        _, counts = self._outstanding.pop()
        self.reconnected()
        if counts:
            self._settled.append(True)

    def reconnected(self) -> None:
        """No ack can come any more for what is outstanding."""
        self._settled.extend(False for _, counts in self._outstanding if counts)
        self._outstanding.clear()

    def forget_rtt(self) -> None:
        """The server is another one."""
        self.rtt = None

    def _sample(self, rtt: float) -> None:
        self.rtt_last = rtt
        self.rtt = rtt if self.rtt is None else self.rtt + RTT_GAIN * (rtt - self.rtt)
