"""Plugins over HTTP: GOST's questions, and a no to everything that is not a clear yes."""

import asyncio
import ipaddress
import json

import pytest

pytest.importorskip("aiohttp")

from gateway.protocol.packet import pack_address, pack_network
from gateway.sources import asking
from gateway.sources.model import AutherSpec, PluginSpec, RouterSpec
from gateway.sources.plugins import AuthPlugin, RoutePlugin
from gateway.sources.tables import GatewayRow

YES = b'{"ok":true,"id":"somebody"}'
QUESTION = ("hub", "10.0.0.2", b"secret", "203.0.113.7:40000")


def a16(text: str) -> bytes:
    return pack_address(ipaddress.ip_address(text))


def test_the_question_is_gosts(run, serving, talks) -> None:
    async def body() -> None:
        async with serving() as server:
            server.talk = talks["page"](YES)
            plugin = AuthPlugin("staff", PluginSpec(server.url, token=b"t0ken"))
            assert await plugin.ask(*QUESTION)
            await plugin.close()
            head, _, sent = server.requests[0].partition(b"\r\n\r\n")
            assert head.startswith(b"POST /users HTTP/1.1\r\n")
            assert b"\r\nAuthorization: Bearer t0ken\r\n" in head + b"\r\n"
            assert b"\r\nContent-Type: application/json\r\n" in head + b"\r\n"
            assert json.loads(sent) == {
                "service": "hub",
                "username": "10.0.0.2",
                "password": "secret",
                "client": "203.0.113.7:40000",
            }

    run(body())


@pytest.mark.parametrize(
    ("kind", "arguments", "failed"),
    [
        ("page", (b'{"ok":false}',), 0),
        ("page", (b"{}",), 0),
        ("page", (b'{"ok":"true"}',), 1),
        ("page", (b'{"ok":1}',), 1),
        ("page", (b"[]",), 1),
        ("page", (b"true",), 1),
        ("page", (b"",), 1),
        ("page", (b'{"ok":true',), 1),
        ("page", (b'\xff{"ok":true}',), 1),
        ("page", (YES, "201 Created"), 1),
        ("page", (YES, "500 Trouble"), 1),
        ("page", (YES, "302 Away", "Location: /yes\r\n"), 1),
        ("page", (YES + b" " * 70_000,), 1),
        ("never", (), 1),
        ("flood", (), 1),
        ("raw", (b"yes",), 1),
    ],
)
def test_everything_else_is_a_no(run, serving, talks, kind, arguments, failed: int) -> None:
    async def body() -> None:
        async with serving() as server:
            server.talk = talks[kind](*arguments)
            plugin = AuthPlugin("staff", PluginSpec(server.url, timeout=0.3))
            assert not await plugin.ask(*QUESTION)
            await plugin.close()
            state = plugin.asker.state()
            assert (state.asked, state.accepted) == (1, 0)
            assert (state.refused, state.failed) == (1 - failed, failed)
            assert bool(state.error) == bool(failed)

    run(body())


def test_nobody_else_is_asked(run, serving, talks) -> None:
    """Where a plugin points to another one, that is no answer, and gets no password."""

    async def body() -> None:
        async with serving() as server, serving() as other:
            server.talk = talks["page"](b"", "307 Ask there", f"Location: {other.url}\r\n")
            other.talk = talks["page"](YES)
            plugin = AuthPlugin("staff", PluginSpec(server.url, timeout=5.0))
            assert await plugin.ask(*QUESTION) is None
            await plugin.close()
            assert other.requests == []

    run(body())


def test_an_empty_password_is_not_even_asked_about(run, serving, talks) -> None:
    async def body() -> None:
        async with serving() as server:
            server.talk = talks["page"](YES)
            plugin = AuthPlugin("staff", PluginSpec(server.url))
            assert not await plugin.ask("hub", "10.0.0.2", b"", "")
            await plugin.close()
            assert server.requests == []

    run(body())


def test_a_yes_is_believed_for_a_while_and_a_no_never(run, serving, talks) -> None:
    async def body() -> None:
        async with serving() as server:
            server.talk = talks["page"](YES)
            plugin = AuthPlugin("staff", PluginSpec(server.url, cache=3600))
            assert await plugin.ask(*QUESTION)
            server.talk = talks["page"](b'{"ok":false}')
            assert await plugin.ask(*QUESTION)
            assert not await plugin.ask("hub", "10.0.0.2", b"other", QUESTION[3])
            assert not await plugin.ask("hub", "10.0.0.2", b"other", QUESTION[3])
            assert len(server.requests) == 3
            await plugin.close()

            fresh = AuthPlugin("staff", PluginSpec(server.url, cache=0))
            server.talk = talks["page"](YES)
            assert await fresh.ask(*QUESTION)
            server.talk = talks["page"](b'{"ok":false}')
            assert not await fresh.ask(*QUESTION)
            await fresh.close()

    run(body())


def test_one_question_is_asked_once_at_a_time(run, serving, talks) -> None:
    async def body() -> None:
        release = asyncio.Event()

        async def wait(_, writer, __) -> None:
            await release.wait()
            await talks["page"](YES)(_, writer, __)

        async with serving() as server:
            server.talk = wait
            plugin = AuthPlugin("staff", PluginSpec(server.url, cache=0))
            tasks = [asyncio.create_task(plugin.ask(*QUESTION)) for _ in range(20)]
            await asyncio.wait(tasks, timeout=0.05)
            tasks[0].cancel()
            release.set()
            assert await asyncio.gather(*tasks[1:]) == [True] * 19
            assert len(server.requests) == 1
            await plugin.close()

    run(body())


def test_questions_at_once_are_bounded_and_the_rest_waits_or_is_refused(
    run, serving, talks, monkeypatch
) -> None:
    monkeypatch.setattr(asking, "WAITING_LIMIT", 12)

    async def body() -> None:
        release = asyncio.Event()

        async def wait(_, writer, __) -> None:
            await release.wait()
            await talks["page"](YES)(_, writer, __)

        async with serving() as server:
            server.talk = wait
            plugin = AuthPlugin("staff", PluginSpec(server.url))
            questions = [("hub", f"10.0.0.{n}", b"x", "") for n in range(20)]
            tasks = [asyncio.create_task(plugin.ask(*question)) for question in questions]
            done, open_ = await asyncio.wait(tasks, timeout=0.3)
            assert [task.result() for task in done] == [None] * 8
            assert len(open_) == 12
            assert len(server.requests) == asking.AT_ONCE
            release.set()
            assert await asyncio.gather(*open_) == [True] * 12
            await plugin.close()

    run(body())


def test_who_waits_for_a_turn_has_the_same_deadline(run, serving, talks) -> None:
    async def body() -> None:
        async with serving() as server:
            server.talk = talks["never"]()
            plugin = AuthPlugin("staff", PluginSpec(server.url, timeout=0.3))
            began = asyncio.get_running_loop().time()
            asked = [plugin.ask("hub", f"10.0.0.{n}", b"x", "") for n in range(100)]
            assert await asyncio.gather(*asked) == [None] * 100
            assert asyncio.get_running_loop().time() - began < 5
            await plugin.close()

    run(body())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'{"net":"10.1.0.0/16","gateway":"10.0.0.2"}', ("10.1.0.0/16", "10.0.0.2")),
        (b'{"dst":"10.1.2.3","gateway":"10.0.0.2"}', ("10.1.2.3/32", "10.0.0.2")),
        (b'{"net":"x","dst":"10.1.2.0/24","gateway":"10.0.0.2"}', ("10.1.2.0/24", "10.0.0.2")),
        (b"{}", False),
        (b'{"net":"10.2.0.0/16","gateway":"10.0.0.2"}', None),
        (b'{"net":"10.1.0.0/16"}', None),
        (b'{"net":"10.1.0.0/16","gateway":"site"}', None),
        (b'{"net":5}', None),
        (b"", None),
    ],
)
def test_a_router(run, serving, talks, answer: bytes, expected: tuple[str, str] | None) -> None:
    async def body() -> None:
        async with serving() as server:
            server.talk = talks["page"](answer)
            plugin = RoutePlugin("lans", PluginSpec(server.url + "?id=7"))
            found = await plugin.ask(a16("10.1.2.3"))
            await plugin.close()
            assert server.requests[0].startswith(b"GET /users?id=7&dst=10.1.2.3 HTTP/1.1\r\n")
            if not isinstance(expected, tuple):
                assert found is expected
            else:
                prefix = pack_network(ipaddress.ip_network(expected[0]))
                assert found == GatewayRow(*prefix, a16(expected[1]))

    run(body())


def test_sources_ask_and_tell_how_the_plugin_is(run, keep, serving, talks) -> None:
    async def body() -> None:
        async with serving() as server:
            server.talk = talks["page"](YES)
            authers = [AutherSpec("staff", plugin=PluginSpec(server.url)), AutherSpec("guests")]
            routers = [RouterSpec("lans", plugin=PluginSpec(server.url))]
            async with keep(authers, routers) as (sources, receiver):
                await receiver.until(lambda: {"staff", "lans"} <= receiver.plugins.keys())
                assert await sources.ask_auth("staff", *QUESTION)
                assert not await sources.ask_auth("guests", *QUESTION)
                assert not await sources.ask_auth("nobody", *QUESTION)
                assert await sources.ask_route("lans", a16("10.1.2.3")) is False
                assert await sources.ask_route("nobody", a16("10.1.2.3")) is None
                await receiver.until(lambda: receiver.plugins["staff"].accepted == 1)
                assert "secret" not in repr(receiver.messages)

    run(body())


def test_an_open_question_does_not_hold_up_the_stop(run, keep, serving, talks) -> None:
    async def body() -> None:
        async with serving() as server:
            server.talk = talks["never"]()
            authers = [AutherSpec("staff", plugin=PluginSpec(server.url, timeout=3600))]
            async with keep(authers) as (sources, _):
                task = asyncio.create_task(sources.ask_auth("staff", *QUESTION))
                await asyncio.wait([task], timeout=0.05)
            done, _ = await asyncio.wait([task], timeout=5)
            assert done

    run(body())
