"""Dials of a bridge: as many at once as there may be strangers, and none that is remembered."""

import asyncio
import socket

from carried import until
from unit.workers.chains import Uplink, chain, hop, node, states
from unit.workers.relays import relay

from gateway.protocol.bridge_messages import LegFigures
from gateway.protocol.relay import Address, Request
from gateway.workers import bridge_chain, bridge_relay

TARGET = Address("192.0.2.1", 443)


def test_strangers_that_went_leave_few_dials(run, boss, working, monkeypatch):
    begun, live = [], []

    async def never(*_given, **_named) -> None:
        number = len(begun)
        begun.append(number)
        live.append(number)
        try:
            await asyncio.Event().wait()
        finally:
            live.remove(number)

    async def body() -> None:
        monkeypatch.setattr(bridge_relay.tcp, "dial", never)
        async with relay(boss(), working, strangers=2, allowed=(TARGET,)) as bridge:
            for number in range(5):
                with socket.create_connection(("127.0.0.1", bridge.port)) as client:
                    client.send(Request(TARGET, udp=False).build())
                    await until(lambda n=number: len(begun) > n)
            await until(lambda: live == [3, 4])
        assert not live

    run(body())


def test_a_question_without_an_answer_is_forgotten(run, boss, working, monkeypatch):
    async def body() -> None:
        monkeypatch.setattr(bridge_chain, "PREPARE_SECONDS", 0.01)
        chief, uplink = boss(), Uplink()
        chief.prepares = False
        with socket.create_server(("127.0.0.1", 0)) as there:
            near = hop(node(there.getsockname()[1]))
            async with chain(chief, working, uplink, Address("", 1), near) as bridge:
                uplink.send(b"wake")
                await chief.until(lambda: "waiting" in states(chief))
                error = chief.all(LegFigures)[-1].error
                assert error == "the supervisor does not answer"
                assert not bridge._prepared
        uplink.close()

    run(body())
