"""Peers whom a plugin let in, and peers of a former run who wait for a source.

Somebody a plugin let in is answered at once while he calls from the same endpoint with
the same addresses and passphrase. The plugin is asked again behind his back: its no ends
his lease, its silence does not.
"""

import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from gateway.protocol.messages import AskAuth
from gateway.protocol.packet import Endpoint
from gateway.protocol.peer import Peer, PeerRecord, PeerState
from gateway.protocol.wire import Heartbeat
from gateway.supervisor.admission import Admission
from gateway.supervisor.resolving import Resolving, Verdict

ASK_AGAIN = 20.0
GRACE = 1.0
"""Seconds a verdict may take beyond the slowest plugin's timeout."""


@dataclass
class _Vouched:
    peer: Peer
    asked: float


class Vouching:
    """The questions of one service. Times are CLOCK_BOOTTIME."""

    def __init__(self, service: str, admission: Admission, resolving: Resolving) -> None:
        self._service = service
        self._admission = admission
        self._resolving = resolving
        self._vouched: dict[int, _Vouched] = {}  # by slot
        self._authers = tuple(spec.name for spec in admission.plugins)
        timeouts = (spec.plugin.timeout for spec in admission.plugins if spec.plugin is not None)
        self._patience = max(timeouts, default=0.0) + GRACE

    def vouched(self, peer: Peer) -> bool:
        """Whether a plugin let the peer in."""
        found = self._vouched.get(peer.slot)
        return found is not None and found.peer is peer

    def stands(self, peer: Peer, heartbeat: Heartbeat) -> bool:
        """Whether this is the claim that a plugin said yes to."""
        same = set(peer.addresses) == set(heartbeat.addresses)
        digest = self._admission.digest(heartbeat.passphrase)
        return self.vouched(peer) and same and hmac.compare_digest(peer.credential, digest)

    def note(self, peer: Peer, now: float, *, vouched: bool) -> None:
        """A peer registered."""
        if not vouched:
            self._vouched.pop(peer.slot, None)
        elif not self.vouched(peer):
            self._vouched[peer.slot] = _Vouched(peer, now)

    def end(self, slots: list[int]) -> None:
        """These peers are gone."""
        for slot in slots:
            self._vouched.pop(slot, None)

    def ask(
        self,
        heartbeat: Heartbeat,
        endpoint: Endpoint,
        now: float,
        answer: Callable[[Verdict], None],
    ) -> bool:
        """Ask about what no table decides; False: too many questions wait."""
        addresses = self._admission.left_to_plugins(heartbeat.addresses, heartbeat.passphrase)
        digest = self._admission.digest(heartbeat.passphrase)
        key = (self._service, endpoint, heartbeat.addresses, digest)

        def judged(verdict: Verdict) -> None:
            left = self._admission.left_to_plugins(heartbeat.addresses, heartbeat.passphrase)
            answer(verdict if set(left) <= set(addresses) else "unknown")

        def question(number: int) -> AskAuth:
            return AskAuth(
                number, self._authers, self._service, addresses, heartbeat.passphrase, str(endpoint)
            )

        return self._resolving.ask_auth(key, question, self._patience, now, judged)

    def ask_again(
        self, peer: Peer, heartbeat: Heartbeat, now: float, revoked: Callable[[], None]
    ) -> None:
        """Ask now and then about somebody who is in; a no calls `revoked`."""
        found = self._vouched[peer.slot]
        if now - found.asked < ASK_AGAIN:
            return
        found.asked = now

        def answer(verdict: Verdict) -> None:
            if verdict == "no":
                revoked()

        self.ask(heartbeat, peer.endpoint, now, answer)


@dataclass(frozen=True)
class Unrestored:
    """Peers of a former run, `before` seconds after it ended at the time `since`."""

    state: PeerState
    before: float
    since: float

    def down(self, now: float) -> float:
        """Seconds to take off every lease."""
        return self.before + now - self.since

    def records(self, now: float) -> Iterator[PeerRecord]:
        """Those whose lease has not ended, as they are now."""
        down = self.down(now)
        for record in self.state.peers:
            if record.left > down:
                yield replace(
                    record,
                    age=record.age + down,
                    silence=record.silence + down,
                    left=record.left - down,
                )
