"""A stream on top of a stream: what tls, ws and others of their kind share.

A layer receives what the stream below brings, and is a stream itself. It holds what it has
got until somebody starts it: between its own handshake and `start` nothing is lost, nothing
grows, because the stream below is paused meanwhile.
"""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.carriers.stream import CarrierError, Receiver, Stream

Done = Callable[[CarrierError | None], None]
"""Told once how a handshake went; None is well."""


class Layer(Stream):
    """A stream that owns the one below. `begin` first; then, when done, it can be started."""

    def __init__(self, lower: Stream) -> None:
        self.remote = lower.remote
        self._lower = lower
        self._loop = asyncio.get_running_loop()
        self._receiver: Receiver | None = None
        self._done: Done | None = None
        self._held = True
        self._ready = False
        self._closing = False
        self._ended: str | None = None
        self._last: str | None = None

    def begin(self, done: Done) -> None:
        """Shake hands, and tell `done`. Then nothing is pushed until `start`."""
        self._done = done
        self._greet()
        self._lower.start(self)

    @abstractmethod
    def _greet(self) -> None:
        """Say the first word, if it is ours."""

    @abstractmethod
    def _take(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes from below: go on with the handshake, or keep them for `_give`."""

    @abstractmethod
    def _give(self) -> None:
        """Push what has been taken, until there is no more or it is held."""

    def _has_more(self) -> bool:
        """Something was taken and not given yet, so that an end from below has to wait."""
        return False

    @abstractmethod
    def _say_goodbye(self) -> None:
        """The last word of this layer, if it has one."""

    def _succeed(self) -> None:
        self._ready = True
        self._lower.pause()
        done, self._done = self._done, None
        if done:
            done(None)

    def _fail(self, error: CarrierError) -> None:
        """The other end is told why as far as it can be, and the connection is over."""
        done, self._done = self._done, None
        reason = str(error)
        self._lower.close()
        if done:
            self._ended = reason
            self._let_go()
            done(error)
            return
        self._finish(reason)

    def _finish(self, reason: str) -> None:
        if self._ended is not None:
            return
        self._ended = reason
        self._lower.close()
        receiver, self._receiver = self._receiver, None
        self._let_go()
        if receiver:
            receiver.on_end(reason)

    def _let_go(self) -> None:
        """It has ended: drop what refers back to it, so that it is freed with its last user."""

    def on_data(self, data: bytes | bytearray | memoryview) -> None:
        if self._ended is not None or self._closing:
            return
        self._take(data)
        if self._ready and not self._held:
            self._give()

    def on_room(self) -> None:
        if self._receiver and self._ended is None and not self._closing:
            self._receiver.on_room()

    def on_end(self, reason: str) -> None:
        if self._done:
            text = f"{self.remote}: ended within the handshake"
            self._fail(CarrierError(f"{text}: {reason}" if reason else text, "handshake-ended"))
            return
        if self._ready and self._held and not self._closing and self._has_more():
            self._last = reason
            return
        self._finish(reason)

    def start(self, receiver: Receiver) -> None:
        if self._ended is not None:
            self._loop.call_soon(receiver.on_end, self._ended)
            return
        self._receiver = receiver
        self.resume()

    def pause(self) -> None:
        self._held = True
        self._lower.pause()

    def resume(self) -> None:
        if self._receiver is None or not self._held:
            return
        self._held = False
        self._lower.resume()
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """What was taken before comes first: the loop reads the sockets after this."""
        if self._ended is None and not self._held and not self._closing:
            self._give()
            if self._last is not None and not self._has_more():
                self._finish(self._last)

    def prove(self) -> None:
        self._lower.prove()

    def close(self) -> None:
        if self._ended is not None or self._closing:
            return
        if self._ready:
            self._say_goodbye()
        self._closing = True
        self._lower.close()
        self._tell_last()

    def abort(self) -> None:
        self._closing = True
        self._lower.abort()
        self._tell_last()

    def _tell_last(self) -> None:
        """The stream below had its end before ours, and tells of no other."""
        if self._last is not None:
            self._loop.call_soon(self._finish, self._last)

    @property
    def backlog(self) -> int:
        return self._lower.backlog

    @property
    def rtt(self) -> float | None:
        return self._lower.rtt

    @property
    def high(self) -> int:
        return self._lower.high

    @high.setter
    def high(self, size: int) -> None:
        self._lower.high = size

    @property
    def low(self) -> int:
        return self._lower.low

    @low.setter
    def low(self, size: int) -> None:
        self._lower.low = size


async def shake(layer: Layer, where: str, timeout: float) -> None:
    """Begin the layer and wait until it is done; it is aborted if it cannot be.

    Raises:
        CarrierError: The handshake failed, or took longer than `timeout` seconds.
    """
    future: asyncio.Future[CarrierError | None] = asyncio.get_running_loop().create_future()

    def done(error: CarrierError | None) -> None:
        if not future.done():
            future.set_result(error)

    layer.begin(done)
    try:
        async with deadline(where, timeout):
            failure = await future
    except (CarrierError, asyncio.CancelledError):
        layer.abort()
        raise
    if failure is not None:
        layer.abort()
        # Another one: what is raised refers to us, and we to the first.
        raise CarrierError(str(failure), failure.what)


@asynccontextmanager
async def deadline(where: str, timeout: float) -> AsyncIterator[None]:
    """Raise `CarrierError` if what is inside takes longer than `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError as error:
        raise CarrierError(f"{where}: no answer in {timeout:g} s", "timeout") from error
