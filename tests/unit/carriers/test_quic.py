import asyncio
import os
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from carried import Served, Taker, run, until

from gateway.carriers import openings, quic, quic_door, quic_link
from gateway.carriers.quic import QuicOptions
from gateway.carriers.quic_core import Connection, configure
from gateway.carriers.quic_doubling import Doubling
from gateway.carriers.quic_packets import Retries, build_versions, first_keys, read_head
from gateway.carriers.stream import CarrierError


def a_socket(family=socket.AF_INET, host="127.0.0.1"):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    return sock


@asynccontextmanager
async def serving(papers, *, sock=None, tls=None, echo=False, **more):
    served = Served()
    served.answering = echo
    served.listener = await quic.listen(
        sock or a_socket(),
        served.accept,
        counts=served.counts,
        tls=tls or quic.server_tls(cert_file=papers.server),
        **more,
    )
    try:
        yield served
    finally:
        await served.listener.close()
        for session in served.listener.sessions:
            session.close()


@asynccontextmanager
async def dialled(port, host="127.0.0.1", **more):
    taker = Taker()
    stream = await quic.dial(host, port, timeout=5.0, **more)
    stream.start(taker)
    try:
        yield stream, taker
    finally:
        stream.abort()
        await taker.ended()


@pytest.mark.parametrize("key", ["", "sixteen bytes ok", "exactly thirty-two bytes of a key"[:32]])
def test_bytes_go_both_ways(papers, key):
    async def main():
        options = QuicOptions(cipher_key=key)
        there, back = os.urandom(3_000_000), os.urandom(300_000)
        async with (
            serving(papers, quic=options) as served,
            dialled(served.port, quic=options) as (stream, taker),
        ):
            stream.write(memoryview(bytearray(there)))
            accepted, got = await served.next()
            accepted.write(back)
            assert await got.has(len(there)) == there
            assert await taker.has(len(back)) == back
            assert (stream.carrier, accepted.carrier) == ("quic", "quic")
            assert str(stream.remote) == f"127.0.0.1:{served.port}"
            assert accepted.remote.host == "127.0.0.1"
            assert 0 < stream.rtt < 5
            assert not stream.verified

    run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_socket_for_both_families(papers, host):
    async def main():
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
        async with serving(papers, sock=sock) as served, dialled(served.port, host) as (stream, _):
            stream.write(b"hello")
            accepted, got = await served.next()
            assert await got.has(5) == b"hello"
            assert accepted.remote.host == host

    run(main())


@pytest.mark.parametrize("closes", ["dialler", "listener"])
def test_what_was_written_arrives_before_the_end(papers, closes):
    async def main():
        async with serving(papers) as served:
            stream, taker = await quic.dial("127.0.0.1", served.port), Taker()
            stream.start(taker)
            stream.write(b"x")
            accepted, got = await served.next()
            near, far = (stream, got) if closes == "dialler" else (accepted, taker)
            near.write(bytes(2_000_000))
            near.close()
            await far.until(lambda far: far.ends)
            assert far.ends == [""]
            assert len(far.got) == 2_000_000 + (closes == "dialler")
            assert await taker.ended() == ""
            assert await got.ended() == ""
            await until(lambda: not served.listener.sessions)

    run(main())


def test_an_aborted_stream_ends_at_the_other_end(papers):
    async def main():
        async with serving(papers) as served, dialled(served.port) as (other, _):
            stream, taker = await quic.dial("127.0.0.1", served.port), Taker()
            stream.start(taker)
            stream.write(b"x")
            accepted, got = await served.next()
            stream.abort()
            assert await taker.ended() == "aborted"
            assert "reset" in await got.ended()
            assert accepted.backlog == 0
            other.write(b"y")
            assert (await served.next())[1] is not got

    run(main())


def test_streams_share_one_connection_within_its_limit(papers):
    async def main():
        async with serving(papers) as served:
            streams = [await quic.dial("127.0.0.1", served.port) for _ in range(105)]
            takers = [Taker() for _ in streams]
            for stream, taker in zip(streams, takers, strict=True):
                stream.start(taker)
                stream.write(b"x")
            for _ in streams:
                await served.next()
            assert served.counts["accepted"] == 2
            for stream, taker in zip(streams, takers, strict=True):
                stream.close()
                assert await taker.ended() == ""
            await until(lambda: not served.listener.sessions)

    run(main())


def test_more_streams_than_allowed_are_reset(papers):
    async def main():
        async with (
            serving(papers, quic=QuicOptions(max_streams=1)) as served,
            dialled(served.port) as (one, _),
            dialled(served.port) as (two, taker),
        ):
            one.write(b"1")
            await served.next()
            two.write(b"2")
            assert await taker.ended()
            assert not served.streams

    run(main())


def test_a_slow_reader_holds_up_the_writer(papers):
    async def main():
        async with serving(papers) as served, dialled(served.port) as (stream, taker):
            stream.write(b"x")
            accepted, got = await served.next()
            await got.has(1)
            accepted.pause()
            size = 1
            deaf = asyncio.get_running_loop().time() + 0.5
            while asyncio.get_running_loop().time() < deaf:
                if stream.backlog <= stream.high:
                    stream.write(bytes(50_000))
                    size += 50_000
                await asyncio.sleep(0)
            assert stream.backlog > stream.high
            assert len(got.got) == 1
            assert size < 16 << 20
            rooms = taker.rooms
            accepted.resume()
            await got.has(size)
            await taker.until(lambda taker: taker.rooms > rooms)

    run(main())


CLIENTS = {
    "nothing": ({}, False, None),
    "pin": ({"pin": "PIN"}, True, None),
    "authority": ({"ca_file": "AUTHORITY"}, True, None),
    "itself": ({"ca_file": "SERVER"}, True, None),
    "name": ({"ca_file": "SERVER", "secure": True, "server_name": "server.test"}, True, None),
    "other pin": ({"pin": "sha256:" + "00" * 32}, True, f"is PIN, pin says sha256:{'00' * 32}"),
    "other authority": (
        {"ca_file": "STRANGER"},
        True,
        "PIN does not hold by caFile=STRANGER: none",
    ),
    "other name": ({"ca_file": "SERVER", "secure": True}, True, "not for 127.0.0.1"),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_whom_a_client_believes(papers, name):
    options, verified, refusal = CLIENTS[name]
    words = {
        "PIN": papers.pin,
        "AUTHORITY": papers.authority,
        "SERVER": papers.server,
        "STRANGER": papers.stranger,
    }
    options = {key: words.get(value, value) for key, value in options.items()}
    for word in ("PIN", "STRANGER"):
        refusal = refusal and refusal.replace(word, str(words[word]))

    async def main():
        async with serving(papers) as served:
            tls = quic.client_tls(**options)
            if refusal:
                with pytest.raises(CarrierError, match=refusal) as caught:
                    await quic.dial("127.0.0.1", served.port, tls=tls)
                assert caught.value.what == "bad-tls"
                return
            async with dialled(served.port, tls=tls) as (stream, _):
                assert stream.verified == verified

    run(main())


def test_who_is_refused_learns_nothing_of_ours(papers, monkeypatch):
    """Neither our files nor whom we would have believed."""
    told = []
    close = Connection.close

    def spied(self, **given):
        told.append(given["reason_phrase"])
        close(self, **given)

    monkeypatch.setattr(Connection, "close", spied)

    async def main():
        async with serving(papers) as served:
            tls = quic.client_tls(ca_file=papers.stranger)
            with pytest.raises(CarrierError, match="caFile="):
                await quic.dial("127.0.0.1", served.port, tls=tls)
            assert told[0] == "the certificate does not hold"

    run(main())


def test_options_that_cannot_be_had_are_named(papers, tmp_path):
    (tmp_path / "no.pem").write_text("none")
    for make, given, text in (
        (quic.server_tls, {"cert_file": papers.server, "ca_file": "x"}, "caFile=x"),
        (quic.server_tls, {"cert_file": papers.server, "reject_unknown_sni": True}, "SNI"),
        (quic.server_tls, {"cert_file": tmp_path / "no.pem"}, "expected a PEM certificate"),
        (quic.server_tls, {"cert_file": tmp_path / "none"}, "no such file"),
        (quic.client_tls, {"ca_file": tmp_path / "no.pem"}, "expected certificates"),
        (quic.client_tls, {"max_version": "VersionTLS12"}, "TLS 1.3"),
    ):
        with pytest.raises(CarrierError, match=text):
            make(**given)
    for given in ({"cipher_key": "short"}, {"max_streams": 101}, {"keepalive": -1.0}):
        with pytest.raises(ValueError, match=r"quic\."):
            QuicOptions(**given)
    assert "secret" not in repr(QuicOptions(cipher_key="secret16bytes!!!"))


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


def test_who_says_nothing_any_more_is_gone(papers, monkeypatch):
    monkeypatch.setattr(quic_link, "_WATCH", 0.05)
    monkeypatch.setattr(quic_link, "ANSWER", 0.2)

    async def main():
        options = QuicOptions(keepalive=0.2)
        async with serving(papers, quic=options) as served:
            stream, taker = await quic.dial("127.0.0.1", served.port, quic=options), Taker()
            stream.start(taker)
            stream.write(b"x")
            _, got = await served.next()
            await asyncio.wait({asyncio.ensure_future(got.ended())}, timeout=1.0)
            assert not got.ends  # pings are answered
            stream._session._wire.close()
            assert "silent" in await got.ended()
            assert "silent" in await taker.ended()

    run(main())


def test_nobody_there(papers):
    async def main():
        with a_socket() as sock:
            port = sock.getsockname()[1]
            with pytest.raises(CarrierError, match="no answer"):
                await quic.dial("127.0.0.1", port, timeout=0.3)
        with pytest.raises(CarrierError, match="first hop"):
            await quic.dial("127.0.0.1", port, over=object())

    run(main())


def test_another_key_gets_no_answer(papers):
    async def main():
        options = QuicOptions(cipher_key="a" * 16)
        async with serving(papers, quic=options) as served:
            with pytest.raises(CarrierError, match="no answer"):
                await quic.dial("127.0.0.1", served.port, timeout=0.5)
            assert served.counts["noise"] > 0

    run(main())


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_thousand_streams_leave_nothing_behind(papers):
    async def main():
        async with serving(papers, echo=True) as served:
            before = descriptors()
            for _ in range(20):
                pairs = []
                for _ in range(50):
                    stream, taker = await quic.dial("127.0.0.1", served.port), Taker()
                    stream.start(taker)
                    stream.write(b"x")
                    pairs.append((stream, taker))
                for stream, taker in pairs:
                    await taker.has(1)
                    stream.close()
                    await taker.ended()
                served.streams.clear()
                served.takers.clear()
            await until(lambda: not served.listener.sessions)
            door = served.listener
            assert not door._by_id
            assert not list(door._places)
            assert not door._places.guests
            await until(lambda: descriptors() <= before)

    run(main(), deadline=90)


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


def test_datagrams_leave_twice_while_that_helps():
    doubling = Doubling()
    doubling.look(1.0, 1000, 10)
    assert not doubling.active
    doubling.look(2.0, 2000, 60)
    assert doubling.active
    doubling.look(3.0, 2100, 60)  # too few to judge by
    doubling.look(4.0, 3000, 63)
    assert doubling.active
    doubling.look(13.0, 4000, 66)
    assert not doubling.active  # once without it
    doubling.look(14.0, 5000, 116)
    assert doubling.active


def test_a_full_queue_gets_no_second_copies():
    doubling = Doubling()
    doubling.look(1.0, 1000, 50)
    assert doubling.active
    doubling.look(2.0, 2000, 90)
    assert not doubling.active
    doubling.look(3.0, 3000, 190)
    assert not doubling.active
    doubling.look(70.0, 4000, 290)
    assert doubling.active
