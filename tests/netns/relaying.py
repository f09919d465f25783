"""Connections to a relay listener that the test itself holds, and how the server fares."""

import socket
import ssl
from contextlib import suppress

import psutil
from netns.forge import PORT, socket_on
from networks import Gateway

from gateway.protocol.relay import Address, Request, Status

RELAY = ("1.2.3.4", 443)
REQUEST = Request(Address("", PORT)).build()
OK = bytes((1, Status.OK, 0, 0))
MEGABYTE = 1 << 20


def dial(host, where: tuple[str, int] = RELAY, *, tls: bool = False) -> socket.socket:
    """A connection from a host of the lab, with an unverified TLS on it if asked."""
    sock = socket_on(host, socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(5.0)
    sock.connect(where)
    if not tls:
        return sock
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context.wrap_socket(sock)


def read(sock: socket.socket, size: int) -> bytes:
    """As many bytes, or what there was before the end."""
    got = b""
    with suppress(ConnectionError):
        while len(got) < size and (more := sock.recv(size - len(got))):
            got += more
    return got


def relay(server: Gateway, index: int = 0) -> dict:
    return (server.status().get("relays") or [{}])[index]


def counters(server: Gateway) -> dict[str, int]:
    return relay(server).get("counters", {})


def bridges(server: Gateway) -> list[psutil.Process]:
    return [psutil.Process(each["pid"]) for each in relay(server)["processes"]]


def memory(server: Gateway) -> int:
    """Bytes that the bridges of the listener have to themselves."""
    return sum(bridge.memory_info().rss - bridge.memory_info().shared for bridge in bridges(server))


def expect_unharmed(server: Gateway, lines: int = 40) -> None:
    """No child died, and the log is short."""
    assert server.process.status is None
    assert [each["restarts"] for each in relay(server)["processes"]] == [0] * len(bridges(server))
    text = server.process.output()
    assert "Traceback" not in text
    assert len(text.splitlines()) < lines, text[-3000:]
