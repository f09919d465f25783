"""Requests and answers of websockets: paths, headers, what is none, what gost sends."""

import asyncio

import pytest
from carried import listening, run, serving
from unit.carriers.ws_strangers import KEY, UPGRADE, frame, said

from gateway.carriers import ws
from gateway.carriers.stream import CarrierError
from gateway.carriers.ws import WsOptions


def test_what_was_sent_with_the_request_is_not_lost() -> None:
    async def main():
        async with serving(ws.listen) as served:
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(UPGRADE % b"/ws" + frame(2, b"early"))
            _, taker = await served.next()
            assert await taker.has(5) == b"early"
            writer.close()
            await taker.ended()

    run(main())


@pytest.mark.parametrize("early", [frame(8, b""), frame(3, b"")])
def test_an_end_sent_with_the_request_is_an_end(early) -> None:
    async def main():
        async with serving(ws.listen) as served:
            assert (await said(served.port, UPGRADE % b"/ws" + early)).startswith(b"HTTP/1.1 101")
            _, taker = await served.next()
            await taker.ended()

    run(main())


@pytest.mark.parametrize(
    ("path", "asked", "found"),
    [
        ("/ws", "/ws?x=1", True),
        ("/ws", "/ws/", False),
        ("/ws", "/WS", False),
        ("/ws", "/", False),
        ("/deep/", "/deep/er", True),
        ("/deep/", "/deep", False),
    ],
)
def test_the_path_has_to_be_right(path, asked, found) -> None:
    async def main():
        async with serving(ws.listen, ws=WsOptions(path=path)) as served:
            if found:
                _, writer = await asyncio.open_connection("127.0.0.1", served.port)
                writer.write(UPGRADE % asked.encode())
                await served.next()
                writer.close()
                return
            answer = await said(served.port, UPGRADE % asked.encode())
            assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
            assert answer.endswith(b"404 page not found\n")
            await served.counts.until("wrong-path")
            assert not served.streams

    run(main())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", b"400 Bad Request"),
        (UPGRADE.replace(b"Version: 13", b"Version: 12") % b"/ws", b"400 Bad Request"),
        (UPGRADE.replace(KEY, b"short") % b"/ws", b"400 Bad Request"),
        (UPGRADE.replace(b"GET", b"PUT") % b"/ws", b"4"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400 Bad Request"),
        (b"GET /ws HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n", b"400 Bad Request"),
        (b"GET /ws HTTP/1.1\r\n" + (b"X: " + b"y" * 8000 + b"\r\n") * 100, b"400 Bad Request"),
        (b"GET /" + b"w" * 20_000 + b" HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"GET /ws HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", b"400 Bad Request"),
    ],
)
def test_what_is_no_upgrade_is_answered_counted_and_closed(request_, status, caplog) -> None:
    async def main():
        async with serving(ws.listen) as served:
            answer = await said(served.port, request_)
            assert answer.startswith(b"HTTP/1.1 " + status)
            await served.counts.until("bad-http")
            assert served.counts["accepted"] == 0
            assert served.counts.total() == 1

    run(main())
    assert not caplog.records


def test_the_request_is_what_gost_sends() -> None:
    async def main():
        asked = asyncio.get_running_loop().create_future()

        async def answer(reader, writer):
            asked.set_result(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n404 page not found")
            writer.close()

        server = await asyncio.start_server(answer, sock=listening())
        port = server.sockets[0].getsockname()[1]
        options = WsOptions(path="/p?q", headers={"x-a": "b", "User-Agent": "me"})
        with pytest.raises(CarrierError, match="answered HTTP 404: is the path right"):
            await ws.dial("127.0.0.1", port, ws=options)
        server.close()
        return port, asked.result()

    port, request = run(main())
    line, *headers = request.rstrip().split(b"\r\n")
    assert line == b"GET /p?q HTTP/1.1"
    named = dict(header.split(b": ") for header in headers)
    assert len(named.pop(b"Sec-WebSocket-Key")) == 24
    assert named == {
        b"Host": b"127.0.0.1:%d" % port,
        b"User-Agent": b"me",
        b"Connection": b"Upgrade",
        b"Upgrade": b"websocket",
        b"Sec-WebSocket-Version": b"13",
        b"x-a": b"b",
    }


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.9\r\n", "did not answer as a web server"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "no websocket"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP 502"),
        (b"", "ended within the handshake|did not answer"),
    ],
)
def test_a_server_that_is_no_websocket_is_said_so(answer, words) -> None:
    async def main():
        async def reply(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(reply, sock=listening())
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(CarrierError, match=words):
            await ws.dial("127.0.0.1", port, timeout=5.0)
        server.close()

    run(main())


def test_host_and_answers_headers_are_as_told() -> None:
    async def main():
        options = WsOptions(host="front.test", headers={"X-Answer": "yes"})
        async with serving(ws.listen, ws=options) as served:
            stream = await ws.dial("127.0.0.1", served.port, ws=options)
            assert stream._protocol.handshake_exc is None
            stream.abort()
            answer = await said(served.port, UPGRADE % b"/ws" + frame(8, b""))
            assert b"X-Answer: yes\r\n" in answer

    run(main())
