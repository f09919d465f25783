"""The receiving half of an HTTP/2 connection: data of streams, and the peer's end of each.

What comes for a paused stream is kept as it came, messages cut anywhere, and its end waits
behind it. What comes for a stream that we have closed is dropped; its place in the windows of
the connection is given back all the same.
"""

from collections.abc import Iterator
from math import inf

from gateway.carriers import http2_frames as h2
from gateway.carriers.http2_call import Call, Options
from gateway.carriers.http2_sending import Sending
from gateway.protocol.multiplex import Data, Ended, Event
from gateway.protocol.wire import WireError


class Receiving(Sending):
    """What comes, besides what leaves. Where in the peer's bytes we are is known here."""

    def __init__(
        self, *, client: bool, options: Options, now: float, authority: str, scheme: str
    ) -> None:
        super().__init__(
            client=client, options=options, now=now, authority=authority, scheme=scheme
        )
        self._agreed = False  # the peer's settings are here
        self._block: tuple[int, bool, bytearray] | None = None  # headers not all here
        self._last = 0  # the peer's newest
        self._sid = 0  # whose DATA we are in
        self._left = 0  # bytes of it to come
        self._last_piece = False  # END_STREAM follows them
        self._most_kept: float = inf

    @property
    def blocked(self) -> bool:
        """Windows hold the peer back, unless there is a lesser bound."""
        return self._unread >= self._most_kept

    def keep_at_most(self, size: int | None) -> None:
        """Be `blocked` from so many bytes kept for paused streams; None: never."""
        self._most_kept = inf if size is None else size

    def pause(self, sid: int) -> None:
        """Keep this stream's bytes from now on."""
        if sid in self._calls:
            self._calls[sid].paused = True

    def resume(self, sid: int) -> Iterator[Event]:
        """Give out what was kept, then let bytes through again."""
        call = self._calls.get(sid)
        if call is None:
            return
        call.paused = False
        kept = memoryview(bytes(call.kept))
        self._drop_kept(call)
        yield from self._deliver(sid, call, [kept])
        if call.finished is not None and not call.kept and self._calls.get(sid) is call:
            self._end(sid)
            yield Ended(sid, call.finished)

    def _begin_data(self, frame: h2.Frame) -> None:
        """Data of this frame follow; its place in the windows is taken."""
        _, flags, sid, length, _ = frame
        call = self._calls.get(sid)
        if call is None:
            self._check_open(sid)
            self.ignored["unknown-stream"] += 1
        elif call.finished is not None:
            raise WireError(f"HTTP/2 data on stream {sid} after its end")
        if not self._agreed or self._block is not None:
            raise WireError("HTTP/2 data inside of headers, or before settings")
        self._take_room(call, length)
        self._pings.paid = True
        self._sid = sid
        self._left = length
        self._last_piece = bool(flags & h2.END_STREAM)

    def _data(self, frame: h2.Frame) -> Iterator[Event]:
        """Data with padding, or none."""
        self._begin_data(frame)
        self._left = 0
        run: list[memoryview] = []
        payload = h2.unpadded(frame)
        if payload:
            self._sort(memoryview(payload), run)
        yield from self._pass_on(run)
        if self._last_piece:
            yield from self._finished(frame.sid, "")

    def _sort(self, part: memoryview, run: list[memoryview]) -> None:
        call = self._calls.get(self._sid)
        if call is None or call.closing:
            return
        if call.paused:
            call.kept += part
            self._unread += len(part)
        else:
            run.append(part)

    def _pass_on(self, run: list[memoryview]) -> Iterator[Event]:
        if not run:
            return
        parts = run.copy()
        run.clear()
        call = self._calls.get(self._sid)
        if call is not None:
            yield from self._deliver(self._sid, call, parts)

    def _deliver(self, sid: int, call: Call, parts: list[memoryview]) -> Iterator[Event]:
        pieces = []
        try:
            for part in parts:
                pieces += call.chunks.read(part)
        except WireError as error:
            self.ignored["bad-message"] += 1
            self._reset(sid, h2.INTERNAL_ERROR)
            yield Ended(sid, str(error))
            return
        self._give_room_of(sid, call)
        if pieces:
            yield Data(sid, pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _finished(self, sid: int, reason: str) -> Iterator[Event]:
        """The peer's end of a stream."""
        call = self._calls.get(sid)
        if call is None:
            return
        if call.kept:
            call.finished = reason
            return
        if call.said:
            self._forget(sid)
        else:
            self._end(sid)
        yield Ended(sid, reason)

    def _check_open(self, sid: int) -> None:
        if self._is_idle(sid):
            raise WireError(f"an HTTP/2 frame for stream {sid}, which is not open")

    def _is_idle(self, sid: int) -> bool:
        """Nobody has opened it yet, so nothing may come on it."""
        if self._client:
            return sid >= self._next or sid % 2 == 0
        return sid > self._last or sid % 2 == 0
