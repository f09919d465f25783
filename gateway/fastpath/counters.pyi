"""Counter pages: what one child writes and every process may read (I6)."""

from typing import Any

REASONS: tuple[str, ...]
"""The drop reasons, in the order of `protocol.forwarding.DropReason`."""

NAMES: tuple[str, ...]
"""The counters of a page, in order; every reason as `drop_x` and as `ring_drop_x`."""

PEER_NAMES: tuple[str, ...]
"""The words of a peer's row, in order. Packets and bytes, but for the last: 1 while
this writer sends to the peer datagram by datagram."""

class Page:
    def __init__(self, memory: Any, peers: int) -> None:
        """Zeroed memory is formatted; a page made for as many peers is taken as it is.

        `memory` is writable, aligned to 64 bytes and `bytes_for(peers)` long; `ValueError`
        if it holds something else.
        """

    @staticmethod
    def bytes_for(peers: int) -> int:
        """Bytes of memory for a page with one row for each of `peers` slots."""

    @property
    def peers(self) -> int:
        """Rows."""

    def read(self) -> dict[str, int]:
        """All counters by name. Each is whole; together they are not one moment's."""

    def pulse(self) -> int:
        """CLOCK_MONOTONIC in ns of the child's last turn; 0: it has had none."""

    def beat(self) -> None:
        """Set the pulse to now. Compiled loops do it themselves."""

    def peer(self, slot: int) -> tuple[int, ...]:
        """A peer's row, in the order of `PEER_NAMES`."""

def peer_totals(pages: tuple[Page, ...], slot: int) -> tuple[int, ...]:
    """A peer's row, summed over the pages of all its writers."""
