# cython: annotation_typing = False, boundscheck = False
"""What arrives on a KCP conversation: put in order, and acknowledged.

Bounds: `window` segments received and not read. Numbers are counted in full here and cut on
the wire. `kcp_arrivals.pxd` has the types this is compiled with.
"""

from gateway.protocol.kcp_segments import ACK, Packing, near


class Arrivals:
    """The receiving half of one end."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.expected = 0
        self.repeats = 0
        self.tell = False
        self._told = window
        self._early: dict[int, bytes] = {}
        self._ready: list[bytes] = []
        self._acks: list[tuple[int, int]] = []
        self._repeated: list[tuple[int, int]] = []

    def take(self, low: int, ts: int, packet: bytes, at: int, length: int) -> None:
        """The segment with the number that ends in `low`, whose data is in this packet."""
        sn = near(self.expected, low)
        if sn >= self.expected + self.free():
            return
        self._acks.append((low, ts))
        if sn < self.expected or sn in self._early:
            self.repeats += 1
            return
        data = packet[at : at + length]
        if sn > self.expected:
            self._early[sn] = data
            return
        if data:
            self._ready.append(data)
        self.expected += 1
        while self._early and self.expected in self._early:
            data = self._early.pop(self.expected)
            if data:
                self._ready.append(data)
            self.expected += 1

    def free(self) -> int:
        """How many segments more there is room for."""
        return max(self.window - len(self._ready), 0)

    def read(self) -> list[bytes]:
        """What is in order, never empty pieces; this opens the window again."""
        ready = self._ready
        if not ready:
            return ready
        self._ready = []
        if self._told * 2 < self.window:
            self.tell = True
        return ready

    def begin(self, room: int, conv: int) -> Packing:
        """Packets that say how far we are; what comes into them is to be sent."""
        self._told = self.free()
        return Packing(room, conv, self._told, self.expected)

    def acknowledge(self, packing: Packing, kin: bool) -> None:
        """Acknowledge what una does not say, and the latest, whose time measures the way.

        To kin, what waits behind a gap is said twice: were it lost, all would be sent again.
        """
        if not self._acks:
            return
        last = len(self._acks) - 1
        early = []
        for index, (sn, ts) in enumerate(self._acks):
            waits = near(self.expected, sn) >= self.expected
            if waits:
                early.append((sn, ts))
            if waits or index == last:
                packing.add(ACK, ts, sn, b"")
        for sn, ts in self._repeated if kin else ():
            if near(self.expected, sn) >= self.expected:
                packing.add(ACK, ts, sn, b"")
        self._repeated = early
        self._acks.clear()
