"""What the addresses of one service went through lately, and so who may have them.

`takeover` rules on one address; here are all of them. A history outlives the address's holder:
else a thief could wipe it by letting go of what he took, or by letting his lease end. Their
number is bounded: when it is reached, the oldest goes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from gateway.protocol.leases import Lease
from gateway.protocol.packet import Endpoint
from gateway.protocol.takeover import History, Holder, Ruling

PRUNE_EVERY = 60.0


@dataclass(frozen=True)
class Claim:
    """A claim to an address that somebody else holds, and what became of it."""

    address: bytes
    holder: Holder
    ruling: Ruling


class Histories:
    """By address (a16), at most `capacity`; an address without one has nothing to tell."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._histories: dict[bytes, History] = {}
        self._prune_at = -inf

    def __len__(self) -> int:
        return len(self._histories)

    def judge(
        self,
        address: bytes,
        claimant: Endpoint,
        holder: Holder,
        now: float,
        *,
        authenticated: bool,
    ) -> Claim:
        """Judge a claim by somebody else than the holder. Changes nothing."""
        history = self._histories.get(address) or History()
        ruling = history.rule(claimant, holder, now, authenticated=authenticated)
        return Claim(address, holder, ruling)

    def apply(self, claim: Claim, claimant: Endpoint, now: float) -> None:
        """Note what was ruled."""
        self._of(claim.address).apply(claim.ruling, claimant, claim.holder, now)

    def take_up(self, address: bytes, claimant: Endpoint, now: float) -> None:
        """The claimant gets an address that nobody holds now."""
        if address in self._histories:
            self._histories[address].take_up(claimant, now)

    def lease(self, addresses: Iterable[bytes], endpoint: Endpoint, now: float) -> Lease | None:
        """The lease of an endpoint that one of these was taken from, with the gaps it had.

        A heartbeat has come there just now. None: nothing is known of the endpoint.
        """
        for address in addresses:
            history = self._histories.get(address)
            displaced = history.remembered(endpoint, now) if history is not None else None
            if displaced is not None:
                lease = displaced.lease.copy()
                lease.heartbeat(now)
                return lease
        return None

    def prune(self, now: float) -> None:
        """Forget what is old."""
        if now < self._prune_at:
            return
        self._prune_at = now + PRUNE_EVERY
        for address in [key for key, history in self._histories.items() if history.idle(now)]:
            del self._histories[address]

    def _of(self, address: bytes) -> History:
        """The address's history, made if need be; the oldest goes if there are too many."""
        history = self._histories.get(address)
        if history is None:
            if len(self._histories) >= self._capacity:
                del self._histories[next(iter(self._histories))]
            history = self._histories[address] = History()
        return history
