"""The sending half of an HTTP/2 connection: streams, windows, turns, and the ends of streams.

What the peer may send is bounded by `window` for each stream and by `connection_window` for
all. Room is given back as data is passed on, so that only a paused stream holds any, and no
more than its own.
"""

from collections import Counter
from math import inf

from gateway.carriers import http2_frames as h2
from gateway.carriers.http2_call import Call, Options
from gateway.carriers.http2_headers import LARGEST_LIST, HeaderBlocks, request, trailers
from gateway.carriers.http2_pings import Pings
from gateway.protocol.chunks import head as chunk_head
from gateway.protocol.wire import WireError

CHUNK_HEAD = 16
"""Bytes of a frame that are left for the head of a message. Each message fits one frame: gRPC
for Go hands none on before it is whole, and spends more on a long one than on its parts."""
MOST_RESIZED = 256
"""Times a peer may change the first window of streams: each time all of them are looked at."""
_LARGEST_SENT = 64 * 1024 + 32
"""Of one frame: a burst of 64 KB in one piece, and other streams get their turn."""
_LAST_ID = 2**31 - 1


class Sending:
    """What leaves, and the state of streams. `ignored` counts what was refused, by name."""

    def __init__(
        self, *, client: bool, options: Options, now: float, authority: str, scheme: str
    ) -> None:
        self.options = options
        self.ignored: Counter[str] = Counter()
        self._client = client
        self._request = request(options.method, options.authority or authority, scheme)
        self._blocks = HeaderBlocks()
        self._calls: dict[int, Call] = {}
        self._next = 1
        self._ready: dict[int, None] = {}  # streams with something to send, in turn
        self._control = bytearray()
        self._room = options.connection_window  # bytes the peer may still send
        self._unread = 0
        self._window = h2.FIRST_WINDOW  # bytes we may still send
        self._peer_window = h2.FIRST_WINDOW
        self._resized = 0
        self._peer_frame = h2.SMALLEST_MAX_FRAME
        self._peer_streams: float = inf
        self._gone: str | None = None
        self._pings = Pings(options, now, client=client)
        self._greet()

    def _greet(self) -> None:
        if self._client:
            self._control += h2.PREFACE
        self._control += h2.settings(
            {
                h2.MAX_CONCURRENT_STREAMS: 0 if self._client else self.options.max_streams,
                h2.INITIAL_WINDOW_SIZE: self.options.window,
                h2.MAX_FRAME_SIZE: self.options.max_frame,
                h2.MAX_HEADER_LIST_SIZE: LARGEST_LIST,
            }
        )
        more = self.options.connection_window - h2.FIRST_WINDOW
        if more:
            self._control += h2.frame(h2.WINDOW_UPDATE, 0, 0, h2.word(more))

    # Streams

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, sid: int) -> bool:
        return sid in self._calls

    @property
    def full(self) -> bool:
        """The peer takes no further stream."""
        limit = min(self.options.max_streams, self._peer_streams)
        return len(self._calls) >= limit or self._next > _LAST_ID or self._gone is not None

    def open(self) -> int:
        """A new stream's id. ValueError when `full`."""
        if self.full or not self._client:
            raise ValueError("the connection takes no more streams")
        sid, self._next = self._next, self._next + 2
        self._calls[sid] = Call(self.options.window, self._peer_window)
        self._send_headers(sid, self._request)
        return sid

    def close(self, sid: int) -> None:
        """End a stream once its queue has left; what still comes on it is dropped."""
        call = self._calls.get(sid)
        if call is None or call.closing:
            return
        call.closing = True
        self._drop_kept(call)
        if call.finished is not None:
            self._end(sid)
        elif not call.queue:
            self._say_end(sid, call)

    def abort(self, sid: int) -> None:
        """End a stream now."""
        if sid in self._calls:
            self._reset(sid, h2.CANCEL)

    def _say_end(self, sid: int, call: Call) -> None:
        """A server's trailers end both directions; after a client's end come the server's."""
        if not self._client:
            self._end(sid)
        elif not call.said:
            call.said = True
            self._control += h2.head(h2.DATA, h2.END_STREAM, sid, 0)

    def _end(self, sid: int) -> None:
        """The last frame of a stream whose other direction is over, or does not matter."""
        if self._client:
            self._reset(sid, h2.NO_ERROR)
            return
        self._forget(sid)
        self._send_headers(sid, trailers(), last=True)

    def _reset(self, sid: int, code: int) -> None:
        self._forget(sid)
        self._control += h2.frame(h2.RST_STREAM, 0, sid, h2.word(code))

    def _forget(self, sid: int) -> None:
        self._drop_kept(self._calls.pop(sid))
        self._ready.pop(sid, None)

    def _send_headers(
        self, sid: int, headers: list[tuple[str, str]], *, last: bool = False
    ) -> None:
        flags = h2.END_HEADERS | (h2.END_STREAM if last else 0)
        self._control += h2.frame(h2.HEADERS, flags, sid, self._blocks.encode(headers))

    # Out

    def backlog(self, sid: int) -> int:
        """Bytes written to a stream that `flush` has not given out."""
        call = self._calls.get(sid)
        return len(call.queue) if call else 0

    def write(self, sid: int, data: bytes | bytearray | memoryview, room: int) -> bytes:
        """Take all of `data` as messages; what may leave at once, in whole ones: the rest waits."""
        call = self._calls.get(sid)
        if call is None or call.closing or call.finished is not None:
            return b""
        self._pings.wrote = True
        view = memoryview(data)
        out: list[bytes | memoryview] = []
        most = min(self._peer_frame, _LARGEST_SENT) - CHUNK_HEAD
        for at in range(0, len(view), most):
            chunk = view[at : at + most]
            head = chunk_head(len(chunk))
            size = len(head) + len(chunk)
            if call.queue or self._ready or size > min(call.window, self._window, room):
                call.queue += head
                call.queue += chunk
                self._schedule(sid, call)
                continue
            call.window -= size
            self._window -= size
            room -= size
            out += (h2.head(h2.DATA, 0, sid, size), head, chunk)
        return b"".join([self._take_control(), *out]) if out else b""

    def flush(self, room: int) -> bytes | bytearray:
        """What shall leave now: about `room` bytes, streams in turn, a frame each."""
        if not self._ready or room <= 0 or self._window <= 0:
            return self._take_control()
        out = bytearray(self._take_control())
        while self._ready and len(out) < room and self._window > 0:
            sid = next(iter(self._ready))
            del self._ready[sid]
            self._take_frame(sid, self._calls[sid], out)
        out += self._take_control()
        return out

    def _take_frame(self, sid: int, call: Call, out: bytearray) -> None:
        most = min(self._peer_frame, _LARGEST_SENT, self._window, call.window)
        size = min(len(call.queue), most)
        out += h2.head(h2.DATA, 0, sid, size)
        with memoryview(call.queue) as queue:
            out += queue[:size]
        del call.queue[:size]
        call.window -= size
        self._window -= size
        self._schedule(sid, call)
        if call.closing and not call.queue:
            self._say_end(sid, call)

    def _schedule(self, sid: int, call: Call) -> None:
        if call.queue and call.window > 0:
            self._ready[sid] = None
        else:
            self._ready.pop(sid, None)

    def _take_control(self) -> bytes:
        control, self._control = bytes(self._control), bytearray()
        return control

    def _take_room(self, call: Call | None, size: int) -> None:
        """The peer has sent so much. WireError: it may not."""
        self._room -= size
        if call is not None:
            call.room -= size
        if self._room < 0 or (call is not None and call.room < 0):
            raise WireError("HTTP/2 data without room")

    def _give_room_of(self, sid: int, call: Call) -> None:
        more = self.options.window - len(call.kept) - call.room
        if more * 4 >= self.options.window:
            call.room += more
            self._control += h2.frame(h2.WINDOW_UPDATE, 0, sid, h2.word(more))

    def _give_room(self) -> None:
        more = self.options.connection_window - self._unread - self._room
        if more * 4 >= self.options.connection_window:
            self._room += more
            self._control += h2.frame(h2.WINDOW_UPDATE, 0, 0, h2.word(more))

    def _drop_kept(self, call: Call) -> None:
        self._unread -= len(call.kept)
        call.kept = bytearray()
        self._give_room()

    def _apply_settings(self, payload: bytes) -> None:
        """What the peer takes. Of several values for one name the last counts."""
        for name, value in dict(h2.read_settings(payload)).items():
            if name == h2.HEADER_TABLE_SIZE:
                self._blocks.limit_table(value)
            elif name == h2.MAX_CONCURRENT_STREAMS:
                self._peer_streams = value
            elif name == h2.INITIAL_WINDOW_SIZE:
                self._first_window(value)
            elif name == h2.MAX_FRAME_SIZE:
                if not h2.SMALLEST_MAX_FRAME <= value <= h2.LARGEST_MAX_FRAME:
                    raise WireError(f"HTTP/2 frames of at most {value} bytes")
                self._peer_frame = value

    def _first_window(self, size: int) -> None:
        if size > h2.LARGEST_WINDOW:
            raise WireError(f"an HTTP/2 window of {size} bytes")
        if size == self._peer_window:
            return
        self._resized += 1
        if self._resized > MOST_RESIZED:
            raise WireError(f"an HTTP/2 window that changed {self._resized} times")
        more, self._peer_window = size - self._peer_window, size
        for sid, call in self._calls.items():
            self._widen(sid, call, more)

    def _widen(self, sid: int, call: Call, more: int) -> None:
        call.window += more
        if call.window > h2.LARGEST_WINDOW:
            raise WireError(f"an HTTP/2 window of {call.window} bytes")
        self._schedule(sid, call)
