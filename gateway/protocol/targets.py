"""The servers that an uplink may use: what their names stand for, and how they answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal, Protocol

from gateway.protocol.packet import Endpoint

RESOLVE_INTERVAL = 1.0
RESOLVE_PATIENCE = 5.0
"""Seconds after which an unanswered question is asked again."""


Health = Literal["used", "healthy", "failed", "unknown"]


class Target(Protocol):
    """A server as the user named it."""

    @property
    def host(self) -> str:
        """A name, or an address as text."""

    @property
    def port(self) -> int:
        """The UDP port."""


class Known:
    """A target, its place in the configuration, what its name stood for last, when asked."""

    def __init__(self, target: Target, index: int) -> None:
        self.target = target
        self.index = index
        self.endpoints: tuple[Endpoint, ...] = ()
        self.asked = -inf
        self.waiting = False
        self.answered_at: float | None = None

    def askable(self) -> float:
        """When it may be asked again."""
        return self.asked + (RESOLVE_PATIENCE if self.waiting else RESOLVE_INTERVAL)

    def ask(self, now: float) -> None:
        """Its name is asked for."""
        self.asked = now
        self.waiting = True

    def beginning_with(self, endpoint: Endpoint | None) -> list[Endpoint]:
        """All its endpoints in turn, this one first if it is among them."""
        if endpoint not in self.endpoints:
            return list(self.endpoints)
        at = self.endpoints.index(endpoint)
        return [*self.endpoints[at:], *self.endpoints[:at]]


@dataclass(frozen=True)
class Standing:
    """How one target is. `rtt` in seconds; `failed`: it did not answer when it last should."""

    target: Target
    state: Health
    backup: bool
    rtt: float | None
    fails: int


def find(known: Sequence[Known], target: Target) -> Known:
    """The entry of this target. Raises ValueError where there is none."""
    for each in known:
        if each.target == target:
            return each
    raise ValueError(f"{target.host}:{target.port} is no target of this uplink")


def owner(known: Sequence[Known], endpoint: Endpoint) -> Known | None:
    """The target that an endpoint is of."""
    return next((each for each in known if endpoint in each.endpoints), None)
