"""The bridge of a relay listener: streams in, each to a UDP socket of its own.

A stream goes through these states, and is a stranger until it is through the last:

    accepted ─ request whole ─> asked (may he in?) ─> led (connected to its end) ─> crossing

Strangers are bounded in time, one limit for request and question together, and in number:
the oldest goes first. The answer is written at once, a refusal too, as GOST's client reads
it whenever it likes. Bytes that are no request end the stream without a word.

Where a stream may lead is `protocol.relay_access`. The supervisor hears of a stream's UDP
port before its first datagram leaves, and of its end at once: the port will be used again.
Not before all have heard, though: the socket rests for a while, deaf, and keeps the port.

Streams that are led are bounded too (`bridge_guests`). When there is no place, one that has
never had an answer from where it leads has to go, the oldest first; if all had one, the new
one is refused. So who may ask but is not let into the tunnel keeps nobody out.
"""

import asyncio
import contextlib
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from gateway.carriers import listening, tcp
from gateway.carriers.stream import CarrierError, Listener, Stream
from gateway.config.chain_model import CLIENTS
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
from gateway.protocol.relay import Address, Status, build_response
from gateway.protocol.relay_access import Own, Way, find_way
from gateway.protocol.selector import Selector
from gateway.workers.base import Place
from gateway.workers.bridge_base import CLOSE_SECONDS, Bridge
from gateway.workers.bridge_carriers import STRANGERS, Listen
from gateway.workers.bridge_crossing import Crossing
from gateway.workers.bridge_entrance import HELD_FREELY, HELD_TOGETHER, Entrance
from gateway.workers.bridge_forward import Forward
from gateway.workers.bridge_guests import SHARE, Guests
from gateway.workers.bridge_hosts import is_literal, is_local, look_up
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
    where its client asks for. At most `clients` streams are led at a time.
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
    clients: int = CLIENTS


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
        self._forward = Forward(parts.forward, parts.selector)
        self._listener: Listener | None = None
        self._strangers: dict[Entrance, float] = {}
        self._asked: dict[int, Entrance] = {}
        self._leading: dict[asyncio.Task[None], None] = {}
        self._led: dict[Entrance, _Led] = {}
        limit = listening.raise_descriptor_limit()
        self._most_strangers = max(1, min(parts.strangers, limit // listening.SHARE))
        self._held = 0
        self._guests = Guests(min(parts.clients, limit // SHARE))
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
        if len(self._strangers) >= self._most_strangers:
            self.reject(next(iter(self._strangers)), "stranger-evicted")
        entrance = Entrance(self, stream)
        now = asyncio.get_running_loop().time()
        self._strangers[entrance] = now + self._parts.read_timeout
        stream.start(entrance)

    def reject(self, entrance: Entrance, what: str, status: Status | None = None) -> None:
        """End a stranger, with a status or without a word."""
        if not self._forget_stranger(entrance):
            return
        entrance.held.clear()
        self.count(what)
        if status is None:
            entrance.stream.abort()
            return
        entrance.stream.write(build_response(status))
        entrance.stream.close()

    def may_hold(self, entrance: Entrance, size: int) -> bool:
        """All strangers together keep what memory allows: who has much must not have more."""
        if entrance in self._strangers:
            self._held += size
        return self._held <= HELD_TOGETHER or len(entrance.held) <= HELD_FREELY

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
        self._guests.leave(entrance)
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
        if self._strangers.pop(entrance, None) is None:
            return False
        self._held -= len(entrance.held)
        return True

    def _on_verdict(self, entrance: Entrance, verdict: str) -> None:
        request = entrance.server.request
        if verdict != "yes" or request is None:
            status = Status.UNAUTHORIZED if verdict == "no" else Status.TIMEOUT
            self.reject(entrance, "unauthorized" if verdict == "no" else "undecided", status)
            return
        parts = self._parts
        now, client = asyncio.get_running_loop().time(), entrance.stream.remote.host.encode()
        fixed = self._forward.choose(now, client, udp=request.udp)
        way = fixed or find_way(request, parts.own, parts.allowed, is_local)
        if isinstance(way, Status):
            what = "forbidden" if way is Status.FORBIDDEN else "bad-target"
            self.reject(entrance, what, way)
        elif way.udp and is_literal(way.address.host):
            self._lead_datagrams(entrance, way, way.address.host)
        else:
            self._begin_lead(entrance, way)

    def _begin_lead(self, entrance: Entrance, way: Way) -> None:
        """Whose client is gone goes on, as it tells of the target; the oldest makes room."""
        if len(self._leading) >= self._most_strangers:
            oldest = next(iter(self._leading))
            del self._leading[oldest]
            oldest.cancel()
        task = self.begin(self._lead(entrance, way))
        self._leading[task] = None
        task.add_done_callback(lambda done: self._leading.pop(done, None))

    async def _lead(self, entrance: Entrance, way: Way) -> None:
        """What takes a moment: a name to look up, a TCP connection to make."""
        host, port = way.address.host, way.address.port
        try:
            if way.udp:
                found = await look_up(host, port, CONNECT_SECONDS)
                self._lead_datagrams(entrance, way, found)
                return
            far = await tcp.dial(host, port, timeout=CONNECT_SECONDS)
        except (CarrierError, OSError, UnicodeError):  # a name that cannot be one
            self._unreachable(entrance, way)
            return
        self._forward.note(way, asyncio.get_running_loop().time(), reached=True)
        if entrance not in self._strangers or not self._take_place(entrance):
            far.abort()
            return
        entrance.stream.write(build_response(Status.OK))
        splice = Splice(entrance.stream, far, self._on_splice_end)
        self._splices.add(splice)
        far.start(splice.far)
        entrance.lead(splice.near)
        self.count("connected")

    def _unreachable(self, entrance: Entrance, way: Way) -> None:
        self._forward.note(way, asyncio.get_running_loop().time(), reached=False)
        self.reject(entrance, "unreachable", Status.NETWORK_UNREACHABLE)

    def _take_place(self, entrance: Entrance) -> bool:
        """The stranger becomes a guest; false: there is no place, here or with his carrier."""
        client = entrance.user if self._parts.auth else entrance.stream.remote.host
        lacking = self._guests.lacks(client)
        if lacking and not self._make_room(client if lacking == "client-full" else None):
            self.reject(entrance, lacking, Status.UNAVAILABLE)
            return False
        self._forget_stranger(entrance)
        self._guests.enter(entrance, client)
        entrance.stream.prove()
        return self._guests.client_of(entrance) is not None

    def _make_room(self, client: str | None) -> bool:
        """End the oldest led stream, of this client if one is given, that never had an answer."""
        for entrance, led in self._led.items():
            owner = self._guests.client_of(entrance)
            if not led.crossing.last_datagram and client in {None, owner}:
                self.count("unanswered")
                self.on_stream_end(entrance, "its place was needed")
                entrance.stream.abort()
                return True
        return False

    def _on_splice_end(self, splice: Splice) -> None:
        self._splices.discard(splice)

    def _lead_datagrams(self, entrance: Entrance, way: Way, host: str) -> None:
        if entrance not in self._strangers:
            return
        try:
            sock = self._connect(host, way.address.port)
        except OSError:
            self._unreachable(entrance, way)
            return
        if not self._take_place(entrance):
            sock.close()
            return
        name = sock.getsockname()
        local, port = pack_address(ip_address(name[0].partition("%")[0])), int(name[1])
        crossing = Crossing(entrance.stream, sock, self.packer)
        service = way.address.port if way.own else 0
        self._led[entrance] = _Led(crossing, sock, local, port, service)
        stream = entrance.stream
        self.tell(
            StreamOpened(
                local, port, service, stream.carrier, str(stream.remote),
                time.clock_gettime(time.CLOCK_BOOTTIME), entrance.user,
            )
        )  # fmt: skip
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
