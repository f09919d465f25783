"""One stream of a trunk: what its owner may do with it, and what he is told.

A branch keeps no bytes: what waits to leave, and what came while it is held, is kept by the
trunk's machine. Its owner hears of the end once, whoever ended it; after `close` he hears of
nothing else.
"""

import asyncio
from typing import TYPE_CHECKING

from gateway.carriers.sockets import CLOSE_TIME
from gateway.carriers.stream import Receiver, Stream

if TYPE_CHECKING:
    from gateway.carriers.trunk import Trunk


class Branch(Stream):
    """One stream of a trunk."""

    def __init__(self, trunk: "Trunk", sid: int, carrier: str) -> None:
        self.carrier = carrier
        self.remote = trunk.remote
        self.verified = trunk.verified
        self.sid = sid
        self.held = True
        self.proven = False
        self._trunk = trunk
        self._receiver: Receiver | None = None
        self._ended: str | None = None
        self._last_call: asyncio.TimerHandle | None = None

    def start(self, receiver: Receiver) -> None:
        if self._ended is not None:
            self._trunk.soon(receiver.on_end, self._ended)
            return
        self._receiver = receiver
        self.resume()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._ended is None:
            self._trunk.send(self, data)

    @property
    def backlog(self) -> int:
        return self._trunk.owed(self.sid) if self._ended is None else 0

    @property
    def rtt(self) -> float | None:
        return self._trunk.rtt

    def pause(self) -> None:
        self.held = True
        self._trunk.hold(self.sid)

    def resume(self) -> None:
        if self._receiver and self.held:
            self.held = False
            self._trunk.soon(self._trunk.release, self)

    def prove(self) -> None:
        if self._ended is None and not self.proven:
            self.proven = True
            self._trunk.let_in()

    def close(self) -> None:
        if self._ended is None and self._last_call is None:
            self._last_call = self._trunk.later(CLOSE_TIME, self.abort)
            self._trunk.end(self, now=False)

    def abort(self) -> None:
        if self._ended is None:
            self._trunk.end(self, now=True)

    @property
    def is_closing(self) -> bool:
        """Nothing is pushed any more but the end."""
        return self._last_call is not None

    def take(self, data: bytes | memoryview) -> None:
        """Bytes for who started it."""
        if self._receiver and not self.is_closing:
            self._receiver.on_data(data)

    def has_room(self) -> None:
        """What was crowded is not."""
        if self._receiver and not self.is_closing:
            self._receiver.on_room()

    def finish(self, reason: str) -> None:
        """The end, for who started it."""
        if self._ended is not None:
            return
        self._ended = reason
        if self._last_call:
            self._last_call.cancel()
        receiver, self._receiver = self._receiver, None
        if receiver:
            receiver.on_end(reason)
