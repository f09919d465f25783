"""The bridge of a relay listener: streams in, each to a UDP socket of its own.

A stream goes through these states, and is a stranger until it is through the last:

    accepted ─ request whole ─> asked (may he in?) ─> led (connected to its end) ─> crossing

Strangers are bounded in time, one limit for request and question together, and in number:
the oldest goes first. The answer is written at once, a refusal too, as GOST's client reads
it whenever it likes. Bytes that are no request end the stream without a word.

Where a stream may lead is `protocol.relay_access`. The supervisor hears of a stream's UDP
port before its first datagram leaves, and of its end at once: the port will be used again.
Not before all have heard, though: the socket rests for a while, deaf, and keeps the port.
"""

import asyncio
import contextlib
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from gateway.carriers import tcp
from gateway.carriers.stream import CarrierError, Listener, Stream
from gateway.linux import near
from gateway.protocol.bridge_messages import (
    AskRelay,
    RelayVerdict,
    Sockets,
    SocketsPlease,
    StreamEnded,
    StreamFigures,
    StreamOpened,
)
from gateway.protocol.messages import ToChild
from gateway.protocol.packet import pack_address
from gateway.protocol.relay import Address, Request, Status, build_response
from gateway.protocol.relay_access import Own, Way, find_way
from gateway.protocol.selector import Selector
from gateway.workers.base import Place
from gateway.workers.bridge_base import CLOSE_SECONDS, Bridge
from gateway.workers.bridge_carriers import STRANGERS, Listen
from gateway.workers.bridge_crossing import Crossing
from gateway.workers.bridge_entrance import Entrance
from gateway.workers.bridge_splice import Splice

STOCK, STOCK_LOW = 16, 8
"""UDP sockets with large buffers that are kept ready."""
CONNECT_SECONDS = 10.0
REST_SECONDS = 2.0
"""For which the port of a stream that ended is nobody's,"""
MOST_RESTING = 1024
"""unless more than these have ended within that time."""


@dataclass(frozen=True)
class RelayParts:
    """What it works on. `listener` is the listening socket, opened by the supervisor.

    With `forward` every stream leads to one of these, whichever `selector` says, and not
    where its client asks for.
    """

    listener: socket.socket
    listen: Listen
    read_timeout: float
    auth: bool
    own: tuple[Own, ...]
    allowed: tuple[Address, ...] = ()
    forward: tuple[Way, ...] = ()
    selector: Selector | None = None
    strangers: int = STRANGERS


@dataclass(frozen=True, slots=True)
class _Led:
    """A stream that crosses: its UDP socket, and what the supervisor knows it by."""

    crossing: Crossing
    sock: socket.socket
    local: bytes
    port: int
    service: int


class RelayBridge(Bridge):
    """Accepts on a listening socket that other bridges may share."""

    def __init__(self, place: Place, parts: RelayParts, descriptors: Sequence[int] = ()) -> None:
        super().__init__(place, (parts.listener.fileno(), *descriptors))
        self._parts = parts
        self._listener: Listener | None = None
        self._strangers: dict[Entrance, float] = {}
        self._asked: dict[int, Entrance] = {}
        self._led: dict[Entrance, _Led] = {}
        self._splices: set[Splice] = set()
        self._past: Counter[str] = Counter()
        self._stock: deque[socket.socket] = deque()
        self._resting: deque[tuple[float, socket.socket]] = deque()
        self._ordered = False
        self._queries = 0
        self._closing: asyncio.Event | None = None

    async def open(self) -> None:
        """Accept from now on."""
        self._order_sockets()
        self._listener = await self._parts.listen(self._parts.listener, self.accept, self)

    async def close(self) -> None:
        """Take no more, end those there are."""
        if self._listener is not None:
            await self._listener.close()
        for entrance in (*self._strangers, *self._led):
            entrance.stream.close()
        for splice in tuple(self._splices):
            splice.end()
        self._closing = asyncio.Event()
        if self._led:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), CLOSE_SECONDS)
        for led in self._led.values():
            led.crossing.end()
            led.sock.close()
        while self._stock:
            self._stock.popleft().close()
        while self._resting:
            self._resting.popleft()[1].close()

    def on_message(self, message: ToChild) -> None:
        """Verdicts and sockets."""
        if isinstance(message, RelayVerdict):
            entrance = self._asked.pop(message.query, None)
            if entrance is not None and entrance in self._strangers:
                self._on_verdict(entrance, message.verdict)
        elif isinstance(message, Sockets):
            self._ordered = False
            found, self.channel.descriptors = self.channel.descriptors, []
            self._stock += [socket.socket(fileno=fd) for fd in found]

    def figures(self) -> tuple[Counter[str], list[StreamFigures]]:
        """Sums over all streams, and each of them."""
        counts = self._past.copy()
        streams = []
        for led in self._led.values():
            counts += led.crossing.counts()
            stream = led.crossing.stream
            streams.append(
                StreamFigures(led.local, led.port, stream.rtt, stream.backlog, led.crossing.dropped)
            )
        counts["streams"] = len(self._led) + len(self._splices)
        counts["strangers"] = len(self._strangers)
        return counts, streams

    def look(self) -> None:
        """End strangers whose time is over; all have the same, so the oldest is first."""
        now = asyncio.get_running_loop().time()
        while self._resting and self._resting[0][0] <= now:
            self._resting.popleft()[1].close()
        while self._strangers:
            oldest, until = next(iter(self._strangers.items()))
            if until > now:
                return
            asked = oldest.server.request is not None
            self.reject(oldest, "request-timeout", Status.TIMEOUT if asked else None)

    def accept(self, stream: Stream) -> None:
        """A carrier's stream whose handshakes are done."""
        if len(self._strangers) >= self._parts.strangers:
            self.reject(next(iter(self._strangers)), "stranger-evicted")
        entrance = Entrance(self, stream)
        now = asyncio.get_running_loop().time()
        self._strangers[entrance] = now + self._parts.read_timeout
        stream.start(entrance)

    def reject(self, entrance: Entrance, what: str, status: Status | None = None) -> None:
        """End a stranger, with a status or without a word."""
        if not self._forget_stranger(entrance):
            return
        self.count(what)
        if status is None:
            entrance.stream.abort()
            return
        entrance.stream.write(build_response(status))
        entrance.stream.close()

    def on_request(self, entrance: Entrance) -> None:
        """The request is whole."""
        request = entrance.server.request
        if request is None:
            return
        entrance.user = request.username.decode("utf-8", "replace")
        if not self._parts.auth:
            self._on_verdict(entrance, "yes")
            return
        self._queries += 1
        self._asked[self._queries] = entrance
        entrance.query = self._queries
        self.tell(
            AskRelay(self._queries, request.username, request.password, str(entrance.stream.remote))
        )

    def on_stream_end(self, entrance: Entrance, reason: str) -> None:
        """Whatever it was, it is over."""
        if self._forget_stranger(entrance):
            self.count("ended-early")
        led = self._led.pop(entrance, None)
        if led is None:
            return
        led.crossing.end()
        self._past += led.crossing.counts()
        self._rest(led.sock)
        self.count("stream-ends")
        self.tell(StreamEnded(led.local, led.port, led.service, reason))
        if self._closing is not None and not self._led:
            self._closing.set()

    def _rest(self, sock: socket.socket) -> None:
        """Let the port be nobody's for a while: connected to itself the socket hears no one."""
        try:
            sock.connect(sock.getsockname())
        except OSError:
            sock.close()
            return
        self._resting.append((asyncio.get_running_loop().time() + REST_SECONDS, sock))
        if len(self._resting) > MOST_RESTING:
            self._resting.popleft()[1].close()

    def _forget_stranger(self, entrance: Entrance) -> bool:
        """Take it from the strangers; false: it was none any more."""
        self._asked.pop(entrance.query, None)
        return self._strangers.pop(entrance, None) is not None

    def _on_verdict(self, entrance: Entrance, verdict: str) -> None:
        request = entrance.server.request
        if verdict != "yes" or request is None:
            status = Status.UNAUTHORIZED if verdict == "no" else Status.TIMEOUT
            self.reject(entrance, "unauthorized" if verdict == "no" else "undecided", status)
            return
        parts = self._parts
        way = self._forward(request) or find_way(request, parts.own, parts.allowed, _is_local)
        if isinstance(way, Status):
            what = "forbidden" if way is Status.FORBIDDEN else "bad-target"
            self.reject(entrance, what, way)
        elif way.udp and _is_literal(way.address.host):
            self._lead_datagrams(entrance, way, way.address.host)
        else:
            self.begin(self._lead(entrance, way))

    def _forward(self, request: Request) -> Way | None:
        if not self._parts.forward:
            return None
        chosen = 0
        if self._parts.selector is not None:
            now = asyncio.get_running_loop().time()
            chosen = self._parts.selector.select(now) or 0
        return replace(self._parts.forward[chosen], udp=request.udp)

    async def _lead(self, entrance: Entrance, way: Way) -> None:
        """What takes a moment: a name to look up, a TCP connection to make."""
        host, port = way.address.host, way.address.port
        try:
            if way.udp:
                found = await self._look_up(host, port)
                self._lead_datagrams(entrance, way, found)
                return
            far = await tcp.dial(host, port, timeout=CONNECT_SECONDS)
        except (CarrierError, OSError, UnicodeError):  # a name that cannot be one
            self.reject(entrance, "unreachable", Status.NETWORK_UNREACHABLE)
            return
        if not self._forget_stranger(entrance):
            far.abort()
            return
        entrance.stream.write(build_response(Status.OK))
        splice = Splice(entrance.stream, far, self._on_splice_end)
        self._splices.add(splice)
        far.start(splice.far)
        entrance.lead(splice.near)
        self.count("connected")

    async def _look_up(self, host: str, port: int) -> str:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        return str(found[0][4][0])

    def _on_splice_end(self, splice: Splice) -> None:
        self._splices.discard(splice)

    def _lead_datagrams(self, entrance: Entrance, way: Way, host: str) -> None:
        if entrance not in self._strangers:
            return
        try:
            sock = self._connect(host, way.address.port)
        except OSError:
            self.reject(entrance, "unreachable", Status.NETWORK_UNREACHABLE)
            return
        self._forget_stranger(entrance)
        name = sock.getsockname()
        local, port = pack_address(ip_address(name[0].partition("%")[0])), int(name[1])
        crossing = Crossing(entrance.stream, sock, self.packer)
        service = way.address.port if way.own else 0
        self._led[entrance] = _Led(crossing, sock, local, port, service)
        stream = entrance.stream
        self.tell(
            StreamOpened(
                local,
                port,
                service,
                stream.carrier,
                str(stream.remote),
                time.clock_gettime(time.CLOCK_BOOTTIME),
                entrance.user,
            )
        )
        stream.write(build_response(Status.OK))
        crossing.start()
        entrance.lead(_Datagrams(crossing))
        self.count("connected")

    def _connect(self, host: str, port: int) -> socket.socket:
        if ip_address(host.partition("%")[0]).version == 4 and self._stock:
            sock = self._stock.popleft()
            self._order_sockets()
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = near.open_near(family)
        try:
            sock.connect((host, port))
        except OSError:
            sock.close()
            raise
        return sock

    def _order_sockets(self) -> None:
        if len(self._stock) <= STOCK_LOW and not self._ordered:
            self._ordered = True
            self.tell(SocketsPlease(STOCK - len(self._stock)))


class _Datagrams:
    """A crossing as a receiver: the end is the bridge's."""

    def __init__(self, crossing: Crossing) -> None:
        self.on_data = crossing.on_data
        self.on_room = crossing.on_room

    def on_end(self, _reason: str) -> None:
        """The bridge has been told."""


def _is_literal(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_local(address: str) -> bool:
    """Whether this host has the address: it then can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
