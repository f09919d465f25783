"""How many streams a relay listener leads: places, whose they are, and who has to go."""

import asyncio
import socket
from contextlib import suppress

from unit.workers.relays import relay

from gateway.carriers.stream import Stream
from gateway.fastpath.frames import pack
from gateway.protocol.bridge_messages import StreamEnded
from gateway.protocol.relay import Address, Request, Status
from gateway.workers import bridge_entrance
from gateway.workers.bridge_entrance import HELD_FREELY

OK = bytes((1, Status.OK, 0, 0))
FULL = bytes((1, Status.UNAVAILABLE, 0, 0))
HOSTS = [f"127.0.0.{number}" for number in range(2, 8)]


async def closed(writer) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


class Client:
    """A stream over plain TCP from an address of its own."""

    def __init__(self, bridge, tun, host: str = "127.0.0.1", user: str = "") -> None:
        self._where = "127.0.0.1", bridge.port
        self._host = host
        password = b"word" if user else b""
        self._request = Request(Address("", tun.port), username=user.encode(), password=password)

    async def enter(self) -> bytes:
        """The four bytes of the answer."""
        self.reader, self.writer = await asyncio.open_connection(
            *self._where, local_addr=(self._host, 0)
        )
        self.writer.write(self._request.build())
        return await self.reader.readexactly(4)

    async def answered(self) -> "Client":
        """In, and a datagram has come back."""
        assert await self.enter() == OK
        self.writer.write(pack(b"hello", 0))
        assert await self.reader.readexactly(7) == pack(b"hello", 0)
        return self

    async def is_gone(self) -> bool:
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    async def leave(self) -> None:
        await closed(self.writer)


def test_one_host_has_half_of_the_places(run, boss, working, service):
    async def body() -> None:
        tun, chief = service(lambda data: data), boss()
        async with relay(chief, working, [tun], clients=4) as bridge:
            inside = [await Client(bridge, tun).answered() for _ in range(2)]
            late = Client(bridge, tun)
            assert await late.enter() == FULL
            inside.append(await Client(bridge, tun, HOSTS[0]).answered())
            await inside[0].leave()
            await chief.until(lambda: chief.all(StreamEnded))
            inside.append(await Client(bridge, tun).answered())
            assert bridge._counts["client-full"] == 1
            assert len(bridge._led) == len(bridge._guests) == 3
            for client in (*inside, late):
                await client.leave()
        tun.close()

    run(body())


def test_one_user_has_half_of_the_places_wherever_he_is(run, boss, working, service):
    async def body() -> None:
        tun, chief = service(lambda data: data), boss()
        async with relay(chief, working, [tun], clients=4, auth=True) as bridge:
            inside = [await Client(bridge, tun, host, "greedy").answered() for host in HOSTS[:2]]
            late = Client(bridge, tun, HOSTS[2], "greedy")
            assert await late.enter() == FULL
            inside.append(await Client(bridge, tun, HOSTS[0], "modest").answered())
            for client in (*inside, late):
                await client.leave()
        tun.close()

    run(body())


def test_when_all_places_are_taken_nobody_who_had_an_answer_goes(run, boss, working, service):
    async def body() -> None:
        tun, chief = service(lambda data: data), boss()
        async with relay(chief, working, [tun], clients=4) as bridge:
            inside = [await Client(bridge, tun, host).answered() for host in HOSTS[:4]]
            late = Client(bridge, tun, HOSTS[4])
            assert await late.enter() == FULL
            assert bridge._counts["full"] == 1
            for client in inside:
                client.writer.write(pack(b"still", 0))
                assert await client.reader.readexactly(7) == pack(b"still", 0)
            for client in (*inside, late):
                await client.leave()
            await chief.until(lambda: len(chief.all(StreamEnded)) == 4)
            assert len(bridge._guests) == 0
        tun.close()

    run(body())


def test_who_never_had_an_answer_makes_room_the_oldest_first(run, boss, working, service):
    async def body() -> None:
        tun, chief = service(lambda data: data), boss()
        async with relay(chief, working, [tun], clients=4) as bridge:
            first = await Client(bridge, tun, HOSTS[0]).answered()
            silent = [Client(bridge, tun, host) for host in HOSTS[1:4]]
            for client in silent:
                assert await client.enter() == OK
            late = [await Client(bridge, tun, host).answered() for host in HOSTS[4:6]]
            assert await silent[0].is_gone()
            assert await silent[1].is_gone()
            assert len(bridge._led) == 4
            assert bridge._counts["unanswered"] == 2
            for client in (first, silent[2], *late):
                client.writer.write(pack(b"still", 0))
                assert await client.reader.readexactly(7) == pack(b"still", 0)
            for client in (first, *silent, *late):
                await client.leave()
        tun.close()

    run(body())


def test_a_crowded_host_makes_room_for_itself_only(run, boss, working, service):
    async def body() -> None:
        tun, chief = service(lambda data: data), boss()
        async with relay(chief, working, [tun], clients=4) as bridge:
            other = Client(bridge, tun, HOSTS[0])
            assert await other.enter() == OK
            own = [Client(bridge, tun) for _ in range(3)]
            for client in own:
                assert await client.enter() == OK
            assert await own[0].is_gone()
            other.writer.write(pack(b"hello", 0))
            assert await other.reader.readexactly(7) == pack(b"hello", 0)
            for client in (other, *own):
                await client.leave()
        tun.close()

    run(body())


def test_connections_to_what_is_listed_have_places_too(run, boss, working, service):
    async def body() -> None:
        tun, chief = service(), boss()
        far = socket.create_server(("127.0.0.1", 0))
        port = far.getsockname()[1]
        allowed = (Address("127.0.0.1", port),)
        request = Request(allowed[0], udp=False).build()
        async with relay(chief, working, [tun], clients=2, allowed=allowed) as bridge:

            async def enter():
                reader, writer = await asyncio.open_connection("127.0.0.1", bridge.port)
                writer.write(request)
                return await reader.readexactly(4), writer

            answer, first = await enter()
            assert answer == OK
            refused, second = await enter()
            assert refused == FULL
            await closed(first)
            await chief.until(lambda: not len(bridge._guests))
            answer, third = await enter()
            assert answer == OK
            for writer in (second, third):
                await closed(writer)
        far.close()
        tun.close()

    run(body())


def test_strangers_together_hold_what_memory_allows(run, boss, working, service, monkeypatch):
    """Who holds much must go; who asks and waits may stay."""
    monkeypatch.setattr("gateway.workers.bridge_relay.HELD_TOGETHER", 4 * HELD_FREELY)

    async def body() -> None:
        tun, chief = service(), boss()
        chief.verdict = None
        async with relay(chief, working, [tun], auth=True) as bridge:
            request = Request(Address("", tun.port), username=b"u", password=b"y").build()
            greedy = []
            for number in range(12):
                entrance = bridge_entrance.Entrance(bridge, Deaf())
                bridge._strangers[entrance] = asyncio.get_running_loop().time() + 60
                size = HELD_FREELY + 1 if number % 2 else 10
                entrance.on_data(request + bytes(size))
                greedy.append(entrance)
            assert bridge._held == sum(len(each.held) for each in bridge._strangers)
            assert bridge._held <= 5 * HELD_FREELY
            assert bridge._counts["impatient"] == 3
            assert all(entrance in bridge._strangers for entrance in greedy[::2])
            for entrance in greedy:
                entrance.on_end("")
            assert bridge._held == 0
        tun.close()

    run(body())


class Deaf(Stream):
    """A stream that nobody hears."""

    carrier = "none"
    remote = "nobody"
    backlog = 0

    def start(self, receiver) -> None: ...
    def write(self, data) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
