"""What strangers may try where the tunnel is inside a carrier.

Nothing dies, everything is counted and nothing is logged per event, memory is bounded, and
whoever comes in order gets in meanwhile.
"""

import itertools
import random
import resource
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from hpack import Encoder
from netns.forge import PORT, Port, heartbeat, socket_on
from netns.relaying import (
    MEGABYTE,
    RELAY,
    REQUEST,
    bridges,
    counters,
    dial,
    expect_unharmed,
    memory,
    read,
    relay,
)
from netns.test_chains import ONE, SERVER, TWO, chain_client, relay_server
from networks import reaches
from programs import wait_for
from unit.protocol.kcp_worlds import PUSH
from unit.protocol.kcp_worlds import segment as kcp_segment

from gateway.carriers.kcp_crypt import make_crypt
from gateway.fastpath.frames import pack
from gateway.protocol.relay import Address, Request, Status

OVER_TCP = ["tcp", "tls", "ws", "wss", "mws", "mwss", "mtls", "grpc"]
OVER_TLS = frozenset({"tls", "wss", "mwss", "mtls", "grpc"})
MANY = 10_000
SHORT = "?readTimeout=2s"


def ended(sock: socket.socket) -> bool:
    """Whether the other end has ended it, after whatever it said."""
    try:
        while sock.recv(65536):
            pass
    except (TimeoutError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    return True


def websocket(path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTLED = PREFACE + bytes(3) + b"\4" + bytes(5)
LAST_WORDS = (
    b"",
    REQUEST[:1],
    REQUEST[:-1],
    b"\2" + REQUEST[1:],
    b"\1\x81\xff\xff" + bytes(70_000),
    b"\1\x81\0\5\2\xff\xff\0\0",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /ws HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
    websocket("/elsewhere"),
    websocket("/ws")[:-2],
    websocket("/ws") + b"\x82\xff" + b"\x7f" + bytes(11),
    websocket("/ws") + b"\x82\x81\0\0\0\0\2",
    websocket("/ws") + b"\xff" * 100,
    PREFACE[:10],
    SETTLED + b"\xff\xff\xff\1\4\0\0\0\1",
    SETTLED
    + b"\0\x40\0\1\0\0\0\0\1"
    + bytes(1 << 14)
    + (b"\0\x40\0\x09\0\0\0\0\1" + bytes(1 << 14)),
    SETTLED + b"\0\0\4\3\0\0\0\0\1" + bytes(4),
    b"\1\2\xff\xff\3\0\0\0" + bytes(65535),
    b"\1\7\0\0\3\0\0\0",
    b"\x16\3\1\x40\0\1\1\xff\xff" + bytes(1 << 14),
    b"\x16\3\1\0\5hello",
    random.Random(443).randbytes(5000),
)
"""What a connection says before it stays open and says no more."""


@pytest.mark.parametrize("carrier", OVER_TCP)
def test_what_is_no_client_is_closed_in_time_and_counted(network, carrier):
    net = network(2)
    server = relay_server(net, f"relay+{carrier}://:443{SHORT}")
    with ExitStack() as stack:
        strangers = []
        for words, tls in itertools.product(LAST_WORDS, {False, carrier in OVER_TLS}):
            sock = stack.enter_context(dial(net.lab.clients[0], tls=tls))
            with suppress(OSError):
                sock.sendall(words)
            strangers.append(sock)
        chain_client(net, 2, f"relay+{carrier}://1.2.3.4:443")
        reaches(net.lab.clients[1], SERVER)
        assert all(ended(sock) for sock in strangers)
    wait_for(lambda: relay(server)["strangers"] == 0, 5.0, "no stranger to be left")
    wait_for(lambda: counters(server).get("connected") == 1, 5.0, "the client to be counted")

    def counted() -> int:
        fine = {"accepted", "connected", "to_socket", "to_stream", "ignored"}
        found = counters(server)
        return sum(found[name] for name in found if name not in fine and "bytes" not in name)

    wait_for(lambda: counted() >= len(strangers), 5.0, f"{len(strangers)} to be counted")
    reaches(net.lab.clients[1], SERVER)
    expect_unharmed(server)


@contextmanager
def half_open(host, count: int, words: bytes) -> Iterator[None]:
    """So many connections that have said this and say no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 2000
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), max(hard, wanted)))
    held: list[socket.socket] = []
    try:
        for _ in range(count):
            sock = socket_of(host)
            held.append(sock)
            with suppress(OSError):
                sock.connect(RELAY)
                sock.send(words)
        yield
    finally:
        for sock in held:
            sock.close()


def socket_of(host) -> socket.socket:
    """One that its kernel answers for quickly."""
    sock = socket_on(host, socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(5.0)
    return sock


@pytest.mark.parametrize(
    ("carrier", "words"),
    [("tcp", REQUEST[:-1]), ("tls", b"\x16\3\1\x02"), ("wss", b""), ("grpc", b"\x16")],
)
def test_ten_thousand_half_open_connections_keep_nobody_out(network, carrier, words):
    net = network(2)
    server = relay_server(net, f"relay+{carrier}://:443?readTimeout=60s&bridges=2")
    before = memory(server)
    with half_open(net.lab.clients[0], MANY, words):
        chain_client(net, 2, f"relay+{carrier}://1.2.3.4:443")
        reaches(net.lab.clients[1], SERVER)
        assert memory(server) - before < 256 * MEGABYTE
        wait_for(lambda: relay(server)["streams"] == 1, 5.0, "the client's stream")
    reaches(net.lab.clients[1], SERVER)
    wait_for(lambda: relay(server)["strangers"] == 0, 10.0, "no stranger to be left")
    wait_for(
        lambda: all(bridge.num_fds() < 100 for bridge in bridges(server)),
        10.0,
        "no descriptor left",
    )
    expect_unharmed(server)


def masked(data: bytes) -> bytes:
    """One message of a websocket's client, under a mask of zeros."""
    return b"\x82" + bytes((0x80 | len(data),)) + bytes(4) + data


def asking(carrier: str) -> bytes:
    """A session with one stream, on which most of a request comes and no more."""
    said = REQUEST[:-1]
    smux = b"\1\0\0\0\3\0\0\0" + b"\1\2" + len(said).to_bytes(2, "little") + b"\3\0\0\0" + said
    if carrier == "mws":
        return websocket("/ws") + masked(smux)
    if carrier == "kcp":
        return kcp_segment(PUSH, data=smux)
    asked = Encoder().encode(
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/GostTunel/Tunnel"),
            (":authority", "x"),
            ("content-type", "application/grpc"),
        ]
    )
    headers = len(asked).to_bytes(3, "big") + b"\1\4\0\0\0\1" + asked
    message = b"\0" + (len(said) + 2).to_bytes(4, "big") + b"\n" + bytes((len(said),)) + said
    return SETTLED + headers + len(message).to_bytes(3, "big") + b"\0\0\0\0\0\1" + message


@pytest.mark.parametrize("carrier", ["mws", "grpc"])
def test_ten_thousand_sessions_that_are_not_let_in_keep_nobody_out(network, carrier):
    net = network(2)
    plain = "&insecure=true" if carrier == "grpc" else ""
    server = relay_server(net, f"relay+{carrier}://:443?readTimeout=60s&bridges=2{plain}")
    before = memory(server)
    with half_open(net.lab.clients[0], MANY, asking(carrier)):
        chain_client(net, 2, f"relay+{carrier}://1.2.3.4:443?{plain}")
        reaches(net.lab.clients[1], SERVER)
        assert memory(server) - before < 256 * MEGABYTE
        wait_for(lambda: counters(server).get("half-open-evicted"), 10.0, "the oldest to go")
    reaches(net.lab.clients[1], SERVER)
    wait_for(lambda: relay(server)["strangers"] == 0, 10.0, "no stranger to be left")
    expect_unharmed(server)


def test_ten_thousand_conversations_that_are_not_let_in_keep_nobody_out(network):
    net = network(2)
    server = relay_server(net, "relay+kcp://:443?readTimeout=60s&kcp.crypt=none&kcp.nocomp=true")
    before = memory(server)
    (packet,) = make_crypt("none", "").seal([asking("kcp")])
    for _ in range(MANY // 500):
        with ExitStack() as stack:
            for _ in range(500):
                stack.enter_context(Port(net.lab.clients[0])).send(bytes(packet), *RELAY)
    wait_for(lambda: counters(server).get("half-open-evicted", 0) > 0, 10.0, "the oldest to go")
    chain_client(net, 2, "relay+kcp://1.2.3.4:443?kcp.crypt=none&kcp.nocomp=true")
    reaches(net.lab.clients[1], SERVER)
    assert memory(server) - before < 256 * MEGABYTE
    expect_unharmed(server)


def datagrams(count: int) -> Iterator[bytes]:
    """Of every length, some like the first packets of QUIC and of other versions of it."""
    dice = random.Random(8421)
    for number in range(count):
        body = dice.randbytes(dice.choice((1, 20, 43, 100, 1200, 1350, 1400, 3000)))
        kind = number % 5
        if kind == 0:
            body = b"\xc0\0\0\0\1\x08" + dice.randbytes(8) + b"\0\0\x44\xb0" + dice.randbytes(1200)
        elif kind == 1:
            body = b"\xc3\xfa\xce\xb0\x0c\x08" + dice.randbytes(8) + b"\0" + bytes(1200)
        elif kind == 2:
            body = b"\x40" + body
        yield body


@pytest.mark.parametrize("carrier", ["quic", "kcp"])
def test_noise_on_a_datagram_carrier(network, carrier):
    net = network(2)
    server = relay_server(net, f"relay+{carrier}://:443")
    before = memory(server)
    stranger = net.lab.clients[0]
    with ExitStack() as stack:
        ports = [stack.enter_context(Port(stranger)) for _ in range(200)]
        for port, body in zip(itertools.cycle(ports), datagrams(20_000), strict=False):
            port.send(body, *RELAY)
        chain_client(net, 2, f"relay+{carrier}://1.2.3.4:443")
        reaches(net.lab.clients[1], SERVER)
        for port, body in zip(itertools.cycle(ports), datagrams(5_000), strict=False):
            port.send(body, *RELAY)
    reaches(net.lab.clients[1], SERVER)
    wait_for(lambda: counters(server).get("noise", 0) > 1000, 5.0, "noise to be counted")
    assert memory(server) - before < 128 * MEGABYTE
    expect_unharmed(server)


SECRET = "correct-horse-battery"


def test_who_is_not_known_gets_no_further_and_no_secret_is_shown(network):
    net = network(2)
    server = relay_server(net, f"relay+tcp://site:{SECRET}@:443")
    attempts = [
        (b"", b""),
        (b"site", b""),
        (b"site", SECRET[:-1].encode()),
        (b"site", SECRET.encode() + b"\0"),
        (b"SITE", SECRET.encode()),
        (b"", SECRET.encode()),
        (b"site\0", SECRET.encode()),
        (b"\x1b[2J\n" * 40, b"\xff" * 255),
    ]
    for username, password in attempts * 20:
        asked = Request(Address("", PORT), username=username, password=password)
        with dial(net.lab.clients[0]) as sock:
            sock.sendall(asked.build() + pack(heartbeat([ONE]), 0))
            assert read(sock, 5) == bytes((1, Status.UNAUTHORIZED, 0, 0))
    client = chain_client(net, 2, f"relay+tcp://site:{SECRET}@1.2.3.4:443")
    reaches(net.lab.clients[1], SERVER)
    wait_for(lambda: relay(server)["refused"] == len(attempts) * 20, 5.0, "the refused")
    assert server.peer(ONE) == {}
    assert server.peer(TWO)["user"] == "site"
    for gateway in (server, client):
        shown = gateway.process.output() + str(gateway.status())
        shown += gateway.ctl("status", "--instance", gateway.instance).stdout
        assert SECRET not in shown
        assert "\x1b[2J" not in shown
    expect_unharmed(server)


@pytest.mark.parametrize(
    ("relay_url", "words"),
    [
        ("relay+tcp://:443?auther=nobody", "nobody"),
        ("relay+tcp://site:@:443", "password"),
    ],
)
def test_auth_that_cannot_be_does_not_start(network, relay_url, words):
    net = network(1)
    url = f"tun://127.0.0.1:{PORT}?net=192.168.123.1/24"
    gateway = net.gateway(net.lab.server, "-L", url, "-L", relay_url)
    assert gateway.process.wait() == 2
    assert words in gateway.process.output()
