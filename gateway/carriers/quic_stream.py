"""A stream of a QUIC connection, for who started it. What there is to do does the session."""

import asyncio
from typing import Protocol

from gateway.carriers.stream import Receiver, Remote, Stream

Buffer = bytes | bytearray | memoryview

CLOSE_TIME = 3.0


class Bearer(Protocol):
    """The session, as its streams see it."""

    loop: asyncio.AbstractEventLoop
    remote: Remote
    verified: bool

    @property
    def rtt(self) -> float | None:
        """Seconds there and back."""

    def write(self, stream: "QuicStream", data: Buffer) -> None:
        """Send what there is room for, queue the rest."""

    def owed(self, stream: "QuicStream") -> int:
        """Bytes that were not sent once yet."""

    def finish(self, stream: "QuicStream") -> None:
        """Send what it owes and a FIN."""

    def reset(self, stream: "QuicStream") -> None:
        """Send no more of it, and want no more."""

    def let_in(self) -> None:
        """A stream was let in."""

    def lose(self, stream: "QuicStream") -> None:
        """It is nobody's any more."""

    def has_given(self) -> None:
        """A stream has given what was kept."""


class QuicStream(Stream):
    """One bidirectional stream. `sid` None: nothing was written, so the other end has none."""

    carrier = "quic"

    def __init__(self, session: Bearer, sid: int | None) -> None:
        self.sid = sid
        self.remote = session.remote
        self.verified = session.verified
        self._session = session
        self._receiver: Receiver | None = None
        self._kept: list[bytes] = []
        self.kept_size = 0
        self._held = True
        self.proven = False
        self._open = True  # neither closed nor aborted
        self._ended: str | None = None
        self._last_call: asyncio.TimerHandle | None = None

    def start(self, receiver: Receiver) -> None:
        if self._ended is not None:
            self._session.loop.call_soon(receiver.on_end, self._ended)
            return
        self._receiver = receiver
        self.resume()

    def write(self, data: Buffer) -> None:
        if self._open:
            self._session.write(self, data)

    @property
    def backlog(self) -> int:
        return self._session.owed(self) if self._ended is None else 0

    @property
    def rtt(self) -> float | None:
        return self._session.rtt

    def pause(self) -> None:
        self._held = True

    def resume(self) -> None:
        if self._receiver and self._held and self._ended is None:
            self._held = False
            self._session.loop.call_soon(self._release)

    def prove(self) -> None:
        if self._ended is None and not self.proven:
            self.proven = True
            self._session.let_in()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._last_call = self._session.loop.call_later(CLOSE_TIME, self.abort)
            self._session.finish(self)

    def abort(self) -> None:
        if self._ended is None:
            self._open = False
            self._session.reset(self)
            self._session.lose(self)
            reason = "" if self.is_closing else "aborted"
            self._session.loop.call_soon(self.finish, reason)

    @property
    def is_closing(self) -> bool:
        """Nothing is pushed any more but the end."""
        return self._last_call is not None

    def take(self, data: bytes) -> None:
        """Bytes for who started it."""
        if self.is_closing:
            return
        if self._held or self._kept:
            self._kept.append(data)
            self.kept_size += len(data)
        elif self._receiver:
            self._receiver.on_data(data)

    def has_room(self) -> None:
        """What was crowded is not."""
        if self._receiver and not self.is_closing:
            self._receiver.on_room()

    def finish(self, reason: str) -> None:
        """The end, for who started it; what was kept for a paused one is lost."""
        if self._ended is not None:
            return
        while not reason and self._kept and self._receiver and not self.is_closing:
            self._receiver.on_data(self._kept.pop(0))
        self._open, self._ended = False, reason
        self._kept.clear()
        self.kept_size = 0
        if self._last_call:
            self._last_call.cancel()
        receiver, self._receiver = self._receiver, None
        if receiver:
            receiver.on_end(reason)

    def _release(self) -> None:
        while self._kept and not self._held and self._receiver and not self.is_closing:
            data = self._kept.pop(0)
            self.kept_size -= len(data)
            self._receiver.on_data(data)
        self._session.has_given()
