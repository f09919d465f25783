"""A chain's bridge against relay bridges, over plain TCP on loopback."""

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from math import inf
from types import SimpleNamespace
from zlib import crc32

import pytest
from msgspec import structs

from gateway.carriers import tcp
from gateway.config.chain_model import ClientTlsSpec, HopSpec, NodeSpec, RelayUser
from gateway.config.model import Selector
from gateway.linux import near
from gateway.protocol.bridge_messages import Dialling, LegFigures, StreamEnded, StreamOpened
from gateway.protocol.packet import pack_address
from gateway.protocol.relay import Address
from gateway.protocol.relay_access import Own
from gateway.workers.bridge_carriers import prepare_dial
from gateway.workers.bridge_chain import ChainBridge, ChainParts, PreparedHop, PreparedNode
from gateway.workers.bridge_leg import Leg
from gateway.workers.bridge_relay import RelayBridge, RelayParts
from gateway.workers.bridge_round import Round


async def listen(sock, accept, counts):
    return await tcp.listen(sock, accept, counts=counts)


@asynccontextmanager
async def relay(boss, working, services=(), listener=None, **parts):
    listener = listener or socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    own = tuple(Own("", service.port, "127.0.0.1") for service in services)
    given = RelayParts(listener, listen, read_timeout=15.0, auth=False, own=own)
    bridge = RelayBridge(boss.place, replace(given, **parts))
    bridge.port = port
    async with working(boss, bridge):
        yield bridge


def node(port: int, host: str = "127.0.0.1", **given) -> PreparedNode:
    spec = NodeSpec("node-0", "tcp", host, port, **given)
    return PreparedNode(spec, prepare_dial(spec))


def silent(listener: socket.socket) -> PreparedNode:
    """A node of TLS, on a port where nobody shakes hands."""
    port = listener.getsockname()[1]
    spec = NodeSpec("node-0", "tls", "127.0.0.1", port, tls=ClientTlsSpec("localhost"))
    return PreparedNode(spec, prepare_dial(spec))


def hop(*nodes: PreparedNode, **given) -> PreparedHop:
    spec = HopSpec("hop-0", tuple(each.spec for each in nodes), **given)
    return PreparedHop(spec, nodes)


class Uplink:
    """The TUN client: a UDP socket that a leg leads."""

    def __init__(self) -> None:
        self.leg = near.open_leg()
        self.sock = near.open_near()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.sock.connect(self.leg.getsockname())
        near.lead_leg(self.leg, self.sock.getsockname()[1])

    def send(self, data: bytes) -> None:
        self.sock.send(data)

    async def receive(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.sock, 65536)

    def close(self) -> None:
        self.leg.close()
        self.sock.close()


@asynccontextmanager
async def chain(boss, working, uplink, target, *hops, patience=inf):
    bridge = ChainBridge(boss.place, ChainParts(hops, ((uplink.leg, target),), patience))
    async with working(boss, bridge):
        yield bridge


def states(boss) -> list[str]:
    return [figures.state for figures in boss.all(LegFigures)]


async def until_up(boss, uplink) -> None:
    """As a heartbeat does: the first datagram dials, the next goes through."""
    uplink.send(b"wake")
    await boss.until(lambda: states(boss) and states(boss)[-1] in ("open", "up"))


def test_a_target_behind_one_hop(run, boss, working, service):
    async def body() -> None:
        tun, far, chief, uplink = service(lambda d: d[::-1]), boss(), boss(), Uplink()
        async with (
            relay(far, working, [tun]) as server,
            chain(chief, working, uplink, Address("", tun.port), hop(node(server.port))),
        ):
            assert states(chief) == []
            await until_up(chief, uplink)
            uplink.send(b"hello")
            assert await uplink.receive() == b"olleh"
            await chief.until(lambda: states(chief)[-1] == "up")
            figures = chief.all(LegFigures)[-1]
            assert figures.hops == (f"tcp 127.0.0.1:{server.port}",)
            assert (figures.connects, figures.fails, figures.error) == (1, 0, "")
            (dialling,) = chief.all(Dialling)
            assert dialling.address == pack_address(ip_address("127.0.0.1"))
            assert dialling.port == server.port
        uplink.close()
        tun.close()

    run(body())


def test_the_supervisor_prepares_the_way_first(run, boss, working):
    async def body() -> None:
        chief, uplink = boss(), Uplink()
        chief.prepares = False
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            listener.setblocking(False)
            async with chain(chief, working, uplink, Address("", 1), hop(node(port))):
                uplink.send(b"wake")
                await chief.until(lambda: chief.all(Dialling))
                with pytest.raises(BlockingIOError):
                    listener.accept()
        uplink.close()

    run(body())


def test_two_hops(run, boss, working, service):
    async def body() -> None:
        tun, first, second, chief = service(lambda d: d[::-1]), boss(), boss(), boss()
        uplink = Uplink()
        async with (
            relay(second, working, [tun]) as far,
            relay(first, working, allowed=(Address("127.0.0.1", far.port),)) as near_,
            chain(
                chief, working, uplink, Address("", tun.port),
                hop(node(near_.port)), hop(node(far.port)),
            ),
        ):  # fmt: skip
            await until_up(chief, uplink)
            uplink.send(b"hello")
            assert await uplink.receive() == b"olleh"
            figures = chief.all(LegFigures)[-1]
            assert figures.hops == (f"tcp 127.0.0.1:{near_.port}", f"tcp 127.0.0.1:{far.port}")
            assert len(chief.all(Dialling)) == 1
            assert len(second.all(StreamOpened)) == 1
            assert first.all(StreamOpened) == []
        uplink.close()
        tun.close()

    run(body())


def test_a_stream_that_ends_is_dialled_again(run, boss, working, service):
    async def body() -> None:
        tun, far, chief, uplink = service(lambda d: d[::-1]), boss(), boss(), Uplink()
        async with (
            relay(far, working, [tun]) as server,
            chain(chief, working, uplink, Address("", tun.port), hop(node(server.port))),
        ):
            await until_up(chief, uplink)
            uplink.send(b"hello")
            assert await uplink.receive() == b"olleh"
            for entrance in tuple(server._led):
                entrance.stream.abort()
            await far.until(lambda: far.all(StreamEnded))
            await chief.until(lambda: chief.all(LegFigures)[-1].connects == 2)
            assert "waiting" in states(chief)
            uplink.send(b"again")
            assert await uplink.receive() == b"niaga"
        uplink.close()
        tun.close()

    run(body())


def test_a_stream_that_brings_nothing_is_dialled_again(run, boss, working):
    """Carriers of all hops are well, and so is the relay: only the target says no word."""

    async def body() -> None:
        tun, far, chief, uplink = socket.socket(type=socket.SOCK_DGRAM), boss(), boss(), Uplink()
        tun.bind(("127.0.0.1", 0))
        target = Address("", tun.getsockname()[1])
        places = [SimpleNamespace(port=target.port)]
        async with (
            relay(far, working, places) as server,
            chain(chief, working, uplink, target, hop(node(server.port)), patience=0.2),
        ):
            await until_up(chief, uplink)
            uplink.send(b"hello")
            await chief.until(lambda: any(each.connects == 2 for each in chief.all(LegFigures)))
            (lost,) = {each.error for each in chief.all(LegFigures) if each.error}
            assert lost == "no answer through the chain for 0 s"
            await far.until(lambda: len(far.all(StreamEnded)) == 1)
        uplink.close()
        tun.close()

    run(body())


def test_when_a_leg_is_silent():
    leg = Leg(0, SimpleNamespace(), Address("", 1))
    assert not leg.is_silent(0.0, 5.0)
    leg.begin(SimpleNamespace(), 10.0)
    leg.crossing = SimpleNamespace(last_datagram=0.0, on_data=lambda _: None)
    assert not leg.is_silent(100.0, 5.0), "nobody asked"
    leg.crossing.last_datagram = 101.0
    assert not leg.is_silent(101.0, 5.0)
    leg.crossing.last_datagram = 105.0
    assert not leg.is_silent(106.0, 5.0), "as long as the first has time"
    leg.on_data(b"")
    assert not leg.is_silent(106.5, 5.0), "something came"
    assert not leg.is_silent(200.0, 5.0), "all is answered"
    leg.crossing.last_datagram = 200.0
    assert not leg.is_silent(200.0, 5.0)
    assert leg.is_silent(205.1, 5.0)
    assert not leg.is_silent(1e9, inf)


def test_nodes_that_fail_are_passed_over(run, boss, working, service):
    async def body() -> None:
        tun, far, chief, uplink = service(lambda d: d[::-1]), boss(), boss(), Uplink()
        with socket.create_server(("127.0.0.1", 0)) as gone:
            closed = gone.getsockname()[1]
        async with (
            relay(far, working, [tun]) as server,
            chain(
                chief, working, uplink, Address("", tun.port),
                hop(node(closed), node(server.port), selector=Selector("fifo", 1, 60.0)),
            ),
        ):  # fmt: skip
            await until_up(chief, uplink)
            uplink.send(b"hello")
            assert await uplink.receive() == b"olleh"
            assert [each.port for each in chief.all(Dialling)] == [closed, server.port]
            assert "waiting" not in states(chief)
            assert chief.all(LegFigures)[-1].hops == (f"tcp 127.0.0.1:{server.port}",)
        uplink.close()
        tun.close()

    run(body())


@pytest.mark.parametrize("key", [b"192.168.123.2", b"192.168.123.3", b"192.168.123.4"])
def test_a_hash_goes_by_the_client(run, boss, working, key):
    async def body() -> None:
        chief, uplink = boss(), Uplink()
        nodes = hop(*map(node, range(1, 6)), selector=Selector("hash", 1, 60.0))
        parts = ChainParts((nodes,), ((uplink.leg, Address("", 1)),), key=key)
        async with working(chief, ChainBridge(chief.place, parts)):
            uplink.send(b"wake")
            await chief.until(lambda: chief.all(Dialling))
            assert chief.all(Dialling)[0].port == 1 + crc32(key) % 5
        uplink.close()

    run(body())


def of_tls(port: int, *, secure: bool) -> PreparedNode:
    """A node that is said to be of TLS, whose streams say what they were told."""
    plain = node(port)

    async def dial(*given):
        stream = await plain.dial(*given)
        stream.verified = secure
        return stream

    return replace(
        plain, spec=structs.replace(plain.spec, tls=ClientTlsSpec("x", secure=secure)), dial=dial
    )


@pytest.mark.parametrize(("first", "last"), [(True, True), (True, False), (False, True)])
def test_a_leg_is_verified_if_all_its_tls_is(run, boss, working, service, first, last):
    async def body() -> None:
        tun, outer, inner, chief, uplink = service(), boss(), boss(), boss(), Uplink()
        async with (
            relay(inner, working, [tun]) as far,
            relay(outer, working, allowed=(Address("127.0.0.1", far.port),)) as near_,
            chain(
                chief, working, uplink, Address("", tun.port),
                hop(of_tls(near_.port, secure=first)), hop(of_tls(far.port, secure=last)),
            ),
        ):  # fmt: skip
            await until_up(chief, uplink)
            assert chief.all(LegFigures)[-1].verified == (first and last)
        uplink.close()
        tun.close()

    run(body())


def test_a_backup_is_reached_however_short_others_rest(run, boss, working, service):
    async def body() -> None:
        tun, far, chief, uplink = service(lambda d: d[::-1]), boss(), boss(), Uplink()
        with socket.create_server(("127.0.0.1", 0)) as gone, socket.create_server(("", 0)) as too:
            closed = [sock.getsockname()[1] for sock in (gone, too)]
        async with relay(far, working, [tun]) as server:
            spare = node(server.port, backup=True)
            nodes = hop(spare, *map(node, closed), selector=Selector("round", 1, 1e-9))
            async with chain(chief, working, uplink, Address("", tun.port), nodes):
                await until_up(chief, uplink)
                uplink.send(b"hello")
                assert await uplink.receive() == b"olleh"
                assert [each.port for each in chief.all(Dialling)][-1] == server.port
                assert "waiting" not in states(chief)
        uplink.close()
        tun.close()

    run(body())


def test_a_round_of_two_hops():
    """A first node is not to blame before all behind it have failed."""
    round_ = Round([2, 2])
    round_.failed(1, (0, 1), "a")
    assert (round_.left, round_.is_over) == ([[0, 1], [0]], False)
    round_.failed(1, (0, 0), "b")
    assert (round_.left, round_.is_over) == ([[1], [0, 1]], False)
    round_.failed(1, (1, 0), "b")
    round_.failed(1, (1, 1), "c")
    assert round_.is_over
    assert round_.reasons == ["a", "b", "c"]


@pytest.mark.parametrize("strategy", ["parallel", "lowestlatency"])
def test_parallel_takes_the_first_that_is_up(run, boss, working, service, strategy):
    """One node is gone, one takes the connection and says nothing; the third is used at once."""

    async def body() -> None:
        tun, far, chief, uplink = service(lambda d: d[::-1]), boss(), boss(), Uplink()
        with socket.create_server(("127.0.0.1", 0)) as gone:
            closed = gone.getsockname()[1]
        async with relay(far, working, [tun]) as server:
            with socket.create_server(("127.0.0.1", 0)) as mute:
                nodes = hop(
                    node(closed), silent(mute), node(server.port), selector=Selector(strategy)
                )
                target = Address("", tun.port)
                async with chain(chief, working, uplink, target, nodes):
                    await until_up(chief, uplink)
                    uplink.send(b"hello")
                    assert await uplink.receive() == b"olleh"
                    assert "waiting" not in states(chief)
                    figures = chief.all(LegFigures)[-1]
                    assert figures.hops == (f"tcp 127.0.0.1:{server.port}",)
                    assert figures.connects == 1
                    assert len(chief.all(Dialling)) == 3
        uplink.close()
        tun.close()

    run(body())


def test_parallel_tells_why_none_is_up(run, boss, working):
    async def body() -> None:
        chief, uplink = boss(), Uplink()
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as two:
            ports = [sock.getsockname()[1] for sock in (one, two)]
        nodes = hop(*map(node, ports), selector=Selector("parallel"))
        async with chain(chief, working, uplink, Address("", 1), nodes):
            uplink.send(b"wake")
            await chief.until(lambda: states(chief) and states(chief)[-1] == "waiting")
            error = chief.all(LegFigures)[-1].error
            assert all(f":{port}: connection refused" in error for port in ports)
            assert {each.port for each in chief.all(Dialling)} == set(ports)
        uplink.close()

    run(body())


def test_a_refusal_is_told(run, boss, working, service):
    async def body() -> None:
        tun, far, chief, uplink = service(), boss(), boss(), Uplink()
        far.verdict = "no"
        user = RelayUser(b"me", b"hush")
        async with (
            relay(far, working, [tun], auth=True) as server,
            chain(chief, working, uplink, Address("", tun.port), hop(node(server.port, user=user))),
        ):
            await until_up(chief, uplink)
            uplink.send(b"hello")
            await chief.until(lambda: states(chief)[-1] == "waiting")
            error = chief.all(LegFigures)[-1].error
            assert "unauthorized (2)" in error
            assert f"127.0.0.1:{server.port}" in error
            assert far.asked[0].username == b"me"
            assert far.asked[0].password == b"hush"
            await chief.until(lambda: chief.all(LegFigures)[-1].fails >= 2)
        uplink.close()
        tun.close()

    run(body())


def test_the_hop_that_refuses_is_named(run, boss, working, service):
    """Not the first one, which all the others are reached through."""

    async def body() -> None:
        tun, first, second, chief = service(), boss(), boss(), boss()
        uplink = Uplink()
        async with (
            relay(second, working) as far,
            relay(first, working, allowed=(Address("127.0.0.1", far.port),)) as near_,
            chain(
                chief, working, uplink, Address("", tun.port),
                hop(node(near_.port)), hop(node(far.port)),
            ),
        ):  # fmt: skip
            await until_up(chief, uplink)
            uplink.send(b"hello")
            await chief.until(lambda: states(chief)[-1] == "waiting")
            error = chief.all(LegFigures)[-1].error
            assert error == f"tcp 127.0.0.1:{far.port}: the relay answered forbidden (3)"
        uplink.close()
        tun.close()

    run(body())


def test_nobody_else_is_heard_on_the_leg(run, boss, working, service):
    async def body() -> None:
        tun, far, chief, uplink = service(), boss(), boss(), Uplink()
        async with (
            relay(far, working, [tun]) as server,
            chain(chief, working, uplink, Address("", tun.port), hop(node(server.port))),
        ):
            await until_up(chief, uplink)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.sendto(b"strange", uplink.leg.getsockname())
                uplink.send(b"own")
                assert await tun.until(1) == [b"own"]
        uplink.close()
        tun.close()

    run(body())


def test_a_name_is_looked_up_and_asked_about_by_address(run, boss, working, service):
    async def body() -> None:
        tun, far, chief, uplink = service(lambda d: d[::-1]), boss(), boss(), Uplink()
        async with (
            relay(far, working, [tun]) as server,
            chain(
                chief, working, uplink, Address("", tun.port), hop(node(server.port, "localhost"))
            ),
        ):
            await until_up(chief, uplink)
            uplink.send(b"hello")
            assert await uplink.receive() == b"olleh"
            loopback = {pack_address(ip_address(text)) for text in ("127.0.0.1", "::1")}
            assert {each.address for each in chief.all(Dialling)} <= loopback
        uplink.close()
        tun.close()

    run(body())


def test_an_interface_that_is_gone_is_told(run, boss, working):
    async def body() -> None:
        chief, uplink = boss(), Uplink()
        there = hop(node(1, "fe80::1%nosuch0"))
        async with chain(chief, working, uplink, Address("", 1), there):
            uplink.send(b"wake")
            await chief.until(lambda: "waiting" in states(chief))
            assert "there is no interface nosuch0" in chief.all(LegFigures)[-1].error
            assert not chief.all(Dialling)
        uplink.close()

    run(body())
