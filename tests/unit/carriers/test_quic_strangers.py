"""Strangers to a listener of quic: noise, forged datagrams, crowds, tokens."""

import asyncio
import os
import socket

from carried import run, until
from unit.carriers.quic_ends import dialled, serving

from gateway.carriers import openings, quic, quic_door
from gateway.carriers.quic_core import Connection, configure
from gateway.carriers.quic_packets import Retries, build_versions, first_keys, read_head


def test_noise_is_counted_and_nothing_else(papers):
    async def main():
        async with serving(papers, echo=True) as served:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect(("127.0.0.1", served.port))
                ids = bytes([8]) + bytes(8) + bytes([8]) + bytes(8)
                for datagram in (
                    b"x",
                    os.urandom(1300),
                    b"\x40" + bytes(60),
                    b"\xc0\0\0\0\1" + ids,
                    b"\xc0\0\0\0\1" + ids + b"\0\x44\xd0" + bytes(1300),
                    b"\xe0\0\0\0\1" + ids + bytes(1300),
                ):
                    sock.send(datagram)
                sock.send(b"\xc0\1\2\3\4" + ids + bytes(1300))
                await served.counts.until("wrong-version")
                loop = asyncio.get_running_loop()
                sock.setblocking(False)
                answer = await loop.sock_recv(sock, 2000)
                assert answer[1:5] == bytes(4)
                assert answer[-4:] == b"\0\0\0\1"
            await until(lambda: served.counts.total() >= 7)
            assert set(served.counts) <= {"noise", "wrong-version", "unknown-session"}
            assert not served.listener.sessions
            async with dialled(served.port) as (stream, taker):
                stream.write(b"hello")
                assert await taker.has(5) == b"hello"

    run(main())


def test_an_open_stream_lives_through_forged_datagrams(papers):
    async def main():
        async with serving(papers, echo=True) as served, dialled(served.port) as (stream, taker):
            stream.write(b"hello")
            await taker.has(5)
            (session,) = served.listener.sessions
            identity = session.connection.host_cid
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect(("127.0.0.1", served.port))
                for size in range(1, 1200, 7):
                    sock.send(b"\x40" + identity + os.urandom(size))
                    sock.send(b"\xe0\0\0\0\1\x08" + identity + os.urandom(size))
            stream.write(b"again")
            assert await taker.has(10) == b"helloagain"

    run(main())


def first_datagrams(number):
    """What clients send first, from `number` of them who then say no more."""
    configuration = configure(is_client=True, idle_timeout=9.0)
    quic.client_tls().put_into(configuration, "host.test")
    for _ in range(number):
        connection = Connection(configuration=configuration)
        connection.connect(("127.0.0.1", 1), 1.0)
        yield [datagram for datagram, _ in connection.datagrams_to_send(1.0)]


def test_strangers_are_bounded_and_do_not_keep_others_out(papers, monkeypatch):
    monkeypatch.setattr(quic_door, "RETRY_FROM", 4)

    async def main():
        bounds = {"handshake_timeout": 1.0, "max_half_open": 50}
        async with serving(papers, echo=True, **bounds) as served:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect(("127.0.0.1", served.port))
                for datagrams in first_datagrams(20):
                    for datagram in datagrams:
                        sock.send(datagram)
                await served.counts.until("retry")
                assert served.listener.half_open <= 4
                async with dialled(served.port) as (stream, taker):
                    stream.write(b"hello")
                    assert await taker.has(5) == b"hello"
                await served.counts.until("handshake-timeout", 4)
                assert served.listener.half_open == 0

    run(main())


def test_the_oldest_stranger_goes_first(papers):
    async def main():
        async with serving(papers, max_half_open=1, echo=True) as served:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect(("127.0.0.1", served.port))
                for datagrams in first_datagrams(1):
                    for datagram in datagrams:
                        sock.send(datagram)
                await until(lambda: served.listener.half_open)
                async with dialled(served.port) as (stream, taker):
                    stream.write(b"hello")
                    assert await taker.has(5) == b"hello"
                assert served.counts["half-open-evicted"] == 1

    run(main())


def test_who_opens_and_ends_streams_without_end_is_ended(papers, monkeypatch):
    monkeypatch.setattr(openings, "MOST_OPENED", 20)
    monkeypatch.setattr(openings, "OPENED_A_SECOND", 0)

    async def main():
        async with serving(papers) as served, dialled(served.port) as (stream, taker):
            stream.write(b"x")
            _, got = await served.next()
            for _ in range(19):
                more = await quic.dial("127.0.0.1", served.port)
                more.write(b"x")
                await served.next()
                more.abort()
            assert not got.ends
            last = await quic.dial("127.0.0.1", served.port)
            last.write(b"x")
            assert await got.ended() == "quic: opens too many streams"
            await taker.ended()
            assert served.streams == []

    run(main())


def test_first_keys_are_those_of_the_standard():
    """RFC 9001, appendix A.1."""
    client, server = first_keys(bytes.fromhex("8394c8f03e515708"))
    assert client.key.hex() == "1f369613dd76d5467730efcbe3b1a22d"
    assert client.iv.hex() == "fa044b2f42a3fd3b46fb255c"
    assert client.hp.hex() == "9f50449e04a0e810283a1e9933adedd2"
    assert server.key.hex() == "cf3a5331653c364c88f0f379b6067e37"


def test_a_token_is_for_one_address_one_id_and_a_while():
    retries = Retries()
    first = read_head(b"\xc0\0\0\0\1\x08original\x00\x00\x00" + bytes(1200))
    packet = retries.build(first, "here 1", 100.0)
    source, token = packet[7:15], packet[15:-16]
    size = (0x4000 | len(token)).to_bytes(2, "big")
    second = read_head(b"\xc0\0\0\0\1\x08" + source + b"\0" + size + token + bytes(1200))
    assert second.destination == source
    assert retries.original(second, "here 1", 101.0) == b"original"
    assert retries.original(second, "here 2", 101.0) is None
    assert retries.original(second, "here 1", 200.0) is None
    assert Retries().original(second, "here 1", 101.0) is None
    third = read_head(b"\xc0\0\0\0\1\x08otherone\0" + size + token + bytes(1200))
    assert retries.original(third, "here 1", 101.0) is None


def test_heads_of_anything():
    for _ in range(3000):
        head = read_head(os.urandom(60))
        if head is not None and head.version not in {None, 0}:
            assert len(build_versions(head)) == 11 + len(head.source) + len(head.destination)
