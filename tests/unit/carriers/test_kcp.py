import asyncio
import os
import random
import socket
from contextlib import asynccontextmanager, closing, suppress

import pytest
from carried import Served, Taker, run
from unit.protocol.kcp_worlds import PUSH, segment

from gateway.carriers import kcp, kcp_session, kcp_wire
from gateway.carriers.kcp_crypt import make_crypt
from gateway.carriers.kcp_wire import Wire, prepare
from gateway.carriers.stream import CarrierError
from gateway.protocol.kcp_options import KcpOptions

QUICK = KcpOptions(nodelay=True)


def a_socket():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


@asynccontextmanager
async def serving(options=QUICK, *, sock=None, **bounds):
    served = Served()
    sock = sock or a_socket()
    served.listener = await kcp.listen(
        sock, served.accept, counts=served.counts, kcp=options, **bounds
    )
    try:
        yield served
    finally:
        await served.listener.close()
        for session in list(served.listener._sessions.values()):
            session.abort()


@asynccontextmanager
async def dialled(port, options=QUICK, **more):
    taker = Taker()
    stream = await kcp.dial("127.0.0.1", port, kcp=options, **more)
    stream.start(taker)
    try:
        yield stream, taker
    finally:
        stream.abort()
        await taker.ended()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nocomp": True},
        {"datashard": 0},
        {"datashard": 3, "parityshard": 2},
        {"crypt": "none"},
        {"crypt": "xor", "key": "x"},
        {"crypt": "3des", "smuxver": 2, "mtu": 600},
        {"crypt": "sm4", "nc": True, "interval": 30},
        {"sndwnd": 32, "rcvwnd": 32, "nodelay": False, "smuxver": 2, "streambuf": 65536},
    ],
    ids=lambda options: "-".join(options) or "defaults",
)
def test_bytes_go_both_ways(options):
    async def main():
        options_ = KcpOptions(**options)
        there, back = os.urandom(700_000), os.urandom(300_000)
        async with serving(options_) as served, dialled(served.port, options_) as (stream, taker):
            stream.write(there)
            accepted, got = await served.next()
            accepted.write(back)
            assert await got.has(len(there)) == there
            assert await taker.has(len(back)) == back
            assert (stream.carrier, accepted.carrier) == ("kcp", "kcp")
            assert str(stream.remote) == f"127.0.0.1:{served.port}"
            assert accepted.remote.host == "127.0.0.1"
            assert 0 < stream.rtt < 5
            accepted.abort()

    run(main())


def test_what_shrinks_on_its_way_makes_room_too():
    """More than a full backlog of bytes that are compressed to next to nothing."""

    async def main():
        async with serving() as served, dialled(served.port) as (stream, taker):
            size = 0
            for number in range(3):
                while stream.backlog <= stream.high:
                    stream.write(bytes(20_000))
                    size += 20_000
                await taker.until(lambda taker, number=number: taker.rooms > number)
            _, got = await served.next()
            assert await got.has(size) == bytes(size)

    run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_socket_for_both_families(host):
    async def main():
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
        async with serving(sock=sock) as served:
            taker = Taker()
            stream = await kcp.dial(host, served.port, kcp=QUICK)
            stream.start(taker)
            stream.write(b"hello")
            accepted, got = await served.next()
            assert await got.has(5) == b"hello"
            assert accepted.remote.host == host
            assert stream.remote.host == host
            stream.close()
            await taker.ended()

    run(main())


def test_streams_to_one_place_share_a_conversation():
    async def main():
        async with serving() as served:
            async with dialled(served.port) as (one, _), dialled(served.port) as (two, _):
                one.write(b"first")
                two.write(b"second")
                got = {bytes(await (await served.next())[1].has(size)) for size in (5, 6)}
            assert got == {b"first", b"second"}
            assert served.counts["accepted"] == 1

    run(main())


def test_other_options_are_another_conversation():
    async def main():
        other = KcpOptions(nodelay=True, sndwnd=64)
        async with (
            serving() as served,
            dialled(served.port) as (one, _),
            dialled(served.port, other) as (two, _),
        ):
            one.write(b"x")
            two.write(b"x")
            await served.counts.until("accepted", 2)

    run(main())


@asynccontextmanager
async def bad_way(port, *, loss, double=0.0, seed=1):
    """A port from which datagrams get to `port` and back, some of them."""
    chance = random.Random(seed)
    loop = asyncio.get_running_loop()
    lost = []
    front = a_socket()
    back = a_socket()
    back.connect(("127.0.0.1", port))
    client = []

    def carry(sock, send):
        with suppress(ConnectionRefusedError):  # nobody there yet
            data, address = sock.recvfrom(65536)
            if sock is front:
                client[:] = [address]
            if chance.random() < loss:
                lost.append(len(data))
                return
            for _ in range(1 + (chance.random() < double)):
                send(data)

    loop.add_reader(front, carry, front, back.send)
    loop.add_reader(back, carry, back, lambda data: front.sendto(data, client[0]))
    try:
        yield front.getsockname()[1], lost
    finally:
        loop.remove_reader(front)
        loop.remove_reader(back)
        front.close()
        back.close()


@pytest.mark.parametrize(("rtt", "wanted"), [(0.0, True), (10.0, False)], ids=["long", "short"])
def test_two_of_ours_send_parity_only_where_the_way_is_long(monkeypatch, rtt, wanted):
    monkeypatch.setattr(kcp_session, "PARITY_RTT", rtt)

    async def main():
        async with serving() as served, dialled(served.port) as (stream, taker):
            stream.write(b"hello")
            accepted, _ = await served.next()
            accepted.write(b"hello")
            await taker.has(5)
            sent = []
            wire = stream._trunk._lower._wire
            monkeypatch.setattr(wire._crypt, "seal", lambda them: (sent.extend(them), [])[1])
            stream.write(os.urandom(50_000))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert any(packet[4] == 0xF2 for packet in sent) == wanted
            assert sum(map(len, sent)) > 50_000

    run(main())


@pytest.mark.parametrize("fec", [0, 3], ids=["no-parity", "parity"])
def test_a_bad_way_loses_nothing(monkeypatch, fec):
    monkeypatch.setattr(kcp_session, "PARITY_RTT", 0.0)

    async def main():
        options = KcpOptions(nodelay=True, parityshard=fec)
        data = os.urandom(400_000)
        async with (
            serving(options) as served,
            bad_way(served.port, loss=0.1, double=0.05) as (port, lost),
            dialled(port, options) as (stream, taker),
        ):
            stream.write(data)
            accepted, got = await served.next()
            assert await got.has(len(data)) == data
            accepted.write(data)
            assert await taker.has(len(data)) == data
            assert len(lost) > 20
            accepted.abort()

    run(main())


def test_another_key_is_said_at_once():
    async def main():
        async with serving(KcpOptions(key="one")) as served:
            with pytest.raises(CarrierError, match="no answer: nobody there, or another key"):
                await kcp.dial("127.0.0.1", served.port, kcp=KcpOptions(key="two"), timeout=0.3)
            assert served.counts["noise"] > 0
            assert served.listener.half_open == 0

    run(main())


def test_nobody_there_is_said_at_once():
    async def main():
        with closing(a_socket()) as sock:
            port = sock.getsockname()[1]
        with pytest.raises(CarrierError, match=f"kcp 127.0.0.1:{port}: connection refused"):
            await kcp.dial("127.0.0.1", port, kcp=QUICK)

    run(main())


def test_it_is_the_first_hop_or_none():
    async def main():
        async with serving() as served, dialled(served.port) as (stream, _):
            with pytest.raises(CarrierError, match="only be the first hop"):
                await kcp.dial("127.0.0.1", 1, over=stream)

    run(main())


def test_close_sends_what_is_owed():
    async def main():
        data = os.urandom(500_000)
        async with serving() as served:
            taker = Taker()
            stream = await kcp.dial("127.0.0.1", served.port, kcp=QUICK)
            stream.start(taker)
            stream.write(data)
            stream.close()
            _, got = await served.next()
            assert await got.has(len(data)) == data
            assert await got.ended() == ""
            assert await taker.ended() == ""

    run(main())


def test_who_does_not_read_holds_the_other_up():
    async def main():
        options = KcpOptions(nodelay=True, rcvwnd=64, sndwnd=64, smuxbuf=100_000, streambuf=50_000)
        piece = os.urandom(30_000)
        written = bytearray()
        async with serving(options) as served, dialled(served.port, options) as (stream, taker):
            stream.write(b"open")
            accepted, got = await served.next()
            await got.has(4)
            accepted.pause()
            while stream.backlog <= stream.high:
                stream.write(piece)
                written.extend(piece)
                await asyncio.sleep(0)
            assert len(got.got) == 4
            accepted.resume()
            assert await got.has(4 + len(written)) == b"open" + written
            await taker.until(lambda taker: taker.rooms == 1)
            accepted.abort()

    run(main())


def test_the_listener_closes_and_its_streams_live_on():
    async def main():
        async with serving() as served, dialled(served.port) as (stream, _):
            stream.write(b"one")
            accepted, got = await served.next()
            await got.has(3)
            await served.listener.close()
            stream.write(b"two")
            assert await got.has(6) == b"onetwo"
            with pytest.raises(CarrierError, match="no answer"):
                await kcp.dial("127.0.0.1", served.port, kcp=KcpOptions(), timeout=0.2)
            accepted.abort()

    run(main())


def sealed(*packets, options=QUICK):
    return [bytes(one) for one in make_crypt(options.crypt, options.key).seal(list(packets))]


def test_strangers_are_bounded_in_number_and_a_new_one_gets_in():
    async def main():
        async with serving(max_half_open=20) as served:
            strangers = [a_socket() for _ in range(200)]
            for number, sock in enumerate(strangers):
                (packet,) = sealed(segment(PUSH, conv=number + 1, data=b"x"))
                sock.sendto(packet, ("127.0.0.1", served.port))
            await served.counts.until("half-open-evicted", 180)
            assert served.listener.half_open == 20
            async with dialled(served.port) as (stream, _):
                stream.write(b"hello")
                _, got = await served.next()
                assert await got.has(5) == b"hello"
            for sock in strangers:
                sock.close()

    run(main())


def test_strangers_are_bounded_in_time():
    async def main():
        async with serving(handshake_timeout=0.1) as served:
            with closing(a_socket()) as sock:
                sock.sendto(*sealed(segment(PUSH)), ("127.0.0.1", served.port))
                await served.counts.until("handshake-timeout")
                assert served.listener.half_open == 0

    run(main())


def test_what_is_no_smux_ends_the_stranger():
    async def main():
        options = KcpOptions(nocomp=True)
        async with serving(options) as served:
            with closing(a_socket()) as sock:
                sock.sendto(*sealed(segment(PUSH, data=b"GET / HT")), ("127.0.0.1", served.port))
                await served.counts.until("bad-kcp")

    run(main())


@pytest.mark.parametrize(
    ("packets", "what"),
    [
        ([os.urandom(100)], "noise"),
        ([b""], "noise"),
        (sealed(segment(PUSH, sn=1000)), "unknown-session"),
        (sealed(segment(0x52)), "unknown-session"),
        (sealed(b"short"), "unknown-session"),
        (
            sealed(bytes.fromhex("00000000f2000000") + b"parity of something gone"),
            "unknown-session",
        ),
        (sealed(segment(PUSH), segment(0x55)), "bad-kcp"),
        (sealed(segment(PUSH), segment(PUSH, conv=5, sn=3)), "unknown-session"),
        (sealed(segment(PUSH), bytes.fromhex("00000000f1000200")), "bad-kcp"),
    ],
)
def test_noise_is_counted(packets, what):
    async def main():
        async with serving() as served:
            with closing(a_socket()) as sock:
                for packet in packets:
                    sock.sendto(packet, ("127.0.0.1", served.port))
                    await asyncio.sleep(0)
                await served.counts.until(what)

    run(main())


def test_a_new_conversation_from_the_same_address_replaces_the_old():
    async def main():
        async with serving() as served, dialled(served.port) as (stream, _):
            stream.write(b"old")
            _, old = await served.next()
            await old.has(3)
            # The same socket, as a client that was started again behind the same port.
            line = stream._trunk._lower._wire
            line.send([segment(PUSH, conv=1, data=b"x")], None)
            assert "replaced by a new conversation" in await old.ended()
            assert served.counts["replaced"] == 1

    run(main())


def test_who_leaves_says_so():
    async def main():
        async with serving() as served, dialled(served.port) as (stream, taker):
            stream.write(b"hello")
            accepted, got = await served.next()
            await got.has(5)
            accepted.write(b"hello")
            await taker.has(5)
            stream._trunk._lower.abort()
            assert "ended by the other end" in await got.ended()
            assert not served.listener._sessions

    run(main())


def test_a_restarted_listener_says_that_it_does_not_know():
    async def main():
        sock = a_socket()
        address = sock.getsockname()
        async with serving(sock=sock) as before:
            stream = await kcp.dial("127.0.0.1", before.port, kcp=QUICK)
            taker = Taker()
            stream.start(taker)
            stream.write(os.urandom(50_000))
            accepted, got = await before.next()
            await got.has(50_000)
            accepted.write(b"hello")
            await taker.has(5)
            # As by SIGKILL: nobody is told.
            before.listener._wire.close()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(address)
        async with serving(sock=sock) as after:
            stream.write(b"still there?")
            assert "ended by the other end" in await taker.ended()
            assert after.counts["unknown-session"] > 0
            async with dialled(after.port) as (again, _):
                again.write(b"hello")
                assert await (await after.next())[1].has(5) == b"hello"

    run(main())


def test_who_does_not_answer_any_more_is_gone(monkeypatch):
    monkeypatch.setattr(kcp_session, "SILENCE", 0.3)

    async def main():
        async with (
            serving() as served,
            bad_way(served.port, loss=0.0) as (port, _),
            dialled(port) as (stream, taker),
        ):
            stream.write(b"hello")
            await (await served.next())[1].has(5)
            cut = stream._trunk._lower
            asyncio.get_running_loop().remove_reader(cut._wire._sock.fileno())
            stream.write(b"are you there?")
            assert "no answer for" in await taker.ended()

    run(main())


def test_a_port_that_is_closed_ends_it(monkeypatch):
    monkeypatch.setattr(kcp_session, "REFUSED_TIME", 0.0)

    async def main():
        async with serving() as served, dialled(served.port) as (stream, taker):
            stream.write(b"hello")
            accepted, got = await served.next()
            await got.has(5)
            accepted.abort()
            served.listener._wire.close()
            stream.write(b"still there?")
            await taker.until(lambda taker: taker.ends)

    run(main())


class Kept:
    """Owner of a bare wire."""

    def __init__(self) -> None:
        self.packets = []
        self.turns = 0
        self.refused = 0
        self.event = asyncio.Event()

    def on_packets(self, _address, packets):
        self.packets += [bytes(packet) for packet in packets]

    def on_turn(self):
        self.turns += 1
        self.event.set()

    def on_refused(self):
        self.refused += 1

    async def has(self, number):
        while len(self.packets) < number:
            self.event.clear()
            await self.event.wait()
        return self.packets


@asynccontextmanager
async def wires():
    served = Served()
    crypt = make_crypt("aes", "")
    there, here = a_socket(), a_socket()
    here.connect(there.getsockname())
    there.connect(here.getsockname())  # nobody else on this host is heard
    far = Kept()
    ends = [Wire(there, crypt, far, served.counts), Wire(here, crypt, Kept(), served.counts)]
    try:
        yield ends[1], here, far, served.counts
    finally:
        for end in ends:
            end.close()


SIZES = [100] * 70 + [90, 100, 100, 200, 1400, 1400, 30]


@pytest.mark.parametrize("group", [64, 3, 1])
def test_a_burst_arrives_whole_and_in_order(group):
    async def main():
        packets = [os.urandom(size) for size in SIZES]
        async with wires() as (wire, _, far, counts):
            wire.send(packets, None, group)
            assert await far.has(len(packets)) == packets
            assert far.turns < len(packets)
            assert counts == {}

    run(main())


def test_where_groups_are_refused_packets_leave_one_by_one():
    async def main():
        packets = [os.urandom(size) for size in SIZES]
        async with wires() as (wire, here, far, counts):
            # Without checksums the kernel does not cut.
            here.setsockopt(socket.SOL_SOCKET, 11, 1)
            wire.send(packets, None)
            assert await far.has(len(packets)) == packets
            assert counts["group-refused"] == 1
            wire.send(packets, None)
            await far.has(2 * len(packets))
            assert counts["group-refused"] == 1

    run(main())


def test_the_socket_is_prepared():
    with closing(a_socket()) as sock:
        prepare(sock, KcpOptions(dscp=46, sockbuf=300_000))
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 46 << 2
        assert sock.getsockopt(socket.IPPROTO_IP, kcp_wire.IP_MTU_DISCOVER) == 5
        before = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        prepare(sock, KcpOptions(sockbuf=1000))
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == before
