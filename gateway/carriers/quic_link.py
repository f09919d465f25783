"""One QUIC connection between wire and library: datagrams, addresses, timers, silence.

A timer too early costs a look, one too late a stall: only the latter is moved. Who does not
answer a PING for `ANSWER` seconds is gone: one is sent after `keepalive` seconds of silence,
earlier if we have sent something since we heard of him. The library's own idle timeout counts
what we send too, so it cannot notice who is gone while somebody still sends to him.
"""

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from itertools import groupby
from operator import itemgetter

from gateway.carriers.quic_core import TROUBLES, Connection
from gateway.carriers.quic_doubling import Doubling
from gateway.carriers.quic_wire import Address, Wire
from gateway.carriers.stream import Remote

ANSWER = 10.0
IMPATIENCE = 3.0
"""Seconds after which we ask who owes us an answer."""
REFUSED_TIME = 2.0
"""Seconds of silence after which the host's word counts that nobody listens there."""

_WATCH = 1.0
_LEAST_WAIT = 0.001
_MOST_WAYS = 8
STRANGER_BYTES = 64 * 1024
"""Bytes of datagrams that are taken of a client before a stream of his was let in, so that the
library cannot keep more. What comes then is lost, and he sends it again."""


class Link(ABC):
    """What lies under a session. `is_server`: noise may come first."""

    def __init__(
        self,
        wire: Wire,
        connection: Connection,
        address: Address,
        *,
        connected: bool,
        keepalive: float,
        is_server: bool,
    ) -> None:
        """`connected`: the wire is."""
        self.loop = asyncio.get_running_loop()
        self.connection = connection
        self.reason: str | None = None
        self.ready = False
        self._wire = wire
        self._connected = connected
        self._keepalive = keepalive
        self._is_server = is_server
        self.proven = not is_server
        """The other end is no stranger: we dialled, or let a stream of his in."""
        self._allowance = STRANGER_BYTES
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._tick: asyncio.TimerHandle | None = None
        self._heard = self._clock = self.loop.time()
        self._sent = self._asked = 0.0
        self._pings = 0
        self._sent_count = 0
        self._doubling = Doubling()
        self._ways: dict[tuple[str, int], Address] = {}
        self.way = ("", 0)
        self.way = self._way_of(address)
        """Where the other end is, as the library takes it."""
        self.remote = self._remote()
        self._watch()

    @abstractmethod
    def turn(self) -> None:
        """Push what came, send what is due."""

    @abstractmethod
    def close(self, reason: str = "", what: str = "closed") -> None:
        """Tell the other end, and end."""

    @abstractmethod
    def end(self, reason: str, what: str) -> None:
        """End it."""

    @abstractmethod
    def _moved(self) -> None:
        """The other end is somewhere else now."""

    @abstractmethod
    def _flushed(self) -> None:
        """What could be sent was sent."""

    @abstractmethod
    def _watched(self, now: float) -> None:
        """Some time has passed, and the other end is there."""

    # Datagrams

    def take(self, address: Address, burst: bytes, step: int) -> None:
        """What has arrived; `turn` follows."""
        if self.reason is not None:
            return
        if not self.proven:
            self._allowance -= len(burst)
            if self._allowance < 0:
                return
        self._heard = self._time()
        try:
            if len(burst) <= step:
                self.connection.receive_datagram(burst, self._way_of(address), self._clock)
            else:
                way = self._way_of(address)
                self.connection.receive_gro_buffer(burst, step, way, self._clock)
        except TROUBLES as error:
            self.end(f"bad packet: {error}", "bad-quic")
            return
        if self._is_server and not self.connection.proven:
            self.end("not sealed as it has to be", "noise")

    def refused(self) -> None:
        """The host says that nobody listens there, as anybody on the way could."""
        if self.loop.time() - self._heard >= REFUSED_TIME:
            self.end("refused", "refused")

    @property
    def rtt(self) -> float | None:
        """Seconds there and back."""
        return self.connection.rtt

    def _soon(self) -> None:
        if not self._busy:
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self.reason is not None:
            return
        now = self._time()
        try:
            found = self._paced(now)
        except TROUBLES as error:
            self.end(f"cannot send: {error}", "failed")
            return
        self._sent_count += len(found)
        for way, each in groupby(found, itemgetter(1)):
            self._send([datagram for datagram, _ in each], (way[0], way[1]))
        self._set_timer(now)
        self._flushed()

    def _paced(self, now: float) -> list[tuple[bytes, tuple[str, int]]]:
        """What may leave now, or so soon that no timer could tell the difference."""
        found = self.connection.datagrams_to_send(self._clock)
        while found:
            due = self.connection.get_timer()
            if due is None or not self._clock < due < now + _LEAST_WAIT:
                break
            self._clock = due
            more = self.connection.datagrams_to_send(due)
            if not more:
                break
            found += more
        return found

    def _time(self) -> float:
        """The library's: it may be a bit ahead, and never goes back."""
        now = self.loop.time()
        self._clock = max(self._clock, now)
        return now

    def _send(self, burst: list[bytes], way: tuple[str, int]) -> None:
        address = self._ways.get(way)
        if address is None:
            return
        if way != self.way and len(burst) > 1:  # more than a probe
            self.way = way
            self.remote = self._remote()
            self._moved()
        self._wire.send(burst, None if self._connected else address)
        if self._doubling.active:
            self._wire.send(burst, None if self._connected else address)

    def _way_of(self, address: Address) -> tuple[str, int]:
        """The address as the library takes it, known from now on."""
        way = (address[0].partition("%")[0].removeprefix("::ffff:"), address[1])
        if way not in self._ways:
            old = [each for each in self._ways if each != self.way]
            if len(old) >= _MOST_WAYS:
                del self._ways[old[0]]
            self._ways[way] = address
        return way

    def _remote(self) -> Remote:
        return Remote(self._ways[self.way][0].removeprefix("::ffff:"), self.way[1])

    # Time

    def _set_timer(self, now: float) -> None:
        due = self.connection.get_timer()
        if due is None:
            return
        due = max(due, now + _LEAST_WAIT)
        if self._timer is not None:
            if self._timer_at <= due:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = self.loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._time()
        due = self.connection.get_timer()
        if due is not None and due <= self._clock:
            try:
                self.connection.handle_timer(self._clock)
            except TROUBLES as error:
                self.end(f"timer: {error}", "failed")
                return
        self.turn()

    def _cancel(self) -> None:
        for timer in (self._timer, self._tick):
            if timer:
                timer.cancel()

    @property
    def _is_asking(self) -> bool:
        return self._asked > self._heard

    def _watch(self) -> None:
        now = self.loop.time()
        self._tick = self.loop.call_later(_WATCH, self._watch)
        if not self.ready:
            return
        quiet = now - self._heard
        if not self._is_asking:
            owes = self._sent > self._heard and quiet >= IMPATIENCE
            if owes or (self._keepalive and quiet >= self._keepalive):
                self._ask(now)
        elif now - self._asked >= ANSWER:
            self.close(f"silent for {quiet:.0f} s", "silent")
            return
        self._doubling.look(now, self._sent_count, self.connection.lost)
        self._watched(now)

    def _ask(self, now: float) -> None:
        self._pings += 1
        self._asked = now
        with suppress(*TROUBLES):
            self.connection.send_ping(self._pings)
        self._soon()
