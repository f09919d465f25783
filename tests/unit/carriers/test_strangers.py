"""Sessions of which no stream was let in: bounded in time and in number."""

import socket

import pytest
from carried import run, serving, until
from unit.carriers.session_ways import SESSIONS, Ways, said

from gateway.carriers import ws
from gateway.carriers.listening import SHARE, raise_descriptor_limit


@pytest.fixture(params=SESSIONS)
def ways(papers, request) -> Ways:
    return Ways(papers, request.param)


def test_a_session_of_which_no_stream_is_let_in_ends_in_time(ways) -> None:
    """Streams one after another do not prolong it."""

    async def main():
        async with ways.serve(request_timeout=0.3) as served:
            near, taker = await ways.dial(served.port)
            await said(near, served)
            assert served.listener.unproven == 1
            await until(lambda: served.listener.half_open == 0)
            beside = ways.beside(near)
            await said(beside, served)
            await served.counts.until("unproven")
            await until(lambda: taker.ends)
            await until(lambda: served.listener.unproven == 0)
            near.abort()

    run(main())


def test_a_session_whose_stream_was_let_in_stays(ways) -> None:
    async def main():
        async with ways.serve(request_timeout=0.3) as served:
            guest, _ = await ways.dial(served.port)
            far, taker = await said(guest, served)
            far.prove()
            stranger, gone = await ways.dial(served.port)
            await said(stranger, served)
            await served.counts.until("unproven")
            await until(lambda: gone.ends)
            guest.write(b"still here")
            assert await taker.has(15) == b"hellostill here"
            assert served.counts["unproven"] == 1
            guest.abort()
            await taker.ended()

    run(main())


def test_a_crowd_that_is_not_let_in_makes_room_and_touches_no_guest(ways) -> None:
    async def main():
        async with ways.serve(max_half_open=3) as served:
            guest, _ = await ways.dial(served.port)
            far, taker = await said(guest, served)
            far.prove()
            crowd = []
            for _ in range(8):
                stranger = await ways.dial(served.port)
                await said(stranger[0], served)
                crowd.append(stranger)
                assert served.listener.unproven <= 3
            await served.counts.until("half-open-evicted", 5)
            for _, gone in crowd[:5]:
                await until(lambda gone=gone: gone.ends)
            assert not any(taker.ends for _, taker in crowd[5:])
            late, _ = await ways.dial(served.port)
            last, _ = await said(late, served)
            last.prove()
            guest.write(b"!")
            assert await taker.has(6) == b"hello!"
            for stream, _ in [*crowd, (late, None), (guest, None)]:
                stream.abort()
            await taker.ended()

    run(main())


def test_guests_without_a_stream_make_room_for_new_guests(ways) -> None:
    """Whoever has a stream that was let in stays; then it is the new one who has to go."""

    async def main():
        async with ways.serve(max_sessions=2) as served:
            pairs = []
            for _ in range(2):
                near, taker = await ways.dial(served.port)
                far, _ = await said(near, served)
                far.prove()
                pairs.append((near, taker, far))
            third, refused = await ways.dial(served.port)
            far, _ = await said(third, served)
            far.prove()
            await served.counts.until("full")
            await until(lambda: refused.ends)
            # He keeps his session, but what was let in has ended.
            await said(ways.beside(pairs[0][0]), served)
            pairs[0][2].abort()
            fourth, _ = await ways.dial(served.port)
            far, taker = await said(fourth, served)
            far.prove()
            await served.counts.until("idle-evicted")
            fourth.write(b"!")
            assert await taker.has(6) == b"hello!"
            assert not pairs[1][1].ends
            for stream in (fourth, pairs[1][0]):
                stream.abort()
            await taker.ended()

    run(main())


def test_half_open_connections_leave_descriptors_to_others(monkeypatch) -> None:
    async def main():
        monkeypatch.setattr("gateway.carriers.listening.raise_descriptor_limit", lambda: 5 * SHARE)
        async with serving(ws.listen) as served:
            socks = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(12)]
            await served.counts.until("half-open-evicted", 7)
            assert served.listener.half_open == 5
            for sock in socks:
                sock.close()

    assert raise_descriptor_limit() > 5 * SHARE
    run(main())
