"""gRPC streams on an HTTP/2 connection, without I/O (RFC 9113; gRPC over HTTP/2).

It is a `Machine` of protocol.multiplex: one bidirectional call for each stream, one path for
all, GOST's messages around what is written. Frames are ours, because a general library spends
25 to 45 µs on each, and GOST sends two frames for each datagram.

This is where frames get their meaning; data goes to `http2_receiving`, what leaves comes from
`http2_sending`, and `http2_pings` says whether the peer is still there.

Whatever a peer sends, `feed` raises nothing but `WireError` (I15).
"""

from collections.abc import Iterator

from gateway.carriers import http2_frames as h2
from gateway.carriers.http2_call import Call, Options
from gateway.carriers.http2_headers import LARGEST_BLOCK, answer, judge, outcome
from gateway.carriers.http2_receiving import Receiving
from gateway.protocol.multiplex import Ended, Event, Opened
from gateway.protocol.wire import WireError

__all__ = ["Connection", "Options"]

MAX_REFUSED = 4096
"""Requests in a row that opened nothing, before the connection ends."""


class Connection(Receiving):
    """Either end of a connection."""

    def __init__(
        self,
        *,
        client: bool,
        options: Options,
        now: float,
        authority: str = "",
        scheme: str = "https",
    ) -> None:
        super().__init__(
            client=client, options=options, now=now, authority=authority, scheme=scheme
        )
        self._frames = h2.Frames(preface=not client, max_frame=options.max_frame)
        self._opened_any = False
        self._refused = 0

    @property
    def ready(self) -> bool:
        """The server has sent its settings; the client has opened a stream."""
        return self._agreed if self._client else self._opened_any

    def feed(self, data: bytes | bytearray | memoryview, now: float) -> Iterator[Event]:
        """What the peer's next bytes bring. To be exhausted; WireError ends the connection.

        Neighbouring messages of one stream are joined: one event for a burst of small ones.
        """
        self._pings.heard = now
        view = memoryview(data)
        at, end = 0, len(view)
        run: list[memoryview] = []
        while at < end:
            if self._left:
                part = view[at : at + self._left]
                at += len(part)
                self._left -= len(part)
                self._sort(part, run)
                if not self._left and self._last_piece:
                    yield from self._pass_on(run)
                    yield from self._finished(self._sid, "")
                continue
            if run:
                parts, at = self._frames.run(view, at, self._sid)
                self._take_room(self._calls[self._sid], sum(map(len, parts)))
                run += parts
            frame, at = self._frames.next(view, at)
            if frame is None:
                break
            goes_on = frame.kind == h2.DATA and frame.payload is None and frame.length
            if not goes_on or frame.sid != self._sid:
                yield from self._pass_on(run)
            if goes_on:
                self._begin_data(frame)
            else:
                yield from self._frame(frame, now)
        yield from self._pass_on(run)
        self._give_room()

    # Frames

    def _frame(self, frame: h2.Frame, now: float) -> Iterator[Event]:
        kind, sid = frame.kind, frame.sid
        if not self._agreed and (kind != h2.SETTINGS or frame.flags & h2.ACK):
            raise WireError("no HTTP/2: settings come first")
        if self._block is not None and (kind != h2.CONTINUATION or sid != self._block[0]):
            raise WireError("an HTTP/2 frame inside of headers")
        if kind == h2.DATA:
            yield from self._data(frame)
        elif kind in {h2.HEADERS, h2.CONTINUATION}:
            yield from self._header_frame(frame)
        elif kind == h2.RST_STREAM:
            yield from self._was_reset(sid, h2.read_word(frame.payload or b""))
        elif kind == h2.GOAWAY:
            yield from self._goes_away(frame.payload or b"")
        elif kind == h2.SETTINGS:
            self._settings(frame)
        elif kind == h2.WINDOW_UPDATE:
            self._more_window(sid, h2.read_word(frame.payload or b"", bits=31))
        elif kind == h2.PING:
            self._ping(frame, now)
        elif kind == h2.PUSH_PROMISE:
            raise WireError("an HTTP/2 push")

    def _header_frame(self, frame: h2.Frame) -> Iterator[Event]:
        whole = frame.flags & h2.END_HEADERS
        if frame.kind == h2.HEADERS:
            payload = h2.unpadded(frame)
            self._block = frame.sid, bool(frame.flags & h2.END_STREAM), bytearray(payload)
        elif self._block is None or not (frame.length or whole):
            raise WireError("an HTTP/2 continuation of nothing")
        else:
            self._block[2].extend(frame.payload or b"")
        sid, last, block = self._block
        if len(block) > LARGEST_BLOCK:
            raise WireError(f"an HTTP/2 header block of {len(block)} bytes")
        if not whole:
            return
        self._block = None
        headers = self._blocks.decode(bytes(block))
        self._pings.paid = True
        if sid in self._calls:
            yield from self._more_headers(sid, headers, last=last)
        elif self._client or sid % 2 == 0:
            self._check_open(sid)
        elif sid > self._last:
            yield from self._asked(sid, headers, last=last)

    def _more_headers(self, sid: int, headers: dict[str, str], *, last: bool) -> Iterator[Event]:
        if not self._client:
            if not last:
                raise WireError("HTTP/2 headers twice on one stream")
            yield from self._finished(sid, "")
            return
        reason = outcome(headers, last=last)
        if reason is not None:
            yield from self._finished(sid, reason)

    def _asked(self, sid: int, headers: dict[str, str], *, last: bool) -> Iterator[Event]:
        self._last = sid
        if len(self._calls) >= self.options.max_streams:
            self._count_refusal("refused-open")
            self._control += h2.frame(h2.RST_STREAM, 0, sid, h2.word(h2.REFUSED_STREAM))
            return
        refusal = judge(headers, self.options.method)
        if refusal is not None:
            self._count_refusal(refusal.what)
            self._send_headers(sid, refusal.headers, last=True)
            self._control += h2.frame(h2.RST_STREAM, 0, sid, h2.word(h2.NO_ERROR))
            return
        self._refused = 0
        self._opened_any = True
        self._calls[sid] = Call(self.options.window, self._peer_window)
        self._send_headers(sid, answer())
        yield Opened(sid)
        if last:
            yield from self._finished(sid, "")

    def _count_refusal(self, what: str) -> None:
        self.ignored[what] += 1
        self._refused += 1
        if self._refused > MAX_REFUSED:
            raise WireError(f"{self._refused} HTTP/2 requests that opened nothing")

    def _was_reset(self, sid: int, code: int) -> Iterator[Event]:
        self._check_open(sid)
        call = self._calls.get(sid)
        if call is None:
            return
        in_order = code in {h2.NO_ERROR, h2.CANCEL}
        reason = "" if in_order else f"reset with HTTP/2 error {code}"
        if call.kept:
            call.finished = call.finished or reason
            return
        self._forget(sid)
        yield Ended(sid, reason)

    def _goes_away(self, payload: bytes) -> Iterator[Event]:
        last = h2.read_word(payload, bits=31)
        code = h2.read_word(payload[4:])
        words = "".join(c if c.isprintable() else "?" for c in payload[8:208].decode("latin-1"))
        self._gone = f"went away with HTTP/2 error {code}{words and ': '}{words}"
        if not self._client:
            return
        for sid in [sid for sid in self._calls if sid > last]:
            self._forget(sid)
            yield Ended(sid, self._gone)

    def _settings(self, frame: h2.Frame) -> None:
        payload = frame.payload or b""
        if frame.flags & h2.ACK:
            if payload:
                raise WireError("an HTTP/2 acknowledgement with settings")
            return
        self._apply_settings(payload)
        self._agreed = True
        self._control += h2.frame(h2.SETTINGS, h2.ACK, 0)

    def _more_window(self, sid: int, more: int) -> None:
        if not more:
            raise WireError("an HTTP/2 window update of nothing")
        if not sid:
            self._window += more
            if self._window > h2.LARGEST_WINDOW:
                raise WireError(f"an HTTP/2 window of {self._window} bytes")
            return
        self._check_open(sid)
        call = self._calls.get(sid)
        if call is not None:
            self._widen(sid, call, more)

    # Time

    def _ping(self, frame: h2.Frame, now: float) -> None:
        if frame.flags & h2.ACK:
            self._pings.answered(now)
        else:
            self._control += h2.frame(h2.PING, h2.ACK, 0, frame.payload or b"")

    @property
    def rtt(self) -> float | None:
        """The last ping's."""
        return self._pings.rtt

    @property
    def deadline(self) -> float | None:
        """The next ping, or the end of patience."""
        return self._pings.deadline

    def tick(self, now: float) -> None:
        """Ping a peer that says nothing. `flush` after it."""
        if self._pings.send(now):
            self._control += h2.frame(h2.PING, 0, 0, b"gateway.")

    def silent(self, now: float) -> bool:
        """A ping was not answered, and nothing else came since."""
        return self._pings.silent(now)

    def fresh(self, _now: float) -> bool:
        """No ping waits for its answer, and nobody said good-bye."""
        return not self._pings.waiting and self._gone is None

    # The end

    @property
    def parting(self) -> str:
        """What a peer that went away said."""
        return self._gone or ""

    def goodbye(self, reason: str) -> bytes:
        """GOAWAY, with the reason in the peer's ear."""
        code = h2.PROTOCOL_ERROR if reason else h2.NO_ERROR
        payload = h2.word(self._last) + h2.word(code) + reason.encode()[:200]
        return self._take_control() + h2.frame(h2.GOAWAY, 0, 0, payload)
