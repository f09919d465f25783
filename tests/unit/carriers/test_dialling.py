"""Dialling a name of several addresses, on a host that lacks what some of them need."""

import asyncio
import errno
import socket

import pytest
from carried import run

from gateway.carriers import kcp, quic, tcp
from gateway.carriers.stream import CarrierError

CARRIERS = {"tcp": tcp.dial, "kcp": kcp.dial, "quic": quic.dial}


@pytest.fixture
def no_ipv6(monkeypatch):
    """A kernel without IPv6, and a name that has an address of each kind."""
    make = socket.socket

    def without(family=-1, *given, **named):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no")
        return make(family, *given, **named)

    async def addresses(_loop, _host, port, **given):
        return [
            (socket.AF_INET6, given["type"], 0, "", ("::1", port, 0, 0)),
            (socket.AF_INET, given["type"], 0, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", addresses)
    monkeypatch.setattr(socket, "socket", without)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_an_address_whose_family_is_missing_is_passed_over(no_ipv6, carrier):
    """The next one is tried, and it is that one which tells why."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        reason = "refused" if carrier == "tcp" else "no answer"
        with pytest.raises(CarrierError, match=reason):
            run(CARRIERS[carrier]("name.test", port, timeout=0.4))


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_host_without_descriptors_is_a_reason(monkeypatch, carrier):
    async def main():
        with monkeypatch.context() as patched:
            patched.setattr(socket, "socket", full)
            await CARRIERS[carrier]("127.0.0.1", 1, timeout=0.4)

    def full(*_given, **_named):
        raise OSError(errno.EMFILE, "no")

    with pytest.raises(CarrierError, match="too many open files"):
        run(main())
