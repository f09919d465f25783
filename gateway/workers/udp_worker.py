"""Outside to inside, outside to outside, and the ring's packets to the outside.

Bursts of datagrams are judged, written to the TUN, sent on to other peers, or kept for
the supervisor; all of it is compiled (`fastpath.pump.Worker`). Here the kept ones, the
punts, go over the channel, and what the socket says about the server is passed on.
"""

from collections import deque
from dataclasses import dataclass

from gateway.fastpath import pump
from gateway.fastpath.fib import Fib
from gateway.fastpath.pump import Worker
from gateway.fastpath.ring import Ring
from gateway.protocol.messages import PuntedDatagram, Punts, Trouble
from gateway.workers.base import Place
from gateway.workers.plane import DataChild

PUNTS_KEPT = 1024
"""Datagrams that may wait for room in the channel. While more do, the compiled loop keeps
its own, and counts further ones as dropped (punt_limited): they get repeated."""
PUNTS_PER_MESSAGE = 256


@dataclass(frozen=True)
class WorkerParts:
    """What it works on. `ring` is borrowed shared memory; `family` is the socket's."""

    udp: int
    tun: int
    ring: memoryview
    doorbell: int
    role: int
    connected: bool
    family: int
    source_check: bool
    gso: bool
    merge_tcp: bool
    merge_udp: bool
    own4: bytes
    own6: bytes
    mss_mtu: int
    mtu: int
    asking: bool = False


class UdpWorker(DataChild):
    """The consumer of one ring (I1), and one of the port's sockets."""

    def __init__(self, place: Place, parts: WorkerParts) -> None:
        super().__init__(place, (parts.udp, parts.tun, parts.doorbell))
        self._parts = parts
        self.asking = parts.asking
        self._punts: deque[PuntedDatagram] = deque()

    def attach(self, fib: Fib) -> None:
        """Go on at the published head of the ring (I3)."""
        parts = self._parts
        self._worker = Worker(
            udp=parts.udp,
            tun=parts.tun,
            channel=self.channel.fileno(),
            ring=Ring(parts.ring, create=False),
            doorbell=parts.doorbell,
            fib=fib,
            page=self.page,
            role=parts.role,
            connected=parts.connected,
            family=parts.family,
            source_check=parts.source_check,
            gso=parts.gso,
            merge_tcp=parts.merge_tcp,
            merge_udp=parts.merge_udp,
            own4=parts.own4,
            own6=parts.own6,
            mss_mtu=parts.mss_mtu,
            mtu=parts.mtu,
        )

    def turns(self, timeout: float) -> int:
        """Bursts from the socket and from the ring. Short while punts wait for room."""
        return self._worker.run(min(timeout, 0.01) if self._punts else timeout)

    def on_bits(self, bits: int) -> None:
        """Pass on punts, and errors that a connected socket learned from ICMP."""
        if len(self._punts) <= PUNTS_KEPT:
            self._punts.extend(PuntedDatagram(*punt) for punt in self._worker.punts())
        self._send_punts()
        if bits & pump.REFUSED:
            self.send(Trouble("refused"))
        if bits & pump.SOURCE_GONE:
            self.send(Trouble("source-gone"))

    def finish(self) -> None:
        """Send what is in the ring."""
        self.turns(0.0)

    def _send_punts(self) -> None:
        while self._punts:
            count = min(len(self._punts), PUNTS_PER_MESSAGE)
            batch = tuple(self._punts[index] for index in range(count))
            if not self.channel.send(Punts(batch)):
                return
            for _ in range(count):
                self._punts.popleft()
