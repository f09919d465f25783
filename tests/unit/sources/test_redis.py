"""Redis sources, with a real server that is stopped and started."""

import asyncio
import ipaddress
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from needs import need

pytest.importorskip("redis")

from redis import Redis
from redis_server import RedisServer

from gateway.protocol.packet import pack_address, pack_network
from gateway.sources import redis as source
from gateway.sources.errors import SourceError
from gateway.sources.model import AutherSpec, RedisSpec, RouterSpec
from gateway.sources.redis import RedisLoader

LOAD_SECONDS = 2.0
"""What 100,000 credentials may take."""

LAN = {pack_network(ipaddress.ip_network("10.1.0.0/16")): bytes(10) + b"\xff\xff\x0a\0\0\x02"}


def a16(text: str) -> bytes:
    return pack_address(ipaddress.ip_address(text))


@pytest.fixture
def server(unused_port: int, tmp_path: Path) -> Iterator[RedisServer]:
    need("redis-server")
    server = RedisServer(unused_port, tmp_path)
    yield server
    server.stop()


@pytest.fixture
def spec(server: RedisServer) -> Callable[..., RedisSpec]:
    return lambda **options: RedisSpec("127.0.0.1", server.port, **options)


def test_a_hash_of_credentials(run, keep, server, spec) -> None:
    with server.start() as client:
        client.hset("gost", mapping={"10.0.0.2": "a", "10.0.0.3": " b ", "alice": "c"})
        # An auther reads a hash whatever is said.
        authers = [AutherSpec("staff", redis=spec(type="list"))]

        async def body() -> None:
            async with keep(authers) as (sources, receiver):
                state = await receiver.state("staff", "redis")
                assert (state.error, state.entries, state.problem_count) == ("", 2, 1)
                client.hdel("gost", "10.0.0.2")
                sources.refresh()
                await receiver.next_state("staff", "redis")
                assert dict(receiver.authers["staff"].items()) == {a16("10.0.0.3"): b" b "}

        run(body())


@pytest.mark.parametrize("kind", ["hash", "list", "set"])
def test_routes_of_every_type(run, keep, server, spec, kind: str) -> None:
    with server.start() as client:
        if kind == "hash":
            client.hset("lans", "10.1.0.0/16", "10.0.0.2")
        elif kind == "list":
            client.rpush("lans", "# LANs", "10.1.0.0/16 10.0.0.2", "10.1.0.0/16 10.0.0.9")
        else:
            client.sadd("lans", "10.1.0.0/16 10.0.0.2", "", "10.1.0.0/16 10.0.0.2 # again")

        async def body() -> None:
            routers = [RouterSpec("lans", redis=spec(key="lans", type=kind))]
            async with keep(routers=routers) as (_, receiver):
                state = await receiver.state("lans", "redis")
                assert (state.error, state.entries) == ("", 1)
                assert dict(receiver.routers["lans"].items()) == LAN

        run(body())


def test_a_key_that_is_not_there_is_empty(run, server, spec) -> None:
    server.start().close()

    async def body() -> None:
        assert await RedisLoader(spec()).load() == {}
        assert await RedisLoader(spec(type="list")).load() == []
        assert await RedisLoader(spec(type="set")).load() == []

    run(body())


def test_what_the_server_refuses(run, server, spec) -> None:
    with server.start("--requirepass", "sesame") as anonymous:
        client = Redis(port=server.port, password="sesame")
        client.set("gost", "no hash")
        client.hset("users", "10.0.0.2", "a")
        client.acl_setuser(
            "reader", True, passwords=["+öffne"], commands=["+hlen", "+hgetall"], keys=["users"]
        )
        client.close()
        del anonymous

        async def body() -> None:
            with pytest.raises(SourceError, match=r"does not accept|Authentication required"):
                await RedisLoader(spec()).load()
            with pytest.raises(SourceError, match="does not accept the username and password"):
                await RedisLoader(spec(password=b"hunter2")).load()
            with pytest.raises(SourceError, match="wrong kind of value"):
                await RedisLoader(spec(password=b"sesame")).load()
            with pytest.raises(SourceError, match=r"the server says: .*DB"):
                await RedisLoader(spec(password=b"sesame", db=99)).load()
            reader = {"username": "reader", "password": "öffne".encode()}
            assert await RedisLoader(spec(key="users", **reader)).load() == {b"10.0.0.2": b"a"}
            with pytest.raises(SourceError, match="the server says: "):
                await RedisLoader(spec(key="others", **reader)).load()

        run(body())


def test_too_much_is_not_even_read(run, server, spec, monkeypatch) -> None:
    with server.start() as client:
        client.hset("gost", mapping={str(n): "x" for n in range(11)})
        client.hset("long", "10.0.0.2", "x" * 10_000)

        async def body() -> None:
            monkeypatch.setattr(source, "ENTRY_LIMIT", 10)
            with pytest.raises(SourceError, match="more than 10 entries"):
                await RedisLoader(spec()).load()
            monkeypatch.setattr(source, "MEMORY_LIMIT", 5000)
            with pytest.raises(SourceError, match="more than 5,000 bytes"):
                await RedisLoader(spec(key="long")).load()

        run(body())


def test_a_server_that_is_stopped_and_started(run, keep, server, spec) -> None:
    """The table stays, its age and the error are told, and a new server is as good."""
    with server.start() as client:
        client.hset("gost", mapping={"10.0.0.2": "a", "10.0.0.3": "b"})

    async def body() -> None:
        async with keep([AutherSpec("staff", redis=spec(), reload=1)]) as (_, receiver):
            good = await receiver.state("staff", "redis", lambda state: state.entries == 2)
            server.stop()
            bad = await receiver.state("staff", "redis", lambda state: bool(state.error))
            assert bad.error == "cannot be reached: Connection refused"
            assert bad.loaded_at >= good.loaded_at
            assert len(dict(receiver.authers["staff"].items())) == 2
            tables = len(receiver.tables())

            with server.start() as client:
                client.hset("gost", mapping={"10.0.0.3": "b", "10.0.0.4": "c"})
            await receiver.until(lambda: receiver.authers["staff"].get(a16("10.0.0.4")) == b"c")
            assert receiver.authers["staff"].get(a16("10.0.0.2")) is None
            assert len(receiver.tables()) <= tables + 2
            assert not (await receiver.next_state("staff", "redis")).error

    run(body())


def test_a_server_that_is_frozen(run, keep, server, spec) -> None:
    with server.start() as client:
        client.hset("gost", "10.0.0.2", "a")

    async def body() -> None:
        authers = [AutherSpec("staff", redis=spec(timeout=1.0))]
        async with keep(authers) as (sources, receiver):
            await receiver.state("staff", "redis", lambda state: state.entries == 1)
            server.process.send_signal(signal.SIGSTOP)
            sources.refresh()
            state = await receiver.next_state("staff", "redis")
            assert state.error in ("the server did not answer in time", TOO_LATE)
            assert state.entries == 1
            server.process.send_signal(signal.SIGCONT)
            sources.refresh()
            await receiver.state("staff", "redis", lambda state: not state.error)

    run(body())


TOO_LATE = "no whole answer within 1 s"


def test_nobody_there(run, unused_port: int) -> None:
    async def body() -> None:
        with pytest.raises(SourceError, match=r"^cannot be reached: Connection refused$"):
            await RedisLoader(RedisSpec("127.0.0.1", unused_port)).load()
        for host in ("", "a..b", "\0", "x" * 300):
            with pytest.raises(SourceError):
                await RedisLoader(RedisSpec(host, unused_port)).load()

    run(body())


def test_100_000_credentials_load_in_time_and_reload_unchanged(run, keep, server, spec) -> None:
    with server.start() as client:
        hosts = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(100_000)]
        client.hset("gost", mapping={host: f"passphrase-{n}" for n, host in enumerate(hosts)})

    async def body() -> None:
        async with keep([AutherSpec("staff", redis=spec())]) as (sources, receiver):
            async with asyncio.timeout(LOAD_SECONDS):
                assert (await receiver.state("staff", "redis")).entries == 100_000
            tables = len(receiver.tables())
            sources.refresh()
            await receiver.next_state("staff", "redis")
            assert len(receiver.tables()) == tables

    run(body())


def test_nothing_is_imported_late(server, late_imports) -> None:
    with server.start() as client:
        client.hset("gost", "10.0.0.2", "a")
    assert late_imports(f"redis=RedisSpec('localhost', {server.port})") == []


@pytest.mark.parametrize(
    "answer",
    [b":0\r\n+\r\n:1\r\n", b"%1\r\n*0\r\n", b":1\r\n:1\r\n*2147483647\r\n", b"*1\r\n" * 5000],
)
def test_an_answer_that_makes_no_sense(run, answer: bytes) -> None:
    run(load_from(answer, pytest.raises(SourceError)))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from(
                [
                    *(
                        b"+OK\r\n",
                        b":1\r\n",
                        b":-1\r\n",
                        b"$-1\r\n",
                        b"*-1\r\n",
                        b"*1\r\n",
                        b"*2\r\n",
                    ),
                    *(b"$3\r\nfoo\r\n", b"-ERR x\r\n", b"-WRONGPASS x\r\n", b"-NOAUTH\r\n"),
                    *(b"-\r\n", b"$99999999999\r\n", b":x\r\n", b"%1\r\n", b"-MOVED 1 x:1\r\n"),
                    b"-LOADING\r\n",
                ]
            ),
        ),
        max_size=8,
    ).map(b"".join)
)
def test_no_answer_raises_anything_else(run, answer: bytes) -> None:
    run(load_from(answer, suppress(SourceError)))


async def load_from(answer: bytes, outcome: AbstractContextManager[object]) -> None:
    """Load from a server that says these bytes, whatever it is asked."""

    async def talk(reader, writer) -> None:
        writer.write(answer)
        writer.write_eof()
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        with outcome:
            found = await RedisLoader(RedisSpec("127.0.0.1", port, timeout=5)).load()
            assert isinstance(found, dict | list)
    finally:
        listening.close()
        pending = asyncio.all_tasks() - {asyncio.current_task()}
        if pending:
            await asyncio.wait(pending, timeout=5)
