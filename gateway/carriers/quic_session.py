"""One QUIC connection and its streams, between a wire and their owners.

All that one turn of the loop brings is taken first, then pushed to the streams' owners, and
answered by one burst. A stream exists for the other end with its first byte; it ends, both
ways at once, with the first end of either: a FIN where all was sent, else a reset.

A paused stream keeps a little; then the whole connection takes no more, and so gives the other
end no credit.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from qh3.quic import events

from gateway.carriers.openings import Openings
from gateway.carriers.quic_core import TROUBLES, Connection
from gateway.carriers.quic_link import Link
from gateway.carriers.quic_stream import CLOSE_TIME, Buffer, QuicStream
from gateway.carriers.quic_wire import Address, Wire
from gateway.carriers.stream import Accept, CarrierError
from gateway.protocol.wire import WireError

IDLE_TIME = 60.0
"""Seconds an accepted connection lives without a stream."""
KEPT = 256 * 1024
"""Bytes kept for a paused stream before the connection is held."""

_TLS_ERRORS = range(0x100, 0x200)
_ALERTS = {116: "certificate required", 120: "no application protocol"}
"""Those that `ssl` has no names for."""
_LOOK = 0.05
_SOON = 0.001


class Owner(Protocol):
    """Who holds the connection."""

    def on_ready(self, session: "Session") -> None:
        """All handshakes are done."""

    def on_proven(self, session: "Session") -> None:
        """The first of its streams was let in."""

    def on_id(self, session: "Session", identity: bytes, *, known: bool) -> None:
        """Packets to this connection id are the session's, or no longer."""

    def on_end(self, session: "Session", error: CarrierError) -> None:
        """It is over. Its streams hear of it after this."""


class Session(Link):
    """Either end. `accept` None: the other end opens no streams."""

    carrier = "quic"

    def __init__(
        self,
        wire: Wire,
        connection: Connection,
        address: Address,
        owner: Owner,
        *,
        connected: bool,
        keepalive: float,
        accept: Accept | None = None,
        max_streams: int = 100,
        judge: Callable[[Connection], str] = lambda _: "",
        verified: bool = False,
    ) -> None:
        """`connected`: the wire is. `judge` gives what is wrong with the other end's proofs."""
        self.verified = verified
        self._owner = owner
        self._accept = accept
        self._max_streams = max_streams
        self._judge = judge
        self._streams: dict[int, QuicStream] = {}
        self._unborn: set[QuicStream] = set()
        self._past: set[int] = set()
        self._crowded: set[QuicStream] = set()
        self._idle_since = 0.0
        self._let_in = 0
        self._openings = Openings(asyncio.get_running_loop().time())
        super().__init__(
            wire, connection, address,
            connected=connected, keepalive=keepalive, is_server=accept is not None,
        )  # fmt: skip

    # In

    def turn(self) -> None:
        """Push what came, send what is due, see to the timer."""
        if self._busy or self.reason is not None:
            return
        self._busy = True
        try:
            while not self._has_ended() and (event := self.connection.next_event()) is not None:
                self._handle(event)
        finally:
            self._busy = False
        if self._has_ended():
            return
        over = self.connection.over
        if over is not None:
            self._flush()
            self.end(*_why(over))
            return
        self._hold()
        self._flush()

    def _handle(self, event: events.QuicEvent) -> None:
        if isinstance(event, events.StreamDataReceived):
            self._on_data(event.stream_id, event.data, last=event.end_stream)
        elif isinstance(event, events.StreamReset):
            self._on_stop(event.stream_id, "reset by the other end")
            self._past.discard(event.stream_id)
        elif isinstance(event, events.StopSendingReceived):
            self._on_stop(event.stream_id, "the other end reads no more")
        elif isinstance(event, events.HandshakeCompleted):
            self._on_handshake()
        elif isinstance(event, events.ConnectionIdIssued):
            self._owner.on_id(self, event.connection_id, known=True)
        elif isinstance(event, events.ConnectionIdRetired):
            self._owner.on_id(self, event.connection_id, known=False)

    def _on_handshake(self) -> None:
        refusal = self._judge(self.connection)
        if refusal:
            self._flush()  # he shall know who leaves
            self.close(refusal, "bad-tls", told="the certificate does not hold")
            return
        self.ready = True
        self._idle_since = self.loop.time()
        self._owner.on_ready(self)

    def _on_data(self, sid: int, data: bytes, *, last: bool) -> None:
        stream = self._streams.get(sid)
        if stream is None and sid not in self._past:
            stream = self._accept_one(sid)
        if stream is not None and data:
            stream.take(data)
        if not last:
            return
        self._past.discard(sid)
        stream = self._streams.get(sid)
        if stream is not None:
            self._end_ours(stream)
            self.lose(stream, is_past=False)
            stream.finish("")

    def _on_stop(self, sid: int, reason: str) -> None:
        stream = self._streams.get(sid)
        if stream is not None:
            self.reset(stream)
            self.lose(stream)
            stream.finish("" if stream.is_closing else reason)

    def _accept_one(self, sid: int) -> QuicStream | None:
        """A stream the other end has opened. Those that are none of ours are not heard."""
        try:
            self._openings.count(asyncio.get_running_loop().time())
        except WireError as error:
            self.close(str(error), "bad-quic")
            return None
        stream = QuicStream(self, sid)
        if self._accept is None or sid % 4 or len(self._streams) >= self._max_streams:
            with suppress(*TROUBLES):
                self.connection.stop_stream(sid, 0)
            self._past.add(sid)
            if sid % 4 == 0:
                self.reset(stream)
            return None
        self._streams[sid] = stream
        self._accept(stream)
        return self._streams.get(sid)

    # Out

    @property
    def usable(self) -> bool:
        """A new stream may be opened here."""
        if self.reason is not None or not self.ready or self._is_asking:
            return False
        begun = self.connection.get_next_available_stream_id() // 4
        return begun + len(self._unborn) < self.connection.max_concurrent_bidi_streams

    def open(self) -> QuicStream:
        """A new stream, held until it is started. The connection ends with its last one."""
        stream = QuicStream(self, None)
        self._unborn.add(stream)
        return stream

    def write(self, stream: QuicStream, data: Buffer) -> None:
        """Send what there is room for, queue the rest."""
        try:
            self.connection.send_stream_data(self._born(stream), data)
        except TROUBLES as error:
            self.loop.call_soon(self.end, str(error), "failed")
            return
        self._sent = self.loop.time()
        if not self._busy:
            self._flush()
        if self.owed(stream) > stream.high:
            self._crowded.add(stream)

    def owed(self, stream: QuicStream) -> int:
        """Bytes that were not sent once yet."""
        if stream.sid is None:
            return 0
        return self.connection.get_send_buffer_size(stream.sid)

    def finish(self, stream: QuicStream) -> None:
        """Send what it owes and a FIN; its end is told when the other end has ended too."""
        if stream.sid is None:
            self.lose(stream)
            self.loop.call_soon(stream.finish, "")
            return
        self._send_fin(stream.sid)
        if not self._busy:
            self._flush()

    def reset(self, stream: QuicStream) -> None:
        """Send no more of it, and want no more."""
        if stream.sid is None or self.reason is not None:
            return
        with suppress(*TROUBLES):
            self.connection.reset_stream(stream.sid, 0)
        with suppress(*TROUBLES):
            self.connection.stop_stream(stream.sid, 0)
        self._soon()

    def lose(self, stream: QuicStream, *, is_past: bool = True) -> None:
        """It is nobody's any more. `is_past`: the other end may not have ended it yet."""
        self._unborn.discard(stream)
        self._crowded.discard(stream)
        found = self._streams.pop(stream.sid, None) if stream.sid is not None else None
        if found:
            self._let_in -= found.proven
        if found and found.sid is not None and is_past:
            self._past.add(found.sid)
        if self._streams or self._unborn:
            return
        self._idle_since = self.loop.time()
        if self._accept is None and self.reason is None:
            self.loop.call_later(_SOON, self._leave, self._idle_since + CLOSE_TIME)

    @property
    def is_idle(self) -> bool:
        """No stream in it was let in."""
        return not self._let_in

    def let_in(self) -> None:
        """One of its streams was."""
        self._let_in += 1
        if not self.proven and self.reason is None:
            self.proven = True
            self._owner.on_proven(self)

    def has_given(self) -> None:
        """A stream has given what was kept."""
        if self.reason is None and self._hold():
            self.turn()

    def close(self, reason: str = "", what: str = "closed", told: str = "") -> None:
        """Tell the other end, and end."""
        if self.reason is None:
            self.connection.close(error_code=0, reason_phrase=told or reason or "closed")
            self._flush()
            self.end(reason, what)

    def end(self, reason: str, what: str) -> None:
        """End it and all its streams; the owner hears of it first."""
        if self.reason is not None:
            return
        self.reason = reason
        self._cancel()
        text = reason or "the other end closed"
        self._owner.on_end(self, CarrierError(f"quic {self.remote}: {text}", what))
        streams = [*self._streams.values(), *self._unborn]
        self._streams.clear()
        self._unborn.clear()
        for stream in streams:
            stream.finish(f"quic: {reason}" if reason else "")
        self.loop.call_soon(self._let_go)  # not now: we may be in the middle of a turn

    def _let_go(self) -> None:
        """Be freed with the last user: who dialled it refers to it, and is told of no more."""
        del self._owner, self._judge
        self.connection.let_go()

    def _born(self, stream: QuicStream) -> int:
        if stream.sid is None:
            stream.sid = self.connection.get_next_available_stream_id()
            self._unborn.discard(stream)
            self._streams[stream.sid] = stream
        return stream.sid

    def _end_ours(self, stream: QuicStream) -> None:
        """The other end has sent its last: it reads no more either."""
        if self.owed(stream):
            self.reset(stream)
        elif stream.sid is not None and not stream.is_closing:
            self._send_fin(stream.sid)

    def _send_fin(self, sid: int) -> None:
        with suppress(*TROUBLES):
            self.connection.send_stream_data(sid, b"", end_stream=True)

    def _leave(self, until: float) -> None:
        """Close a connection without streams, once the other end has what was sent."""
        if self._streams or self._unborn or self.reason is not None:
            return
        if self.connection.open_outbound_streams and self.loop.time() < until:
            self.loop.call_later(_LOOK, self._leave, until)
            return
        self.close()

    def _hold(self) -> bool:
        """Take no more while a paused stream keeps too much. Gives whether it was released."""
        if any(stream.kept_size > KEPT for stream in self._streams.values()):
            self.connection.hold()
            return False
        try:
            return self.connection.release()
        except TROUBLES as error:
            self.end(f"bad packet: {error}", "bad-quic")
            return False

    def _has_ended(self) -> bool:
        return self.reason is not None

    def _moved(self) -> None:
        for stream in (*self._streams.values(), *self._unborn):
            stream.remote = self.remote

    def _watched(self, now: float) -> None:
        is_idle = self._accept and not self._streams
        if is_idle and now - self._idle_since >= IDLE_TIME:
            self.close()

    def _flushed(self) -> None:
        for stream in list(self._crowded):
            if self.owed(stream) <= stream.low:
                self._crowded.discard(stream)
                stream.has_room()


def _why(over: events.ConnectionTerminated) -> tuple[str, str]:
    """In words, and what it is counted by."""
    if over.error_code in _TLS_ERRORS:
        return f"tls: {over.reason_phrase or _alert(over.error_code - 0x100)}", "bad-tls"
    if over.error_code == 0:
        return "", "closed"
    return over.reason_phrase or f"error {over.error_code}", "failed"


def _alert(number: int) -> str:
    """Its name (RFC 8446, section 6)."""
    if number in _ALERTS:
        return _ALERTS[number]
    try:
        return ssl.AlertDescription(number).name.partition("DESCRIPTION_")[2].lower()
    except ValueError:
        return f"alert {number}"
