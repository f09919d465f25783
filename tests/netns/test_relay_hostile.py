"""What strangers, guests and servers may try where the tunnel is inside a carrier.

Nothing dies, everything is counted and nothing is logged per event, memory is bounded, and
whoever comes in order gets in meanwhile.
"""

import itertools
import random
import resource
import selectors
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address

import psutil
import pytest
from hpack import Encoder
from netns.forge import PORT, Port, heartbeat, inner, socket_on
from netns.test_chains import ONE, SERVER, TWO, chain_client, relay_server
from networks import Gateway, reaches
from programs import wait_for
from unit.protocol.kcp_worlds import PUSH
from unit.protocol.kcp_worlds import segment as kcp_segment

from gateway.carriers.kcp_crypt import make_crypt
from gateway.fastpath.frames import pack
from gateway.protocol.relay import Address, Request, Status

OVER_TCP = ["tcp", "tls", "ws", "wss", "mws", "mwss", "mtls", "grpc"]
OVER_TLS = frozenset({"tls", "wss", "mwss", "mtls", "grpc"})
RELAY = ("1.2.3.4", 443)
REQUEST = Request(Address("", PORT)).build()
OK = bytes((1, Status.OK, 0, 0))
MANY = 10_000
MEGABYTE = 1 << 20
SHORT = "?readTimeout=2s"


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


ELSEWHERE = [
    Request(Address(host, port), udp)
    for udp in (True, False)
    for host, port in (
        ("127.0.0.1", 7007),
        ("localhost", 7007),
        ("", 7007),
        ("0.0.0.0", 7007),
        ("::1", 7007),
        ("::ffff:127.0.0.1", 7007),
        ("::127.0.0.1", 7007),
        ("1.2.3.4", 7007),
        ("server.example", 7007),
        ("169.254.169.254", 80),
        ("198.18.2.2", PORT),
        ("224.0.0.1", 7007),
        ("255.255.255.255", 7007),
        ("", 0),
        ("127.0.0.1", 0),
        ("127.0.0.1", 7008),
        ("::ffff:127.0.0.1", 443),
    )
] + [
    Request(Address("", PORT), udp=False),
    Request(Address("127.0.0.1", PORT), udp=False),
    *(Request(Address("", PORT), command=command) for command in (2, 3)),
    *(Request(Address("127.0.0.1", 7009), udp=False, command=command) for command in (2, 3)),
]


def test_a_relay_leads_nowhere_but_home_and_to_what_is_listed(network):
    net = network(2)
    with ExitStack() as stack:
        inside = net.lab.server
        secret = stack.enter_context(Port(inside, "127.0.0.1", 7007))
        secret_tcp = stack.enter_context(socket_on(inside, socket.AF_INET, socket.SOCK_STREAM))
        secret_tcp.bind(("127.0.0.1", 7007))
        secret_tcp.listen()
        secret_tcp.setblocking(False)
        listed = stack.enter_context(Port(inside, "127.0.0.1", 7009))
        server = relay_server(net, "relay+tcp://:443?allow=127.0.0.1:7009")
        for request in ELSEWHERE:
            with dial(net.lab.clients[0]) as sock:
                sock.sendall(request.build() + pack(b"secret", 0))
                assert read(sock, 5) == bytes((1, Status.FORBIDDEN, 0, 0)), request
        for host in ("127.0.0.1", "::ffff:127.0.0.1"):
            with dial(net.lab.clients[0]) as sock:
                sock.sendall(Request(Address(host, 7009)).build() + pack(b"listed", 0))
                assert read(sock, 4) == OK
                wait_for(listed.received, 3.0, "what is listed to be reached")
        assert secret.received() == []
        with pytest.raises(BlockingIOError):
            secret_tcp.accept()
        wait_for(lambda: counters(server).get("forbidden") == len(ELSEWHERE), 5.0, "the count")
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


class Guest:
    """A stream of a relay client that the test itself holds."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    @classmethod
    def enter(cls, host) -> "Guest | None":
        """None: there is no port for it."""
        sock = dial(host)
        sock.sendall(REQUEST)
        if read(sock, 4) == OK:
            return cls(sock)
        sock.close()
        return None

    def say(self, *parts: bytes) -> None:
        self.sock.sendall(b"".join(pack(part, 0) for part in parts))

    def join(self, address: str) -> "Guest":
        self.say(heartbeat([address]))
        assert self.hear().startswith(b"GOST")
        return self

    def hear(self) -> bytes:
        size = int.from_bytes(read(self.sock, 2), "big")
        return read(self.sock, size)

    def close(self) -> None:
        self.sock.close()


def test_who_gets_the_port_of_one_that_left_is_not_taken_for_him(network):
    """There are two ports for streams, so every new one gets one that was used before."""
    net = network(2)
    server = relay_server(net, "relay+tcp://:443?bridges=1")
    net.lab.server.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40001")
    stolen = inner(ONE, SERVER)
    used = []

    def enter() -> Guest:
        """As soon as a port has rested."""
        return wait_for(lambda: Guest.enter(net.lab.clients[0]), 10.0, "a port")

    for _ in range(4):
        guest = enter().join(ONE)
        used.append(server.peer(ONE)["endpoint"])
        guest.close()
        heir = enter()
        heir.say(*[stolen] * 10)
        heir.join(TWO)
        used.append(server.peer(TWO)["endpoint"])
        wait_for(lambda: server.peer(ONE) == {}, 3.0, "the peer to be withdrawn")
        heir.close()
        wait_for(lambda: server.service()["peers"] == [], 3.0, "both to be withdrawn")
    assert set(used) == {"127.0.0.1:40000", "127.0.0.1:40001"}
    wait_for(lambda: server.service()["drops"]["unknown_endpoint"] >= 40, 3.0, "the drops")
    assert server.service()["counters"]["delivered_packets"] == 0
    expect_unharmed(server)


def test_many_who_come_at_once_all_stay(network):
    """The supervisor has a long turn then, and its clock stands still."""
    net = network(1)
    server = relay_server(net, "relay+tcp://:443?bridges=1", options=",10.123.0.1/16")
    socks = [dial(net.lab.clients[0]) for _ in range(300)]
    for number, sock in enumerate(socks):
        address = str(ip_address("10.123.1.0") + number)
        sock.sendall(REQUEST + pack(heartbeat([address]), 0))
    for sock in socks:
        assert read(sock, 6)[:4] == OK
    assert len(server.service()["peers"]) == len(socks)
    for sock in socks:
        sock.close()
    wait_for(lambda: server.service()["peers"] == [], 5.0, "all to be withdrawn")
    expect_unharmed(server, lines=250)


def test_a_guest_who_does_not_read_costs_little_and_holds_up_nobody(network):
    net = network(2)
    server = relay_server(net, "relay+tcp://:443?bridges=1")
    chain_client(net, 2, "relay+tcp://1.2.3.4:443")
    reaches(net.lab.clients[1], SERVER)
    guest = Guest.enter(net.lab.clients[0]).join(ONE)
    before = memory(server)
    payload = bytes(1300)

    def lost() -> int:
        found = counters(server)
        return sum(found.get(name, 0) for name in ("overflow", "late", "unread"))

    with Port(net.lab.server) as flood:

        def pour() -> bool:
            for _ in range(5000):
                flood.send(payload, ONE, 9)
            return lost() > 10_000

        wait_for(pour, 20.0, "datagrams to be dropped")
        reaches(net.lab.clients[1], SERVER, deadline=2.0)
        pour()
    assert memory(server) - before < 16 * MEGABYTE
    guest.close()
    wait_for(lambda: server.peer(ONE) == {}, 5.0, "the guest to be withdrawn")
    expect_unharmed(server)


def floods(piece: bytes) -> Callable[[socket.socket], None]:
    def flood(sock: socket.socket) -> None:
        for _ in range(400):
            sock.sendall(piece)

    return flood


def says(words: bytes) -> Callable[[socket.socket], None]:
    return lambda sock: sock.sendall(words)


EVIL = {
    "nothing": says(b""),
    "another version": says(b"\2\0\0\0"),
    "a long answer": says(b"\1\0\xff\xff" + bytes(1 << 17)),
    "a refusal": says(b"\1\3\0\0"),
    "an unknown status": says(b"\1\xee\0\0"),
    "a frame too long": says(OK + b"\xff\xff" + bytes(1 << 17)),
    "empty frames": floods(OK + bytes(1 << 18)),
    "small frames": floods(OK + b"\0\1x" * (1 << 16)),
    "large frames": floods(OK + (b"\xff\xe3" + bytes(65507)) * 4),
    "noise": floods(random.Random(3).randbytes(1 << 18)),
}


@contextmanager
def evil_server(host, behaviour: Callable[[socket.socket], None]) -> Iterator[list[int]]:
    """Listens on S and does this to whoever comes; how often it was there."""
    visits: list[int] = []
    stop = threading.Event()
    with socket_on(host, socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("1.2.3.4", 443))
        listener.listen()
        listener.setblocking(False)

        def serve() -> None:
            with selectors.DefaultSelector() as selector:
                selector.register(listener, selectors.EVENT_READ)
                while not stop.is_set():
                    if not selector.select(0.1):
                        continue
                    sock, _ = listener.accept()
                    visits.append(1)
                    with sock, suppress(OSError):
                        sock.settimeout(3.0)
                        sock.recv(4096)
                        behaviour(sock)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield visits
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize("kind", EVIL)
def test_a_server_that_means_harm(network, kind):
    """Our client lives, keeps little, tries again, and is there once the server is honest."""
    net = network(1)
    with evil_server(net.lab.server, EVIL[kind]) as visits:
        client = chain_client(net, 1, "relay+tcp://1.2.3.4:443")
        (bridge,) = [psutil.Process(each["pid"]) for each in client.service()["chain"]["processes"]]
        before = bridge.memory_info().rss
        wait_for(lambda: len(visits) >= 3, 20.0, "the client to come again")
        assert bridge.memory_info().rss - before < 16 * MEGABYTE
        wait_for(lambda: client.status()["health"] == "degraded", 20.0, "it to be told")
    assert client.service()["chain"]["processes"][0]["restarts"] == 0
    relay_server(net, "relay+tcp://:443")
    reaches(net.lab.clients[0], SERVER, deadline=40.0)
    text = client.process.output()
    assert "Traceback" not in text
    assert len(text.splitlines()) < 60, text
