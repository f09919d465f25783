"""What every carrier offers: byte streams that push, and say how much they owe.

A stream belongs to one asyncio loop. Bytes are pushed to a `Receiver`, so that a burst
costs one call and no task. Nothing here waits: who writes looks at `backlog` and decides
himself what to keep and what to drop.

`dial(host, port, *, timeout, over, ...)` and `listen(sock, accept, *, counts, ...)` of each
module take plain keyword options. A dialled stream is ready: all handshakes are done. It
runs on a socket of its own, or on top of another stream, `over`, which becomes its own: so
tls, ws and what uses them are the same over a socket and over a chain of hops.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class CarrierError(Exception):
    """A stream could not be had, or ended; the text says which end, and why.

    `what` is the name it is counted by: bad-tls, wrong-path...
    """

    def __init__(self, text: str, what: str = "failed") -> None:
        super().__init__(text)
        self.what = what


@dataclass(frozen=True, slots=True)
class Remote:
    """Who is at the other end, as a proxy-free socket sees him."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Receiver(Protocol):
    """Who takes what a stream brings. Its methods must not raise."""

    def on_data(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes; borrowed until this returns (I5). Never empty."""

    def on_room(self) -> None:
        """The backlog has fallen to `Stream.low`, after it was above `Stream.high`; or to 0."""

    def on_end(self, reason: str) -> None:
        """No more bytes will come, and none will leave. Called once, last.

        `reason` is for a log line; empty: the other end closed in order.
        """


class Stream(ABC):
    """One byte stream, open at first. After `on_end` every method does nothing."""

    carrier: str
    """Its name in logs and in the status: tcp, tls, ws, wss..."""
    remote: Remote
    verified: bool = False
    """The other end proved who it is, by a certificate that was checked or pinned."""
    high: int = 256 * 1024
    low: int = 64 * 1024
    """Bytes of backlog: who writes stops above `high`, and is told at `low`."""

    @abstractmethod
    def start(self, receiver: Receiver) -> None:
        """Begin to push. Bytes that came before are kept until then, within bounds."""

    @abstractmethod
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take all of it, now; it may be changed after this returns."""

    @property
    @abstractmethod
    def backlog(self) -> int:
        """Bytes taken and not given to the kernel yet."""

    @property
    def rtt(self) -> float | None:
        """Seconds there and back, as last measured; None where the carrier cannot know."""
        return None

    @abstractmethod
    def pause(self) -> None:
        """Push no more for now: the other end will feel it."""

    @abstractmethod
    def resume(self) -> None:
        """Push again."""

    def prove(self) -> None:  # noqa: B027 - most carriers have nothing to widen
        """The other end was let in by who started this: a listener's carrier trusts him more.

        Until then he is a stranger, and little is kept for him, for a bounded time. It may end
        the stream, if there is no place for one more.
        """

    @abstractmethod
    def close(self) -> None:
        """Send what is owed for a bounded time, then end."""

    @abstractmethod
    def abort(self) -> None:
        """End now."""


Accept = Callable[[Stream], None]
"""Takes a stream whose handshakes are done, and starts it before it returns."""


class Counts(Protocol):
    """What a listener counts: names of the module's own, for logs and the status."""

    def count(self, what: str) -> None:
        """One more of this: handshake-timeout, bad-tls, wrong-path..."""


class Listener(ABC):
    """A listening carrier. Handshakes are bounded in time and in number."""

    port: int

    @abstractmethod
    async def close(self) -> None:
        """Take no more streams; those that are open live on."""
