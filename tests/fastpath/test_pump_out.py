"""From the TUN through ring and worker to datagrams.

How super-packets are cut is in `test_split.py`, what rings keep in `test_pump_rings.py`.
"""

import os
import socket
import sys

import pytest
from fastpath.flows import FAMILIES, LAN, TCP4, data, tcp, tcp_flow, to_peer, udp
from fastpath.rig import Rig, ends_in_time, examples, loopback, tunnel_address
from fastpath.twins import Vnet, cut, plain, tcp_packet
from hypothesis import given
from hypothesis import strategies as st
from strategies import a16, damaged_packets, echo_request, honest_packets

from gateway.fastpath import pump
from gateway.protocol.forwarding import Role

SO_NO_CHECK = 11


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (plain(b""), "empty"),
        (b"short", "empty"),
        (plain(bytes(10)), "too_short"),
        (plain(bytes(60)), "not_ip"),
        (plain(tcp(size=10) + b"!"), "bad_length"),
        (plain(echo_request(a16("fe80::1"), tunnel_address(0, 6))), "unroutable_source"),
        (plain(echo_request(LAN[0], a16("10.0.0.99"))), "no_peer"),
        (plain(echo_request(LAN[0], a16("203.0.113.1"))), "no_route"),
        (plain(echo_request(LAN[0], a16("10.0.0.1"))), "no_route"),
    ],
)
def test_every_other_drop_has_its_reason(record, reason):
    with Rig() as rig:
        peer = rig.peer(0)
        rig.from_host(record)

        rig.work()

        assert rig.drops(rig.reader_page) == {reason: 1}
        assert peer.nothing_came()
        rig.check_sums()


@given(
    st.lists(
        st.tuples(
            st.binary(min_size=10, max_size=10)
            | st.builds(
                lambda *fields: Vnet(*fields).pack(),
                st.sampled_from((0, 1, 2)),
                st.sampled_from((0, 1, 3, 4, 5, 0x81)),
                st.integers(0, 80),
                st.integers(0, 60),
                st.sampled_from((0, 20, 40, 24)),
                st.sampled_from((6, 16, 2)),
            ),
            honest_packets() | damaged_packets() | st.sampled_from([tcp(size=300), udp(6, 300)]),
        ),
        max_size=20,
    )
)
@examples(100)
def test_whatever_the_device_says_every_packet_is_counted_once(records):
    with Rig() as rig:
        rig.peer(0)
        rig.from_host(*(head + packet for head, packet in records))

        rig.work()

        rig.check_sums()
        queued = rig.reader_page.read()
        assert queued["queued_packets"] == rig.counted("ring_packets")
        assert queued["queued_bytes"] == rig.counted("ring_bytes")


def test_neighbours_for_one_peer_leave_as_groups_and_in_order():
    packets = [echo_request(*to_peer(slot=slot), index) for index in range(3) for slot in (0, 0, 1)]
    with Rig() as rig:
        peers = rig.peer(0), rig.peer(1)
        rig.from_host(*map(plain, packets))

        rig.work()

        assert peers[0].receive(6) == [p for p in packets if p[19] == 2]
        assert peers[1].receive(3) == [p for p in packets if p[19] == 3]
        assert peers[0].arrivals == [2, 2, 2]
        assert rig.counted("send_bursts") == 1


def test_a_shorter_datagram_ends_a_group_and_a_longer_one_begins_the_next():
    sizes = 100, 100, 60, 60, 100
    packets = [echo_request(*to_peer(), data=data(size)) for size in sizes]
    with Rig() as rig:
        peer = rig.peer(0)
        rig.from_host(*map(plain, packets))

        rig.work()

        assert peer.receive(5) == packets
        assert peer.arrivals == [3, 1, 1]


@pytest.mark.parametrize("last", [35, 36, 55])
def test_a_group_has_no_more_bytes_than_the_kernel_takes(last):
    """48 times 1,364 bytes and one more: UDP over IPv4 takes 65,507 at once."""
    packets = [tcp(size=1324)] * 48 + [udp(size=last - 28)]
    with Rig() as rig:
        peer = rig.peer(0)
        rig.from_host(*map(plain, packets))

        rig.work()

        assert peer.receive(49) == packets
        assert rig.counted("gso_fallbacks") == 0


@FAMILIES
def test_it_leaves_from_the_address_the_peer_reached(family):
    with Rig() as rig:
        peer = rig.peer(0, family)
        local = "127.0.0.2" if family == socket.AF_INET else "::1"
        rig.admit(0, local=a16(local))
        for record, count in ((plain(tcp(size=10)), 1), (TCP4, 4)):
            rig.from_host(record)
            rig.work()
            peer.receive(count)

            assert peer.came_from[0] == local
        assert peer.arrivals == [1, 4]


def test_an_ipv4_socket_serves_too():
    with Rig(family=socket.AF_INET) as rig:
        peer = rig.peer(0)
        rig.admit(0, local=a16("127.0.0.2"))
        rig.from_host(TCP4)

        rig.work()

        assert peer.receive(4) == cut(TCP4)
        assert peer.arrivals == [4]
        assert peer.came_from[0] == "127.0.0.2"


def test_a_path_that_takes_no_groups_gets_datagrams_one_by_one():
    """And only for a while; a peer that moved starts afresh (I13)."""
    record = TCP4
    with Rig(family=socket.AF_INET) as rig:
        peer = rig.peer(0)
        rig.udp.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)  # the kernel refuses UDP_SEGMENT
        rig.from_host(record, record)
        rig.work()
        assert peer.receive(8) == cut(record) * 2
        assert set(peer.arrivals) == {1}
        assert rig.page.peer(0)[5] == 1
        assert rig.counted("gso_fallbacks") == 2

        rig.udp.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 0)
        rig.from_host(record)
        rig.work()
        assert peer.receive(4) == cut(record)
        assert set(peer.arrivals) == {1}

        peer = rig.peer(0)
        rig.from_host(record)
        rig.work()
        assert peer.receive(4) == cut(record)
        assert peer.arrivals == [4]
        assert rig.page.peer(0)[5] == 0
        rig.check_sums()


def test_a_datagram_that_is_too_long_harms_nobody_else():
    long = tcp_packet(*to_peer(6, 0), data(65_470))
    with Rig() as rig:
        rig.peer(0)
        other = rig.peer(1)
        rig.from_host(plain(long), plain(echo_request(*to_peer(4, 1))))

        rig.work()

        assert len(other.receive(1)) == 1
        assert rig.drops(prefix="ring_drop_") == {"send_error": 1}
        assert rig.page.peer(0)[4] == 1
        rig.check_sums()


def client(**parts) -> Rig:
    rig = Rig(role=Role.CLIENT, **parts)
    rig.fib.set_peer(0, 1, a16("127.0.0.1"), 9)
    rig.fib.set_route(a16("0.0.0.0"), 96, 0)
    rig.fib.set_route(a16("::"), 0, 0)
    return rig


def test_a_full_send_buffer_drops_and_never_waits():
    """A connected socketpair stands for UDP: its buffer fills for certain."""
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with far, client(udp=near, gso=False) as rig:
        packets = [tcp_packet(LAN[0], LAN[0], data(1000), seq=index) for index in range(900)]
        rig.from_host(*map(plain, packets))

        assert rig.work() == 0

        arrived = []
        far.setblocking(False)
        while len(arrived) < rig.counted("sent_packets"):
            arrived.append(far.recv(2000))
        assert arrived == packets[: len(arrived)]
        assert rig.drops(prefix="ring_drop_") == {"send_full": 900 - len(arrived)}
        assert len(arrived) < 900
        rig.check_sums()


def refused_socket() -> socket.socket:
    """Connected to a port that nobody has."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with loopback(socket.AF_INET) as closed:
        sock.connect(closed.getsockname())
    return sock


def test_a_refusal_is_an_event_and_no_end():
    with client(udp=refused_socket(), family=socket.AF_INET) as rig:
        bits = 0
        for _ in range(2):
            rig.from_host(plain(echo_request(LAN[0], LAN[0])))
            bits |= rig.work()

        assert bits == pump.REFUSED
        rig.check_sums()


def test_a_refusal_of_an_earlier_datagram_costs_no_later_one():
    """A send reports the last one's error; the second burst of a turn begins with one."""
    with client(udp=refused_socket(), family=socket.AF_INET, gso=False) as rig:
        rig.from_host(*[plain(echo_request(LAN[0], LAN[0]))] * 70)

        rig.work()

        assert rig.drops(prefix="ring_drop_") == {}
        assert rig.counted("sent_packets") == 70


def test_a_refusal_costs_no_datagram_of_a_group_that_goes_singly():
    with client(udp=refused_socket(), family=socket.AF_INET) as rig:
        rig.udp.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)  # the kernel refuses UDP_SEGMENT
        rig.fib.set_route(tunnel_address(0), 128, 0)
        rig.from_host(TCP4)

        rig.work()

        assert rig.counted("gso_fallbacks") == 1
        assert rig.drops(prefix="ring_drop_") == {}
        assert rig.counted("sent_packets") == 4


def test_a_message_on_the_channel_ends_the_call():
    with Rig() as rig:
        rig.channel.send(b"update")

        assert rig.reader.run(10) == rig.worker.run(10) == pump.CHANNEL


def test_the_channel_comes_before_what_waits_in_the_socket():
    """Who was acked a moment ago is in its message: his first packet is not to be dropped."""
    with Rig() as rig:
        rig.peer(0)
        rig.send(0, tcp_flow(1)[0])
        rig.channel.send(b"update")

        assert rig.worker.run(10) == pump.CHANNEL
        assert rig.to_host() == []
        rig.worker.run(0)
        assert len(rig.to_host()) == 1, "a last turn asks nobody"


def test_a_turn_with_events_of_its_own_tells_of_the_channel_too():
    """Else heartbeats in every turn would keep the supervisor's messages waiting."""
    with Rig() as rig:
        rig.peer(0)
        rig.send(0, b"GOST" + bytes(28))
        rig.channel.send(b"update")

        assert rig.worker.run(0) == pump.PUNTS | pump.CHANNEL


def test_a_busy_loop_ends_at_its_timeout_too():
    """Else a signal would wait for the load to end. /dev/zero always has a 'packet'."""
    zero = os.open("/dev/zero", os.O_RDONLY)
    with Rig(tun=zero) as rig:
        rig.closing.callback(os.close, zero)

        assert ends_in_time(lambda: rig.reader.run(0.02) == 0)
        assert rig.reader_page.read()["drop_not_ip"] > 0
        rig.check_sums()


def test_a_deleted_device_is_reported_and_read_no_more():
    reading, writing = os.pipe()
    os.close(reading)
    with Rig(tun=writing) as rig:  # read() fails with EBADF, as it does on a deleted device
        rig.closing.callback(os.close, writing)

        assert rig.reader.run(10) == pump.DEVICE_GONE


def test_every_turn_beats_the_pulse():
    with Rig() as rig:
        assert rig.page.pulse() == rig.reader_page.pulse() == 0

        rig.reader.run(0)
        rig.worker.run(0)

        assert rig.page.pulse() >= rig.reader_page.pulse() > 0


def test_no_object_is_made_per_packet():
    """A call is many packets and no allocation (I9)."""
    records = [TCP4, plain(echo_request(*to_peer(6)))] * 20
    with Rig() as rig:
        rig.peer(0)
        for record in records:
            rig.host.send(record)

        before = sys.getallocatedblocks()
        rig.reader.run(0)
        rig.worker.run(0)
        made = sys.getallocatedblocks() - before

        assert rig.counted("sent_packets") == 100
        assert made < 20
