"""A chain's bridge against relay bridges, over plain TCP on loopback."""

import socket
from ipaddress import ip_address
from math import inf
from types import SimpleNamespace

import pytest
from unit.workers.chains import Uplink, chain, hop, node, states, until_up
from unit.workers.relays import relay

from gateway.protocol.bridge_messages import Dialling, LegFigures, StreamEnded, StreamOpened
from gateway.protocol.packet import pack_address
from gateway.protocol.relay import Address
from gateway.workers.bridge_leg import Leg


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
