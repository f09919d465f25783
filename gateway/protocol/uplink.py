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
one most easily lost. Three periods are never taken for less than a way may be long
(`SHORTEST_SILENCE`, `FIRST_SILENCE`). While lost there are probes, twice a second with
jitter, each a heartbeat from a new source port, since a mapping on the way may be what died.
Probes begin with the last good endpoint and go on as `probing` says; which targets are asked
while up, and when one of them takes over, is `standby`'s. With `parallel` all are asked at
once, from the spare socket, and the first that answers is used.

Names are resolved anew meanwhile, at most once a second each; no answer is waited for,
an empty one changes nothing. Before anything is known, `asking` says whose turn it is. A
refused probe is followed at once by one elsewhere, but each endpoint does that only once
for a loss, so refusals cannot spin. With keepalive off silence means nothing: one
heartbeat at start, and nothing more until the kernel says that it went nowhere.

The machine does nothing itself: it takes events and the time, and leaves `actions`.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from math import inf

from gateway.protocol.asking import Asking
from gateway.protocol.figures import Figures
from gateway.protocol.packet import Endpoint
from gateway.protocol.probing import Probing
from gateway.protocol.selector import Node, Selector
from gateway.protocol.standby import Standby
from gateway.protocol.targets import Health, Known, Standing, Target, find, owner
from gateway.protocol.uplink_actions import Action, Check, Connect, Resolve, SendHeartbeat

LOST_PERIODS = 3
SHORTEST_SILENCE = 1.0
"""Seconds that may always pass without an ack: a way may be longer than three short periods."""
FIRST_SILENCE = 3.0
"""The same before the first ack, when nobody knows how long the way is."""
FIRST_REPEAT = 0.5
"""Seconds after which the first heartbeat is repeated; doubled each time, up to `ttl`."""
REGISTER_PATIENCE = 5.0
"""Seconds that one of several targets has for its first ack."""
MOVE_PATIENCE = 2.0
"""The same for one that answered a moment ago."""


class State(Enum):
    """The values are those of `status.UplinkStatus`."""

    RESOLVING = "resolving"
    REGISTERING = "registering"
    UP = "up"
    LOST = "lost"
    UNWATCHED = "unwatched"


class Uplink:
    """The client's side of a service. `random` gives floats from [0, 1).

    `selector` has as many nodes as there are targets; `key` is what `hash` goes by.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        ttl: float,
        keepalive: bool,
        random: Callable[[], float],
        selector: Selector | None = None,
        key: bytes = b"",
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
        self._selector = selector or Selector("round", [Node()] * len(targets), random)
        self._key = key
        self._known = [Known(target, index) for index, target in enumerate(targets)]
        self._current = self._known[0]
        self._asking = Asking()
        self._probing = Probing(self._known, self._selector, key, random)
        self._standby = Standby(self._known, self._selector, key, ttl, random)
        self._heartbeat_at = inf
        self._repeat = ttl
        self._lost_at = inf
        self._probe_at = inf
        self._sent = -inf
        self._was_up = False
        self._settled = False
        self._figures = Figures()
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
        """Share of unanswered heartbeats, 0 to 1, over the last 20 since it came up.

        None before any, and while it is not up: there is no way whose loss that would be.
        """
        return self._figures.loss if self.state in (State.UP, State.UNWATCHED) else None

    @property
    def strategy(self) -> str:
        """How one of several targets is chosen."""
        return self._selector.strategy

    @property
    def endpoints(self) -> list[Endpoint]:
        """All that may be sent to."""
        return [endpoint for known in self._known for endpoint in known.endpoints]

    def standings(self) -> list[Standing]:
        """How each target is, in the order of the configuration."""
        return [self._standing(known) for known in self._known]

    def start(self, now: float) -> None:
        """Begin. Called once."""
        self._enter(State.RESOLVING, now)
        first = self._known[self._selector.select(now, self._key) or 0]
        others = [known for known in self._known if known is not first]
        self._asking.begin([first, *sorted(others, key=self._is_backup)])
        for _ in self._known if self._races else self._known[:1]:
            self._ask_next(now)

    def resolved(self, now: float, target: Target, endpoints: Sequence[Endpoint]) -> None:
        """The answer to a `Resolve`, best endpoint first. None at all is a failure."""
        if not endpoints:
            self.resolve_failed(now, target)
            return
        known = find(self._known, target)
        known.waiting = False
        known.endpoints = tuple(endpoints)
        if self.state is State.RESOLVING:
            self._register(known, known.endpoints[0], REGISTER_PATIENCE, now)
        elif self.state is State.REGISTERING and self._races:
            self._check_others(now)

    def resolve_failed(self, now: float, target: Target) -> None:
        """The name means nothing now; what it meant before stays good."""
        find(self._known, target).waiting = False
        if self.state is State.RESOLVING:
            self._asking.failed(now)

    def ack(self, now: float, observed: bytes) -> None:
        """An ack came: the server saw us at the address `observed` (a16)."""
        if self.state is State.RESOLVING:
            return  # nothing was asked yet
        self.acks += 1
        self.last_ack = now
        self.observed = observed
        settling = not self._figures.steady
        self._figures.answered(now)
        self._current.answered_at = now
        self._selector.succeeded(self._current.index)
        if self.rtt is not None and self._figures.steady:
            self._selector.measured(self._current.index, self.rtt)
        self._lost_at = now + self._patience(SHORTEST_SILENCE) if self.keepalive else inf
        if self.state in (State.UP, State.UNWATCHED):
            self._was_up = True
            if settling and self._figures.steady:
                self._move(now)
            return
        self._probe_at = inf
        self._heartbeat_at = self._sent + self.ttl if self.keepalive else inf
        self.reconnects += self._was_up
        self._was_up = True
        self._figures.forget_loss()
        self._enter(State.UP if self.keepalive else State.UNWATCHED, now)
        self._standby.begin(self._current, now)

    def sent(self, now: float, *, heard: bool = True) -> None:
        """A heartbeat of ours left. `heard`: whether somebody listens for its ack."""
        self.heartbeats += 1
        counts = self.state in (State.UP, State.UNWATCHED)
        self._figures.sent(now, counts=counts, timed=heard)

    def unheard(self) -> None:
        """For a while nobody listens for acks; they wait."""
        self._figures.unheard()

    def checked(self, now: float, endpoint: Endpoint) -> None:
        """An ack came to the spare socket, from this endpoint."""
        known = owner(self._known, endpoint)
        if known is None or known is self._current:
            return
        known.answered_at = now
        self._standby.answered(known, endpoint, now)
        if not self._move(now) and self._races and self._searching:
            self._register(known, endpoint, MOVE_PATIENCE, now)

    def refused(self, now: float) -> None:
        """The kernel said ECONNREFUSED: nobody listens there."""
        if self.state is State.LOST and self._probing.refused(self._current, self.endpoint, now):
            self._probe_at = now
        self._lose(now)

    def source_gone(self, now: float) -> None:
        """The kernel said ENETUNREACH or EADDRNOTAVAIL: our own address went."""
        self._lose(now)

    def renewed(self, now: float) -> None:
        """The way to the endpoint is a new one, at whose end nobody knows us: register there.

        A new way is no answer: what has been silent for so long is so for as long on it.
        """
        if self.endpoint is None or self.state is State.RESOLVING:
            return
        if self.state is State.LOST:
            self._try(self.endpoint, now)
            return
        silent_at = self._lost_at if self.state is State.REGISTERING else inf
        self._register(self._current, self.endpoint, REGISTER_PATIENCE, now)
        self._lost_at = min(self._lost_at, silent_at)

    def due(self) -> float | None:
        """When `advance` is needed next; None: only an event can bring anything."""
        asking, check = self._asking.due, self._check_at
        at = min(asking, self._heartbeat_at, self._lost_at, self._probe_at, check)
        return None if at == inf else at

    def advance(self, now: float) -> None:
        """Do what time asks for; late calls do each thing once."""
        if now >= self._lost_at:
            self._lose(now)
        if now >= self._asking.due:
            self._ask_next(now)
        if now >= self._probe_at:
            self._probe(now)
        if now >= self._heartbeat_at:
            self._send(now)
            self._heartbeat_at = now + self._next_gap()
        if now >= self._check_at:
            self._ask_standby(now)

    def actions(self) -> list[Action]:
        """What is to be done, in order; each is given out once."""
        drained, self._actions = self._actions, []
        return drained

    @property
    def _races(self) -> bool:
        return self._selector.strategy == "parallel" and len(self._known) > 1

    @property
    def _searching(self) -> bool:
        """Whether whoever answers first is the one."""
        beginning = self.state is State.REGISTERING and not self._settled
        return beginning or self.state is State.LOST

    @property
    def _check_at(self) -> float:
        return self._standby.due(self._current) if self.state is State.UP else inf

    def _is_backup(self, known: Known) -> bool:
        return self._selector.nodes[known.index].backup

    def _standing(self, known: Known) -> Standing:
        fails = self._selector.fails(known.index)
        used = known is self._current and self.state in (State.UP, State.UNWATCHED)
        rtt = self.rtt if used else self._selector.rtt(known.index)
        state: Health = "unknown" if known.answered_at is None else "healthy"
        if used:
            state = "used"
        elif fails:
            state = "failed"
        return Standing(known.target, state, self._is_backup(known), rtt, fails)

    def _move(self, now: float) -> bool:
        """Go to a better target if there is one; whether there was."""
        better = self._standby.move(self._current) if self.state is State.UP else None
        if better is not None:
            self._register(*better, MOVE_PATIENCE, now)
        return better is not None

    def _register(self, known: Known, endpoint: Endpoint, patience: float, now: float) -> None:
        """Go to this endpoint; while up or lost another one is left for it."""
        self._settled = self.state is not State.RESOLVING
        first = not self._settled
        self._asking.stop()
        self._probe_at = inf
        self._current = known
        if not first and endpoint != self.endpoint:
            self._figures.forget_rtt()
        self.endpoint = endpoint
        self._actions.append(Connect(endpoint, renew_port=not first))
        self._figures.reconnected()
        self._enter(State.REGISTERING if self.keepalive else State.UNWATCHED, now)
        self._send(now)
        if self.keepalive:
            self._repeat = FIRST_REPEAT
            self._heartbeat_at = now + self._next_gap()
            whole = self._patience(FIRST_SILENCE)
            self._lost_at = now + (whole if len(self._known) == 1 else min(whole, patience))
        if first and self._races:
            self._check_others(now)

    def _patience(self, shortest: float) -> float:
        """Seconds without an ack after which the server counts as lost."""
        return max(LOST_PERIODS * self.ttl, shortest)

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
        self._selector.failed(self._current.index, now)
        self._standby.lost(self._current, now)
        self._probing.begin()
        self._probe_at = max(now, self._sent + self._probing.pause(self.rtt))
        self._enter(State.LOST, now)

    def _probe(self, now: float) -> None:
        for known in self._known:
            if now >= known.askable():
                self._ask(known, now)
        previous = self.endpoint
        self._current, self.endpoint = self._probing.next(self._current, previous, now)
        if previous is not None and self.endpoint.address != previous.address:
            self._figures.forget_rtt()
        self._try(self.endpoint, now)
        if self._races:
            self._check_others(now)

    def _try(self, endpoint: Endpoint, now: float) -> None:
        """One question while lost."""
        self._actions.append(Connect(endpoint, renew_port=True))
        self._figures.reconnected()
        self._send(now)
        self._probe_at = now + self._probing.pause(self.rtt)

    def _check_others(self, now: float) -> None:
        for number, endpoint in enumerate(self._probing.others(self._current, now)):
            self._check(endpoint, renew_port=number == 0)

    def _ask_standby(self, now: float) -> None:
        names, questions = self._standby.ask(self._current, now)
        for known in names:
            self._ask(known, now)
        for endpoint, renew_port in questions:
            self._check(endpoint, renew_port=renew_port)

    def _check(self, endpoint: Endpoint, *, renew_port: bool) -> None:
        self._actions.append(Check(endpoint, renew_port))

    def _send(self, now: float) -> None:
        self._actions.append(SendHeartbeat())
        self._sent = now

    def _ask_next(self, now: float) -> None:
        known = self._asking.next(now)
        if known is not None:
            self._current = known
            self._actions.append(Resolve(known.target))

    def _ask(self, known: Known, now: float) -> None:
        known.ask(now)
        self._actions.append(Resolve(known.target))

    def _enter(self, state: State, now: float) -> None:
        self.state = state
        self.state_since = now
