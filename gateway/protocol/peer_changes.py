"""What became of a heartbeat, and what the FIBs must hear of it: the peer table's answers.

Changes are in the words of the control messages.
"""

from dataclasses import dataclass, field

from gateway.protocol.forwarding import Refusal
from gateway.protocol.messages import PeerEntry, Prefix, RouteEntry
from gateway.protocol.packet import Endpoint
from gateway.protocol.peer import Peer


@dataclass
class Changes:
    """What the FIBs must hear: false if nothing. No slot is both in `peers` and `gone`."""

    peers: list[PeerEntry] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    routes: list[RouteEntry] = field(default_factory=list)
    withdrawn: list[Prefix] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.peers or self.gone or self.routes or self.withdrawn)


@dataclass(frozen=True)
class Registered:
    """The heartbeat is in. `former`: where the peer was until now, if it moved."""

    peer: Peer
    changes: Changes
    new: bool = False
    former: Endpoint | None = None
    conflict: bool = False

    @property
    def changed(self) -> bool:
        """Whether the FIBs must hear of it; a mere renewal is no update."""
        return bool(self.changes)


@dataclass(frozen=True)
class Refused:
    """The heartbeat is not in, and no peer has changed. `detail` is a sentence.

    `holder`: where the one is whose address was claimed.
    """

    refusal: Refusal
    detail: str
    holder: Endpoint | None = None
