"""Inside to outside: the TUN's packets go into the ring of the worker that has the peer.

Reads super-packets straight into ring memory, looks the destination up, publishes once
per burst and rings the doorbell. All of it is compiled (`fastpath.pump.Reader`).
"""

from dataclasses import dataclass

from gateway.fastpath.fib import Fib
from gateway.fastpath.pump import Reader
from gateway.fastpath.ring import Ring
from gateway.workers.base import Place
from gateway.workers.plane import DataChild


@dataclass(frozen=True)
class ReaderParts:
    """What it works on. `rings` are borrowed shared memory, one for each worker."""

    tun: int
    rings: tuple[memoryview, ...]
    doorbells: tuple[int, ...]
    mss_mtu: int
    asking: bool = False


class TunReader(DataChild):
    """The producer of every ring (I1)."""

    def __init__(self, place: Place, parts: ReaderParts) -> None:
        super().__init__(place, (parts.tun, *parts.doorbells))
        self._parts = parts
        self.asking = parts.asking

    def attach(self, fib: Fib) -> None:
        """Go on at the published tails: a predecessor left no half record (I3)."""
        self._reader = Reader(
            tun=self._parts.tun,
            channel=self.channel.fileno(),
            rings=[Ring(memory, create=False) for memory in self._parts.rings],
            doorbells=list(self._parts.doorbells),
            fib=fib,
            page=self.page,
            mss_mtu=self._parts.mss_mtu,
        )

    def turns(self, timeout: float) -> int:
        """Bursts from the TUN to the rings."""
        return self._reader.run(timeout)

    def finish(self) -> None:
        """Nothing: the device is about to go."""
