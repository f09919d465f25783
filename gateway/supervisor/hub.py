"""The server's side of a service: heartbeats in, peers and acks out.

One burst of punts goes through here in this order: parse, admit, register, publish to
every FIB, and only then answer, so that who has an ack can be reached. A heartbeat that
only a plugin can judge waits for the verdict (`vouching`), and holds up nobody else's.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

from gateway.log import RateLimiter, event, get_logger
from gateway.protocol.advert import is_extension
from gateway.protocol.forwarding import Refusal
from gateway.protocol.messages import PuntedDatagram
from gateway.protocol.packet import Endpoint, unpack_address
from gateway.protocol.peer import Peer, PeerState
from gateway.protocol.peer_changes import Changes, Refused, Registered
from gateway.protocol.peers import PeerTable
from gateway.protocol.wire import Heartbeat, WireError
from gateway.supervisor.acks import Acks
from gateway.supervisor.admission import Admission
from gateway.supervisor.lans import Lans
from gateway.supervisor.networks import Networks
from gateway.supervisor.resolving import Resolving, Verdict
from gateway.supervisor.traffic import Traffic
from gateway.supervisor.vouching import Unrestored, Vouching

REFUSAL_LOG_INTERVAL = 60.0
NEWS_LOG_INTERVAL = 1.0
NEWS_AT_ONCE = 100

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
        resolving: Resolving,
        clock: Callable[[], float],
        lans: Lans,
    ) -> None:
        """`clock` gives this turn's CLOCK_BOOTTIME."""
        self.peers = PeerTable()
        self.refusals: Counter[Refusal] = Counter()
        self.changed: Callable[[], None] = lambda: None
        """Hears that `export` has something new to say."""
        self.acks = acks
        self.admission = admission
        self.traffic = traffic
        self._name = name
        self._networks = networks
        self._publish = publish
        self._clock = clock
        self.lans = lans
        self.remotes = lans.remotes
        self._limiter = RateLimiter(REFUSAL_LOG_INTERVAL)
        self._news = RateLimiter(NEWS_LOG_INTERVAL, burst=NEWS_AT_ONCE)
        self._vouching = Vouching(name, admission, resolving)
        self._unrestored: Unrestored | None = None

    def on_punts(self, datagrams: Iterable[PuntedDatagram], now: float) -> None:
        """Judge one burst of heartbeats. `now` is CLOCK_BOOTTIME, as all times here."""
        answers: list[tuple[Endpoint, bytes, bytes | None]] = []
        for punted in datagrams:
            endpoint = Endpoint(punted.address, punted.port, punted.scope)
            if is_extension(punted.datagram):
                judged = self.lans.judge(punted, endpoint, self.peers, now)
                if judged is not None:
                    answers.append((endpoint, punted.local, judged[0]))
                    if judged[1]:
                        self.changed()
                    peer = self.peers.at_endpoint(endpoint)
                    if peer is not None:  # it follows a heartbeat and must not renew the lease too
                        self.traffic.confirm(peer.slot)
            elif self._on_heartbeat(punted, endpoint, now):
                answers.append((endpoint, punted.local, None))
        self._publish()
        for endpoint, local, answer in answers:
            self.acks.send(endpoint, local, answer)

    def tick(self, now: float) -> None:
        """End leases, look at some counters. A few times a second."""
        self.traffic.sweep(now)
        if self.lans.reconsider(self.peers, now):
            self.changed()
            self._publish()
        due = self.peers.due()
        if due is None or due > now:
            return
        removed, changes = self.peers.expire(now, self.traffic.moved)
        for peer in removed:
            self._tell("peer-expired", now, **self._who(peer))
        self._apply(changes)
        self._publish()

    def leave(self, endpoint: Endpoint, before: float) -> None:
        """Whoever was last heard from there before this time is gone, as the port is."""
        peer = self.peers.at_endpoint(endpoint)
        if peer is not None and peer.lease.last < before:
            self._withdraw(peer)
            self._publish()

    def restore(self, state: PeerState, down: float, now: float) -> int:
        """Take up the peers of a former run; how many were let in again.

        Those whose credential may be in a source that was not read yet wait for it.
        """
        self._unrestored = Unrestored(state, down, now)
        self._restore_rest(now)
        return len(self.peers)

    def export(self, now: float) -> PeerState:
        """What a restart shall find again: the peers, and those that still wait to be."""
        state = self.peers.export(now)
        if self._unrestored is None:
            return state
        held = {address for record in state.peers for address in record.addresses}
        rest = [r for r in self._unrestored.records(now) if held.isdisjoint(r.addresses)]
        return PeerState((*state.peers, *rest))

    def on_credentials(self, addresses: Iterable[bytes]) -> None:
        """Credentials of these addresses changed: end the leases of peers without one."""
        now = self._clock()
        for address in addresses:
            peer = self.peers.at_address(address)
            if peer is None or self._vouching.vouched(peer):
                continue
            if not self.admission.holds(peer.addresses, peer.credential):
                self._withdraw(peer)
        self._restore_rest(now)
        self._publish()

    def _restore_rest(self, now: float) -> None:
        waiting = self._unrestored
        if waiting is None:
            return
        changes = self.peers.restore(
            waiting.state, now, accept=self.admission.accepts_again, down=waiting.down(now)
        )
        for entry in changes.peers:
            self.traffic.begin(entry.slot)
        if changes:
            self._apply(changes)
            for entry in changes.peers:
                peer = self.peers.at_slot(entry.slot)
                if peer is not None:
                    self.lans.resume(peer, now)
        if not self.admission.unread():
            self._unrestored = None

    def _withdraw(self, peer: Peer) -> None:
        self._tell("peer-withdrawn", self._clock(), **self._who(peer))
        self._apply(self.peers.remove(peer))

    def _on_heartbeat(self, punted: PuntedDatagram, endpoint: Endpoint, now: float) -> bool:
        try:
            heartbeat = Heartbeat.parse(punted.datagram)
        except WireError as error:
            return self._refuse(endpoint, error.refusal, str(error), now)
        unwelcome = self.admission.refusal(heartbeat.addresses, heartbeat.passphrase)
        if unwelcome is not None and not self._may_be_vouched(unwelcome[0], heartbeat):
            return self._refuse(endpoint, *unwelcome, now)
        if unwelcome is None:
            return self._register(heartbeat, endpoint, punted.local, now)
        return self._consult(heartbeat, punted, endpoint, now)

    def _may_be_vouched(self, refusal: Refusal, heartbeat: Heartbeat) -> bool:
        open_ = refusal in (Refusal.UNKNOWN_ADDRESS, Refusal.WRONG_PASSPHRASE)
        return open_ and bool(self.admission.plugins) and bool(heartbeat.passphrase)

    def _consult(
        self, heartbeat: Heartbeat, punted: PuntedDatagram, endpoint: Endpoint, now: float
    ) -> bool:
        peer = self.peers.at_endpoint(endpoint)
        if peer is not None and self._vouching.stands(peer, heartbeat):
            self._vouching.ask_again(peer, heartbeat, now, lambda: self._on_revoked(peer))
            return self._register(heartbeat, endpoint, punted.local, now, vouched=True)
        answer = partial(self._on_verdict, heartbeat, endpoint, punted.local)
        if not self._vouching.ask(heartbeat, endpoint, now, answer):
            return self._refuse(endpoint, Refusal.UNDECIDED, "too many questions wait", now)
        return False

    def _on_verdict(
        self, heartbeat: Heartbeat, endpoint: Endpoint, local: bytes, verdict: Verdict
    ) -> None:
        now = self._clock()
        if verdict == "no":
            self._refuse(endpoint, Refusal.WRONG_PASSPHRASE, "the plugin says no", now)
        elif verdict == "unknown":
            self._refuse(endpoint, Refusal.UNDECIDED, "the plugin does not answer", now)
        elif self._register(heartbeat, endpoint, local, now, vouched=True):
            self._publish()
            self.acks.send(endpoint, local)

    def _on_revoked(self, peer: Peer) -> None:
        if self.peers.at_slot(peer.slot) is peer and self._vouching.vouched(peer):
            self._withdraw(peer)
            self._publish()

    def _register(
        self,
        heartbeat: Heartbeat,
        endpoint: Endpoint,
        local: bytes,
        now: float,
        *,
        vouched: bool = False,
    ) -> bool:
        result = self.peers.register(
            heartbeat.addresses,
            endpoint,
            local,
            now,
            authenticated=self.admission.auth,
            data_seen=lambda slot: self.traffic.last_moved(slot, now),
            credential=self.admission.digest(heartbeat.passphrase),
        )
        if isinstance(result, Refused):
            return self._refuse(endpoint, result.refusal, result.detail, now, result.holder)
        self._vouching.note(result.peer, now, vouched=vouched)
        self._on_registered(result, now)
        return True

    def _on_registered(self, result: Registered, now: float) -> None:
        self.traffic.confirm(result.peer.slot)
        if result.new:
            self.traffic.begin(result.peer.slot)
            self._tell("peer-up", now, **self._who(result.peer))
        elif result.former is not None:
            former = self.remotes.at(result.former)
            self._tell("peer-moved", now, former=former, **self._who(result.peer))
        if result.conflict and self._limiter.allow(("conflict", result.peer.slot), now) is not None:
            event(
                _log, logging.WARNING, "peer-conflict", service=self._name,
                text="two hosts claim one address", **self._who(result.peer),
            )  # fmt: skip
        if result.changed:
            self._apply(result.changes)
        self._networks.point(result.peer.slot)

    def _tell(self, name: str, now: float, **fields: object) -> None:
        """News of peers, rationed: without auth a stranger could make as many as he likes."""
        held = self._news.allow(name, now)
        if held is not None:
            event(
                _log, logging.INFO, name, service=self._name, **fields, held_back=held or None
            )  # fmt: skip

    def _refuse(
        self,
        endpoint: Endpoint,
        refusal: Refusal,
        detail: str,
        now: float,
        holder: Endpoint | None = None,
    ) -> bool:
        self.refusals[refusal] += 1
        held = self._limiter.allow(refusal, now)
        if held is not None:
            event(
                _log, logging.WARNING, "heartbeat-refused", service=self._name,
                cause=refusal.name.lower(), **self.remotes.fields(endpoint), detail=detail,
                holder=self.remotes.at(holder) if holder is not None else None, held_back=held,
            )  # fmt: skip
        return False

    def _apply(self, changes: Changes) -> None:
        self.changed()
        self.traffic.end(changes.gone)
        self._vouching.end(changes.gone)
        self._networks.apply(changes)
        self.lans.end(changes.gone)

    def _who(self, peer: Peer) -> dict[str, str | None]:
        addresses = ",".join(str(unpack_address(address)) for address in peer.addresses)
        return {"peer": addresses, **self.remotes.fields(peer.endpoint)}
