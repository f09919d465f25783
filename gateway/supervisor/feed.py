"""What one replica shall hear, in order, without ever waiting for it (I8).

Updates go straight into the channel. When it is full they queue here; when too many
queue, all are thrown away and a snapshot is sent once there is room: the replica is
stale until then and correct afterwards.
"""

from collections import deque
from collections.abc import Callable

from gateway.linux.channel import ChannelClosedError, MessageTooLargeError, SupervisorEnd
from gateway.protocol.messages import Snapshot, ToChild, Update

QUEUE_LIMIT = 64
"""Messages. A snapshot's parts may exceed it; updates may not."""


class Feed:
    """The way to one child. `snapshot` makes the parts of the present table."""

    def __init__(self, channel: SupervisorEnd, snapshot: Callable[[], list[Snapshot]]) -> None:
        self._channel = channel
        self._snapshot = snapshot
        self._queue: deque[ToChild] = deque()
        self.stale = False

    @property
    def waiting(self) -> bool:
        """Whether something waits for room in the channel."""
        return bool(self._queue) or self.stale

    def refresh(self) -> None:
        """Send the whole table, and nothing that was to be sent before."""
        self._queue.clear()
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
            self._queue.extend(self._snapshot())
        try:
            while self._queue and self._channel.send(self._queue[0]):
                self._queue.popleft()
        except MessageTooLargeError:
            self.refresh()
        except ChannelClosedError:
            self._queue.clear()
