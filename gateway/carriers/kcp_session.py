"""One KCP conversation as a byte stream: KCP, parity and compression between wire and owner.

All that one turn of the loop brings is taken first, then pushed, and answered by one burst:
acknowledgements and new data together. What is written in a turn leaves together too, as
one compressed piece. Kept in memory are the windows of KCP, eight groups of the decoder, one
chunk of compressed data, and the backlog, which the owner watches.

There is no handshake in KCP, and no goodbye but between two of ours. `answered` is told when
the other end first acknowledges; who has owed us that for `SILENCE` seconds is gone.
"""

import asyncio
from collections.abc import Callable

from gateway.carriers.kcp_crypt import OVERHEAD
from gateway.carriers.kcp_snappy import Compressor, Decompressor
from gateway.carriers.kcp_wire import Address, Wire
from gateway.carriers.stream import Counts, Receiver, Remote, Stream
from gateway.protocol import fec, kcp, smux_frames
from gateway.protocol.kcp_congestion import Congestion
from gateway.protocol.kcp_options import MOST_MTU, KcpOptions
from gateway.protocol.wire import WireError

Buffer = bytes | bytearray | memoryview

SILENCE = 15.0
CLOSE_TIME = 3.0
SMUX_TIMEOUT = 30.0
REFUSED_TIME = 2.0
"""Seconds of silence after which the host's word counts that nobody listens there."""

STRANGER_WINDOW = 8
"""Segments kept for who has no stream that was let in."""
STRANGER_OWED = 64 * 1024
"""Bytes that may wait for such a one, who does not acknowledge his answers."""
GUEST_WINDOW = 64
"""Segments kept for who has one; then twice as many as he has sent in order, up to `rcvwnd`."""

PARITY_RTT = 0.02
"""Below it two of ours send no parity: to send again is as fast, and costs a third less."""

_WHOLE_GROUP = 64
_LOSSY_TIME = 10.0
_REORDER = 3
_TOLERANCE, _TOLERANCE_WITH_NC = 0.15, 0.5
"""The part that may get lost before the window is narrowed."""


class Session(Stream):
    """Either end. `ended` is called once, when it is over, before the receiver hears of it."""

    carrier = "kcp"

    def __init__(
        self,
        wire: Wire,
        remote: Remote,
        conv: int,
        options: KcpOptions,
        counts: Counts,
        ended: Callable[["Session"], None],
        *,
        address: Address | None = None,
        stranger: bool = False,
    ) -> None:
        """`address`: where the wire is not connected. `stranger`: little is kept until `prove`."""
        self.remote = remote
        self.conv = conv
        self.address = address
        self.reason: str | None = None
        self.answered: Callable[[], None] | None = None
        self._wire = wire
        self._stranger = stranger
        self._options = options
        self._counts = counts
        self._tell_ended = ended
        self._loop = asyncio.get_running_loop()
        self._kcp = _make_kcp(conv, options)
        if stranger:
            self._kcp.arrivals.window = min(STRANGER_WINDOW, options.rcvwnd)
        self._encoder = fec.Encoder(options.datashard, options.parityshard) if options.fec else None
        self._decoder: fec.Decoder | None = None
        self._compressor = None if options.nocomp else Compressor()
        self._decompressor = None if options.nocomp else Decompressor()
        self._in_order = 0
        self._early: list[bytes] = []  # a stranger's, not unpacked yet
        self._receiver: Receiver | None = None
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._paused = False
        self._busy = False
        self._crowded = False
        self._awaited = False
        self._closing: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard = self._owing_since = self._loop.time()
        self._owing = False
        self._resent = 0
        self._lossy_until = 0.0

    def prove(self) -> None:
        if self._stranger:
            self._stranger = False
            self._kcp.arrivals.window = min(GUEST_WINDOW, self._options.rcvwnd)

    # In

    def take(self, packets: list[bytes]) -> None:
        """What has arrived; `turn` follows."""
        if self.reason is not None:
            return
        now = self._loop.time()
        bad = 0
        others = self._kcp.receive_all(packets, now)
        for packet in others:
            try:
                self._take(packet, now)
            except WireError:
                self._counts.count("bad-kcp")
                bad += 1
        if bad < len(packets):
            self._heard = now

    def _take(self, packet: bytes, now: float) -> None:
        if len(packet) > MOST_MTU:
            raise WireError(f"a KCP packet of {len(packet)} bytes")
        if len(packet) < fec.OVERHEAD or not fec.is_fec(packet):
            self._kcp.receive(packet, now)
            return
        if self._stranger:
            if packet[4] == fec.DATA:
                self._kcp.receive(packet[fec.OVERHEAD :], now)
            return
        if self._decoder is None:
            options = self._options
            shards = (options.datashard, options.parityshard) if options.fec else (0, 0)
            self._decoder = fec.Decoder(*shards)
        own, recovered = self._decoder.decode(packet)
        if own is not None:
            self._kcp.receive(own, now)
        for lost in recovered:
            self._kcp.receive(lost, now, False)

    def turn(self) -> None:
        """Push what is in order, and answer."""
        if self.reason is not None:
            return
        self._busy = True
        self._push()
        self._busy = False
        if self.reason is None:
            self._flush()

    def _push(self) -> None:
        if self._paused or self._receiver is None or self._closing:
            return
        pieces = self._kcp.read()
        if self._stranger or self._early:
            self._push_singly(pieces)
            return
        if not pieces:
            return
        self._in_order += len(pieces)
        arrivals = self._kcp.arrivals
        arrivals.window = max(arrivals.window, min(2 * self._in_order, self._options.rcvwnd))
        self._unpack(pieces, self._receiver)

    def _push_singly(self, pieces: list[bytes]) -> None:
        """A stranger's: what his receiver does not want yet is not unpacked, as it gets larger."""
        self._early += pieces
        while self._early and not (self._paused or self._closing) and self.reason is None:
            if self._receiver is None:
                return
            self._unpack([self._early.pop(0)], self._receiver)

    def _unpack(self, pieces: list[bytes], receiver: Receiver) -> None:
        whole = b"".join(pieces)
        data: Buffer = whole
        if self._decompressor:
            try:
                data = self._decompressor.decompress(whole)
            except WireError as error:
                self._counts.count("bad-snappy")
                self._end(str(error))
                return
        if data:
            receiver.on_data(data)

    # Out

    def write(self, data: Buffer) -> None:
        if self.reason is not None or self._closing:
            return
        self._pending.append(bytes(data))
        self._pending_size += len(data)
        if self.backlog > self.high:
            self._crowded = True
        if self._stranger and self.backlog > STRANGER_OWED:
            self._end("does not acknowledge its answers")
            return
        self._awaited = True
        self._soon()

    def _soon(self) -> None:
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._written)

    def _written(self) -> None:
        self._busy = False
        if self.reason is None:
            self._flush()

    def _flush(self) -> None:
        now = self._loop.time()
        if self._pending:
            self._submit()
        packets = self._kcp.flush(now)
        if packets:
            self._send(packets, now)
        self._look_back(now)
        if self.reason is None:
            self._set_timer()

    def _submit(self) -> None:
        data: Buffer = b"".join(self._pending)
        self._pending.clear()
        self._pending_size = 0
        if self._compressor:
            data = self._compressor.compress(data, self._kcp.kin)
        self._kcp.write(data)

    def _send(self, packets: list[bytes], now: float) -> None:
        group = _WHOLE_GROUP
        if self._encoder and not (self._kcp.kin and self._kcp.srtt < PARITY_RTT):
            # Acknowledgements are said again anyway: parity is for data.
            data = [packet for packet in packets if packet[4] == kcp.PUSH]
            rest = [packet for packet in packets if packet[4] != kcp.PUSH]
            packets = self._encoder.encode(data) + rest
            if self._kcp.resent != self._resent:
                self._resent = self._kcp.resent
                self._lossy_until = now + _LOSSY_TIME
            if now < self._lossy_until:
                # What is lost at once shall not be more than parity makes good.
                group = self._options.parityshard
        self._wire.send(packets, self.address, group)

    def _look_back(self, now: float) -> None:
        """What has come of it: an answer, room, the end."""
        if self._kcp.acknowledged and self.answered:
            answered, self.answered = self.answered, None
            answered()
        owing = self._kcp.owed > 0
        if owing and not self._owing:
            self._owing_since = now
        self._owing = owing
        silent = now - max(self._heard, self._owing_since) if owing else 0.0
        if self._kcp.left:
            self._end("ended by the other end")
        elif silent > SILENCE or self._kcp.dead:
            self._end(f"no answer for {silent:.0f} s")
        elif self._closing and not owing and not self.backlog:
            self._end("")
        elif self._awaited and self.backlog <= (self.low if self._crowded else 0):
            # Streams in it may have lower marks than ours: they hear of an empty queue too.
            self._crowded = self._awaited = False
            if self._receiver and not self._closing:
                self._receiver.on_room()

    def _set_timer(self) -> None:
        due = self._kcp.due()
        if self._timer and self._timer.when() <= due:
            return
        if self._timer:
            self._timer.cancel()
        self._timer = None if due == kcp.NEVER else self._loop.call_at(due, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self.turn()

    # The stream

    def start(self, receiver: Receiver) -> None:
        if self.reason is not None:
            self._loop.call_soon(receiver.on_end, self.reason)
            return
        self._receiver = receiver
        self._loop.call_soon(self.turn)

    @property
    def backlog(self) -> int:
        return self._pending_size + self._kcp.unsent

    @property
    def rtt(self) -> float | None:
        return self._kcp.srtt or None

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._loop.call_soon(self.turn)

    def refused(self) -> None:
        """The host at the other end says that nobody listens there."""
        if self._loop.time() - self._heard > REFUSED_TIME or not self._kcp.acknowledged:
            self._end("connection refused")

    def close(self) -> None:
        if self.reason is None and not self._closing:
            self._closing = self._loop.call_later(CLOSE_TIME, self._end, "")
            self._soon()

    def abort(self, reason: str = "aborted") -> None:
        self._end(reason)

    def _end(self, reason: str) -> None:
        if self.reason is not None:
            return
        self.reason = "" if self._closing else reason
        for timer in (self._timer, self._closing):
            if timer:
                timer.cancel()
        self._pending.clear()
        if self._kcp.kin and not self._kcp.left:
            self._wire.send([kcp.farewell(self.conv)], self.address)
        self._tell_ended(self)
        del self._tell_ended
        self.answered = None
        receiver, self._receiver = self._receiver, None
        if receiver:
            self._loop.call_soon(receiver.on_end, self.reason)


def smux_options(options: KcpOptions) -> smux_frames.Options:
    """How the streams in a conversation are kept apart."""
    return smux_frames.Options(
        version=options.smuxver,
        keepalive=options.keepalive,
        timeout=max(SMUX_TIMEOUT, options.keepalive),
        receive_buffer=options.smuxbuf,
        stream_buffer=min(options.streambuf, options.smuxbuf),
    )


def conversation(packet: bytes) -> int | None:
    """Which one a packet is of; None: parity does not say."""
    at = _segment_at(packet)
    return None if at is None else int.from_bytes(packet[at : at + 4], "little")


def opening(packet: bytes, replaces: bool) -> int | None:
    """The conversation a packet begins; None: none. Only its very first one replaces another."""
    at = _segment_at(packet)
    if at is None or packet[at + 4] != kcp.PUSH:
        return None
    sn = int.from_bytes(packet[at + 12 : at + 16], "little")
    if sn >= (1 if replaces else STRANGER_WINDOW):
        return None
    return int.from_bytes(packet[at : at + 4], "little")


def _segment_at(packet: bytes) -> int | None:
    """Where the first segment of a packet begins."""
    at = 0
    if len(packet) >= kcp.OVERHEAD and fec.is_fec(packet):
        if packet[4] != fec.DATA:
            return None
        at = fec.OVERHEAD
    return at if len(packet) >= at + kcp.OVERHEAD else None


def _make_kcp(conv: int, options: KcpOptions) -> kcp.Kcp:
    congestion = Congestion(
        options.sndwnd,
        patience=options.interval / 1000,
        tolerance=_TOLERANCE_WITH_NC if options.nc else _TOLERANCE,
    )
    return kcp.Kcp(
        conv,
        options.mtu - OVERHEAD - (fec.OVERHEAD if options.fec else 0),
        send_window=options.sndwnd,
        receive_window=options.rcvwnd,
        congestion=congestion,
        interval=options.interval / 1000,
        nodelay=options.nodelay,
        # Parity makes good within a group: before its end nothing is given up.
        reorder=max(options.resend or _REORDER, options.datashard if options.fec else 0),
    )
