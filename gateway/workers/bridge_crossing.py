"""Where one stream meets one UDP socket: bursts both ways, and what gives when it is slow.

From the socket: some bursts a wake-up, framed, one write. A stream that owes more than its
`high` gets nothing until it says that there is room. It says so only if the last write made
it owe too much, so nothing else than that may hold back the next one. What comes meanwhile
waits here, bounded by bytes and by age, and the oldest goes first: a datagram that is late
is worth less than one that is lost, as those in the tunnel would only wait and send again.
How much a stream may owe follows how fast it has been, so that a slow path does not mean a
long wait.

To the socket: whole datagrams as they come, runs of one size as one group. A socket
without room drops; nothing here waits, and neither does the stream.
"""

import asyncio
import socket
from collections import Counter, deque
from dataclasses import dataclass

from gateway.carriers.stream import Stream
from gateway.fastpath.frames import Packer, Unpacker
from gateway.linux import udp

QUEUE_BYTES = 512 * 1024
QUEUE_SECONDS = 0.05
HIGH_SECONDS = 0.02
"""What a stream may owe: so much as it has been seen to send in this time,"""
LEAST_HIGH, MOST_HIGH = 32 * 1024, 256 * 1024
"""within these bounds, in bytes."""

DROPS = ("overflow", "late", "unsent", "socket_full", "socket_refused", "socket_failed")
"""Reasons of datagrams that went nowhere.

Towards the stream: overflow (too many bytes waited), late (waited too long), unsent (the
stream ended first). Towards the socket: see `frames.Unpacker.read`.
"""

_TO_SOCKET = {
    "datagrams": "to_socket",
    "bytes": "to_socket_bytes",
    "full": "socket_full",
    "refused": "socket_refused",
    "failed": "socket_failed",
}
"""What `frames.Unpacker.read` calls these; carriers count a `full` and a `refused` of theirs."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Frames that wait for the stream, since when, and how many datagrams they are."""

    frames: bytes
    since: float
    datagrams: int


class Crossing:
    """The receiver of a stream, and the reader of a connected socket, which its owner closes."""

    def __init__(self, stream: Stream, sock: socket.socket, packer: Packer) -> None:
        self.stream = stream
        self._sock = sock
        self._fd = sock.fileno()
        self._packer = packer
        self._unpacker = Unpacker()
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Waiting] = deque()
        self._queued = 0
        self._owed = 0
        self._crowded_at: float | None = None
        self._counts: Counter[str] = Counter()
        self._kernel_drops = udp.memory(sock).dropped
        self.last_datagram = 0.0
        self.ended = False

    def start(self) -> None:
        """Read the socket from now on. The stream is the owner's to start."""
        self._loop.add_reader(self._fd, self._on_datagrams)

    def on_data(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes from the stream: send what is whole."""
        try:
            self._unpacker.send(self._fd, data)
        except ValueError:
            self._counts["bad-frame"] += 1
            self.stream.abort()

    def on_room(self) -> None:
        """The stream has caught up."""
        now = self._loop.time()
        if self._crowded_at is not None:
            self._learn_speed(now - self._crowded_at)
        while self._queue and self._crowded_at is None:
            self._drop_late(now)
            if self._queue:
                waiting = self._queue.popleft()
                self._queued -= len(waiting.frames)
                self._write(waiting.frames, waiting.datagrams)

    def end(self) -> None:
        """Nothing crosses any more. The socket stays open. Safe to repeat."""
        if self.ended:
            return
        self.ended = True
        self._loop.remove_reader(self._fd)
        while self._queue:
            self._forget_oldest("unsent")

    def counts(self) -> Counter[str]:
        """All there was: to_stream, to_socket (datagrams), `DROPS` and others by name."""
        found = self._counts.copy()
        for name, count in self._unpacker.read().items():
            found[_TO_SOCKET.get(name, name)] += count
        found["empty"] = self._unpacker.empty
        if self._sock.fileno() >= 0:
            self._counts["unread"] = udp.memory(self._sock).dropped - self._kernel_drops
        found["unread"] = self._counts["unread"]
        return found

    @property
    def dropped(self) -> int:
        """Datagrams that went nowhere, either way."""
        found = self.counts()
        return sum(found[name] for name in (*DROPS, "unread"))

    def _on_datagrams(self) -> None:
        before = self._packer.datagrams
        frames = self._packer.receive(self._fd)
        if frames is None:
            return
        self.last_datagram = self._loop.time()
        datagrams = self._packer.datagrams - before
        if self._crowded_at is not None:
            self._wait(_Waiting(bytes(frames), self.last_datagram, datagrams))
        else:
            self._write(frames, datagrams)

    def _write(self, frames: bytes | memoryview, datagrams: int) -> None:
        self.stream.write(frames)
        self._counts["to_stream"] += datagrams
        self._counts["to_stream_bytes"] += len(frames) - 2 * datagrams
        backlog = self.stream.backlog
        if self._crowded_at is None and backlog > self.stream.high:
            self._crowded_at = self._loop.time()
            self._owed = backlog

    def _wait(self, waiting: _Waiting) -> None:
        self._queue.append(waiting)
        self._queued += len(waiting.frames)
        self._drop_late(waiting.since)
        while self._queued > QUEUE_BYTES:
            self._forget_oldest("overflow")

    def _drop_late(self, now: float) -> None:
        while self._queue and now - self._queue[0].since > QUEUE_SECONDS:
            self._forget_oldest("late")

    def _forget_oldest(self, reason: str) -> None:
        oldest = self._queue.popleft()
        self._queued -= len(oldest.frames)
        self._counts[reason] += oldest.datagrams

    def _learn_speed(self, seconds: float) -> None:
        """While it owed too much nothing was added, so what is gone was sent in that time."""
        self._crowded_at = None
        sent = self._owed - self.stream.backlog
        room = int(sent / max(seconds, 0.001) * HIGH_SECONDS)
        self.stream.high = min(MOST_HIGH, max(LEAST_HIGH, room))
        self.stream.low = self.stream.high // 4
