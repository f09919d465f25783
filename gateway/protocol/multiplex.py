"""What every way to carry many streams on one has in common, as seen by who moves the bytes.

`feed` is given what came from the peer; what `write` and `flush` return goes to him; after
any other call `flush` may have something. Times are seconds of one clock (I11).
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, Protocol


class Opened(NamedTuple):
    """The peer opened a stream."""

    sid: int


class Data(NamedTuple):
    """Bytes of a stream, never empty; borrowed until the next event is asked for (I5)."""

    sid: int
    data: bytes | memoryview


class Ended(NamedTuple):
    """A stream is over; it is forgotten, with what was still to be sent on it.

    `reason` is for a log line; empty: the peer closed it in order.
    """

    sid: int
    reason: str = ""


Event = Opened | Data | Ended


class Machine(Protocol):
    """One end of a session of many streams, without I/O."""

    ignored: Counter[str]
    """What was dropped or refused, by name; the owner may empty it."""

    def __len__(self) -> int:
        """How many streams are open."""

    def __contains__(self, sid: int) -> bool:
        """Whether this stream is open, or closing."""

    @property
    def ready(self) -> bool:
        """The peer has shown that he speaks this; a client may open streams."""

    @property
    def full(self) -> bool:
        """No further stream can be opened here."""

    @property
    def blocked(self) -> bool:
        """Too much is kept for paused streams: feed no more until one is resumed or closed."""

    @property
    def rtt(self) -> float | None:
        """Seconds there and back, if it was measured."""

    @property
    def parting(self) -> str:
        """What the peer said before he ended the session; mostly empty."""

    @property
    def deadline(self) -> float | None:
        """When `tick` wants to be called; None: never."""

    def open(self) -> int:
        """A new stream's id. ValueError when `full`."""

    def write(self, sid: int, data: bytes | bytearray | memoryview, room: int) -> bytes:
        """Take all of `data`; what of it may leave at once, about `room` bytes."""

    def flush(self, room: int) -> bytes | bytearray:
        """What shall leave now: all that is urgent, and about `room` bytes, streams in turn."""

    def backlog(self, sid: int) -> int:
        """Bytes written to a stream that have not been given out."""

    def keep_at_most(self, size: int | None) -> None:
        """Be `blocked` from so many bytes kept, of all streams; None: as the options say."""

    def pause(self, sid: int) -> None:
        """Keep this stream's bytes from now on."""

    def resume(self, sid: int) -> Iterator[Event]:
        """Give out what was kept, then let bytes through again. To be exhausted."""

    def close(self, sid: int) -> None:
        """End a stream once its queue has left; what still comes on it is dropped."""

    def abort(self, sid: int) -> None:
        """End a stream now."""

    def feed(self, data: bytes | bytearray | memoryview, now: float) -> Iterator[Event]:
        """What the peer's next bytes bring. To be exhausted; WireError ends the session."""

    def tick(self, now: float) -> None:
        """Do what time asks for."""

    def silent(self, now: float) -> bool:
        """The peer is to be given up: nothing came though it should have."""

    def fresh(self, now: float) -> bool:
        """Heard of recently enough to trust it with a new stream."""

    def goodbye(self, reason: str) -> bytes:
        """The last word of a session; empty if there is none."""
