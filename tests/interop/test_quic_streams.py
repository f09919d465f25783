"""Streams of quic between ours and a live stock GOST on loopback, relay+quic, in both roles."""

import os
import socket
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import pytest
from carried import Counts, Taker, run, until
from interop.test_kcp_streams import (
    REPLY,
    Relay,
    echo,
    echoed_through_stock,
    free_port,
    gost,
    once_it_listens,
)
from needs import need

from gateway.carriers import certificates, quic
from gateway.carriers.quic import QuicOptions
from gateway.carriers.stream import CarrierError

SIZE = 3_000_000
KEY = "twenty-four bytes of it!"
CASES = {
    "defaults": ({}, QuicOptions()),
    "key": ({"cipherKey": KEY}, QuicOptions(cipher_key=KEY)),
    "no-keepalive": ({"keepAlive": "false"}, QuicOptions(keepalive=0.0)),
    "datagrams": ({"enableDatagram": "true", "maxIdleTimeout": "20s"}, QuicOptions()),
}


@pytest.fixture(autouse=True)
def _needs_gost():
    need("gost")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return certificates.kept(tmp_path_factory.mktemp("quic"))


async def asked(port, echo_port, data, **more):
    """Through the stock server at `port` to the echo and back; the stream, still open."""
    stream = await once_it_listens(
        lambda: quic.dial("127.0.0.1", port, timeout=1.0, **more), CarrierError
    )
    taker = Taker()
    stream.start(taker)
    stream.write(bytes.fromhex("0101000a 02 0007 01 7f000001") + echo_port.to_bytes(2, "big"))
    stream.write(data)
    assert await taker.has(len(REPLY) + len(data)) == REPLY + data
    return stream, taker


@asynccontextmanager
async def our_echo(certificate, options):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    relays, counts = [], Counts()

    def accept(stream):
        relays.append(Relay(stream))
        stream.prove()
        stream.start(relays[-1].taker)

    tls = quic.server_tls(cert_file=certificate.file)
    door = await quic.listen(sock, accept, counts=counts, tls=tls, quic=options)
    try:
        yield door, relays, counts
    finally:
        await door.close()
        for session in door.sessions:
            session.close()


@pytest.mark.parametrize("name", CASES)
def test_with_the_stock_server(name):
    query, options = CASES[name]

    async def main():
        port = free_port(socket.SOCK_DGRAM)
        url = f"relay+quic://127.0.0.1:{port}?{urlencode(query)}"
        async with echo() as echo_port, gost("-L", url):
            for _ in range(2):
                stream, taker = await asked(port, echo_port, os.urandom(SIZE), quic=options)
                stream.close()
                assert await taker.ended() == ""

    run(main())


@pytest.mark.parametrize("name", CASES)
def test_with_the_stock_client(certificate, name):
    query, options = CASES[name]

    async def main():
        tcp_port = free_port(socket.SOCK_STREAM)
        async with our_echo(certificate, options) as (door, relays, counts):
            chain = f"relay+quic://127.0.0.1:{door.port}?{urlencode(query)}"
            async with gost("-L", f"tcp://127.0.0.1:{tcp_port}/192.0.2.1:7", "-F", chain):
                for number in range(3):
                    await echoed_through_stock(tcp_port, os.urandom(SIZE))
                    assert relays[number].request.hex() == "0101000a02000701c00002010007"
                    assert await relays[number].taker.ended() == ""
                assert counts["accepted"] == 1
                assert len(door.sessions) == 1

    run(main())


def test_certificates_with_the_stock_server(certificate):
    async def main():
        port = free_port(socket.SOCK_DGRAM)
        file = certificate.file
        url = f"relay+quic://127.0.0.1:{port}?certFile={file}&keyFile={file}"
        async with echo() as echo_port, gost("-L", url):
            for options in (
                {"pin": certificate.fingerprint},
                {"secure": True, "ca_file": file, "server_name": "gost.run"},
            ):
                tls = quic.client_tls(**options)
                stream, taker = await asked(port, echo_port, b"hello", tls=tls)
                assert stream.verified
                stream.close()
                await taker.ended()
            wrong = quic.client_tls(pin="sha256:" + "00" * 32)
            with pytest.raises(CarrierError, match="pin says sha256:"):
                await quic.dial("127.0.0.1", port, tls=wrong)

    run(main())


def test_a_stock_server_that_asks_for_a_certificate(certificate):
    async def main():
        port = free_port(socket.SOCK_DGRAM)
        file = certificate.file
        url = f"relay+quic://127.0.0.1:{port}?certFile={file}&keyFile={file}&caFile={file}"
        async with echo() as echo_port, gost("-L", url):
            own = quic.client_tls(cert_file=file)
            stream, taker = await asked(port, echo_port, b"hello", tls=own)
            stream.abort()
            await taker.ended()
            stream = await quic.dial("127.0.0.1", port)
            taker = Taker()
            stream.start(taker)
            assert "certificate" in await taker.ended()

    run(main())


def test_a_stock_client_that_verifies(certificate):
    async def main():
        tcp_port = free_port(socket.SOCK_STREAM)
        options = {"secure": "true", "caFile": certificate.file, "serverName": "gost.run"}
        async with our_echo(certificate, QuicOptions()) as (door, _, counts):
            chain = f"relay+quic://127.0.0.1:{door.port}?{urlencode(options)}"
            async with gost("-L", f"tcp://127.0.0.1:{tcp_port}/192.0.2.1:7", "-F", chain):
                await echoed_through_stock(tcp_port, b"hello")
                assert counts["accepted"] == 1

    run(main())


def test_a_stock_client_that_leaves_is_gone(certificate):
    async def main():
        tcp_port = free_port(socket.SOCK_STREAM)
        async with our_echo(certificate, QuicOptions()) as (door, relays, _):
            chain = f"relay+quic://127.0.0.1:{door.port}"
            async with gost("-L", f"tcp://127.0.0.1:{tcp_port}/192.0.2.1:7", "-F", chain):
                await echoed_through_stock(tcp_port, b"hello")
                await relays[0].taker.ended()
        await until(lambda: not door.sessions)

    run(main())
