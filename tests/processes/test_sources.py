"""Authers with sources, in the real processes: who is let in, who is put out, what is said.

A failing source changes nothing for those who are in, and the status names it.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from instance import VNET, Gateway, Peer, ipv4, wait_for
from needs import need

from gateway.protocol.status import SourceStatus

MANY = 100_000

Start = Callable[..., Gateway]


def source(gateway: Gateway, kind: str) -> SourceStatus:
    [found] = [each for each in gateway.service().sources if each.kind == kind]
    return found


def put(path: Path, text: str) -> None:
    """Replace a file as one should: by renaming."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def hub(start: Start, **auther: object) -> Gateway:
    authers = [{"name": "staff", "reload": 1.0, **auther}]
    gateway = start(credentials=[], authers=authers, workers=1).wait_running()
    wait_for(lambda: gateway.status().resolver is not None, "a resolver")
    return gateway


def client(gateway: Gateway, last: int, passphrase: str = "secret") -> Peer:
    return Peer(f"192.168.123.{last}", gateway.port, passphrase.encode())


def lets_in(peer: Peer) -> bool:
    """Call, and see whether an ack comes soon: a refused client hears nothing."""
    peer.sock.settimeout(0.1)
    peer.heartbeat()
    try:
        return peer.sock.recv(2000).startswith(b"GOST")
    except TimeoutError:
        return False
    except ConnectionRefusedError:
        return False


def passes(gateway: Gateway, peer: Peer) -> None:
    """A packet from the peer reaches the host."""
    packet = ipv4(peer.address, "192.168.123.1", os.urandom(8))
    peer.sock.send(packet)
    gateway.inside.settimeout(10)
    assert gateway.inside.recv(2000) == VNET + packet


def test_a_file_that_changes(start: Start, room: Path) -> None:
    """Who is taken out loses the lease, who is put in comes in, who stays notices nothing."""
    users = room / "users"
    put(users, "# staff\n192.168.123.2 secret\n192.168.123.3 secret\nnonsense\n")
    gateway = hub(start, file={"path": str(users)})
    with (
        closing(client(gateway, 2)) as stays,
        closing(client(gateway, 3)) as goes,
        closing(client(gateway, 4)) as comes,
        closing(client(gateway, 2, "wrong")) as thief,
    ):
        wait_for(lambda: lets_in(stays), "the first is in")
        wait_for(lambda: lets_in(goes), "the second is in")
        assert not lets_in(comes)
        assert not lets_in(thief)
        assert source(gateway, "file").entries == 2
        [problem] = source(gateway, "file").problems
        assert problem == f"{users}:4: the username is not an IP address"

        put(users, "192.168.123.2 secret\n192.168.123.4 secret\n")
        wait_for(lambda: len(gateway.service().peers) == 1, "the lease has ended")
        [left] = gateway.service().peers
        assert (left.addresses, left.moves) == (("192.168.123.2",), 0)
        wait_for(lambda: lets_in(comes), "the third is in")
        assert not lets_in(goes)
        passes(gateway, stays)

        put(users, "192.168.123.2 other\n192.168.123.4 secret\n")
        wait_for(lambda: len(gateway.service().peers) == 1, "a changed password ends the lease")
        assert not lets_in(stays)

        users.unlink()
        wait_for(lambda: source(gateway, "file").error != "", "the error is shown")
        status = gateway.status()
        assert status.health == "degraded"
        [sentence] = [line for line in status.problems if str(users) in line]
        assert sentence.startswith(f"service tun: auther staff: file {users} fails: ")
        passes(gateway, comes)
    for secret in ("secret", "other"):
        assert secret not in gateway.text()


def test_nobody_before_the_first_success(start: Start, room: Path) -> None:
    """Inline entries count at once, the file's when there is one."""
    users = room / "users"
    inline = [{"username": "192.168.123.9", "password": "c2VjcmV0"}]
    gateway = hub(start, file={"path": str(users)}, inline=inline)
    with closing(client(gateway, 9)) as known, closing(client(gateway, 2)) as unknown:
        known.register()
        wait_for(lambda: source(gateway, "file").error != "", "the error is shown")
        assert not lets_in(unknown)
        assert gateway.service().refusals["unknown_address"] == 1
        assert f"not read yet: {users}" in gateway.text()
        put(users, "192.168.123.2 secret\n")
        wait_for(lambda: lets_in(unknown), "the file counts")
    assert gateway.status().health == "healthy"


def test_a_resolver_that_dies(start: Start, room: Path) -> None:
    """Its tables stay, and its successor goes on reading."""
    users = room / "users"
    put(users, "192.168.123.2 secret\n192.168.123.3 secret\n")
    gateway = hub(start, file={"path": str(users)})
    with closing(client(gateway, 2)) as first, closing(client(gateway, 3)) as second:
        wait_for(lambda: lets_in(first), "the first is in")
        resolver = gateway.status().resolver
        assert resolver is not None
        os.kill(resolver.pid, signal.SIGKILL)
        second.register()
        passes(gateway, first)
        put(users, "192.168.123.2 secret\n")
        wait_for(lambda: len(gateway.service().peers) == 1, "the lease has ended")
        assert gateway.status().resolver.restarts == 1


def test_a_restart_checks_peers_against_the_file(start: Start, room: Path) -> None:
    """Peers of the former run wait for the file, and only its own come back."""
    users = room / "users"
    put(users, "192.168.123.2 secret\n192.168.123.3 secret\n")
    gateway = hub(start, file={"path": str(users)})
    with closing(client(gateway, 2)) as stays, closing(client(gateway, 3)) as goes:
        wait_for(lambda: lets_in(stays), "the first is in")
        wait_for(lambda: lets_in(goes), "the second is in")
        assert gateway.end() == 0
        put(users, "192.168.123.2 secret\n")
        again = hub(start, file={"path": str(users)})
        wait_for(lambda: len(again.service().peers) == 1, "the first is back")
        [peer] = again.service().peers
        assert peer.addresses == ("192.168.123.2",)


def test_many_credentials_of_a_file(start: Start, room: Path) -> None:
    """From the first look at the file to the admission of its last line."""
    users = room / "users"
    put(users, "")
    gateway = hub(start, file={"path": str(users)})
    wait_for(lambda: source(gateway, "file").age_seconds is not None, "it was read")
    with closing(client(gateway, 2)) as last:
        put(users, many_lines() + "192.168.123.2 secret\n")
        wait_for(lambda: lets_in(last), "the last is in")
        wait_for(lambda: source(gateway, "file").entries == MANY, "all are counted")
    print(f"told anew in {load_again(gateway):.2f} s")


def many_lines() -> str:
    return "".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255} secret{n}\n" for n in range(MANY - 1))


def load_again(gateway: Gateway) -> float:
    """Restart the resolver: how long until it has told everything anew."""
    resolver = gateway.status().resolver
    assert resolver is not None
    began = time.monotonic()
    os.kill(resolver.pid, signal.SIGKILL)

    def anew() -> bool:
        found = next(each for each in gateway.service().sources if each.kind != "inline")
        return found.age_seconds is not None and found.age_seconds < time.monotonic() - began

    wait_for(anew, "all is told anew")
    return time.monotonic() - began


def test_redis_stopped_and_started(start: Start, room: Path) -> None:
    """Traffic goes on meanwhile, and the status says what is wrong."""
    need("redis-server")
    pytest.importorskip("redis")
    from redis_server import RedisServer, free_port

    server = RedisServer(free_port(), room)
    redis = {"host": "127.0.0.1", "port": server.port}
    try:
        with server.start() as store:
            store.hset("gost", mapping={"192.168.123.2": "secret", "192.168.123.3": "secret"})
            store.save()
        gateway = hub(start, redis=redis)
        with closing(client(gateway, 2)) as peer, closing(client(gateway, 3)) as late:
            wait_for(lambda: lets_in(peer), "the peer is in")
            server.stop()
            wait_for(lambda: gateway.status().health == "degraded", "the status says so")
            [sentence] = gateway.status().problems
            assert "redis 127.0.0.1:" in sentence
            assert "cannot be reached" in sentence
            passes(gateway, peer)
            late.register()
            with server.start() as store:
                store.hdel("gost", "192.168.123.3")
            wait_for(lambda: gateway.status().health == "healthy", "it is read again")
            wait_for(lambda: len(gateway.service().peers) == 1, "the other lease has ended")
            passes(gateway, peer)
    finally:
        server.stop()


def test_many_credentials_of_redis(start: Start, room: Path) -> None:
    need("redis-server")
    pytest.importorskip("redis")
    from redis_server import RedisServer, free_port

    server = RedisServer(free_port(), room)
    pairs = dict(line.split() for line in many_lines().splitlines())
    try:
        with server.start() as store:
            store.hset("gost", mapping={**pairs, "192.168.123.2": "secret"})
        gateway = hub(start, redis={"host": "127.0.0.1", "port": server.port})
        with closing(client(gateway, 2)) as last:
            wait_for(lambda: lets_in(last), "the last is in")
            wait_for(lambda: source(gateway, "redis").entries == MANY, "all are counted")
        print(f"told anew in {load_again(gateway):.2f} s")
    finally:
        server.stop()


class Web:
    """An HTTP server that answers as `answer` says; it holds requests while `open` is not set."""

    def __init__(self) -> None:
        self.status, self.body = 200, b""
        self.open = threading.Event()
        self.open.set()
        self.asked: list[dict[str, str]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.open.wait(30)
                self.send_response(web.status)
                self.send_header("Content-Length", str(len(web.body)))
                self.end_headers()
                self.wfile.write(web.body)

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                web.asked.append(json.loads(self.rfile.read(length)))
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self) -> None:
        self.open.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    pytest.importorskip("aiohttp")
    server = Web()
    yield server
    server.close()


def test_http_slow_and_wrong_and_never(start: Start, web: Web) -> None:
    """Whatever it answers: who is in stays in, and heartbeats are answered at once."""
    web.body = b"192.168.123.2 secret\n"
    gateway = hub(start, http={"url": web.url, "timeout": 1.0})
    with closing(client(gateway, 2)) as peer:
        wait_for(lambda: lets_in(peer), "the peer is in")

        web.status = 500
        wait_for(lambda: "status 500" in source(gateway, "http").error, "a wrong status")
        assert lets_in(peer)

        web.open.clear()
        wait_for(lambda: "no whole answer" in source(gateway, "http").error, "no answer")
        peer.register()
        passes(gateway, peer)
        [sentence] = gateway.status().problems
        assert sentence.startswith(f"service tun: auther staff: http {web.url} fails: ")

        web.status = 200
        web.open.set()
        wait_for(lambda: gateway.status().health == "healthy", "all is well again")
        assert len(gateway.service().peers) == 1


def test_a_plugin(start: Start, web: Web) -> None:
    """Yes lets in with the peer's real endpoint told, no and silence do not."""
    web.body = b'{"ok": true}'
    gateway = hub(start, plugin={"url": web.url, "timeout": 1.0})
    with closing(client(gateway, 2)) as peer, closing(client(gateway, 3)) as other:
        peer.register()
        assert web.asked == [
            {
                "service": "tun",
                "username": "192.168.123.2",
                "password": "secret",
                "client": f"127.0.0.1:{peer.sock.getsockname()[1]}",
            }
        ]

        web.body = b'{"ok": false}'
        other.heartbeat()
        wait_for(lambda: gateway.service().refusals["wrong_passphrase"] == 1, "a no")

        web.open.clear()
        other.heartbeat()
        wait_for(lambda: len(web.asked) == 3, "it is asked")
        peer.register()
        passes(gateway, peer)
        wait_for(lambda: gateway.service().refusals["undecided"] == 1, "no answer")
        wait_for(lambda: gateway.status().health == "degraded", "the status says so")
        assert len(gateway.service().peers) == 1

        web.body = b'{"ok": true}'
        web.open.set()
        wait_for(lambda: lets_in(other), "a yes")
        wait_for(lambda: gateway.status().health == "healthy", "all is well again")
        shown = source(gateway, "plugin")
        assert (shown.accepted, shown.refused) == (2, 1)
        with closing(client(gateway, 4, "")) as nameless:
            nameless.heartbeat()
            wait_for(lambda: sum(gateway.service().refusals.values()) == 3, "no passphrase")
    assert all(question["username"] != "192.168.123.4" for question in web.asked)
    assert "secret" not in gateway.text()
