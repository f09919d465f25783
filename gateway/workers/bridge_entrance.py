"""A stream of a relay listener until it is led somewhere: its request is read here."""

from typing import Protocol

from gateway.carriers.stream import Receiver, Stream
from gateway.protocol.relay import Server
from gateway.protocol.wire import WireError

HELD_BYTES = 128 * 1024
"""Bytes behind a request that may come before its stream is led anywhere;"""
HELD_FREELY = 16 * 1024
HELD_TOGETHER = 32 << 20
"""once all streams together hold so many, only `HELD_FREELY` of each."""


class Keeper(Protocol):
    """Who decides about an entrance: the bridge."""

    def may_hold(self, entrance: "Entrance", size: int) -> bool:
        """It holds so many bytes more; whether that is not too much."""

    def on_request(self, entrance: "Entrance") -> None:
        """Its request is whole."""

    def on_stream_end(self, entrance: "Entrance", reason: str) -> None:
        """Whatever it was, it is over."""

    def reject(self, entrance: "Entrance", what: str) -> None:
        """End it, and count it as this."""


class Entrance:
    """One stream until it is led: the receiver that reads its request."""

    def __init__(self, keeper: Keeper, stream: Stream) -> None:
        self.stream = stream
        self.server = Server()
        self.held = bytearray()
        self.next: Receiver | None = None
        self.user = ""
        self.query = 0
        self._keeper = keeper

    def on_data(self, data: bytes | bytearray | memoryview) -> None:
        """The request, what follows it, and, once led, whatever comes."""
        if self.next is not None:
            self.next.on_data(data)
            return
        asked = self.server.request is not None
        try:
            rest = self.server.feed(data)
        except WireError:
            self._keeper.reject(self, "bad-request")
            return
        if rest is None:
            return
        self.held += rest
        if not self._keeper.may_hold(self, len(rest)) or len(self.held) > HELD_BYTES:
            self._keeper.reject(self, "impatient")
        elif not asked:
            self.stream.pause()
            self._keeper.on_request(self)

    def on_room(self) -> None:
        """The backlog has fallen."""
        if self.next is not None:
            self.next.on_room()

    def on_end(self, reason: str) -> None:
        """The stream is over."""
        self._keeper.on_stream_end(self, reason)
        if self.next is not None:
            self.next.on_end(reason)

    def lead(self, receiver: Receiver) -> None:
        """Give what was held to `receiver`, and all that comes."""
        self.next = receiver
        held, self.held = bytes(self.held), bytearray()
        if held:
            receiver.on_data(held)
        self.stream.resume()
