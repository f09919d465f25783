"""smux, versions 1 and 2: many byte streams inside one, without a socket and without a clock.

The version is agreed by configuration, not on the wire. Nothing is answered: an opened stream
is open. A FIN ends both directions, as in the Go implementation. Source: smux 1.5 for
Go, session.go and stream.go.

What is kept is bounded. Data goes straight through as borrowed views (I5). Only a paused
stream keeps bytes: in version 2 at most its window, else the session's end; in version 1, which
has no windows, all streams together `receive_buffer`, then `blocked` says to read no more, which
holds up the other streams too. Whatever a peer sends, `feed` raises nothing but `WireError` (I15).

It is a `Machine` of protocol.multiplex, which says how it is used.
"""

from collections import Counter
from collections.abc import Iterator

from gateway.protocol.multiplex import Data, Ended, Event, Opened
from gateway.protocol.smux_frames import (
    FIN,
    FIRST_WINDOW,
    HEADER,
    LARGEST_WINDOW,
    LAST_ID,
    NOP,
    PSH,
    SYN,
    UPD,
    UPDATE,
    Head,
    Heads,
    Options,
)
from gateway.protocol.wire import WireError

__all__ = ["Options", "Session"]

MAX_REFUSED = 4096
"""Opens in a row over `max_streams`, each answered by a FIN, before the session ends."""


class _Stream:
    """One stream: what waits to leave, what is kept for a paused owner, the windows."""

    __slots__ = (
        "closing", "consumed", "finished", "kept", "paused", "peer_consumed", "peer_window",
        "queue", "sent", "unsaid",
    )  # fmt: skip

    def __init__(self) -> None:
        self.queue = bytearray()
        self.kept = bytearray()
        self.paused = False
        self.closing = False  # ours: a FIN follows the queue
        self.finished = False  # the peer's FIN has come, behind what is kept
        self.sent = 0
        self.peer_consumed = 0
        self.peer_window = FIRST_WINDOW
        self.consumed = 0
        self.unsaid = 0


class Session:
    """Either end of a session. `ignored` counts what was dropped, by name."""

    def __init__(self, *, client: bool, options: Options, now: float) -> None:
        self.options = options
        self.ignored: Counter[str] = Counter()
        self._client = client
        self._streams: dict[int, _Stream] = {}
        self._next = 3 if client else 2
        self._ready: dict[int, None] = {}  # streams with something to send, in turn
        self._control = bytearray()
        self._heads = Heads(options.version)
        self._sid = 0  # whose frame we are in
        self._left = 0  # bytes of it to come
        self._unread = 0
        self._most_kept = options.receive_buffer
        self._refused = 0
        self._opened_any = False
        self._heard = now
        self._next_nop = now + options.keepalive

    # Streams

    def __len__(self) -> int:
        return len(self._streams)

    def __contains__(self, sid: int) -> bool:
        return sid in self._streams

    @property
    def ready(self) -> bool:
        """A client may begin at once; a server's peer has shown himself by a stream."""
        return self._client or self._opened_any

    @property
    def full(self) -> bool:
        """No further stream can be opened here."""
        return len(self._streams) >= self.options.max_streams or self._next > LAST_ID

    def open(self) -> int:
        """A new stream's id. ValueError when `full`."""
        while self._next in self._streams:
            self._next += 2
        if self.full:
            raise ValueError("the session takes no more streams")
        sid, self._next = self._next, self._next + 2
        self._streams[sid] = _Stream()
        self._control += HEADER.pack(self.options.version, SYN, 0, sid)
        return sid

    def close(self, sid: int) -> None:
        """End a stream once its queue has left; what still comes on it is dropped."""
        stream = self._streams.get(sid)
        if stream is None or stream.closing:
            return
        stream.closing = True
        self._forget_kept(stream)
        if not stream.queue or stream.finished:
            self._finish(sid)

    def abort(self, sid: int) -> None:
        """End a stream now."""
        if sid in self._streams:
            self._finish(sid)

    # Out

    def backlog(self, sid: int) -> int:
        """Bytes written to a stream that `flush` has not given out."""
        stream = self._streams.get(sid)
        return len(stream.queue) if stream else 0

    def write(self, sid: int, data: bytes | bytearray | memoryview, room: int) -> bytes:
        """Take all of `data`; the frames that may leave at once, about `room` bytes.

        The rest waits for `flush`, as does all of it while another stream waits.
        """
        stream = self._streams.get(sid)
        if stream is None or stream.closing or stream.finished:
            return b""
        view = memoryview(data)
        now = 0
        if not self._ready and not stream.queue:
            now = max(0, min(len(view), room, self._window(stream)))
        out = self._frames(sid, stream, view[:now]) if now else b""
        if now < len(view):
            stream.queue += view[now:]
            self._schedule(sid, stream)
        return out

    def flush(self, room: int) -> bytes | bytearray:
        """What shall leave now: about `room` bytes, streams in turn, a frame each."""
        if not self._ready or room <= 0:
            return self._take_control()
        out = bytearray(self._take_control())
        while self._ready and len(out) < room:
            sid = next(iter(self._ready))
            del self._ready[sid]
            self._take_frame(sid, self._streams[sid], out)
        out += self._take_control()
        return out

    def _take_control(self) -> bytes:
        control, self._control = bytes(self._control), bytearray()
        return control

    def _frames(self, sid: int, stream: _Stream, view: memoryview) -> bytes:
        version, step = self.options.version, self.options.max_frame
        parts: list[bytes | memoryview] = [self._take_control()]
        for at in range(0, len(view), step):
            part = view[at : at + step]
            parts.append(HEADER.pack(version, PSH, len(part), sid))
            parts.append(part)
        stream.sent += len(view)
        return b"".join(parts)

    def _take_frame(self, sid: int, stream: _Stream, out: bytearray) -> None:
        size = min(len(stream.queue), self._window(stream), self.options.max_frame)
        out += HEADER.pack(self.options.version, PSH, size, sid)
        with memoryview(stream.queue) as queue:
            out += queue[:size]
        del stream.queue[:size]
        stream.sent += size
        self._schedule(sid, stream)
        if stream.closing and not stream.queue:
            self._finish(sid)

    def _schedule(self, sid: int, stream: _Stream) -> None:
        if stream.queue and self._window(stream) > 0:
            self._ready[sid] = None
        else:
            self._ready.pop(sid, None)

    def _window(self, stream: _Stream) -> int:
        if self.options.version == 1:
            return LARGEST_WINDOW
        return stream.peer_window - (stream.sent - stream.peer_consumed)

    def _finish(self, sid: int) -> None:
        self._control += HEADER.pack(self.options.version, FIN, 0, sid)
        self._forget(sid)

    def _forget(self, sid: int) -> None:
        self._forget_kept(self._streams.pop(sid))
        self._ready.pop(sid, None)

    # In

    @property
    def blocked(self) -> bool:
        """Too much is kept for paused streams: read no more until one is resumed or closed."""
        return self._unread >= self._most_kept

    def keep_at_most(self, size: int | None) -> None:
        """Be `blocked` from so many bytes on; None: from `receive_buffer`."""
        most = self.options.receive_buffer
        self._most_kept = most if size is None else min(size, most)

    def pause(self, sid: int) -> None:
        """Keep this stream's bytes from now on."""
        if sid in self._streams:
            self._streams[sid].paused = True

    def resume(self, sid: int) -> Iterator[Event]:
        """Give out what was kept, then let bytes through again."""
        stream = self._streams.get(sid)
        if stream is None:
            return
        stream.paused = False
        if stream.kept:
            kept = bytes(stream.kept)
            self._forget_kept(stream)
            self._consume(sid, stream, len(kept))
            yield Data(sid, kept)
        if stream.finished and not stream.kept and self._streams.get(sid) is stream:
            self._finish(sid)
            yield Ended(sid)

    def feed(self, data: bytes | bytearray | memoryview, now: float) -> Iterator[Event]:
        """What the peer's next bytes bring. To be exhausted; WireError ends the session.

        Neighbouring frames of one stream are joined: one event for a burst of small ones.
        """
        self._heard = now
        view = memoryview(data)
        at, end = 0, len(view)
        run: list[memoryview] = []
        while at < end:
            if not self._left:
                head, at = self._heads.next(view, at)
                if head is None:
                    break
                if head[1] != PSH or head[3] != self._sid:
                    yield from self._pass_on(run)
                yield from self._frame(head)
                continue
            part = view[at : at + self._left]
            at += len(part)
            self._left -= len(part)
            stream = self._streams.get(self._sid)
            if stream is None:
                continue
            if stream.paused:
                self._keep(stream, part)
            elif stream.closing:
                self._consume(self._sid, stream, len(part))
            else:
                run.append(part)
        yield from self._pass_on(run)

    def _frame(self, head: Head) -> Iterator[Event]:
        _, command, length, sid, *rest = head
        if command == PSH:
            self._sid, self._left = sid, length
            if sid not in self._streams:
                self.ignored["unknown-stream"] += 1
        elif command == UPD:
            self._update(sid, *rest)
        elif command == SYN:
            yield from self._opened(sid)
        elif command == FIN:
            yield from self._ended(sid)

    def _opened(self, sid: int) -> Iterator[Event]:
        if sid in self._streams:
            self.ignored["repeated-open"] += 1
            return
        if self._client or len(self._streams) >= self.options.max_streams:
            self._refuse(sid)
            return
        self._refused = 0
        self._opened_any = True
        self._streams[sid] = _Stream()
        yield Opened(sid)

    def _refuse(self, sid: int) -> None:
        self.ignored["refused-open"] += 1
        self._refused += 1
        if self._refused > MAX_REFUSED:
            raise WireError(f"{self._refused} smux streams opened beyond what is taken")
        self._control += HEADER.pack(self.options.version, FIN, 0, sid)

    def _ended(self, sid: int) -> Iterator[Event]:
        stream = self._streams.get(sid)
        if stream is None:
            return
        if stream.kept:
            stream.finished = True
            return
        self._finish(sid)
        yield Ended(sid)

    def _update(self, sid: int, consumed: int, window: int) -> None:
        stream = self._streams.get(sid)
        if stream is None:
            return
        under_way = (stream.sent - consumed) & LAST_ID
        if under_way > LARGEST_WINDOW:
            raise WireError("an smux update that consumed more than was sent")
        if window > LARGEST_WINDOW:
            raise WireError(f"an smux window of {window} bytes")
        stream.peer_consumed = stream.sent - under_way
        stream.peer_window = window
        self._schedule(sid, stream)

    def _pass_on(self, run: list[memoryview]) -> Iterator[Event]:
        if not run:
            return
        data = run[0] if len(run) == 1 else b"".join(run)
        run.clear()
        self._consume(self._sid, self._streams[self._sid], len(data))
        yield Data(self._sid, data)

    def _consume(self, sid: int, stream: _Stream, size: int) -> None:
        stream.consumed += size
        stream.unsaid += size
        if self.options.version == 1:
            return
        window = self.options.stream_buffer
        if stream.unsaid * 2 < window and stream.consumed > size:
            return
        stream.unsaid = 0
        consumed = stream.consumed & LAST_ID
        self._control += UPDATE.pack(2, UPD, 8, sid, consumed, window)

    def _keep(self, stream: _Stream, part: memoryview) -> None:
        stream.kept += part
        self._unread += len(part)
        window = max(FIRST_WINDOW, self.options.stream_buffer)
        if self.options.version == 2 and len(stream.kept) > window:
            raise WireError(f"an smux stream with {len(stream.kept)} bytes in a window of {window}")

    def _forget_kept(self, stream: _Stream) -> None:
        self._unread -= len(stream.kept)
        stream.kept = bytearray()

    # Time

    rtt = None  # nothing in smux is answered
    parting = ""  # nor is there a good-bye

    @property
    def deadline(self) -> float | None:
        """The next NOP, or the end of patience."""
        if not self.options.keepalive:
            return None
        return min(self._next_nop, self._heard + self.options.timeout)

    def tick(self, now: float) -> None:
        """Say that we live, once the time has come. `flush` after it."""
        if self.options.keepalive and now >= self._next_nop:
            self._next_nop = now + self.options.keepalive
            self._control += HEADER.pack(self.options.version, NOP, 0, 0)

    def silent(self, now: float) -> bool:
        """Nothing came for `timeout`, though we were reading."""
        if self.blocked or not self.options.keepalive:
            return False
        return now - self._heard >= self.options.timeout

    def fresh(self, now: float) -> bool:
        """Heard of recently enough to trust it with a new stream."""
        return not self.options.keepalive or now - self._heard < 1.5 * self.options.keepalive

    def goodbye(self, _reason: str) -> bytes:
        """Nothing: who ends a session just ends it."""
        return b""
