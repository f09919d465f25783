"""Strangers' key shares that are none: whoever sends them is refused, and nobody else notices."""

import os
import socket

import pytest
from carried import run
from qh3 import tls
from qh3._hazmat import X25519ML768KeyExchange
from unit.carriers.quic_ends import dialled, serving

from gateway.carriers.quic import client_tls
from gateway.carriers.quic_core import Connection, configure
from gateway.carriers.quic_shares import KeyExchange

HYBRID = KeyExchange().public_key()
SHARES = [
    (tls.Group.X25519, b""),
    (tls.Group.X25519, bytes(32)),
    (tls.Group.SECP256R1, bytes(65)),
    (tls.Group.SECP384R1, b"\4"),
    (tls.Group.SECP521R1, b"\4"),
    (tls.Group.X25519ML768, b""),
    (tls.Group.X25519ML768, HYBRID[:-1]),
    (tls.Group.X25519ML768, HYBRID[:-32] + bytes(32)),
    (tls.Group.X25519ML768, b"\xff\xff\xff" + HYBRID[3:]),
]


def first_packets(monkeypatch, share) -> list[bytes]:
    """What a client says first that shows this share."""
    push = tls.push_client_hello

    def push_this(buf, hello) -> None:
        hello.key_share = [share]
        push(buf, hello)

    configuration = configure(is_client=True, idle_timeout=5.0)
    client_tls().put_into(configuration, "127.0.0.1")
    connection = Connection(configuration=configuration)
    with monkeypatch.context() as patched:
        patched.setattr(tls, "push_client_hello", push_this)
        connection.connect(("127.0.0.1", 1), 0.0)
    return [datagram for datagram, _ in connection.datagrams_to_send(0.0)]


@pytest.mark.parametrize("share", SHARES, ids=lambda share: f"{share[0].name}-{len(share[1])}")
def test_a_share_that_is_none_ends_its_sender_only(papers, monkeypatch, capfd, share):
    async def main():
        async with serving(papers) as served, dialled(served.port) as (stream, taker):
            stream.write(b"before")
            accepted, _ = await served.next()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                for datagram in first_packets(monkeypatch, share):
                    stranger.sendto(datagram, ("127.0.0.1", served.port))
                await served.counts.until("bad-quic")
            accepted.write(b"after")
            assert await taker.has(5) == b"after"

    run(main())
    assert capfd.readouterr().err == ""


def test_both_ends_agree():
    client, server = KeyExchange(), X25519ML768KeyExchange()
    secret = server.exchange(client.public_key())
    assert client.exchange(server.shared_ciphertext()) == secret

    client, server = X25519ML768KeyExchange(), KeyExchange()
    secret = server.exchange(client.public_key())
    assert client.exchange(server.shared_ciphertext()) == secret


@pytest.mark.parametrize("size", [0, 31, 32, 1087, 1088, 1216])
def test_a_server_that_answers_with_no_share_is_refused(size):
    client = KeyExchange()
    client.public_key()
    with pytest.raises(ValueError, match=f"a key share of {size} bytes"):
        client.exchange(os.urandom(size))


def test_handshakes_of_the_library_use_it():
    assert tls.X25519ML768KeyExchange is KeyExchange
