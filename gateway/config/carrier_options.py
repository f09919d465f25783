"""The one table of what may be said about a carrier: GOST's names, and what they become.

A URL gives an option as a query key, YAML as a key of the dialer's or the listener's
`metadata`. Names are compared without regard to case. What is useless here is known and
does nothing; what is foreign is refused; an unknown one is an error that names the nearest.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from gateway.config import values
from gateway.config.chain_model import Options
from gateway.config.kcp_metadata import kcp_of
from gateway.config.option import Standing, nearest, without_value
from gateway.config.shape import tell
from gateway.config.tree import Entry, Report, Scalar
from gateway.config.values import BadValueError

End = Literal["dial", "listen"]
Into = Callable[[Scalar], Options]

CARRIERS = ("tcp", "tls", "mtls", "ws", "wss", "mws", "mwss", "grpc", "quic", "kcp")
TLS_CARRIERS = frozenset({"tls", "mtls", "wss", "mwss", "grpc", "quic"})
OVER_UDP = frozenset({"quic", "kcp"})

_TCP = ("tcp", "tls", "mtls", "ws", "wss", "mws", "mwss", "grpc")
_RAW = ("tcp", "tls", "mtls")
_WS = ("ws", "wss", "mws", "mwss")
_MUX = ("mtls", "mws", "mwss")
_SHAKES = ("tls", "mtls", "ws", "wss", "mws", "mwss", "grpc", "quic")
_BYTES = 1 << 31


@dataclass(frozen=True, slots=True)
class CarrierOption:
    """One option of some carriers. `ends` are those that have a use for it."""

    name: str
    carriers: tuple[str, ...]
    into: Into
    kind: str
    help: str
    aliases: tuple[str, ...] = ()
    ends: tuple[End, ...] = ("dial", "listen")
    standing: Standing = "used"


def _seconds(value: Scalar) -> float:
    found = values.duration(value)
    if not 0.1 <= found <= 86400:
        raise BadValueError(f"{values.shown(value)} is out of range: write 100ms to 24h")
    return found


def _path(value: Scalar) -> str:
    word = values.printable(value)
    return word if word.startswith("/") else f"/{word}"


def _on(key: str, off: float) -> Into:
    """A switch that only means something when it is off."""

    def into(value: Scalar) -> Options:
        return {} if values.boolean(value) else {key: off}

    return into


def _to(key: str, parse: Callable[[Scalar], object]) -> Into:
    def into(value: Scalar) -> Options:
        return {key: parse(value)}  # type: ignore[dict-item]

    return into


def _switch(value: Scalar) -> Options:
    """One that is looked at elsewhere (`chains.is_insecure`), but must be readable."""
    values.boolean(value)
    return {}


def _nothing(_value: Scalar) -> Options:
    return {}


def _smux(value: Scalar) -> Options:
    if values.text(value).lower() != "smux":
        raise BadValueError(f"{values.shown(value)} is not there: this program has smux only")
    return {}


def _useless(name: str, carriers: tuple[str, ...], *aliases: str) -> CarrierOption:
    return CarrierOption(name, carriers, _nothing, "", "", aliases, standing="useless")


OPTIONS: tuple[CarrierOption, ...] = (
    CarrierOption(
        "handshakeTimeout", _SHAKES, _to("handshake_timeout", _seconds), "duration",
        "How long all handshakes may take together.", ("ws.handshakeTimeout",),
    ),
    CarrierOption(
        "keepalive", _RAW, _to("sockets.keepalive", values.boolean), "boolean",
        "Probe a silent TCP connection. On by default.",
    ),
    CarrierOption(
        "keepalive.idle", _TCP, _to("sockets.idle", _seconds), "duration",
        "After how much silence TCP probes.",
    ),
    CarrierOption(
        "keepalive.interval", _RAW, _to("sockets.interval", _seconds), "duration",
        "The time between two probes.",
    ),
    CarrierOption(
        "keepalive.count", _TCP, _to("sockets.count", values.ranged(1, 100)), "number",
        "Unanswered probes after which a connection is dead.",
    ),
    CarrierOption(
        "path", _WS, _to("ws.path", _path), "path",
        "The HTTP path, `/ws` by default; the same at both ends.", ("ws.path",),
    ),
    CarrierOption(
        "host", _WS, _to("ws.host", values.printable), "host name",
        "The Host header; by default the node's address.", ("ws.host",), ends=("dial",),
    ),
    CarrierOption(
        "ttl", _WS, _to("ws.keepalive", _seconds), "duration",
        "The time between two pings, 15s by default. An end that is silent for two is dead.",
        ("keepalive.interval",),
    ),
    CarrierOption(
        "keepalive", _WS, _on("ws.keepalive", 0.0), "boolean", "Send pings. On by default.",
    ),
    CarrierOption(
        "enableCompression", _WS, _to("ws.compression", values.boolean), "boolean",
        "Agree on permessage-deflate. It costs time; packets seldom get smaller.",
        ("ws.enableCompression",),
    ),
    CarrierOption(
        "mux.version", _MUX, _to("mux.version", values.ranged(1, 2)), "1 or 2",
        "The version of smux; the same at both ends.",
    ),
    CarrierOption(
        "mux.keepaliveInterval", _MUX, _to("mux.keepalive", _seconds), "duration",
        "The time between two signs of life, 10s by default.",
    ),
    CarrierOption(
        "mux.keepaliveTimeout", _MUX, _to("mux.timeout", _seconds), "duration",
        "After how much silence a session is dead, 30s by default.",
    ),
    CarrierOption(
        "mux.keepaliveDisabled", _MUX,
        lambda value: {"mux.keepalive": 0.0} if values.boolean(value) else {}, "boolean",
        "Neither send signs of life nor wait for them.",
    ),
    CarrierOption(
        "mux.maxFrameSize", _MUX, _to("mux.max_frame", values.ranged(1, 65535)), "number",
        "Bytes of a frame, 32768 by default.",
    ),
    CarrierOption(
        "mux.maxReceiveBuffer", _MUX, _to("mux.receive_buffer", values.ranged(1, _BYTES)),
        "number", "Bytes a session may hold, 4194304 by default.",
    ),
    CarrierOption(
        "mux.maxStreamBuffer", _MUX, _to("mux.stream_buffer", values.ranged(1, _BYTES)),
        "number", "Bytes of a stream's window in version 2, 1048576 by default.",
    ),
    CarrierOption("mux.type", _MUX, _smux, "smux", "The kind of multiplexing."),
    CarrierOption(
        "path", ("grpc",), _to("grpc.path", values.printable), "SERVICE/METHOD",
        "What is called, `GostTunel/Tunnel` by default; the same at both ends.", ("grpc.path",),
    ),
    CarrierOption(
        "authority", ("grpc",), _to("grpc.authority", values.printable), "host name",
        "The :authority of requests; by default the node's host.",
        ("grpc.authority", "grpc.host", "host"), ends=("dial",),
    ),
    CarrierOption(
        "insecure", ("grpc",), _switch, "boolean", "Without TLS; the same at both ends.",
        ("grpc.insecure", "grpcInsecure"),
    ),
    CarrierOption(
        "keepalive", ("grpc",), _on("grpc.keepalive", 0.0), "boolean",
        "Send pings. On by default.",
    ),
    CarrierOption(
        "keepalive.time", ("grpc",), _to("grpc.keepalive", _seconds), "duration",
        "After how much silence a ping is sent, 15s by default.",
    ),
    CarrierOption(
        "keepalive.timeout", ("grpc",), _to("grpc.timeout", _seconds), "duration",
        "How long its answer may take, 15s by default.",
    ),
    CarrierOption(
        "keepalive", ("quic",), _on("quic.keepalive", 0.0), "boolean",
        "Send PINGs. On by default.",
    ),
    CarrierOption(
        "ttl", ("quic",), _to("quic.keepalive", _seconds), "duration",
        "The time between two PINGs, 10s by default.",
    ),
    CarrierOption(
        "maxIdleTimeout", ("quic",), _to("quic.idle_timeout", _seconds), "duration",
        "After how much silence a connection is dead.",
    ),
    CarrierOption(
        "maxStreams", ("quic",), _to("quic.max_streams", values.ranged(1, 100)), "number",
        "Streams that a client may have open.", ends=("listen",),
    ),
    CarrierOption(
        "cipherKey", ("quic",), _to("quic.cipher_key", values.text), "16, 24 or 32 characters",
        "Seals every datagram once more (AES-GCM); the same at both ends.",
    ),
    _useless("backlog", _TCP),
    _useless("ws.readHeaderTimeout", _WS, "readHeaderTimeout"),
    _useless("ws.readBufferSize", _WS, "readBufferSize"),
    _useless("ws.writeBufferSize", _WS, "writeBufferSize"),
    _useless("keepalive.permitWithoutStream", ("grpc",)),
    _useless("keepalive.minTime", ("grpc",)),
    _useless("minConnectTimeout", ("grpc",), "grpc.minConnectTimeout"),
    _useless("enableDatagram", ("quic",), "quic.enableDatagram"),
)  # fmt: skip


def options_of(carrier: str, end: End, given: Iterable[Entry], report: Report) -> Options:
    """What the entries of `metadata` say of a carrier. Problems are reported."""
    if carrier == "kcp":
        return kcp_of(given, report, tls_hint)
    known = {
        name.lower(): option
        for option in OPTIONS
        if carrier in option.carriers
        for name in (option.name, *option.aliases)
    }
    found: Options = {}
    for entry in given:
        key = entry.key.lower()
        if key in _MAPS and carrier in _WS:
            found |= _headers(entry, report)
            continue
        option = known.get(key) or known.get(key.removeprefix(f"{carrier}."))
        if option is None:
            report.error(
                entry.place,
                f"unknown option {without_value(entry.key)}: {_hint(key, carrier, known)}",
            )
        elif option.standing != "used":
            tell(entry, entry.key, option.standing, report)
        elif end not in option.ends:
            report.warn(entry.place, f"{entry.key}: has no use on a {_NAMES[end]}")
        elif not entry.node.is_empty:
            found |= _read(option, entry, report)
    return found


_MAPS = ("header", "ws.header")
_NAMES: dict[str, str] = {"dial": "dialer", "listen": "listener"}


def _read(option: CarrierOption, entry: Entry, report: Report) -> Options:
    value = entry.node.value
    if isinstance(value, dict | tuple):
        report.error(entry.place, f"{entry.key}: expected one value: {option.kind}")
        return {}
    try:
        return option.into(value)
    except BadValueError as error:
        report.error(entry.place, f"{entry.key}: {error}")
        return {}


def _headers(entry: Entry, report: Report) -> Options:
    """A mapping of HTTP headers, which only a file can hold."""
    if not isinstance(entry.node.value, dict):
        report.error(entry.place, f"{entry.key}: expected a mapping of names to values")
        return {}
    headers = {}
    for name, each in ((e.key, e.node.value) for e in entry.node.value.values()):
        if isinstance(each, dict | tuple):
            report.error(entry.place, f"{entry.key}.{name}: expected one value")
        else:
            headers[name] = values.text(each)
    return {"ws.headers": headers}


def tls_hint(key: str, carrier: str) -> str:
    """What to say of an option of TLS where there is none; "" for any other."""
    if key.lower() not in {name.lower() for name in TLS_NAMES}:
        return ""
    return f"{carrier} is not over TLS: leave this out, or choose another carrier"


def _hint(key: str, carrier: str, known: dict[str, CarrierOption]) -> str:
    if carrier not in TLS_CARRIERS and (hint := tls_hint(key, carrier)):
        return hint
    used = [option.name for option in known.values() if option.standing == "used"]
    near = nearest(key, [*known, *TLS_NAMES] if carrier in TLS_CARRIERS else list(known))
    if near:
        spelled = {name.lower(): name for name in (*TLS_NAMES, *used)}
        return f"did you mean {spelled.get(near, near)}?"
    return f"{carrier} has {', '.join(dict.fromkeys(used))}"


TLS_NAMES = ("secure", "serverName", "certFile", "keyFile", "caFile", "pin")
