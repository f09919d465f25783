# cython: annotation_typing = False, boundscheck = False
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
every burst at once, so that a longer way back is a queue and not patience, what waits behind
a gap is acknowledged twice, and when no answer comes the last segment is sent again long before
the time-out: its answer tells of all before it. `FAREWELL` there ends the conversation: its
sender has left it, or does not know it.

Bounds: `receive_window` segments received and not read; sent ones by the other's window.
`kcp.pxd` has the types this is compiled with.
Source: xtaci/kcp-go kcp.go.
"""

from collections import deque

from gateway.protocol.kcp_arrivals import Arrivals
from gateway.protocol.kcp_congestion import Congestion
from gateway.protocol.kcp_options import MOST_MTU
from gateway.protocol.kcp_probe import NEVER, WindowProbe
from gateway.protocol.kcp_segments import (
    ACK,
    ASK,
    FAREWELL,
    GREETING,
    OVERHEAD,
    PUSH,
    TELL,
    Buffer,
    Packing,
    Segment,
    farewell,
    near,
    number,
)
from gateway.protocol.wire import WireError

__all__ = ["ACK", "ASK", "GREETING", "NEVER", "OVERHEAD", "PUSH", "TELL", "Kcp", "farewell"]

RTO_START = 0.2
RTO_LEAST, RTO_LEAST_NODELAY, RTO_MOST = 0.1, 0.03, 60.0
TRANSMISSIONS = 20
REORDER_STEP, REORDER_MOST = 8, 256
GREETINGS = 4
"""Times it is said, with the first packets."""
TAIL_SPARE, TAIL_PROBES = 0.01, 2
"""Seconds over two round trips until the last one is sent again, and how often."""

_MASK = 0xFFFFFFFF
_HEAD, _MOST = OVERHEAD, MOST_MTU
_PUSH, _ACK, _ASK, _TELL = PUSH, ACK, ASK, TELL
_GREETING, _FAREWELL = GREETING, FAREWELL


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
        self.arrivals = Arrivals(receive_window)
        self.peer_window = 32
        self.unsent = 0
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
        # Waiting, under way by number, and in the order of transmission.
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
        self._tail = NEVER
        self._tail_probes = 0
        self._seen = 0
        self._probe = WindowProbe()
        self._active = 0.0
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
        whole = bytes(data)
        size = len(whole)
        self.unsent += size
        start = 0
        if self._queue and len(self._queue[-1]) < mss:
            last = self._queue.pop()
            start = min(mss - len(last), size)
            self._queue.append(last + whole[:start])
        while start < size:
            self._queue.append(whole[start : start + mss])
            start += mss

    def read(self) -> list[bytes]:
        """What has arrived in order, never empty pieces; this opens the window again."""
        return self.arrivals.read()

    def receive_all(self, packets: list[bytes], now: float) -> list[bytes]:
        """Take the good ones; gives back what is not KCP of this conversation, as it is here."""
        others = []
        for packet in packets:
            if not _HEAD <= len(packet) <= _MOST or not _PUSH <= packet[4] <= _TELL:
                others.append(packet)
                continue
            try:
                self.receive(packet, now)
            except WireError:
                others.append(packet)
        return others

    def receive(self, packet: bytes, now: float, fresh: bool = True) -> None:
        """Take the segments of one packet; `fresh` is false for what FEC gave back.

        Raises WireError at the first that is not KCP or not of this conversation. Those
        before it count.
        """
        end = len(packet)
        at = 0
        before = self._una
        if end < _HEAD:
            raise WireError(f"a KCP packet has {OVERHEAD} bytes or more, not {end}")
        while at + _HEAD <= end:
            cmd = packet[at + 4]
            sn = number(packet, at + 12)
            length = number(packet, at + 20)
            if number(packet, at) != self.conv:
                raise WireError("a segment of another conversation")
            if length > end - at - _HEAD:
                raise WireError(
                    f"a segment of {length} bytes in a packet that has {end - at - OVERHEAD}"
                )
            if cmd == _PUSH:
                self.arrivals.take(sn, number(packet, at + 8), packet, at + _HEAD, length)
            elif cmd == _ACK:
                self._acknowledge(sn, number(packet, at + 8), now, fresh)
            elif cmd == _ASK:
                self.arrivals.tell = True
            elif cmd != _TELL:
                raise WireError(f"no command of KCP: {cmd:#x}")
            elif sn == _GREETING and not self.kin:
                self.kin = True
                self._congestion.answered_at_once()
            elif sn == _FAREWELL and self.kin:
                self.left = True
            if fresh:
                self.peer_window = packet[at + 6] | packet[at + 7] << 8
            self._forget(number(packet, at + 16))
            at += _HEAD + length
        if self._una != before or self._newest >= 0:
            self._congestion.turn(self._newest, self._order)

    def _acknowledge(self, low: int, ts: int, now: float, fresh: bool) -> None:
        sn = near(self._una, low)
        segment = self._flight.pop(sn, None)
        if segment is None:
            return
        self._arrived(segment)
        if segment.stamp != ts and segment.probe:
            return
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
        return min(self._expires, self._late, self._tail, self._probe.due)

    def flush(self, now: float) -> list[bytes]:
        """The packets to send now: lost segments, new ones, and acknowledgements."""
        if self._queue and not self._flight and now - self._active > self.rto:
            self._congestion.rested()
        self._find_lost(now)
        if now >= self._expires:
            self._find_expired(now)
        if now >= self._tail:
            self._probe_tail(now)
        packing = self.arrivals.begin(self._room, self.conv)
        self._send(packing, now)
        self._send_control(packing, now)
        self._watch_tail(now)
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

    def _watch_tail(self, now: float) -> None:
        """Begin to wait anew whenever something new was sent or has arrived."""
        seen = self._next + self._newest + 2 if self.kin and self._outstanding else 0
        if seen != self._seen:
            self._seen = seen
            self._tail_probes = TAIL_PROBES
            self._tail = now + 2 * self.srtt + TAIL_SPARE if seen else NEVER

    def _probe_tail(self, now: float) -> None:
        for order, segment in reversed(self._sent):
            if not segment.done and not segment.lost and segment.order == order:
                segment.probe = True
                self._give_up(segment)
                break
        self._tail_probes -= 1
        self._tail = now + 4 * self.srtt + TAIL_SPARE if self._tail_probes else NEVER

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
        packing.add(_PUSH, segment.stamp, segment.sn, segment.data)

    def _send_control(self, packing: Packing, now: float) -> None:
        self.arrivals.acknowledge(packing, self.kin)
        if self._probe.asks(not self.peer_window and len(self._queue) > 0, now):
            packing.add(_ASK, 0, 0, b"")
        if self.arrivals.tell:
            self.arrivals.tell = False
            packing.add(_TELL, 0, 0, b"")
        if self._greetings and not packing.is_empty():
            self._greetings -= 1
            packing.add(_TELL, 0, _GREETING, b"")
