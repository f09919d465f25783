"""Datagrams of kcp: strangers and noise are bounded and counted, bursts arrive whole."""

import asyncio
import os
import socket
from contextlib import asynccontextmanager, closing

import pytest
from carried import Served, run
from unit.carriers.datagrams import a_socket
from unit.carriers.kcp_ends import QUICK, dialled, serving
from unit.protocol.kcp_worlds import PUSH, segment

from gateway.carriers import kcp_wire
from gateway.carriers.kcp_crypt import make_crypt
from gateway.carriers.kcp_wire import Wire, prepare
from gateway.protocol.kcp_options import KcpOptions


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
