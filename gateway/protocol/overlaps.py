"""Networks with an owner each, and the question which of them overlap a given one.

Networks wider than the given one are found by a probe per length in use. Those within it
lie side by side in order. The order is kept in short pieces, so that a table of 100,000
changes entry by entry at the cost of a piece, and nothing is ever sorted as a whole.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from gateway.protocol.packet import Network, is_v4, pack_network
from gateway.protocol.routes import prefix_of

Owner = TypeVar("Owner")
Prefixed = tuple[bytes, int]
"""A prefix: (a16, length over 128 bits)."""

PIECE = 512
"""Entries of a piece; one of twice as many is cut in two."""


class Overlaps(Generic[Owner]):
    """One owner a network."""

    def __init__(self, entries: Iterable[tuple[Network, Owner]] = ()) -> None:
        self._owners: dict[Prefixed, Owner] = {}
        self._lengths: dict[int, int] = {}
        self._order = _Order()
        for network, owner in entries:
            self.put(network, owner)

    def __len__(self) -> int:
        return len(self._owners)

    def put(self, network: Network, owner: Owner) -> None:
        """Give a network to an owner, whoever had it."""
        self.put_prefix(pack_network(network), owner)

    def put_prefix(self, prefix: Prefixed, owner: Owner) -> None:
        """The same for a prefix without host bits."""
        if prefix not in self._owners:
            self._lengths[prefix[1]] = self._lengths.get(prefix[1], 0) + 1
            self._order.add(prefix)
        self._owners[prefix] = owner

    def remove(self, network: Network) -> None:
        """Take it out; nothing happens if it is not in."""
        self.remove_prefix(pack_network(network))

    def remove_prefix(self, prefix: Prefixed) -> None:
        """The same for a prefix."""
        if self._owners.pop(prefix, None) is None:
            return
        self._order.remove(prefix)
        self._lengths[prefix[1]] -= 1
        if not self._lengths[prefix[1]]:
            del self._lengths[prefix[1]]

    def overlapping(self, network: Network) -> Iterator[tuple[int, Owner]]:
        """(prefix length over 128 bits, owner) of each overlap: wide ones first."""
        prefix, length = pack_network(network)
        for shorter in sorted(self._lengths):
            if shorter > length:
                break
            if network.version == 4 and shorter < 96:
                continue  # ::/0 does not hold 0.0.0.0/0
            key = prefix_of(prefix, shorter), shorter
            if key in self._owners:
                yield shorter, self._owners[key]
        for entry in self._order.since((prefix, length + 1)):
            inner, longer = entry
            if prefix_of(inner, length) != prefix:
                return
            if network.version == 4 or not is_v4(inner):
                yield longer, self._owners[entry]


class _Order:
    """Prefixes in order, each once."""

    def __init__(self) -> None:
        self._pieces: list[list[Prefixed]] = []
        self._firsts: list[Prefixed] = []

    def add(self, entry: Prefixed) -> None:
        if not self._pieces:
            self._pieces.append([entry])
            self._firsts.append(entry)
            return
        at = self._piece_of(entry)
        piece = self._pieces[at]
        insort(piece, entry)
        self._firsts[at] = piece[0]
        if len(piece) >= 2 * PIECE:
            self._pieces[at : at + 1] = [piece[:PIECE], piece[PIECE:]]
            self._firsts.insert(at + 1, piece[PIECE])

    def remove(self, entry: Prefixed) -> None:
        at = self._piece_of(entry)
        piece = self._pieces[at]
        del piece[bisect_left(piece, entry)]
        if piece:
            self._firsts[at] = piece[0]
            return
        del self._pieces[at], self._firsts[at]

    def since(self, entry: Prefixed) -> Iterator[Prefixed]:
        """Those not below `entry`."""
        if not self._pieces:
            return
        at = self._piece_of(entry)
        start = bisect_left(self._pieces[at], entry)
        for piece in self._pieces[at:]:
            yield from piece[start:]
            start = 0

    def _piece_of(self, entry: Prefixed) -> int:
        return max(0, bisect_right(self._firsts, entry) - 1)
