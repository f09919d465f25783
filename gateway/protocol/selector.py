"""Which of several nodes is used: GOST's strategies, marks and backups.

A failure counts; a success forgets all before it. A node with `max_fails` failures and
none of them a success rests until `fail_timeout` seconds after the last one. It then may
be chosen again, and one more failure is enough for another rest. A backup is chosen only
while every other node rests. A node that is alone never rests.

    round          each healthy node in turn
    random         by chance, each as often as its weight says
    fifo           the first healthy one in the order of the configuration
    hash           always the same healthy one for the same key; without a key by chance
    parallel       all are tried at once, and the first that answers is used: `candidates`
    lowestlatency  the one with the least round trip; those that were not measured follow

Source: go-gost/x, selector/{strategy,filter,weighted,latency,parallel}.go.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple
from zlib import crc32

STRATEGIES = ("round", "random", "fifo", "hash", "parallel", "lowestlatency")


class Node(NamedTuple):
    """What the configuration says of a node; a weight below 1 counts as 1."""

    backup: bool = False
    weight: int = 1


@dataclass
class _Mark:
    """Failures since the last success, the last failure, and the round trip in seconds."""

    fails: int = 0
    failed_at: float = -inf
    rtt: float | None = None


class Selector:
    """Nodes are known by their index. `random` gives floats from [0, 1)."""

    def __init__(
        self,
        strategy: str,
        nodes: Sequence[Node],
        random: Callable[[], float],
        max_fails: int = 1,
        fail_timeout: float = 10.0,
    ) -> None:
        if strategy not in STRATEGIES:
            raise ValueError(f"{strategy!r} is no strategy")
        self.strategy = strategy
        self.nodes = tuple(nodes)
        self.max_fails = max(1, max_fails)
        self.fail_timeout = fail_timeout if fail_timeout > 0 else 10.0
        self._random = random
        self._turn = 0
        self._marks = [_Mark() for _ in self.nodes]

    def select(
        self, now: float, key: bytes | None = None, among: Collection[int] | None = None
    ) -> int | None:
        """The node to use now, `among` these or all; None: every one of them rests."""
        found = self.candidates(now, among)
        if not found:
            return None
        match self.strategy:
            case "round":
                self._turn += 1
                return found[(self._turn - 1) % len(found)]
            case "random":
                return self._by_weight(found)
            case "hash":
                at = int(self._random() * len(found)) if key is None else crc32(key) % len(found)
                return found[at]
            case "lowestlatency":
                return min(found, key=self._rank)
            case _:
                return found[0]

    def candidates(self, now: float, among: Collection[int] | None = None) -> list[int]:
        """Those that may be chosen now, in their order: healthy ones, else healthy backups."""
        found = [i for i in range(len(self.nodes)) if among is None or i in among]
        if len(found) <= 1:
            return found
        healthy = [index for index in found if not self.resting(index, now)]
        return [i for i in healthy if not self.nodes[i].backup] or healthy

    def resting(self, index: int, now: float) -> bool:
        """Whether it has failed too often, and too lately, to be chosen."""
        mark = self._marks[index]
        return mark.fails >= self.max_fails and now - mark.failed_at < self.fail_timeout

    def fails(self, index: int) -> int:
        """Failures since the last success."""
        return self._marks[index].fails

    def failed_at(self, index: int) -> float:
        """When it failed last; minus infinity: never."""
        return self._marks[index].failed_at

    def rtt(self, index: int) -> float | None:
        """The last round trip that was measured, in seconds."""
        return self._marks[index].rtt

    def failed(self, index: int, now: float) -> None:
        """It did not answer. What was measured of it is worth nothing now."""
        mark = self._marks[index]
        mark.fails += 1
        mark.failed_at = now
        mark.rtt = None

    def succeeded(self, index: int) -> None:
        """It answered."""
        self._marks[index].fails = 0

    def measured(self, index: int, rtt: float) -> None:
        """It took `rtt` seconds to answer."""
        self._marks[index].rtt = rtt

    def _by_weight(self, found: Sequence[int]) -> int:
        weights = [max(1, self.nodes[index].weight) for index in found]
        left = self._random() * sum(weights)
        for index, weight in zip(found, weights, strict=True):
            left -= weight
            if left < 0:
                return index
        return found[-1]

    def _rank(self, index: int) -> tuple[float, int]:
        rtt = self._marks[index].rtt
        return inf if rtt is None else rtt, index
