"""The client's side of advertisements: tells the server the networks behind this host.

One advertisement follows each ack, so that a server that was restarted, or was not there,
learns it soon; it also carries the round trip and the loss that only a client can measure.
A change of networks is told at once. Without keepalive there is one ack only: then an
advertisement without an answer is repeated some times.
"""

import contextlib
import logging
import secrets
import socket
from collections.abc import Callable

from pyroute2.netlink.exceptions import NetlinkError

from gateway import __version__
from gateway.config.model import Service
from gateway.errors import HostError
from gateway.linux import lan
from gateway.log import RateLimiter, event, get_logger
from gateway.protocol.advert import Advertisement, Answer, Result, supersedes
from gateway.protocol.approval import MAX_NETWORKS, REASON_TEXT, WIDEST, Standing
from gateway.protocol.packet import Network
from gateway.protocol.status import NetworkStatus
from gateway.protocol.uplink import State, Uplink
from gateway.protocol.wire import WireError
from gateway.supervisor.lans import status_of

SCAN_INTERVAL = 10.0
REPEATS = 3
LOG_INTERVAL = 60.0
_SERIAL = 1 << 32

_log = get_logger("advertising")


class Advertising:
    """Of one client. Made as root, since only root can see iptables-legacy's rules.

    `device` is the tunnel's present name.
    """

    def __init__(
        self, service: Service, device: str, sock: socket.socket, masquerades: Callable[[], bool]
    ) -> None:
        self.networks: tuple[Network, ...] = ()
        self.bad_answers = 0
        self.refused = 0
        """Times that the server refused a network which it had not refused before."""
        self._service = service
        self.device = device
        self._sock = sock
        self._masquerades = masquerades
        self._legacy = lan.read_legacy() if service.advertise == "auto" else ()
        self._session = secrets.randbits(32)
        self._sequence = -1
        self._answered: tuple[int, int] | None = None
        self._results: dict[Network, Result] = {}
        self._repeats = 0
        self._limiter = RateLimiter(LOG_INTERVAL, burst=2)
        self._find()

    def scan(self, machine: Uplink) -> None:
        """Look at the host's networks; tell the server if they changed."""
        changed = self._find()
        if machine.state not in (State.UP, State.UNWATCHED) or machine.last_ack is None:
            return
        if changed:
            self.tell(machine)
        elif machine.state is State.UNWATCHED and self.networks and self._unanswered():
            self._repeats += 1
            if self._repeats <= REPEATS:
                self._send(self.networks, machine)

    def tell(self, machine: Uplink) -> None:
        """After an ack: send an advertisement."""
        self._repeats = 0
        self._send(self.networks, machine)

    def on_answer(self, datagram: bytes, now: float) -> None:
        """What the server says to an advertisement of ours."""
        try:
            answer = Answer.parse(datagram)
        except WireError:
            self.bad_answers += 1
            return
        mark = (answer.session, answer.sequence)
        sent = (self._sequence - answer.sequence) % _SERIAL < _SERIAL // 2
        if answer.session != self._session or not sent or not supersedes(mark, self._answered):
            return
        self._answered = mark
        former, self._results = self._results, {one.network: one for one in answer.results}
        for network, result in self._results.items():
            known = former.get(network)
            if known is None or known.standing is not result.standing:
                self.refused += result.standing is Standing.REFUSED
                self._log(result, now)

    def withdraw(self) -> None:
        """Before the end: nothing lies behind this host any more."""
        if self.networks and self._sequence >= 0:
            self._send((), None)

    def status(self) -> tuple[NetworkStatus, ...]:
        """Every network that is advertised, and what the server said of it."""
        return tuple(
            status_of(self._results[network])
            if network in self._results
            else NetworkStatus(str(network), "unanswered", "The server has not said anything yet.")
            for network in self.networks
        )

    def _find(self) -> bool:
        found = self._present()
        if found is None or found == self.networks:
            return False
        self.networks = found
        return True

    def _present(self) -> tuple[Network, ...] | None:
        chosen = self._service.advertise
        if chosen == "off":
            return ()
        if chosen != "auto":
            return chosen
        nets = [net.network for net in self._service.nets]
        try:
            lans = lan.private_lans(lan.connected(), (self.device,))
            found = lan.reachable(
                lans, self.device, nets, own_nat=self._masquerades(), legacy=self._legacy
            )
        except (OSError, NetlinkError, HostError):
            return None  # what was known stays good
        fit = [network for network in found if network.prefixlen >= WIDEST[network.version]]
        return tuple(fit[:MAX_NETWORKS])

    def _unanswered(self) -> bool:
        return self._answered is None or self._answered[1] != self._sequence

    def _send(self, networks: tuple[Network, ...], machine: Uplink | None) -> None:
        self._sequence = (self._sequence + 1) % _SERIAL
        datagram = Advertisement(
            self._service.passphrase,
            self._session,
            self._sequence,
            networks,
            rtt=machine.rtt_last if machine is not None else None,
            loss=machine.loss if machine is not None else None,
            software=f"gateway {__version__}"[:32],
        ).build()
        with contextlib.suppress(OSError):  # the heartbeats look after the way
            self._sock.send(datagram, socket.MSG_DONTWAIT)

    def _log(self, result: Result, now: float) -> None:
        accepted = result.standing is Standing.ACCEPTED
        held = self._limiter.allow((result.network, result.standing), now)
        if held is not None:
            event(
                _log, logging.INFO if accepted else logging.WARNING,
                f"network-{result.standing.name.lower()}", service=self._service.name,
                network=result.network, text=None if accepted else REASON_TEXT[result.reason],
            )  # fmt: skip
