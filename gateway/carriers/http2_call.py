"""What one end of an HTTP/2 connection is told, and one call on it: a stream in the making."""

from dataclasses import dataclass

from gateway.carriers import http2_frames as h2
from gateway.protocol.chunks import Chunks


@dataclass(frozen=True, slots=True)
class Options:
    """What one end is told; bytes and seconds. ValueError names what is wrong.

    `path` as GOST's: empty, `service`, or `service/method`. `authority` None: the host that is
    dialled. `keepalive` 0: no pings, and silence is no reason to end.
    """

    path: str = ""
    authority: str | None = None
    keepalive: float = 15.0
    timeout: float = 15.0
    window: int = 4 << 20
    connection_window: int = 32 << 20
    max_frame: int = 256 * 1024
    max_streams: int = 4096

    def __post_init__(self) -> None:
        if self.keepalive < 0 or self.timeout <= 0:
            raise ValueError("keepalive.time and keepalive.timeout: seconds, not below 0")
        if not h2.FIRST_WINDOW <= self.window <= self.connection_window <= h2.LARGEST_WINDOW:
            raise ValueError(f"window: {self.window} is not from 65535 to connection_window")
        if not h2.SMALLEST_MAX_FRAME <= self.max_frame <= h2.LARGEST_MAX_FRAME:
            raise ValueError(f"max_frame: {self.max_frame} is not from 16384 to 16777215")

    @property
    def method(self) -> str:
        """The HTTP path: `/service/method` (GOST x, gost_grpcx.go, parsingMethod)."""
        service, _, method = self.path.strip("/").partition("/")
        return f"/{service or 'GostTunel'}/{method.replace('/', '-') or 'Tunnel'}"


class Call:
    """One stream: what waits to leave, what is kept for a paused owner, the windows."""

    __slots__ = (
        "chunks",
        "closing",
        "finished",
        "kept",
        "paused",
        "queue",
        "room",
        "said",
        "window",
    )

    def __init__(self, room: int, window: int) -> None:
        self.queue = bytearray()
        self.kept = bytearray()  # as it came: messages, cut anywhere
        self.chunks = Chunks()
        self.paused = False
        self.closing = False  # ours: the end follows the queue
        self.said = False  # ours has been sent; the peer's is awaited
        self.finished: str | None = None  # the peer's end, behind what is kept
        self.room = room  # bytes the peer may still send
        self.window = window  # bytes we may still send
