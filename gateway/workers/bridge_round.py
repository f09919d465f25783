"""What is left to try of a chain's nodes in one round of dialling.

A node that failed is not tried again in a round, while its hop has others. When a hop has no
more, the node before it is to blame, which did not lead on: then the next one of that hop is
tried, and all behind it once more.
"""

from collections.abc import Sequence

REASONS_KEPT = 4


class Round:
    """`sizes`: how many nodes each hop has."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = tuple(sizes)
        self._failed: list[set[int]] = [set() for _ in sizes]
        self._reasons: dict[str, None] = {}

    @property
    def left(self) -> list[list[int]]:
        """Of each hop the nodes that may be tried, some of each unless `is_over`."""
        every = zip(self._sizes, self._failed, strict=True)
        return [[i for i in range(size) if i not in failed] for size, failed in every]

    @property
    def is_over(self) -> bool:
        """Whether there is no way left."""
        return len(self._failed[0]) >= self._sizes[0]

    @property
    def reasons(self) -> list[str]:
        """Why, the first few."""
        return list(self._reasons)[:REASONS_KEPT]

    def failed(self, at: int, chosen: Sequence[int], reason: str) -> None:
        """The way through these nodes ended at hop `at`."""
        self._reasons[reason] = None
        self._failed[at].add(chosen[at])
        while at and len(self._failed[at]) >= self._sizes[at]:
            self._failed[at].clear()
            at -= 1
            self._failed[at].add(chosen[at])
