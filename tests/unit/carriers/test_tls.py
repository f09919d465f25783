"""Who is believed, who is refused, and what the refused one is told."""

import asyncio
import ipaddress
import ssl

import pytest
from carried import Taker, listening, run, serving

from gateway.carriers import tls
from gateway.carriers.stream import CarrierError
from gateway.carriers.trust import client_tls, openssl_name, parse_pin, server_tls

GO_SUITES = [
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
]


def talk(server, client, *, name: str = "server.test", end: bool = False) -> tls.TlsStream:
    """Dial, as if the address were `name`'s, and have an echo; the client's ended stream."""

    async def main():
        async with serving(tls.listen, tls=server, echo=True) as served:
            stream = await tls.dial("127.0.0.1", served.port, tls=client, timeout=5.0)
            taker = Taker()
            stream.start(taker)
            stream.write(b"hello")
            if end:
                return await taker.ended()
            await taker.has(5)
            shown = stream.fingerprint, stream.alpn, stream.verified
            stream.abort()
            await taker.ended()
            return shown

    return run(main())


def refused(server, client, words: str) -> None:
    with pytest.raises(CarrierError, match=words):
        talk(server, client)


def test_nothing_is_verified_unless_asked(papers) -> None:
    client = client_tls()
    assert not client.verified
    pin, _, verified = talk(server_tls(cert_file=papers.stranger), client)
    assert pin != papers.pin
    assert not verified


def test_the_pinned_certificate_is_believed_without_an_authority(papers) -> None:
    client = client_tls(pin=papers.pin)
    assert client.verified
    pin, _, verified = talk(server_tls(cert_file=papers.server), client)
    assert pin == papers.pin
    assert verified


def test_another_certificate_than_the_pinned_is_refused(papers) -> None:
    refused(server_tls(cert_file=papers.stranger), client_tls(pin=papers.pin), papers.pin)


def test_a_certificate_of_the_authority_is_believed_under_any_name(papers) -> None:
    client = client_tls(ca_file=papers.authority)
    assert client.verified
    assert talk(server_tls(cert_file=papers.server), client)[2]


def test_a_certificate_of_nobody_is_refused(papers) -> None:
    client = client_tls(ca_file=papers.authority)
    refused(server_tls(cert_file=papers.stranger), client, "self-signed certificate")


def test_secure_checks_the_name_too(papers) -> None:
    server = server_tls(cert_file=papers.server)
    right = client_tls(secure=True, ca_file=papers.authority, server_name="server.test")
    assert talk(server, right)[2]
    wrong = client_tls(secure=True, ca_file=papers.authority, server_name="other.test")
    refused(server, wrong, "mismatch")
    address = client_tls(secure=True, ca_file=papers.authority)
    refused(server, address, "IP address mismatch")


def test_secure_alone_believes_the_systems_authorities_only(papers) -> None:
    refused(server_tls(cert_file=papers.server), client_tls(secure=True), "does not hold")


def test_a_pinned_certificate_itself_serves_as_its_authority(papers) -> None:
    client = client_tls(secure=True, ca_file=papers.stranger, server_name="gost.run")
    assert talk(server_tls(cert_file=papers.stranger), client)[2]


def test_what_the_authoritys_file_holds_is_believed_root_or_not(papers) -> None:
    assert talk(server_tls(cert_file=papers.server), client_tls(ca_file=papers.server))[2]


def test_a_server_with_an_authority_wants_certificates(papers) -> None:
    server = server_tls(cert_file=papers.server, ca_file=papers.authority)
    assert server.verified
    talk(server, client_tls(cert_file=papers.client))
    # In TLS 1.3 a client is through before the server has looked at what he shows.
    assert "certificate required" in talk(server, client_tls(), end=True)
    assert talk(server, client_tls(cert_file=papers.stranger), end=True)


def test_the_refusal_of_a_client_is_counted(papers) -> None:
    async def main():
        server = server_tls(cert_file=papers.server, ca_file=papers.authority)
        async with serving(tls.listen, tls=server) as served:
            stream = await tls.dial("127.0.0.1", served.port, tls=client_tls())
            await served.counts.until("bad-tls")
            assert not served.streams
            stream.abort()

    run(main())


@pytest.mark.parametrize(
    ("known", "asked", "welcome"),
    [
        ((), "any.test", True),
        (("server.test",), "SERVER.test", True),
        (("server.test",), "other.test", False),
        ((), None, False),
    ],
)
def test_unknown_names_are_refused_if_told_so(papers, known, asked, welcome) -> None:
    server = server_tls(cert_file=papers.server, reject_unknown_sni=True, server_names=known)
    client = client_tls(server_name=asked)
    if welcome:
        talk(server, client)
        return
    refused(server, client, "unrecognized name")


@pytest.mark.parametrize(
    ("host", "name"), [("127.0.0.1", None), ("::1", None), ("localhost", "localhost")]
)
def test_a_name_is_sent_an_address_is_not(papers, host, name) -> None:
    names = []
    server = server_tls(cert_file=papers.server)
    server.context.sni_callback = lambda _object, asked, _context: names.append(asked)
    client = client_tls()
    ends = [ssl.MemoryBIO() for _ in range(4)]
    near = client.wrap(ends[0], ends[1], host)
    far = server.wrap(ends[2], ends[3], "")
    with pytest.raises(ssl.SSLWantReadError):
        near.do_handshake()
    ends[2].write(ends[1].read())
    with pytest.raises(ssl.SSLWantReadError):
        far.do_handshake()
    assert names == [name]
    assert name or ipaddress.ip_address(host)


def test_a_name_that_is_none_is_an_error_of_the_dialler(papers) -> None:
    refused(server_tls(cert_file=papers.server), client_tls(server_name="a" * 300), "tls 127")


def test_versions_and_protocols_are_agreed_on(papers) -> None:
    server = server_tls(cert_file=papers.server, alpn=["h2"], max_version="VersionTLS12")
    assert talk(server, client_tls(alpn=["x", "h2"]))[1] == "h2"
    refused(server, client_tls(min_version="versiontls13"), "protocol version")


def test_cipher_suites_go_by_the_names_of_go(papers) -> None:
    ours = {suite["name"] for suite in _all_suites().get_ciphers()}
    assert {openssl_name(name) for name in GO_SUITES} <= ours
    server = server_tls(cert_file=papers.server, max_version="VersionTLS12")
    one = "tls_ecdhe_ecdsa_with_chacha20_poly1305_sha256"
    talk(server, client_tls(cipher_suites=[one, "TLS_AES_128_GCM_SHA256"]))
    refused(server, client_tls(cipher_suites=["TLS_RSA_WITH_AES_128_GCM_SHA256"]), "handshake")


def _all_suites() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ca_file": "/nowhere/ca.pem"}, r"caFile=/nowhere/ca\.pem: no such file"),
        ({"cert_file": "/nowhere/c.pem"}, r"certFile=/nowhere/c\.pem: no such file"),
        ({"ca_file": __file__}, "caFile=.*: expected certificates, as PEM"),
        ({"cert_file": __file__}, "certFile=.*: expected a PEM certificate and its key"),
        ({"min_version": "1.3"}, r"minVersion=1\.3: expected VersionTLS10 to VersionTLS13"),
        ({"cipher_suites": ["TLS_X_WITH_Y"]}, "cipherSuites=TLS_X_WITH_Y: none"),
        ({"pin": "sha256:12"}, "pin=sha256:12: expected sha256: and 64"),
    ],
)
def test_wrong_options_name_the_option(options, words) -> None:
    with pytest.raises(CarrierError, match=words):
        client_tls(**options)


def test_a_pin_may_be_written_with_colons() -> None:
    plain = "ab" * 32
    colons = ":".join(["AB"] * 32)
    assert parse_pin(f"sha256:{plain}") == parse_pin(f"sha256:{colons}") == bytes.fromhex(plain)


def test_secrets_are_not_shown(papers) -> None:
    for tls_of in (client_tls(cert_file=papers.client), server_tls(cert_file=papers.server)):
        assert "context" not in repr(tls_of)


@pytest.mark.parametrize(
    "noise", [b"GET / HTTP/1.1\r\n\r\n", bytes(600), b"\x16\x03\x01\x00\x05abcde"]
)
def test_noise_is_answered_closed_and_counted(papers, noise) -> None:
    async def main():
        async with serving(tls.listen, tls=server_tls(cert_file=papers.server)) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(noise)
            await reader.read()
            writer.close()
            await served.counts.until("bad-tls")
            assert not served.streams

    run(main())


def test_noise_after_the_handshake_ends_the_stream(papers) -> None:
    async def main():
        async with serving(tls.listen, tls=server_tls(cert_file=papers.server)) as served:
            stream = await tls.dial("127.0.0.1", served.port)
            taker = Taker()
            stream.start(taker)
            far, far_taker = await served.next()
            stream._lower.write(b"noise, not a record, and long enough to be looked at")
            assert "tls: " in await far_taker.ended()
            await taker.ended()
            assert far.backlog == 0

    run(main())


def test_a_server_that_is_none_is_said_so() -> None:
    async def main():
        async def answer(_reader, writer):
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(answer, sock=listening())
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(CarrierError, match=f"tls 127.0.0.1:{port}: .*wrong version"):
            await tls.dial("127.0.0.1", port, timeout=5.0)
        server.close()

    run(main())
