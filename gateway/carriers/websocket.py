"""WebSocket on top of any stream (RFC 6455).

The handshake and control frames are the `websockets` library's, sans-IO; data frames are
ours (`ws_frames`), unless they are compressed. One write is one binary message; what arrives
is pushed as bytes, as many messages as came in one piece at once, since boundaries mean
nothing here and GOST sends two messages for each datagram.

Both ends ping. Anything that arrives counts as life; an end that has been silent for two
periods although it was pinged is given up.
"""

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import WebSocketURI

from gateway.carriers.layer import Layer
from gateway.carriers.stream import CarrierError, Receiver, Remote, Stream
from gateway.carriers.tls import TlsStream
from gateway.carriers.ws_frames import Reader, Writer

_DATA = frozenset({Opcode.BINARY, Opcode.TEXT, Opcode.CONT})

_LONGEST_HANDSHAKE = 32 * 1024
STRANGER_MESSAGE = 64 * 1024
"""Bytes of a compressed message of who was not let in yet, once it is inflated."""
_COMPRESSED = 16 * 1024
"""Bytes of a message before it is compressed: it is read only when it is whole."""
_SIP = 64
"""Bytes of a stranger that are inflated at once: they may become a thousand times as many."""
_END_OF_HEADERS = b"\r\n\r\n"

_SILENT = logging.getLogger(f"{__name__}.library")
_SILENT.disabled = True
"""What peers send is counted by us, not logged by the library."""


@dataclass(frozen=True, slots=True)
class WsOptions:
    """What both ends of a websocket may be told; times in seconds.

    `path` is matched exactly, or by its beginning if it ends in a slash. `host` and `headers`
    are the client's, `headers` also what a server adds to its answer. A message is at most
    `max_message` bytes. `keepalive` 0: no pings of ours.
    """

    path: str = "/ws"
    host: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    keepalive: float = 15.0
    compression: bool = False
    max_message: int = 1 << 20


WS_DEFAULTS = WsOptions()


class WsStream(Layer):
    """One side of a websocket over `lower`: what its two kinds have in common."""

    def __init__(self, lower: Stream, options: WsOptions) -> None:
        super().__init__(lower)
        self.carrier = "wss" if isinstance(lower, TlsStream) else "ws"
        self.verified = lower.verified
        self._options = options
        self._protocol: ClientProtocol | ServerProtocol
        self._reader: Reader | None = None
        self._writer: Writer | None = None
        self._parts: list[bytes | bytearray | memoryview] = []
        self._sipping = False  # a stranger's bytes may grow
        self._unread = b""  # of them, not inflated yet
        self._shaken = 0
        self._last_seen = b""
        self._heard = 0.0
        self._pinged = 0.0
        self._trip: float | None = None
        self._next_watch: asyncio.TimerHandle | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._ready or self._closing or self._protocol.state is not State.OPEN:
            return
        if self._writer is not None:
            self._lower.write(self._writer.write(data))
            return
        view = memoryview(data)
        for at in range(0, len(view), _COMPRESSED):
            self._protocol.send_binary(bytes(view[at : at + _COMPRESSED]))
        self._send()

    @property
    def rtt(self) -> float | None:
        """The carrier's below; over a chain, where it cannot know, the last ping's."""
        below = self._lower.rtt
        return self._trip if below is None else below

    def start(self, receiver: Receiver) -> None:
        super().start(receiver)
        self._heard = self._loop.time()
        if self._options.keepalive > 0:
            self._next_watch = self._loop.call_later(self._options.keepalive, self._watch)

    def _take(self, data: bytes | bytearray | memoryview) -> None:
        self._heard = self._loop.time()
        if not self._ready and self._done:
            self._shake_hands(data)
        else:
            self._read(data)
        self._send()
        if self._lower.backlog > 4 * self._lower.high + self._options.max_message:
            self._abandon("does not read the answers to its pings")

    def _shake_hands(self, data: bytes | bytearray | memoryview) -> None:
        """To the library no byte behind the headers, as frames are ours."""
        text = bytes(data)
        before = len(self._last_seen)
        found = (self._last_seen + text).find(_END_OF_HEADERS)
        size = len(text) if found < 0 else found + len(_END_OF_HEADERS) - before
        self._last_seen = (self._last_seen + text)[1 - len(_END_OF_HEADERS) :]
        self._shaken += size
        self._listen(text[:size])
        error = self._protocol.handshake_exc
        if error is None and self._shaken > _LONGEST_HANDSHAKE:
            error = InvalidMessage(f"more than {_LONGEST_HANDSHAKE} bytes of headers")
        if error is not None:
            self._refuse(error)
        elif size < len(text):
            if self._sipping:
                self._unread = text[size:]
            else:
                self._take(text[size:])

    def _begin_frames(self, *, client: bool) -> None:
        """Both have agreed; before anything is written or read."""
        if self._protocol.extensions:
            self._sipping = not client
        else:
            self._reader = Reader(masked=not client, largest=self._options.max_message)
            self._writer = Writer(masked=client)

    def _read(self, data: bytes | bytearray | memoryview) -> None:
        if self._reader is None:
            self._listen(data)
            return
        pieces, controls = self._reader.read(data)
        self._parts += [bytes(piece) for piece in pieces] if self._held else pieces
        for control in controls:
            self._listen(control)
        if self._reader.fault is not None and self._protocol.state is State.OPEN:
            self._protocol.fail(*self._reader.fault)

    def _listen(self, data: bytes | bytearray | memoryview) -> None:
        self._protocol.receive_data(data)  # type: ignore[arg-type]
        for event in self._protocol.events_received():
            if not isinstance(event, Frame):
                self._agree(event)
            elif event.opcode in _DATA:
                if event.data:
                    self._parts.append(event.data)
            elif event.opcode is Opcode.PONG:
                self._trip = self._heard - self._pinged

    @abstractmethod
    def _agree(self, event: Request | Response) -> None:
        """What the other end said in the handshake."""

    @abstractmethod
    def _refuse(self, error: Exception) -> None:
        """What it said is no handshake."""

    def _give(self) -> None:
        if self._parts and self._receiver:
            parts, self._parts = self._parts, []
            self._receiver.on_data(parts[0] if len(parts) == 1 else b"".join(parts))
        received = self._protocol.close_rcvd
        error: object = self._protocol.parser_exc
        if self._reader is not None and self._reader.fault is not None:
            error = self._reader.fault[1]
        if self._protocol.state is State.OPEN and received is None and error is None:
            return
        ordered = received is not None and received.code in {1000, 1001, 1005}
        self._finish("" if ordered else f"ws: {error or received or 'closed'}")

    def _has_more(self) -> bool:
        return bool(self._parts or self._unread)

    def on_data(self, data: bytes | bytearray | memoryview) -> None:
        if not self._ready or not (self._sipping or self._unread):
            super().on_data(data)
            return
        self._unread += data
        self._sip()

    def _go_on(self) -> None:
        self._sip()
        super()._go_on()

    def _sip(self) -> None:
        """Inflate no more than is asked for."""
        while self._unread and not (self._held or self._closing) and self._ended is None:
            sip, self._unread = self._unread[:_SIP], self._unread[_SIP:]
            super().on_data(sip)

    def _send(self) -> None:
        for piece in self._protocol.data_to_send():
            if piece:
                self._lower.write(piece)

    def _say_goodbye(self) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
            self._send()

    def _watch(self) -> None:
        if self._ended is not None or self._closing:
            return
        period = self._options.keepalive
        now = self._loop.time()
        if self._held:
            self._heard = now  # it is we who do not listen
        elif now - self._heard >= 2 * period:
            self._abandon(f"silent for {now - self._heard:.0f} s")
            return
        self._pinged = now
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
            self._send()
        rest = self._heard + 2 * period - now
        self._next_watch = self._loop.call_later(min(period, rest), self._watch)

    def _let_go(self) -> None:
        if self._next_watch:
            self._next_watch.cancel()
        self._protocol.parser.close()  # a generator that refers to its protocol

    def _abandon(self, reason: str) -> None:
        self._closing = True
        self._finish(reason)
        self._lower.abort()


class WsClient(WsStream):
    """The end that asked: it masks what it sends."""

    def __init__(self, lower: Stream, host: str, port: int, options: WsOptions) -> None:
        super().__init__(lower, options)
        path, _, query = options.path.partition("?")
        uri = WebSocketURI(self.carrier == "wss", host, port, path or "/", query)
        deflate = ClientPerMessageDeflateFactory(
            server_no_context_takeover=True, client_no_context_takeover=True
        )
        self._protocol = ClientProtocol(
            uri,
            extensions=[deflate] if options.compression else None,
            max_size=options.max_message,
            logger=_SILENT,
        )
        self._host = options.host or str(Remote(host, port))

    def _greet(self) -> None:
        protocol = self._protocol
        if not isinstance(protocol, ClientProtocol):
            return
        request = protocol.connect()
        wanted = {"User-Agent": "Go-http-client/1.1", **self._options.headers, "Host": self._host}
        _replace(request.headers, wanted)
        protocol.send_request(request)
        self._send()

    def on_end(self, reason: str) -> None:
        if not self._ready and self._done and not reason:
            self._protocol.receive_eof()  # an answer may be without a length
            if self._protocol.handshake_exc:
                self._refuse(self._protocol.handshake_exc)
        super().on_end(reason)

    def _agree(self, _event: Request | Response) -> None:
        if self._protocol.state is State.OPEN:
            self._begin_frames(client=True)
            self._succeed()

    def _refuse(self, error: Exception) -> None:
        where = f"{self.carrier} {self.remote}{self._options.path}"
        self._fail(CarrierError(f"{where}: {_why(error)}", "bad-http"))


class WsServer(WsStream):
    """The end that was asked. Wrong paths and plain HTTP get an answer, and the end."""

    def __init__(self, lower: Stream, options: WsOptions) -> None:
        super().__init__(lower, options)
        deflate = ServerPerMessageDeflateFactory(
            server_no_context_takeover=True, client_no_context_takeover=True
        )
        self._protocol = ServerProtocol(
            extensions=[deflate] if options.compression else None,
            max_size=min(options.max_message, STRANGER_MESSAGE),
            logger=_SILENT,
        )

    def prove(self) -> None:
        for name in ("max_message_size", "max_size"):  # the library's name since 16, and before
            if hasattr(self._protocol, name):
                setattr(self._protocol, name, self._options.max_message)
        self._sipping = False
        super().prove()

    def _greet(self) -> None:
        """The client speaks first."""

    def _refuse(self, _error: Exception) -> None:
        self._lower.write(_BAD_REQUEST)
        self._fail(CarrierError(f"{self.carrier} {self.remote}: not HTTP", "bad-http"))

    def _agree(self, request: Request | Response) -> None:
        protocol = self._protocol
        if not isinstance(protocol, ServerProtocol) or not isinstance(request, Request):
            return
        if not self._is_here(request.path.partition("?")[0]):
            response = protocol.reject(HTTPStatus.NOT_FOUND, "404 page not found\n")
            what = "wrong-path"
        else:
            response = protocol.accept(request)
            what = "bad-http"
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            _replace(response.headers, self._options.headers)
            protocol.send_response(response)
            self._send()
            self._begin_frames(client=False)
            self._succeed()
            return
        protocol.send_response(_as_gost_says(response))
        self._send()
        text = f"{self.carrier} {self.remote}: answered {response.status_code}"
        self._fail(CarrierError(text, what))

    def _is_here(self, path: str) -> bool:
        own = self._options.path.partition("?")[0]
        return path == own or (own.endswith("/") and path.startswith(own))


_BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\n\r\n400 Bad Request"
)


def _as_gost_says(response: Response) -> Response:
    """A refused upgrade as gorilla/websocket's `returnError` words it (server.go)."""
    if response.status_code == HTTPStatus.NOT_FOUND:
        return response
    status = HTTPStatus.BAD_REQUEST
    if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        status = HTTPStatus.METHOD_NOT_ALLOWED
    response.status_code = status.value
    response.reason_phrase = status.phrase
    response.body = f"{status.phrase}\n".encode()
    for name in ("Upgrade", "Allow"):
        if name in response.headers:
            del response.headers[name]
    _replace(
        response.headers,
        {"Content-Length": str(len(response.body)), "Sec-Websocket-Version": "13"},
    )
    return response


def _replace(headers: Headers, wanted: Mapping[str, str]) -> None:
    for name, value in wanted.items():
        if name in headers:
            del headers[name]
        headers[name] = value


def _why(error: Exception) -> str:
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        hint = ": is the path right?" if status == HTTPStatus.NOT_FOUND else ""
        return f"answered HTTP {status}{hint}"
    if isinstance(error, InvalidMessage):
        return "did not answer as a web server"
    if isinstance(error, InvalidHandshake):
        return f"no websocket: {error}"
    return str(error) or "ended within the handshake"
