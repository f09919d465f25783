"""Which of the nodes of its hops a chain's bridge goes through."""

import socket
from zlib import crc32

import pytest
from unit.workers.chains import Uplink, chain, hop, node, silent, states, until_up
from unit.workers.relays import relay

from gateway.config.model import Selector
from gateway.protocol.bridge_messages import Dialling, LegFigures
from gateway.protocol.relay import Address
from gateway.workers.bridge_chain import ChainBridge, ChainParts
from gateway.workers.bridge_round import Round


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
