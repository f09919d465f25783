"""From what the configuration says of a carrier to functions that dial and listen.

Made as root, before any fork: certificates and keys are read here, and a package that an
extra would bring is missed here. Options have the names of the carriers' own structs,
`ws.path` being `path` of `WsOptions`.
"""

import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from gateway.carriers import trust
from gateway.carriers.sockets import SocketOptions
from gateway.carriers.stream import Accept, CarrierError, Counts, Listener, Stream
from gateway.config.chain_model import ClientTlsSpec, NodeSpec, Options, RelaySpec, ServerTlsSpec
from gateway.workers.bridge_marked import MarkedSockets

_TCP = ("sockets",)
_WS = ("sockets", "ws")
_SHAPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "tcp": ("tcp", _TCP),
    "tls": ("tls", _TCP),
    "mtls": ("mux", (*_TCP, "mux")),
    "ws": ("ws", _WS),
    "wss": ("ws", _WS),
    "mws": ("mux", (*_WS, "mux")),
    "mwss": ("mux", (*_WS, "mux")),
    "grpc": ("grpc", (*_TCP, "grpc")),
    "quic": ("quic", ("sockets", "quic")),
    "kcp": ("kcp", ("sockets", "kcp")),
}
"""The module of each carrier, and the groups of options it takes."""

_STRUCTS = {
    "ws": "WsOptions",
    "mux": "Options",
    "grpc": "Options",
    "kcp": "KcpOptions",
    "quic": "QuicOptions",
}
"""The struct of each group in its module."""

_EXTRAS = {"grpc": "grpc", "quic": "quic", "kcp": "kcp"}
"""Modules whose packages come with an extra of this name."""

SESSIONS = frozenset({"mtls", "mws", "mwss", "grpc", "quic", "kcp"})
"""Carriers of many streams in one session."""

_ANSWER_SECONDS = 1.0
"""Beyond `readTimeout`, for a stream's refusal to leave before its session ends."""

DATAGRAMS = frozenset({"quic", "kcp"})
"""Carriers over UDP: they listen on a datagram socket, and run over no stream."""

DialCarrier = Callable[[str, int, float, Stream | None], Awaitable[Stream]]
"""Host, port, seconds, and the stream to run over, if not over a socket."""

Listen = Callable[[socket.socket, Accept, Counts], Awaitable[Listener]]
"""Makes a carrier's listener of a listening socket."""

STRANGERS = 4096
"""Streams of a bridge that may be on their way in: with TLS each costs about 50 KB."""

OwnCertificate = Callable[[], Path]
"""The file with the generated certificate and its key, made if need be."""


def prepare_dial(node: NodeSpec, marked: MarkedSockets | None = None) -> DialCarrier:
    """How to dial a node; with the `marked` sockets, if there are any. Raises CarrierError."""
    module, keywords = _prepare(node.carrier, node.options)
    keywords["sockets"] = replace(
        keywords["sockets"],
        interface=node.interface,
        marked=marked.take if marked is not None else None,
    )
    if node.tls is not None:
        keywords["tls"] = client_tls(node.tls, module)
    limit = node.options.get("handshake_timeout")

    async def dial(host: str, port: int, seconds: float, over: Stream | None) -> Stream:
        given = keywords if over is None else {**keywords, "over": over}
        timeout = min(seconds, limit) if isinstance(limit, float) else seconds
        stream: Stream = await module.dial(host, port, timeout=timeout, **given)
        return stream

    return dial


def prepare_listen(relay: RelaySpec, own: OwnCertificate) -> Listen:
    """How to listen as a relay. Raises CarrierError."""
    module, keywords = _prepare(relay.carrier, relay.options)
    if relay.tls is not None:
        keywords["tls"] = server_tls(relay.tls, own, module)
    keywords["handshake_timeout"] = relay.options.get("handshake_timeout", relay.read_timeout)
    keywords["max_half_open"] = STRANGERS
    if relay.carrier in SESSIONS:
        keywords["request_timeout"] = relay.read_timeout + _ANSWER_SECONDS
        keywords["max_sessions"] = relay.clients

    async def listen(sock: socket.socket, accept: Accept, counts: Counts) -> Listener:
        listener: Listener = await module.listen(sock, accept, counts=counts, **keywords)
        return listener

    return listen


def _prepare(carrier: str, options: Options) -> tuple[Any, dict[str, Any]]:
    """The module, whose functions all take alike keywords, and those the options say."""
    name, groups = _SHAPES[carrier]
    try:
        module = import_module(f"gateway.carriers.{name}")
    except ModuleNotFoundError as error:
        if name not in _EXTRAS or (error.name or "").startswith("gateway"):
            raise
        remedy = f"install it with: pip install 'tun-gateway[{_EXTRAS[name]}]'"
        text = f"{carrier} needs the Python package {error.name}, an extra: {remedy}"
        raise CarrierError(text, "missing-extra") from None
    keywords: dict[str, Any] = {"under": "tcp"} if carrier == "mtls" else {}
    for group in groups:
        given = _group(group, options)
        if group == "sockets":
            keywords[group] = SocketOptions(**given)
            continue
        home = import_module(f"gateway.carriers.{group}")
        try:
            keywords[group] = getattr(home, _STRUCTS[group])(**given)
        except ValueError as error:
            raise CarrierError(str(error)) from None
    return module, keywords


def _group(group: str, options: Options) -> dict[str, Any]:
    """`ws.path` among `options` is `path` of the group ws."""
    prefix = f"{group}."
    return {
        name.removeprefix(prefix): value
        for name, value in options.items()
        if name.startswith(prefix)
    }


def client_tls(spec: ClientTlsSpec, carrier: Any = trust) -> Any:
    """Read the files, for the TLS that this carrier has. Raises CarrierError."""
    make = getattr(carrier, "client_tls", trust.client_tls)
    return make(
        secure=spec.secure,
        server_name=spec.server_name,
        ca_file=spec.ca_file,
        cert_file=spec.cert_file,
        key_file=spec.key_file,
        pin=spec.pin,
        alpn=spec.alpn or getattr(carrier, "ALPN", ()),
        min_version=spec.min_version,
        max_version=spec.max_version,
        cipher_suites=spec.cipher_suites,
    )


def server_tls(spec: ServerTlsSpec, own: OwnCertificate, carrier: Any = trust) -> Any:
    """The same for a server; without files make a certificate. Raises CarrierError."""
    make = getattr(carrier, "server_tls", trust.server_tls)
    return make(
        cert_file=spec.cert_file or own(),
        key_file=spec.key_file,
        ca_file=spec.ca_file,
        alpn=spec.alpn or getattr(carrier, "ALPN", ()),
        min_version=spec.min_version,
        max_version=spec.max_version,
        cipher_suites=spec.cipher_suites,
        reject_unknown_sni=spec.reject_unknown_sni,
        server_names=spec.server_names,
    )
