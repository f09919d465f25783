"""What the log calls an endpoint: who is behind a carrier, by true address and carrier."""

from collections.abc import Callable
from typing import NamedTuple

from gateway.protocol.packet import Endpoint


class Remote(NamedTuple):
    """Where somebody is, seen from outside."""

    address: str
    carrier: str = ""

    def __str__(self) -> str:
        return f"{self.carrier} {self.address}" if self.carrier else self.address


class Remotes:
    """Asks whoever knows streams; without one an endpoint is what it is."""

    def __init__(self) -> None:
        self.find: Callable[[Endpoint], Remote | None] = lambda _: None

    def at(self, endpoint: Endpoint) -> Remote:
        """The remote of an endpoint."""
        return self.find(endpoint) or Remote(str(endpoint))

    def fields(self, endpoint: Endpoint) -> dict[str, str | None]:
        """`endpoint`, and `carrier` where there is one, for a line of the log."""
        remote = self.at(endpoint)
        return {"endpoint": remote.address, "carrier": remote.carrier or None}
