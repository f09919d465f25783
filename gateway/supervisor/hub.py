"""The server's side of a service: heartbeats in, peers and acks out.

One burst of punts goes through here in this order: parse, admit, register, publish to
every FIB, and only then answer, so that who has an ack can be reached.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable

from gateway.log import RateLimiter, event, get_logger
from gateway.protocol.forwarding import Refusal
from gateway.protocol.messages import PuntedDatagram
from gateway.protocol.packet import Endpoint, unpack_address
from gateway.protocol.peer import Peer, PeerState
from gateway.protocol.peers import Changes, PeerTable, Refused, Registered
from gateway.protocol.wire import Heartbeat, WireError
from gateway.supervisor.acks import Acks
from gateway.supervisor.admission import Admission
from gateway.supervisor.networks import Networks
from gateway.supervisor.traffic import Traffic

REFUSAL_LOG_INTERVAL = 60.0

_log = get_logger("hub")


class Hub:
    """Peers of one server. `publish` sends what changed to every child."""

    def __init__(
        self,
        name: str,
        admission: Admission,
        networks: Networks,
        traffic: Traffic,
        acks: Acks,
        publish: Callable[[], None],
    ) -> None:
        self.peers = PeerTable()
        self.refusals: Counter[Refusal] = Counter()
        self.changed = False
        self.acks = acks
        self.admission = admission
        self.traffic = traffic
        self._name = name
        self._networks = networks
        self._publish = publish
        self._limiter = RateLimiter(REFUSAL_LOG_INTERVAL)

    def on_punts(self, datagrams: Iterable[PuntedDatagram], now: float) -> None:
        """Judge one burst of heartbeats. `now` is CLOCK_BOOTTIME, as all times here."""
        answers: list[tuple[Endpoint, bytes]] = []
        for punted in datagrams:
            endpoint = Endpoint(punted.address, punted.port, punted.scope)
            if self._on_heartbeat(punted, endpoint, now):
                answers.append((endpoint, punted.local))
        self._publish()
        for endpoint, local in answers:
            self.acks.send(endpoint, local)

    def tick(self, now: float) -> None:
        """End leases, look at some counters. A few times a second."""
        self.traffic.sweep(now)
        due = self.peers.due()
        if due is None or due > now:
            return
        removed, changes = self.peers.expire(now, self.traffic.moved)
        for peer in removed:
            event(_log, logging.INFO, "peer-expired", service=self._name, **_who(peer))
        self._apply(changes)
        self._publish()

    def restore(self, state: PeerState, down: float, now: float) -> int:
        """Take up the peers of a former run; how many were let in again."""
        changes = self.peers.restore(state, now, accept=self.admission.accepts_again, down=down)
        for entry in changes.peers:
            self.traffic.begin(entry.slot)
        self._apply(changes)
        return len(self.peers)

    def last_seen(self, peer: Peer, now: float) -> float:
        """When anything last came from the peer."""
        return max(peer.last_heartbeat, self.traffic.last_moved(peer.slot, now))

    def _on_heartbeat(self, punted: PuntedDatagram, endpoint: Endpoint, now: float) -> bool:
        try:
            heartbeat = Heartbeat.parse(punted.datagram)
        except WireError as error:
            return self._refuse(endpoint, error.refusal, str(error), now)
        unwelcome = self.admission.refusal(heartbeat.addresses, heartbeat.passphrase)
        if unwelcome is not None:
            return self._refuse(endpoint, *unwelcome, now)
        result = self.peers.register(
            heartbeat.addresses,
            endpoint,
            punted.local,
            now,
            authenticated=self.admission.auth,
            data_seen=lambda slot: self.traffic.last_moved(slot, now),
            credential=self.admission.digest(heartbeat.passphrase),
        )
        if isinstance(result, Refused):
            return self._refuse(endpoint, result.refusal, result.detail, now)
        self._on_registered(result, now)
        return True

    def _on_registered(self, result: Registered, now: float) -> None:
        self.traffic.confirm(result.peer.slot)
        if result.new:
            self.traffic.begin(result.peer.slot)
            event(_log, logging.INFO, "peer-up", service=self._name, **_who(result.peer))
        elif result.former is not None:
            event(
                _log, logging.INFO, "peer-moved", service=self._name, former=result.former,
                **_who(result.peer),
            )  # fmt: skip
        if result.conflict and self._limiter.allow(("conflict", result.peer.slot), now) is not None:
            event(
                _log, logging.WARNING, "peer-conflict", service=self._name,
                text="two hosts claim one address", **_who(result.peer),
            )  # fmt: skip
        if result.changed:
            self._apply(result.changes)

    def _refuse(self, endpoint: Endpoint, refusal: Refusal, detail: str, now: float) -> bool:
        self.refusals[refusal] += 1
        held = self._limiter.allow(refusal, now)
        if held is not None:
            event(
                _log, logging.WARNING, "heartbeat-refused", service=self._name,
                cause=refusal.name.lower(), endpoint=endpoint, detail=detail, held_back=held,
            )  # fmt: skip
        return False

    def _apply(self, changes: Changes) -> None:
        self.changed = True
        self.traffic.end(changes.gone)
        self._networks.apply(changes)


def _who(peer: Peer) -> dict[str, str]:
    addresses = ",".join(str(unpack_address(address)) for address in peer.addresses)
    return {"peer": addresses, "endpoint": str(peer.endpoint)}
