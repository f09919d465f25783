"""Ends of one stream, one dial and one handshake of quic that are nobody else's affair."""

import asyncio
import datetime as dt
import ssl

import pytest
from carried import Taker, run
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from unit.carriers.quic_ends import dialled, serving

from gateway.carriers import certificates, quic
from gateway.carriers.quic_trust import ALPN, QuicServerTls, Shown
from gateway.carriers.stream import CarrierError


@pytest.mark.parametrize("begun", [True, False])
def test_what_is_written_after_an_abort_harms_no_other_stream(papers, begun):
    async def main():
        async with serving(papers) as served, dialled(served.port) as (stream, taker):
            stream.write(b"x")
            _, got = await served.next()
            other, its = await quic.dial("127.0.0.1", served.port), Taker()
            other.start(its)
            if begun:
                other.write(b"y")
                await served.next()
            other.abort()
            other.write(b"late")
            other.close()
            assert await its.ended() == "aborted"
            stream.write(b"z")
            assert await got.has(2) == b"xz"
            assert not taker.ends
            assert not served.streams

    run(main())


def test_a_dial_cancelled_in_its_last_moment_leaves_no_connection(papers, monkeypatch):
    lines = []

    async def main():
        async with serving(papers) as served:
            task = asyncio.create_task(quic.dial("127.0.0.1", served.port))
            on_ready = quic._Line.on_ready

            def last_moment(line, session) -> None:
                on_ready(line, session)
                lines.append(line)
                task.cancel()

            monkeypatch.setattr(quic._Line, "on_ready", last_moment)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert lines[0].session.ready
            assert lines[0].session.reason is not None

    run(main())


def odd_papers() -> QuicServerTls:
    """A certificate of a version that there is not, well signed, and its key."""
    pem = certificates.make(dt.datetime.now(dt.UTC))
    key = serialization.load_pem_private_key(pem, None)
    made = x509.load_pem_x509_certificate(pem).tbs_certificate_bytes
    made = made.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020104"), 1)
    signature = key.sign(made, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256
    body = made + algorithm + bytes((3, len(signature) + 1, 0)) + signature
    der = b"\x30\x82" + len(body).to_bytes(2, "big") + body
    private = pem[: pem.index(b"-----BEGIN CERTIFICATE")]
    return QuicServerTls(Shown(ssl.DER_cert_to_PEM_cert(der).encode(), private), ALPN)


def test_a_certificate_that_cannot_be_read_is_refused(papers):
    async def main():
        async with serving(papers, tls=odd_papers()) as served:
            trusted = quic.client_tls(ca_file=papers.authority)
            with pytest.raises(CarrierError, match="does not hold: 4 is not") as caught:
                await quic.dial("127.0.0.1", served.port, tls=trusted)
            assert caught.value.what == "bad-tls"

    run(main())
