"""What one replica shall hear, in order, without ever waiting for it (I8).

Updates go straight into the channel. When it is full they queue here; when too many
queue, all are thrown away and a snapshot is sent once there is room: the replica is
stale until then and correct afterwards. Questions and answers have no snapshot. Of these the
oldest goes when too many queue: who waits for one has given up or asks again, and a child
that was taken over, asks all the time and never reads gets no more of our memory.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from gateway.linux.channel import ChannelClosedError, MessageTooLargeError, SupervisorEnd
from gateway.protocol.messages import Snapshot, ToChild, Update

QUEUE_LIMIT = 64
"""Messages behind a snapshot."""
OTHERS_KEPT = 8192
"""Messages that no snapshot replaces: a bridge in order has half as many questions open."""


class Feed:
    """The way to one child. `snapshot` makes the parts of the present table, one by one.

    A large table is not made into messages before there is room for them.
    """

    def __init__(self, channel: SupervisorEnd, snapshot: Callable[[], Iterable[Snapshot]]) -> None:
        self._channel = channel
        self._snapshot = snapshot
        self._parts: Iterator[Snapshot] = iter(())
        self._part: Snapshot | None = None
        self._queue: deque[ToChild] = deque(maxlen=OTHERS_KEPT)
        self.stale = False

    @property
    def waiting(self) -> bool:
        """Whether something waits for room in the channel."""
        return self._next() is not None or self.stale

    def refresh(self) -> None:
        """Send the whole table, and nothing that was to be sent before."""
        self._queue.clear()
        self._parts, self._part = iter(()), None
        self.stale = True
        self.flush()

    def put(self, message: ToChild) -> None:
        """Send, or queue. A stale replica gets the snapshot instead of updates."""
        if self.stale and isinstance(message, Update):
            self.flush()
            return
        if len(self._queue) >= QUEUE_LIMIT and isinstance(message, Update):
            self.refresh()
            return
        self._queue.append(message)
        self.flush()

    def flush(self) -> None:
        """Send what there is room for."""
        if self.stale and not self._queue:
            if not self._channel.wait_for_room(0.0):
                return  # a snapshot is made when it can go, not before
            self.stale = False
            self._parts = iter(self._snapshot())
        try:
            while (message := self._next()) is not None and self._channel.send(message):
                self._sent()
        except MessageTooLargeError:
            self.refresh()
        except ChannelClosedError:
            self._queue.clear()
            self._parts, self._part = iter(()), None

    def _next(self) -> ToChild | None:
        if self._part is None:
            self._part = next(self._parts, None)
        if self._part is not None:
            return self._part
        return self._queue[0] if self._queue else None

    def _sent(self) -> None:
        if self._part is not None:
            self._part = None
        else:
            self._queue.popleft()
