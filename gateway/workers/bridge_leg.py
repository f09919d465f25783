"""One target of a chain, through all its streams.

A carrier looks after its own hop, and a leg after the whole way: a hop may be gone that
nobody on the way misses, and a server may take what it never answers. While heartbeats are
sent something must come back, so a stream that brings nothing is dialled again.
"""

import asyncio
import random
import socket
from collections import Counter
from math import inf

from gateway.carriers.stream import Stream
from gateway.protocol.backoff import Backoff
from gateway.protocol.bridge_messages import LegFigures, LegState
from gateway.protocol.relay import Address
from gateway.workers.bridge_crossing import Crossing


class Leg:
    """One target through all its streams."""

    def __init__(self, index: int, sock: socket.socket, target: Address) -> None:
        self.index = index
        self.sock = sock
        self.target = target
        self.backoff = Backoff(random.random)
        self.state: LegState = "idle"
        self.error = ""
        self.hops: tuple[str, ...] = ()
        self.connects = 0
        self.unconnected = 0
        self.past = Counter[str]()
        self.crossing: Crossing | None = None
        self.stream: Stream | None = None
        self.wanted = asyncio.Event()
        self.wanted_at = 0.0
        self.ended = asyncio.Event()
        self.given_up = ""
        self._heard = False
        self._heard_at = 0.0
        self._asked_at = inf

    def begin(self, stream: Stream, now: float) -> None:
        """A new stream."""
        self.stream = stream
        self.connects += 1
        self.ended.clear()
        self.given_up = ""
        self._heard = False
        self._heard_at, self._asked_at = now, inf

    def is_silent(self, now: float, patience: float) -> bool:
        """Whether datagrams have gone into the stream for so long, and nothing came back."""
        if self._heard or self.crossing is None:
            self._heard = False
            self._heard_at, self._asked_at = now, inf
        elif self._asked_at == inf and self.crossing.last_datagram > self._heard_at:
            self._asked_at = self.crossing.last_datagram
        return now - self._asked_at > patience

    def give_up(self, reason: str) -> None:
        """End the stream, whatever it says of itself."""
        if self.stream is not None and not self.given_up:
            self.given_up = reason
            self.stream.abort()

    def on_data(self, data: bytes | bytearray | memoryview) -> None:
        """Datagrams of the stream."""
        self._heard = True
        if self.crossing is not None:
            self.crossing.on_data(data)

    def on_room(self) -> None:
        """The stream has caught up."""
        if self.crossing is not None:
            self.crossing.on_room()

    def on_end(self, reason: str) -> None:
        """The stream is over."""
        self.error = self.given_up or reason or "the server closed the stream"
        self.ended.set()

    def figures(self) -> LegFigures:
        """How it is."""
        stream, crossing = self.stream, self.crossing
        dropped = self.past["dropped"] + self.unconnected
        return LegFigures(
            leg=self.index,
            state=self.state,
            hops=self.hops,
            remote=str(stream.remote) if stream else "",
            rtt=stream.rtt if stream else None,
            connects=self.connects,
            fails=self.backoff.failures,
            backlog=stream.backlog if stream else 0,
            dropped=dropped + (crossing.dropped if crossing else 0),
            verified=bool(stream and stream.verified),
            error=self.error if self.state in ("waiting", "dialling") else "",
        )
