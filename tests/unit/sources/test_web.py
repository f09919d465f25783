"""HTTP sources whose server answers well, wrongly, slowly, hugely or never."""

import asyncio
import gzip
import http.server
import ipaddress
import socket
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("aiohttp")

from gateway.protocol.packet import pack_address
from gateway.sources import web
from gateway.sources.errors import SourceError
from gateway.sources.model import AutherSpec, HttpSpec, RouterSpec
from gateway.sources.web import HttpLoader, Web

USERS = b"# staff\n10.0.0.2 a\n10.0.0.3 b\n"


def a16(text: str) -> bytes:
    return pack_address(ipaddress.ip_address(text))


def test_a_page_of_credentials_and_one_of_routes(run, keep, serving, talks) -> None:
    async def body() -> None:
        async with serving() as users, serving() as routes:
            users.talk = talks["page"](USERS)
            routes.talk = talks["page"](b"10.1.0.0/16 10.0.0.2\n")
            authers = [AutherSpec("staff", http=HttpSpec(users.url))]
            routers = [RouterSpec("lans", http=HttpSpec(routes.url))]
            async with keep(authers, routers) as (_, receiver):
                await receiver.state("staff", "http", lambda state: state.entries == 2)
                await receiver.state("lans", "http", lambda state: state.entries == 1)
                assert receiver.authers["staff"].get(a16("10.0.0.3")) == b"b"

    run(body())


GZIP = gzip.compress(USERS)


@pytest.mark.parametrize(
    ("kind", "arguments", "reason"),
    [
        ("page", (USERS, "404 Not Found"), "status 404"),
        ("page", (USERS, "203 Nearly"), "status 203"),
        ("page", (USERS, "500 Trouble"), "status 500"),
        ("page", (USERS, "302 Away"), "status 302"),
        ("page", (GZIP, "200 OK", "Content-Encoding: gzip\r\n"), "compressed"),
        ("page", (b"#" * 1001,), "larger than 1,000 bytes"),
        ("flood", (), "larger than 1,000 bytes"),
        ("never", (), "within 0.2 s"),
        ("raw", (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n10.0",), "connection ended"),
        ("raw", (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",), "connection ended"),
        ("raw", (b"",), "connection ended"),
        ("raw", (b"+PONG\r\n",), "does not answer as an HTTP server"),
        ("raw", (b"HTTP/1.1 200 " + b"x" * 100_000,), "does not answer as an HTTP server"),
    ],
)
def test_a_wrong_answer_keeps_the_table(
    run, keep, serving, talks, monkeypatch, kind: str, arguments: tuple, reason: str
) -> None:
    monkeypatch.setattr(web, "BYTE_LIMIT", 1000)

    async def body() -> None:
        async with serving() as server:
            server.talk = talks["page"](USERS)
            spec = AutherSpec("staff", http=HttpSpec(server.url, timeout=5))
            if kind == "never":
                spec = AutherSpec("staff", http=HttpSpec(server.url, timeout=0.2))
            async with keep([spec]) as (sources, receiver):
                await receiver.state("staff", "http", lambda state: state.entries == 2)
                server.talk = talks[kind](*arguments)
                sources.refresh()
                state = await receiver.next_state("staff", "http")
                assert reason in state.error
                assert len(dict(receiver.authers["staff"].items())) == 2
                server.talk = talks["page"](b"10.0.0.9 c\n")
                sources.refresh()
                await receiver.state("staff", "http", lambda state: not state.error)
                assert dict(receiver.authers["staff"].items()) == {a16("10.0.0.9"): b"c"}

    run(body())


def test_an_answer_that_drips_ends_at_the_deadline(run, serving) -> None:
    async def drip(_, writer, __) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b"#")
            await writer.drain()
            await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.01)

    async def body() -> None:
        async with serving() as server:
            server.talk = drip
            with pytest.raises(SourceError, match=r"no whole answer within 0.3 s"):
                await HttpLoader(HttpSpec(server.url, timeout=0.3)).load()

    run(body())


def test_redirects_are_followed_to_an_end(run, serving, talks) -> None:
    async def body() -> None:
        async with serving() as server, serving() as old:
            server.talk = talks["page"](USERS)
            old.talk = talks["page"](b"", "302 Found", f"Location: {server.url}\r\n")
            assert await HttpLoader(HttpSpec(old.url)).load() == USERS
            old.talk = talks["page"](b"", "302 Found", f"Location: {old.url}\r\n")
            with pytest.raises(SourceError, match="redirects"):
                await HttpLoader(HttpSpec(old.url)).load()

    run(body())


def test_nobody_there(run, unused_port) -> None:
    async def body() -> None:
        with pytest.raises(SourceError, match=r"^cannot be reached: Connection refused$"):
            await HttpLoader(HttpSpec(f"http://127.0.0.1:{unused_port}/")).load()

    run(body())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "users",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "http://",
        "http://[::1/",
        "http://x:y/",
        "http://" + "a" * 70 + "/",
        "http://a..b/",
        "http://\x00/",
        "http://127.0.0.1:99999/",
    ],
)
def test_what_is_no_url(run, url: str) -> None:
    async def body() -> None:
        with pytest.raises(SourceError):
            await HttpLoader(HttpSpec(url)).load()
        assert HttpSpec(url).label is not None

    run(body())


def test_what_is_secret_in_a_url_is_used_and_not_shown(run, keep, serving, talks) -> None:
    async def body() -> None:
        async with serving() as server:
            server.talk = talks["page"](b"", "401 Unauthorized")
            url = server.url.replace("//", "//me:hunter2@") + "?key=hunter3"
            async with keep([AutherSpec("staff", http=HttpSpec(url))]) as (_, receiver):
                state = await receiver.state("staff", "http")
                assert state.label == server.url
                assert b"Authorization: Basic bWU6aHVudGVyMg==" in server.requests[0]
                assert b"?key=hunter3" in server.requests[0]
                assert "hunter" not in repr(receiver.messages)

    run(body())


def test_a_silent_name_server_holds_up_nothing(run, keep, serving, talks, monkeypatch) -> None:
    release = threading.Event()
    real = socket.getaddrinfo

    def slow(host, *rest, **options):
        if host == "silent.example":
            release.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return real(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def body() -> None:
        async with serving() as server:
            server.talk = talks["page"](USERS)
            silent = HttpSpec("http://silent.example/", timeout=0.05)
            specs = [AutherSpec(f"staff-{n}", http=silent) for n in range(40)]
            specs.append(AutherSpec("guests", http=HttpSpec(server.url)))
            async with keep(specs) as (_, receiver):
                await receiver.state("guests", "http", lambda state: state.entries == 2)
                state = await receiver.state("staff-39", "http")
                assert state.error == "no whole answer within 0.05 s"
        release.set()

    run(body())


def test_nothing_is_imported_late(late_imports) -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(USERS)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://localhost:{server.server_port}/"
        assert late_imports(f"http=HttpSpec({url!r})") == []
        server.shutdown()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=50),
            st.sampled_from(
                [
                    b"HTTP/1.1 200 OK\r\n",
                    b"\r\n",
                    b"Content-Length: 5\r\n",
                    b"Content-Length: -1\r\n",
                    b"Transfer-Encoding: chunked\r\n",
                    b"5\r\nhello\r\n",
                    b"0\r\n\r\n",
                    b"ffffffff\r\n",
                    b"Location: http://[\r\n",
                    b"HTTP/1.1 302 x\r\n",
                    b"HTTP/9 \xff\r\n",
                ]
            ),
        ),
        max_size=8,
    ).map(b"".join)
)
def test_no_answer_raises_anything_else(run, serving, talks, answer: bytes) -> None:
    async def body() -> None:
        async with serving() as server:
            server.talk = talks["raw"](answer)
            client = Web()
            try:
                await client.exchange("GET", server.url, timeout=5, limit=1000, redirects=True)
            except SourceError:
                return
            finally:
                await client.close()

    run(body())
