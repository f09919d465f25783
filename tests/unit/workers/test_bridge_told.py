"""What a chain's bridge tells of a leg: who refused, what is gone, and whom TLS has shown."""

from dataclasses import replace

import pytest
from msgspec import structs
from unit.workers.chains import Uplink, chain, hop, node, states, until_up
from unit.workers.relays import relay

from gateway.config.chain_model import ClientTlsSpec, RelayUser
from gateway.protocol.bridge_messages import Dialling, LegFigures
from gateway.protocol.relay import Address
from gateway.workers.bridge_chain import PreparedNode


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
