"""GOST's relay protocol, version 1: what a stream says before its datagrams. No I/O.

Request, client to server, and response; all numbers big-endian:

    +-----+-----+---------+----------+        +-----+--------+---------+----------+
    |  1  | CMD | FEALEN  | FEATURES |        |  1  | STATUS | FEALEN  | FEATURES |
    +-----+-----+---------+----------+        +-----+--------+---------+----------+
       1     1       2       FEALEN              1       1        2       FEALEN

A feature is TYPE(1) LEN(2) DATA(LEN). CMD: 0 or 1 connect, 2 bind, 3 associate, and 0x80
for UDP. Behind request and response a UDP exchange has `LEN(2) | datagram` repeated
(`fastpath.frames`), a TCP exchange plain bytes. Source: GOST relay and x/handler/relay.

When to write. Some servers hold their response until their first datagram, and some
clients their request, so neither side may wait for the other: a client writes the request
together with its first datagram and goes on sending; a server answers at once.

Whatever a peer sends, reading raises nothing but `WireError` (I15), and keeps no more
than `LIMIT` bytes.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from gateway.protocol.wire import WireError

VERSION = 1
HEADER_SIZE = 4
LIMIT = 2048
"""Bytes of a request or a response. The largest a GOST client can send has 786."""

UDP_FLAG = 0x80
_COMMANDS = 0x0F
_FEATURE_HEADER = 3
_USER, _ADDRESS, _NETWORK = 1, 2, 4
_IPV4, _DOMAIN, _IPV6 = 1, 3, 4


class Status(IntEnum):
    """What a response says."""

    OK = 0
    BAD_REQUEST = 1
    UNAUTHORIZED = 2
    FORBIDDEN = 3
    TIMEOUT = 4
    UNAVAILABLE = 5
    HOST_UNREACHABLE = 6
    NETWORK_UNREACHABLE = 7
    INTERNAL = 8


class Command(IntEnum):
    """What a request asks for, 0 being another way to write CONNECT."""

    CONNECT = 1
    BIND = 2
    ASSOCIATE = 3


class RelayError(Exception):
    """The server refused. `status` is one of `Status`, or a number it does not know."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the relay answered {status_text(status)}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Address:
    """A host, which is a name, an IP address or "" (the relay itself), and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Request:
    """Reach `address` over UDP or TCP. `command` is a number, as many are unknown."""

    address: Address | None
    udp: bool = True
    username: bytes = b""
    password: bytes = field(default=b"", repr=False)
    command: int = Command.CONNECT

    def build(self) -> bytes:
        """The bytes, features in GOST's order. ValueError for what cannot be written."""
        features = _feature(_NETWORK, b"\0\1") if self.udp else b""
        if self.username or self.password:
            features += _feature(_USER, _short(self.username) + _short(self.password))
        if self.address is not None:
            features += _feature(_ADDRESS, _pack(self.address))
        command = self.command | (UDP_FLAG if self.udp else 0)
        return bytes((VERSION, command)) + len(features).to_bytes(2, "big") + features


def build_response(status: int) -> bytes:
    """A response without features."""
    return bytes((VERSION, status, 0, 0))


def status_text(status: int) -> str:
    """A status in words: `unauthorized (2)`."""
    try:
        return f"{Status(status).name.lower().replace('_', ' ')} ({status})"
    except ValueError:
        return f"status {status}"


class _Reader:
    """Collects bytes until the header and the features it announces are whole."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.done = False

    def take(self, data: bytes | bytearray | memoryview) -> tuple[bytes, memoryview] | None:
        """The whole message and what came after it, borrowed from `data` (I5)."""
        view = memoryview(data)
        used = self._collect(view, 0, HEADER_SIZE)
        if len(self._data) and self._data[0] != VERSION:
            raise WireError(f"this is no relay protocol: version {self._data[0]}")
        if len(self._data) < HEADER_SIZE:
            return None
        size = HEADER_SIZE + int.from_bytes(self._data[2:4], "big")
        if size > LIMIT:
            raise WireError(f"a relay message of {size} bytes is too long")
        used = self._collect(view, used, size)
        if len(self._data) < size:
            return None
        self.done = True
        return bytes(self._data), view[used:]

    def _collect(self, view: memoryview, start: int, size: int) -> int:
        end = min(len(view), start + max(0, size - len(self._data)))
        self._data += view[start:end]
        return end


class Server:
    """The server's end of one exchange: a request, then whatever follows it."""

    def __init__(self) -> None:
        self._reader = _Reader()
        self.request: Request | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> memoryview | None:
        """What follows the request, borrowed (I5); None: the request is not whole yet.

        `request` is there as soon as something else than None is returned.
        """
        if self._reader.done:
            return memoryview(data)
        found = self._reader.take(data)
        if found is None:
            return None
        self.request = _parse_request(found[0])
        return found[1]


class Client:
    """The client's end of one exchange: the request goes ahead of the first bytes."""

    def __init__(self, request: Request) -> None:
        self._request = request.build()
        self._reader = _Reader()

    @property
    def answered(self) -> bool:
        """Whether the server has said yes."""
        return self._reader.done

    def opening(self) -> bytes:
        """What the first write starts with; empty for every later one."""
        request, self._request = self._request, b""
        return request

    def feed(self, data: bytes | bytearray | memoryview) -> memoryview | None:
        """What follows the response, borrowed (I5); None: it is not whole yet.

        Raises RelayError when the server refused.
        """
        if self._reader.done:
            return memoryview(data)
        found = self._reader.take(data)
        if found is None:
            return None
        status = found[0][1]
        if status != Status.OK:
            raise RelayError(status)
        return found[1]


def _parse_request(data: bytes) -> Request:
    udp = bool(data[1] & UDP_FLAG)
    command = data[1] & _COMMANDS or Command.CONNECT
    username = password = b""
    address = None
    at = HEADER_SIZE
    while at < len(data):
        body = at + _FEATURE_HEADER
        end = body + int.from_bytes(data[at + 1 : body], "big")
        if body > len(data) or end > len(data):
            raise WireError("a feature of the request is cut off")
        kind, value = data[at], data[body:end]
        if kind == _USER:
            username, password = _user(value)
        elif kind == _ADDRESS:
            address = _unpack(value)
        elif kind == _NETWORK:
            if len(value) < 2:
                raise WireError("the request's network is cut off")
            udp |= value[:2] == b"\0\1"
        at = end
    return Request(address, udp, username, password, command)


def _user(value: bytes) -> tuple[bytes, bytes]:
    if len(value) < 2:
        raise WireError("the request's user is cut off")
    middle = 1 + value[0]
    if middle >= len(value) or middle + 1 + value[middle] > len(value):
        raise WireError("the request's user is cut off")
    return value[1:middle], value[middle + 1 : middle + 1 + value[middle]]


def _pack(address: Address) -> bytes:
    port = address.port.to_bytes(2, "big")
    try:
        found = ip_address(address.host)
    except ValueError:
        return bytes((_DOMAIN,)) + _short(address.host.encode("idna")) + port
    return bytes((_IPV4 if found.version == 4 else _IPV6,)) + found.packed + port


def _unpack(value: bytes) -> Address:
    if len(value) < 4:
        raise WireError("the request's address is cut off")
    if value[0] == _DOMAIN:
        start, end = 2, 2 + value[1]
    else:
        start, end = 1, {_IPV4: 5, _IPV6: 17}.get(value[0], 0)
    if not end:
        raise WireError(f"the request has an address of kind {value[0]}")
    if len(value) < end + 2:
        raise WireError("the request's address is cut off")
    host = value[start:end]
    port = int.from_bytes(value[end : end + 2], "big")
    if value[0] == _IPV4:
        return Address(str(IPv4Address(host)), port)
    if value[0] == _IPV6:
        return Address(str(IPv6Address(host)), port)
    return Address(_name(host), port)


def _name(raw: bytes) -> str:
    """A host's name; nothing that could disturb a log line or a resolver."""
    name = raw.decode("ascii", "replace")
    if not name.isascii() or not name.isprintable() or " " in name:
        raise WireError("the request's host is no name")
    return name


def _feature(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


def _short(value: bytes) -> bytes:
    if len(value) > 255:
        raise ValueError("a user, a password and a host have at most 255 bytes")
    return bytes((len(value),)) + value
