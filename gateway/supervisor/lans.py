"""The server's side of advertisements: what peers say lies behind them, and what is made of it.

Only a peer with a lease is heard, at its endpoint, with the passphrase that let it in. An
advertisement never renews a lease. Every one is judged afresh, so that a network whose
holder went, or that was approved, is taken up at the peer's next one; between two there
is nothing to do. What a peer advertised is kept with it over a restart and judged again.
"""

import hmac
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from pyroute2.netlink.exceptions import NetlinkError

from gateway.config.model import Credential, Service
from gateway.errors import HostError
from gateway.linux import lan
from gateway.log import RateLimiter, event, get_logger
from gateway.protocol import approval
from gateway.protocol.advert import UNKNOWN_HOLDER, Advertisement, Answer, Result, supersedes
from gateway.protocol.approval import REASON_TEXT, Asker, Outcome, Policy, Standing
from gateway.protocol.messages import Prefix, PuntedDatagram
from gateway.protocol.overlaps import Overlaps, Prefixed
from gateway.protocol.packet import (
    Endpoint,
    Network,
    pack_address,
    pack_network,
    unpack_address,
)
from gateway.protocol.peer import Peer
from gateway.protocol.peers import PeerTable
from gateway.protocol.routes import network_of
from gateway.protocol.status import NetworkStatus
from gateway.protocol.wire import WireError
from gateway.supervisor.networks import Networks
from gateway.supervisor.remotes import Remotes

LOG_INTERVAL = 60.0
DOUBTS = 100
"""Peers whose networks are judged again in one turn."""

_log = get_logger("lans")

Fate = Literal["heeded", "late", "malformed", "unknown_endpoint", "wrong_passphrase"]
FATES: tuple[Fate, ...] = ("heeded", "late", "malformed", "unknown_endpoint", "wrong_passphrase")


@dataclass
class Said:
    """What one peer said last, and what became of its networks."""

    mark: tuple[int, int] | None
    networks: tuple[Network, ...]
    outcomes: tuple[Outcome, ...] = ()
    rtt: float | None = None
    loss: float | None = None
    software: str = ""


class Lans:
    """Advertisements of one server's peers. `digest` is the admission's."""

    def __init__(
        self, service: Service, digest: Callable[[bytes], bytes], networks: Networks
    ) -> None:
        self.counts: Counter[Fate] = Counter()
        self.refused = 0
        """Times that a network was refused which had not been before."""
        self.remotes = Remotes()
        self._service = service
        self._digest = digest
        self._networks = networks
        self._said: dict[int, Said] = {}
        self._taken: Overlaps[int] = Overlaps()
        self._approved = _approved(service, digest)
        routes = service.routes if service.router is None else ()
        self._told = Overlaps(
            (route.network, pack_address(route.gateway))
            for route in routes
            if route.gateway is not None
        )
        self._doubtful: deque[int] = deque()
        self._limiter = RateLimiter(LOG_INTERVAL, burst=2)
        self._policy = Policy()
        self.look()

    def look(self) -> None:
        """Look at the server's own networks. Every half minute or so."""
        if self._service.accept == "off" or self._service.p2p:
            self._policy = Policy(enabled=False)
            return
        try:
            connected = [item.network for item in lan.connected()]
        except (HostError, OSError, NetlinkError):
            return  # what was known stays good
        nets = [net.network for net in self._service.nets]
        self._policy = Policy(
            own=tuple(dict.fromkeys(nets + connected)),
            told=self._told,
            auth=self._service.credentials is not None,
            accept=None if self._service.accept == "auto" else self._service.accept,
        )

    def tell(self, networks: Mapping[Prefixed, bytes], removed: Iterable[Prefixed] = ()) -> None:
        """What a router says now: networks with the address of the peer each is behind."""
        for prefix in removed:
            self._told.remove_prefix(prefix)
        for prefix, gateway in networks.items():
            self._told.put_prefix(prefix, gateway)
        self._doubtful = deque(self._said)

    def reconsider(self, peers: PeerTable, now: float) -> bool:
        """After `tell`: judge again what peers have said, some a turn. Whether there were any."""
        some = [self._doubtful.popleft() for _ in range(min(DOUBTS, len(self._doubtful)))]
        for slot in some:
            peer, said = peers.at_slot(slot), self._said.get(slot)
            if peer is not None and said is not None and said.networks:
                self._heed(peer, said, now)
        return bool(some)

    def judge(
        self, punted: PuntedDatagram, endpoint: Endpoint, peers: PeerTable, now: float
    ) -> tuple[bytes, bool] | None:
        """The answer to send once all is published, and whether something changed.

        None: it is no advertisement that deserves an answer; that was counted.
        """
        peer = peers.at_endpoint(endpoint)
        if peer is None:
            self._drop("unknown_endpoint", endpoint, now)
            return None
        try:
            heard = Advertisement.parse(punted.datagram)
        except WireError as error:
            self._drop("malformed", endpoint, now, str(error))
            return None
        if not hmac.compare_digest(self._digest(heard.passphrase), peer.credential):
            self._drop("wrong_passphrase", endpoint, now)
            return None
        mark = (heard.session, heard.sequence)
        said = self._said.get(peer.slot)
        changed = False
        if said is None or supersedes(mark, said.mark):
            self.counts["heeded"] += 1
            fresh = Said(mark, heard.networks, said.outcomes if said else ())
            fresh.rtt, fresh.loss, fresh.software = heard.rtt, heard.loss, heard.software
            changed = self._heed(peer, fresh, now)
            said = fresh
        else:
            self.counts["late"] += 1
        results = [self._result(outcome, peers) for outcome in said.outcomes]
        answer = Answer(heard.session, heard.sequence, tuple(results[: approval.MAX_NETWORKS]))
        return answer.build(), changed

    def resume(self, peer: Peer, now: float) -> None:
        """A peer of a former run is back: judge again what it had advertised."""
        if peer.advertised and peer.slot not in self._said:
            networks = tuple(network_of(p.prefix, p.length) for p in peer.advertised)
            self._heed(peer, Said(None, networks), now)

    def end(self, slots: Iterable[int]) -> None:
        """These slots have no peer any more."""
        for slot in slots:
            said = self._said.pop(slot, None)
            for outcome in said.outcomes if said is not None else ():
                self._release(outcome)

    def said(self, slot: int) -> Said | None:
        """What the peer at a slot said last."""
        return self._said.get(slot)

    def status(self, slot: int, peers: PeerTable) -> tuple[NetworkStatus, ...]:
        """What became of each network that a peer advertises."""
        said = self._said.get(slot)
        if said is None:
            return ()
        return tuple(status_of(self._result(outcome, peers)) for outcome in said.outcomes)

    def _heed(self, peer: Peer, said: Said, now: float) -> bool:
        asker = Asker(peer.slot, peer.addresses, self._approved_for(peer))
        outcomes = approval.decide(said.networks, asker, self._policy, self._taken)
        former, said.outcomes = said.outcomes, outcomes
        self._said[peer.slot] = said
        accepted = [o.network for o in outcomes if o.standing is Standing.ACCEPTED]
        self._networks.lead(peer.slot, map(pack_network, accepted))
        if outcomes == former:
            return False
        for outcome in former:
            self._release(outcome)
        for network in accepted:
            self._taken.put(network, peer.slot)
        peer.advertised = tuple(Prefix(*pack_network(network)) for network in said.networks)
        self._tell(peer, former, outcomes, now)
        return True

    def _release(self, outcome: Outcome) -> None:
        if outcome.standing is Standing.ACCEPTED:
            self._taken.remove(outcome.network)

    def _approved_for(self, peer: Peer) -> tuple[Network, ...]:
        return tuple(
            network
            for address in peer.addresses
            for digest, networks in self._approved.get(address, ())
            if hmac.compare_digest(digest, peer.credential)
            for network in networks
        )

    def _result(self, outcome: Outcome, peers: PeerTable) -> Result:
        holder = peers.at_slot(outcome.holder) if outcome.holder is not None else None
        address = holder.addresses[0] if holder is not None else UNKNOWN_HOLDER
        return Result(outcome.network, outcome.standing, outcome.reason, address)

    def _drop(self, fate: Fate, endpoint: Endpoint, now: float, detail: str = "") -> None:
        self.counts[fate] += 1
        held = self._limiter.allow(fate, now)
        if held is not None:
            event(
                _log, logging.WARNING, "advertisement-dropped", service=self._service.name,
                cause=fate, **self.remotes.fields(endpoint), detail=detail or None, held_back=held,
            )  # fmt: skip

    def _tell(
        self, peer: Peer, former: Sequence[Outcome], outcomes: Sequence[Outcome], now: float
    ) -> None:
        before = {outcome.network: outcome for outcome in former}
        for outcome in outcomes:
            known = before.pop(outcome.network, None)
            if known is None or known.standing is not outcome.standing:
                self.refused += outcome.standing is Standing.REFUSED
                text = "" if outcome.standing is Standing.ACCEPTED else REASON_TEXT[outcome.reason]
                self._event(f"network-{outcome.standing.name.lower()}", peer, outcome, now, text)
        for outcome in before.values():
            if outcome.standing is Standing.ACCEPTED:
                self._event("network-withdrawn", peer, outcome, now, "")

    def _event(self, name: str, peer: Peer, outcome: Outcome, now: float, text: str) -> None:
        held = self._limiter.allow((name, peer.slot), now)
        if held is not None:
            event(
                _log, logging.WARNING if text else logging.INFO, name,
                service=self._service.name, network=outcome.network,
                peer=unpack_address(peer.addresses[0]), text=text or None, held_back=held or None,
            )  # fmt: skip


def status_of(result: Result) -> NetworkStatus:
    """A result as the status has it."""
    accepted = result.standing is Standing.ACCEPTED
    known = result.holder != UNKNOWN_HOLDER
    standings: dict[Standing, Literal["accepted", "refused", "waiting"]] = {
        Standing.ACCEPTED: "accepted",
        Standing.REFUSED: "refused",
        Standing.WAITING: "waiting",
    }
    return NetworkStatus(
        network=str(result.network),
        standing=standings[result.standing],
        reason="" if accepted else REASON_TEXT[result.reason],
        holder=str(unpack_address(result.holder)) if known else "",
    )


def _approved(
    service: Service, digest: Callable[[bytes], bytes]
) -> dict[bytes, list[tuple[bytes, tuple[Network, ...]]]]:
    """By address: the digest of a credential's password, and its networks."""
    inline: list[Credential] = [*(service.credentials or ())]
    inline += [credential for auther in service.authers for credential in auther.inline]
    found: dict[bytes, list[tuple[bytes, tuple[Network, ...]]]] = {}
    for credential in inline:
        if credential.networks:
            address = pack_address(ip_address(credential.username))
            found.setdefault(address, []).append((digest(credential.password), credential.networks))
    return found
