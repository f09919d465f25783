"""Two streams end to end: what a hop of somebody's chain runs through. Bytes, unchanged.

Whoever is slow holds the other up: unlike datagrams, these bytes may not be dropped.
"""

from collections.abc import Callable

from gateway.carriers.stream import Stream


class _Side:
    """The receiver of one stream, which writes to the other."""

    def __init__(self, splice: "Splice", own: Stream, other: Stream) -> None:
        self._splice = splice
        self._own = own
        self._other = other

    def on_data(self, data: bytes | bytearray | memoryview) -> None:
        """Pass on, and wait while the other owes too much."""
        self._other.write(data)
        if self._other.backlog > self._other.high:
            self._own.pause()

    def on_room(self) -> None:
        """Caught up: the other may bring more."""
        self._other.resume()

    def on_end(self, _reason: str) -> None:
        """Both end; what was passed on is sent before."""
        self._splice.end()


class Splice:
    """`near` and `far` are the receivers to start the two streams with."""

    def __init__(self, near: Stream, far: Stream, ended: Callable[["Splice"], None]) -> None:
        self.near = _Side(self, near, far)
        self.far = _Side(self, far, near)
        self._streams = (near, far)
        self._ended: Callable[[Splice], None] | None = ended

    def end(self) -> None:
        """Close both. Safe to repeat."""
        if self._ended is None:
            return
        ended, self._ended = self._ended, None
        for stream in self._streams:
            stream.close()
        ended(self)
