"""A stream through a relay server: the request ahead of the first bytes, the answer taken out.

Neither end waits for the other (see `protocol.relay`): what is written goes at once, and a
refusal arrives as the stream's end. So a further hop's handshake, or datagrams, can start
in the very write that carries the request.
"""

from collections.abc import Callable

from gateway.carriers.stream import Receiver, Stream
from gateway.protocol.relay import Client, RelayError, Request
from gateway.protocol.wire import WireError


class RelayStream(Stream):
    """A stream to where `request` asks for, over one to the relay server, which it owns."""

    def __init__(
        self,
        lower: Stream,
        request: Request,
        answered: Callable[[], None] | None = None,
        *,
        server: str = "",
    ) -> None:
        """`answered` is called once, when the server has said yes.

        `server` is what it is called when it says no; over other hops `remote` is the first.
        """
        self.carrier = lower.carrier
        self.remote = lower.remote
        self.verified = lower.verified
        self._lower = lower
        self._client = Client(request)
        self._answered = answered
        self._server = server or str(lower.remote)
        self._receiver: Receiver | None = None
        self._ended = False

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._lower.start(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        opening = self._client.opening()
        self._lower.write(opening + bytes(data) if opening else data)

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

    def pause(self) -> None:
        self._lower.pause()

    def resume(self) -> None:
        self._lower.resume()

    def close(self) -> None:
        self._lower.close()

    def abort(self) -> None:
        self._lower.abort()

    def on_data(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes from the relay server: its answer first."""
        if self._ended:
            return
        try:
            rest = self._client.feed(data)
        except (RelayError, WireError) as error:
            self._end(f"{self._server}: {error}")
            self._lower.abort()
            return
        if rest is None:
            return
        if self._answered is not None:
            answered, self._answered = self._answered, None
            answered()
        if len(rest) and self._receiver is not None:
            self._receiver.on_data(rest)

    def on_room(self) -> None:
        """The backlog has fallen."""
        if self._receiver is not None and not self._ended:
            self._receiver.on_room()

    def on_end(self, reason: str) -> None:
        """The relay server's stream is over."""
        if not self._ended and not self._client.answered:
            reason = f"{self._server} ended without an answer" + (f": {reason}" if reason else "")
        self._end(reason)

    def _end(self, reason: str) -> None:
        if self._ended:
            return
        self._ended = True
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.on_end(reason)
