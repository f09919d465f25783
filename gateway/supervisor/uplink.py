"""The client's side of a service: does what `protocol.uplink` decides.

The socket is shared with the worker, which receives on it: connecting it anew moves
both. Heartbeats are sent from here; acks come back as the worker's punts. So nothing is
sent before a worker listens: the ack would wait, and the round trip be the worker's start.
"""

import contextlib
import errno
import logging
import random
import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_address

from gateway.config.model import Service, Target
from gateway.linux import filters, udp
from gateway.linux.process import wipe
from gateway.log import RateLimiter, event, get_logger
from gateway.protocol.forwarding import ACK_SIZE
from gateway.protocol.messages import PuntedDatagram, Resolved, Trouble
from gateway.protocol.packet import Endpoint, pack_address, unpack_address
from gateway.protocol.selector import Node, Selector
from gateway.protocol.targets import Target as AnyTarget
from gateway.protocol.uplink import State, Uplink
from gateway.protocol.uplink_actions import Action, Check, Connect, Resolve, SendHeartbeat
from gateway.protocol.wire import Ack, Heartbeat, WireError
from gateway.supervisor.advertising import Advertising
from gateway.supervisor.host import HostSide
from gateway.supervisor.loop import Loop, Timer
from gateway.supervisor.lost import LEFT_ALONE, REFUSED, Reasons
from gateway.supervisor.path_mtu import PathMtuDriver

SOURCE_GONE = frozenset(
    {
        errno.ENETUNREACH,
        errno.EADDRNOTAVAIL,
        errno.EHOSTUNREACH,
        errno.ENODEV,
        errno.EINVAL,
        errno.EDESTADDRREQ,
    }
)
"""EINVAL: an IPv4 source address that is no longer ours; a heartbeat has no other cause.
EDESTADDRREQ: the kernel has disconnected a socket whose address went."""
LOG_INTERVAL = 30.0
TOLD_AT_ONCE = 5
"""Losses that are logged at once; then one every `LOG_INTERVAL`."""
SOON = 1e-6
SPARE_ACKS = 32
"""Taken in one turn."""

_log = get_logger("uplink")

Ask = Callable[[str, int, Callable[[Resolved], None]], None]
"""Ask the resolver for a host and port; the answer comes in a later turn."""


class UplinkDriver:
    """One client's uplink. `ask` is None where every target is an address.

    `spare` is there where there are several targets: it asks those that are not in use.
    """

    def __init__(
        self,
        service: Service,
        sock: socket.socket,
        loop: Loop,
        ask: Ask | None,
        host: HostSide,
        advertising: Advertising,
        path_mtu: PathMtuDriver,
        spare: socket.socket | None,
    ) -> None:
        own = pack_address(service.nets[0].ip)
        self.machine = Uplink(
            service.targets, service.ttl, service.keepalive, random.random, _selector(service), own
        )
        self.path_mtu = path_mtu
        self.bad_acks = 0
        self.connected: Callable[[socket.socket, Endpoint], None] | None = None
        """Called after the socket was connected anew: a chain's leg must know its port."""
        self._name = service.name
        self._sock = sock
        self._reachable = False
        self._spare = spare
        self._loop = loop
        self._ask = ask
        self._host = host
        self._advertising = advertising
        self._passphrase = service.passphrase
        self._heartbeat = Heartbeat(
            service.passphrase, tuple(pack_address(net.ip) for net in service.nets)
        ).build()
        self._timer: Timer | None = None
        self._begun = False
        self._heard = False
        self._reasons = Reasons()
        self._told: State | None = None
        self._logged: State | None = None
        self._limiter = RateLimiter(LOG_INTERVAL)
        self._turns = RateLimiter(LOG_INTERVAL, burst=TOLD_AT_ONCE)

    @property
    def reason(self) -> str:
        """Why the server is lost or has no address; empty: it is neither, or nobody knows."""
        if self.machine.state is State.LOST:
            return self._reasons.lost(answered=self.machine.acks > 0, heard=self._heard)
        if self.machine.state is State.RESOLVING:
            return self._reasons.unresolved(self.machine.target.host)
        return ""

    @property
    def searching(self) -> bool:
        """Whether there is no server to be had, and not only because nobody looked yet."""
        return self._begun and self.machine.state in (State.LOST, State.RESOLVING)

    def start(self) -> None:
        """Look for the server as soon as somebody listens."""
        if self._spare is not None:
            filters.only_acks(self._spare)
            self._loop.watch(self._spare.fileno(), lambda _: self._on_spare())
        self.machine.start(self._loop.boot)

    def listening(self) -> None:
        """The worker has its socket: acks are heard as they come."""
        self._heard = True
        if not self._begun:
            self._begun = True
            self._act_soon()

    def deaf(self) -> None:
        """The worker died: acks wait for the next one."""
        self._heard = False
        self.machine.unheard()

    def on_punts(self, datagrams: Iterable[PuntedDatagram], now: float) -> None:
        """What the server answered."""
        acked = False
        for punted in datagrams:
            if len(punted.datagram) != ACK_SIZE:
                self._advertising.on_answer(punted.datagram, now)
                continue
            try:
                ack = Ack.parse(punted.datagram)
            except WireError:
                self.bad_acks += 1
                continue
            if not self._is_current(punted):
                continue  # it waited in the socket while that was connected anew
            self.machine.ack(now, ack.observed)
            self._reasons.answered()
            acked = True
        self._act()
        if acked and self.machine.state in (State.UP, State.UNWATCHED):
            self._advertising.tell(self.machine)

    def _is_current(self, punted: PuntedDatagram) -> bool:
        used = self.machine.endpoint
        return used is not None and (punted.address, punted.port) == (used.address, used.port)

    def on_trouble(self, trouble: Trouble) -> None:
        """What the worker's kernel said about the server."""
        if trouble.what == "refused":
            self._reasons.told(self._loop.boot, REFUSED)
            self.machine.refused(self._loop.boot)
        elif trouble.what == "source-gone":
            self._reasons.told(self._loop.boot, LEFT_ALONE)
            self.machine.source_gone(self._loop.boot)
        self._act()

    def register(self, port: int) -> None:
        """The way behind this port is a new one: register anew there, if it is in use."""
        if self.machine.endpoint is not None and self.machine.endpoint.port == port:
            self.machine.renewed(self._loop.boot)
            self._act()

    def tick(self) -> None:
        """Notice a change of the host's own address. A few times a second."""
        connected = self.machine.state not in (State.RESOLVING, State.LOST)
        if connected and udp.source_gone(self._sock):
            self._reasons.told(self._loop.boot, LEFT_ALONE)
            self.machine.source_gone(self._loop.boot)
            self._act()

    def forget(self) -> None:
        """Wipe the passphrase; called in children."""
        wipe(self._passphrase)
        wipe(self._heartbeat)

    def _act(self) -> None:
        if not self._begun:
            return
        while actions := self.machine.actions():
            for action in actions:
                self._do(action)
        if self.machine.state is not self._told:
            self._told = self.machine.state
            self._tell()
            if self._told in (State.UP, State.UNWATCHED) and self.machine.endpoint is not None:
                self.path_mtu.measure(self.machine.endpoint)
        self._arm()

    def _act_soon(self) -> None:
        """In a turn of its own: by the time of this one a round trip may have taken no time."""
        self._loop.call_in(SOON, self._act)

    def _on_spare(self) -> None:
        """Acks of targets that are not in use."""
        if self._spare is None:
            return
        for sender in udp.senders(self._spare, SPARE_ACKS):
            self.machine.checked(self._loop.boot, sender)
        self._act()

    def _do(self, action: Action) -> None:
        if isinstance(action, Connect):
            self._connect(action.endpoint)
        elif isinstance(action, SendHeartbeat):
            self._send()
        elif isinstance(action, Check):
            self._check(action)
        else:
            self._resolve(action)

    def _connect(self, endpoint: Endpoint) -> None:
        host = str(unpack_address(endpoint.address))
        self._reachable = False
        if self.connected is None:
            self._host.keep_outside(*self._servers(endpoint))
        try:
            udp.connect(self._sock, host, endpoint.port, endpoint.scope)
        except OSError as error:
            self._failed(error)
            return
        self._reachable = True
        if self.connected is not None:
            self.connected(self._sock, endpoint)

    def _servers(self, endpoint: Endpoint) -> list[Endpoint]:
        """What must stay outside the tunnel while this one is asked."""
        if self._spare is None:
            return [endpoint]
        known = {endpoint, *self.machine.endpoints}
        if self.machine.endpoint is not None:
            known.add(self.machine.endpoint)
        return sorted(known)

    def _check(self, action: Check) -> None:
        """Ask another target; whatever fails is a question without an answer."""
        if self._spare is None:
            return
        self._host.keep_outside(*self._servers(action.endpoint))
        with contextlib.suppress(OSError):
            if action.renew_port:
                udp.disconnect(self._spare)
            udp.send_to(self._spare, self._heartbeat, action.endpoint)

    def _send(self) -> None:
        if not self._reachable:  # why, was said
            self.machine.source_gone(self._loop.boot)
            return
        udp.pending_error(self._sock)  # what ICMP left there concerns an earlier datagram
        try:
            self._sock.send(self._heartbeat, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return  # it is lost like any datagram may be
        except OSError as error:
            self._failed(error)
        else:
            self._reasons.left(self._loop.boot, heard=self._heard)
            self.machine.sent(self._loop.boot, heard=self._heard)

    def _failed(self, error: OSError) -> None:
        now = self._loop.boot
        refused = error.errno == errno.ECONNREFUSED
        self._reasons.told(now, REFUSED if refused else f"it cannot be reached: {error.strerror}")
        if refused:
            self.machine.refused(now)
        elif error.errno in SOURCE_GONE:
            self.machine.source_gone(now)
        if self._limiter.allow(error.errno, now) is not None:
            event(
                _log, logging.WARNING, "uplink-error", service=self._name,
                endpoint=self.machine.endpoint, error=error.strerror,
            )  # fmt: skip

    def _resolve(self, action: Resolve) -> None:
        target = action.target
        literal = _literal(target.host)
        if literal is not None:
            address, scope = literal
            endpoint = Endpoint(address, target.port, scope)
            self.machine.resolved(self._loop.boot, target, [endpoint])
            return
        if self._ask is None:
            self.machine.resolve_failed(self._loop.boot, target)
            return
        self._ask(target.host, target.port, lambda answer: self._on_resolved(target, answer))

    def _on_resolved(self, target: AnyTarget, answer: Resolved) -> None:
        now = self._loop.boot
        family = self._sock.family
        endpoints = [
            Endpoint(address, target.port, scope)
            for address, scope in answer.addresses
            if family == socket.AF_INET6 or unpack_address(address).version == 4
        ]
        if endpoints:
            self._reasons.resolved(target.host, "")
            self.machine.resolved(now, target, endpoints)
        else:
            error = answer.error or "no usable address"
            self._reasons.resolved(target.host, error)
            self.machine.resolve_failed(now, target)
            if self._limiter.allow(target.host, now) is not None:
                event(
                    _log, logging.WARNING, "name-unresolved", service=self._name,
                    host=target.host, error=error,
                )  # fmt: skip
        self._act_soon()

    def _tell(self) -> None:
        """Log the new state. Who reads of a loss also reads that it is over."""
        state, held = self.machine.state, None
        if state in (State.UP, State.UNWATCHED):
            if self._logged is state:
                return  # that it was anything else was held back
        else:
            held = self._turns.allow(state, self._loop.boot)
            if held is None:
                return
        self._logged = state
        event(
            _log, logging.WARNING if state is State.LOST else logging.INFO,
            f"uplink-{state.value}", service=self._name, endpoint=self.machine.endpoint,
            reason=self.reason or None, held_back=held or None,
        )  # fmt: skip

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.machine.due()
        if due is not None:
            # The machine's clock goes on in a suspended host, the loop's does not.
            wait = min(1.0, max(0.0, due - self._loop.boot))
            self._timer = self._loop.call_in(wait, self._advance)

    def _advance(self) -> None:
        self._timer = None
        self.machine.advance(self._loop.boot)
        self._act()


def needs_resolver(targets: Iterable[Target]) -> bool:
    """Whether any target is a name."""
    return any(_literal(target.host) is None for target in targets)


def _selector(service: Service) -> Selector:
    spec = service.selector
    nodes = [Node(target.backup, target.weight) for target in service.targets]
    return Selector(spec.strategy, nodes, random.random, spec.max_fails, spec.fail_timeout)


def _literal(host: str) -> tuple[bytes, int] | None:
    """(a16, scope) of an address as text, None for a name."""
    text, _, zone = (host or "127.0.0.1").partition("%")
    try:
        address = ip_address(text)
    except ValueError:
        return None
    scope = 0
    if zone and isinstance(address, IPv6Address):
        try:
            scope = int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
        except OSError:
            scope = 0
    return pack_address(address), scope
