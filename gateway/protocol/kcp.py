# cython: annotation_typing = False
"""KCP: one reliable byte stream over datagrams, as kcp-go speaks it. Time is an argument.

Little-endian; several segments may share a packet:

     0      4     5     6     8      12     16     20      24
    +------+-----+-----+-----+------+------+------+-------+------
    | conv | cmd | frg | wnd | ts   | sn   | una  | len   | data
    +------+-----+-----+-----+------+------+------+-------+------

cmd: 51 push, 52 ack, 53 ask for the window, 54 tell it (hex). wnd and una say in every
segment how many more segments fit, and the first that is missing. An ack repeats ts and sn
of what it is for. frg is 0: a stream has no messages. ts is in milliseconds, any origin.

What is lost is for each end to decide. Here every transmission has a number; when one
arrived that was sent `reorder` transmissions later, or noticeably later in time, the
earlier is lost and sent again. `reorder` grows when that was wrong. The time-out is KCP's:
RTO from 200 ms, at least 100 (30 with nodelay), at most 60 s, longer by one RTO (half of one)
with each retry; the twentieth transmission in vain ends it. Sequence numbers are counted in
full here and cut on the wire.

What stock KCP ignores in a TELL says that an end is one of ours (`GREETING` as sn): it answers
every burst at once, so that a longer way back is a queue and not patience, and what waits
behind a gap is acknowledged twice. `FAREWELL` there ends the conversation: its sender has left
it, or does not know it.

Bounds: `receive_window` segments received and not read; sent ones by the other's window.
`kcp.pxd` has the types this is compiled with.
Source: xtaci/kcp-go kcp.go.
"""

from collections import deque

from gateway.protocol.kcp_congestion import Congestion
from gateway.protocol.kcp_segments import HEAD, OVERHEAD, Buffer, Packing, Segment, near
from gateway.protocol.wire import WireError

__all__ = ["OVERHEAD", "Kcp"]

PUSH, ACK, ASK, TELL = 0x51, 0x52, 0x53, 0x54

RTO_START = 0.2
RTO_LEAST, RTO_LEAST_NODELAY, RTO_MOST = 0.1, 0.03, 60.0
TRANSMISSIONS = 20
REORDER_STEP, REORDER_MOST = 8, 256
GREETING = 0x67772D31
FAREWELL = 0x67772D30
GREETINGS = 4
"""Times it is said, with the first packets."""
PROBE_FIRST, PROBE_MOST = 0.5, 120.0
NEVER = float("inf")

_MASK = 0xFFFFFFFF


class Kcp:
    """One end of a conversation. `room` is what one packet may hold of segments.

    After `receive` and `write` comes `flush`, once for a whole burst; and again at `due`.
    """

    def __init__(
        self,
        conv: int,
        room: int,
        *,
        send_window: int,
        receive_window: int,
        congestion: Congestion,
        interval: float = 0.01,
        nodelay: bool = False,
        reorder: int = 3,
        greets: bool = True,
    ) -> None:
        self.conv = conv
        self.kin = False
        self.left = False
        self.dead = False
        self.srtt = 0.0
        self.rto = RTO_START
        self.send_window = send_window
        self.receive_window = receive_window
        self.peer_window = 32
        self.unsent = 0
        self.repeats = 0
        self.resent = 0
        self.timeouts = 0
        self._room = room
        self._mss = room - OVERHEAD
        self._congestion = congestion
        self._interval = interval
        self._nodelay = nodelay
        self._least = RTO_LEAST_NODELAY if nodelay else RTO_LEAST
        self._reorder = reorder
        self._rttvar = 0.0
        # Out: waiting, under way by number, and in the order of transmission.
        self._queue: deque[bytes] = deque()
        self._flight: dict[int, Segment] = {}
        self._sent: deque[tuple[int, Segment]] = deque()
        self._again: deque[Segment] = deque()
        self._una = 0
        self._next = 0
        self._order = 0
        self._newest = -1
        self._outstanding = 0
        self._expires = NEVER
        self._late = NEVER
        self._probe = 0.0
        self._probe_at = NEVER
        self._active = 0.0
        # In: early ones by number, and what is in order.
        self._early: dict[int, bytes] = {}
        self._ready: list[bytes] = []
        self._expected = 0
        self._acks: list[tuple[int, int]] = []
        self._repeated: list[tuple[int, int]] = []
        self._told = receive_window
        self._tell = False
        self._greetings = GREETINGS if greets else 0

    @property
    def acknowledged(self) -> int:
        """How many segments the other end has in order."""
        return self._una

    @property
    def owed(self) -> int:
        """How many segments were sent and are not known to have arrived."""
        return len(self._flight)

    def write(self, data: Buffer) -> None:
        """Take all of it; it leaves with the next flushes."""
        mss = self._mss
        view = memoryview(data)
        size = len(view)
        self.unsent += size
        start = 0
        if self._queue and len(self._queue[-1]) < mss:
            last = self._queue.pop()
            start = min(mss - len(last), size)
            self._queue.append(last + view[:start])
        while start < size:
            self._queue.append(bytes(view[start : start + mss]))
            start += mss

    def read(self) -> list[bytes]:
        """What has arrived in order, never empty pieces; this opens the window again."""
        ready = self._ready
        if not ready:
            return ready
        self._ready = []
        if self._told * 2 < self.receive_window:
            self._tell = True
        return ready

    def receive(self, packet: Buffer, now: float, fresh: bool = True) -> None:
        """Take the segments of one packet; `fresh` is false for what FEC gave back.

        Raises WireError at the first that is not KCP or not of this conversation. Those
        before it count.
        """
        end = len(packet)
        at = 0
        before = self._una
        if end < OVERHEAD:
            raise WireError(f"a KCP packet has {OVERHEAD} bytes or more, not {end}")
        while at + OVERHEAD <= end:
            conv, cmd, _, wnd, ts, sn, una, length = HEAD.unpack_from(packet, at)
            at += OVERHEAD
            if conv != self.conv:
                raise WireError("a segment of another conversation")
            if length > end - at:
                raise WireError(f"a segment of {length} bytes in a packet that has {end - at}")
            if cmd == PUSH:
                self._take(sn, ts, packet, at, length)
            elif cmd == ACK:
                self._acknowledge(sn, ts, now, fresh)
            elif cmd == ASK:
                self._tell = True
            elif cmd != TELL:
                raise WireError(f"no command of KCP: {cmd:#x}")
            elif sn == GREETING and not self.kin:
                self.kin = True
                self._congestion.answered_at_once()
            elif sn == FAREWELL and self.kin:
                self.left = True
            if fresh:
                self.peer_window = wnd
            self._forget(una)
            at += length
        if self._una != before or self._newest >= 0:
            self._congestion.turn(self._newest, self._order)

    def _take(self, low: int, ts: int, packet: Buffer, at: int, length: int) -> None:
        sn = near(self._expected, low)
        if sn >= self._expected + self._free():
            return
        self._acks.append((low, ts))
        if sn < self._expected or sn in self._early:
            self.repeats += 1
            return
        data = bytes(packet[at : at + length])
        if sn > self._expected:
            self._early[sn] = data
            return
        if data:
            self._ready.append(data)
        self._expected += 1
        while self._early and self._expected in self._early:
            data = self._early.pop(self._expected)
            if data:
                self._ready.append(data)
            self._expected += 1

    def _free(self) -> int:
        return max(self.receive_window - len(self._ready), 0)

    def _acknowledge(self, low: int, ts: int, now: float, fresh: bool) -> None:
        sn = near(self._una, low)
        segment = self._flight.pop(sn, None)
        if segment is None:
            return
        self._arrived(segment)
        if segment.stamp != ts:
            # An earlier transmission, given up too soon: this path mixes the order.
            self._reorder = min(self._reorder + REORDER_STEP, REORDER_MOST)
            self._congestion.lost(-1)
            return
        self._newest = max(self._newest, segment.order)
        if fresh:
            self._measure(now - segment.sent, now)

    def _forget(self, low: int) -> None:
        """The other end has everything before this number."""
        una = near(self._una, low)
        if una > self._next:
            raise WireError("an acknowledgement of what was not sent")
        while self._una < una:
            segment = self._flight.pop(self._una, None)
            self._una += 1
            if segment is None:
                continue
            self._arrived(segment)
            if segment.times == 1:
                self._newest = max(self._newest, segment.order)

    def _arrived(self, segment: Segment) -> None:
        segment.done = True
        segment.data = b""
        self._congestion.acked(1)
        if not segment.lost:
            self._outstanding -= 1

    def _measure(self, rtt: float, now: float) -> None:
        rtt = max(rtt, 0.00001)
        self._congestion.measured(rtt, now)
        if not self.srtt:
            self.srtt = rtt
            self._rttvar = rtt / 2
        else:
            delta = rtt - self.srtt
            self.srtt += delta / 8
            self._rttvar += (abs(delta) - self._rttvar) / 4
        rto = self.srtt + max(self._interval, 4 * self._rttvar)
        self.rto = min(max(rto, self._least), RTO_MOST)

    def due(self) -> float:
        """When to flush at the latest."""
        return min(self._expires, self._late, self._probe_at)

    def flush(self, now: float) -> list[bytes]:
        """The packets to send now: lost segments, new ones, and acknowledgements."""
        if self._queue and not self._flight and now - self._active > self.rto:
            self._congestion.rested()
        self._find_lost(now)
        if now >= self._expires:
            self._find_expired(now)
        packing = Packing(self._room)
        self._send(packing, now)
        self._send_control(packing, now)
        return packing.close()

    def _find_lost(self, now: float) -> None:
        """Walk from the oldest transmission to the first that may still arrive."""
        self._late = NEVER
        wait = self.srtt * 1.25 + 0.005
        lost = 0
        while self._sent:
            order, segment = self._sent[0]
            if not segment.done and not segment.lost and segment.order == order:
                if order >= self._newest:
                    break
                if order + self._reorder > self._newest and now < segment.sent + wait:
                    self._late = segment.sent + wait
                    break
                self._give_up(segment)
                segment.rto = self.rto
                lost += 1
            self._sent.popleft()
        if lost:
            self._congestion.lost(lost)

    def _find_expired(self, now: float) -> None:
        self._expires = NEVER
        for segment in self._flight.values():
            if segment.lost:
                continue
            at = segment.sent + segment.rto
            if at > now:
                self._expires = min(self._expires, at)
                continue
            self._give_up(segment)
            segment.rto = min(segment.rto + self.rto * (0.5 if self._nodelay else 1), RTO_MOST)
            self.timeouts += 1
        if not self._outstanding and self._again:
            self._congestion.timed_out()

    def _give_up(self, segment: Segment) -> None:
        segment.lost = True
        self._outstanding -= 1
        self._again.append(segment)

    def _send(self, packing: Packing, now: float) -> None:
        window = self._congestion.window
        limit = self._una + min(self.send_window, self.peer_window)
        while self._again and self._outstanding < window:
            segment = self._again.popleft()
            if not segment.done:
                self.resent += 1
                self._transmit(segment, packing, now)
        while self._queue and self._next < limit and self._outstanding < window:
            segment = Segment(self._next, self._queue.popleft())
            self._next += 1
            self.unsent -= len(segment.data)
            segment.rto = self.rto
            self._flight[segment.sn] = segment
            self._transmit(segment, packing, now)
        if self._outstanding >= window and (self._queue or self._again):
            self._congestion.limiting()

    def _transmit(self, segment: Segment, packing: Packing, now: float) -> None:
        segment.lost = False
        segment.times += 1
        if segment.times >= TRANSMISSIONS:
            self.dead = True
        segment.sent = now
        segment.stamp = int(now * 1000) & _MASK
        segment.order = self._order
        self._sent.append((self._order, segment))
        self._order += 1
        self._outstanding += 1
        self._active = now
        self._expires = min(self._expires, now + segment.rto)
        packing.add(self._head(PUSH, segment.stamp, segment.sn, len(segment.data)), segment.data)

    def _send_control(self, packing: Packing, now: float) -> None:
        """Acknowledge what una does not say, and the latest, whose time measures the way.

        To kin, what waits behind a gap is said twice: were it lost, all would be sent again.
        """
        if self._acks:
            last = len(self._acks) - 1
            early = []
            for number, (sn, ts) in enumerate(self._acks):
                waits = near(self._expected, sn) >= self._expected
                if waits:
                    early.append((sn, ts))
                if waits or number == last:
                    packing.add(self._head(ACK, ts, sn, 0), b"")
            for sn, ts in self._repeated if self.kin else ():
                if near(self._expected, sn) >= self._expected:
                    packing.add(self._head(ACK, ts, sn, 0), b"")
            self._repeated = early
            self._acks.clear()
        if self._probing(now):
            packing.add(self._head(ASK, 0, 0, 0), b"")
        if self._tell:
            self._tell = False
            packing.add(self._head(TELL, 0, 0, 0), b"")
        if self._greetings and not packing.is_empty():
            self._greetings -= 1
            packing.add(self._head(TELL, 0, GREETING, 0), b"")

    def _probing(self, now: float) -> bool:
        if self.peer_window or not self._queue:
            self._probe = 0.0
            self._probe_at = NEVER
            return False
        if not self._probe:
            self._probe = PROBE_FIRST
            self._probe_at = now + self._probe
            return False
        if now < self._probe_at:
            return False
        self._probe = min(self._probe * 1.5, PROBE_MOST)
        self._probe_at = now + self._probe
        return True

    def _head(self, cmd: int, ts: int, sn: int, length: int) -> bytes:
        self._told = self._free()
        return HEAD.pack(
            self.conv, cmd, 0, min(self._told, 0xFFFF), ts, sn & _MASK,
            self._expected & _MASK, length,
        )  # fmt: skip


def farewell(conv: int) -> bytes:
    """The packet that ends a conversation for one of ours, and is nothing to stock."""
    return HEAD.pack(conv, TELL, 0, 32, 0, FAREWELL, 0, 0)
