"""From the TUN through ring and worker to datagrams: byte for byte what the twin cuts."""

import os
import socket
import sys

import pytest
from fastpath.rig import Rig, ends_in_time, examples, tunnel_address
from fastpath.twins import (
    ACK,
    CWR,
    FIN,
    GSO_ECN,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP,
    GSO_UDP_L4,
    NEEDS_CSUM,
    PSH,
    Vnet,
    cut,
    datagram,
    needs_checksum,
    plain,
    split_record,
    super_packet,
    tcp_packet,
)
from hypothesis import given
from hypothesis import strategies as st
from strategies import a16, damaged_packets, echo_request, honest_packets

from gateway.fastpath import pump
from gateway.fastpath.pump import Reader
from gateway.protocol.forwarding import Role

LAN = a16("192.0.2.1"), a16("2001:db8::1")
TIMESTAMPS = bytes((1, 1, 8, 10)) + bytes(range(8))
ROUTER_ALERT = bytes((148, 4, 0, 0))
SO_NO_CHECK = 11
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])


def data(size: int) -> bytes:
    return bytes(index * 7 % 251 for index in range(size))


def to_peer(version: int = 4, slot: int = 0) -> tuple[bytes, bytes]:
    return LAN[version == 6], tunnel_address(slot, version)


def tcp(version: int = 4, size: int = 5000, **fields) -> bytes:
    return tcp_packet(*to_peer(version), data(size), **fields)


def udp(version: int = 4, size: int = 5000, **fields) -> bytes:
    return datagram(*to_peer(version), data(size), **fields)


SUPER_PACKETS = {
    "tcp4": super_packet(tcp(), 1380),
    "tcp6": super_packet(tcp(6), 1360),
    "udp4": super_packet(udp(), 1200),
    "udp6": super_packet(udp(6), 1200),
    "full 64 KB": super_packet(tcp(size=65_000), 1380),
    "exact multiple": super_packet(tcp(size=4140), 1380),
    "one segment": super_packet(tcp(size=700), 1380),
    "no payload": super_packet(tcp(size=0), 1380),
    "odd sizes": super_packet(tcp(6, size=4001), 999),
    "tcp options": super_packet(tcp(options=TIMESTAMPS), 1368),
    "all tcp options": super_packet(tcp(6, options=b"\1" * 40), 1320),
    "ip options": super_packet(tcp(ip_options=ROUTER_ALERT), 1376),
    "all ip options": super_packet(udp(ip_options=b"\1" * 40), 1000),
    "psh": super_packet(tcp(flags=ACK | PSH), 1380),
    "fin and psh": super_packet(tcp(6, flags=ACK | PSH | FIN), 1380),
    "cwr": super_packet(tcp(flags=ACK | CWR | PSH), 1380),
    "ecn, unasked": super_packet(tcp(flags=ACK | CWR), 1380, gso_type=GSO_TCPV4 | GSO_ECN),
    "checksum at an odd place": needs_checksum(tcp(size=900), csum_start=35, csum_offset=30),
    "checksum of an odd rest": needs_checksum(udp(6, size=900), csum_start=41, csum_offset=7),
    "ip id wraps": super_packet(tcp(ident=0xFFFE), 1380),
    "sequence wraps": super_packet(tcp(seq=2**32 - 2000), 1380),
    "udp id wraps": super_packet(udp(ident=0xFFFF), 1000),
    "hdr_len of 0": super_packet(tcp(), 1380, hdr_len=0),
    "hdr_len too long": super_packet(tcp(6), 1380, hdr_len=4000),
    "without DF": super_packet(tcp(ip_flags=0), 1380),
    "traffic class": super_packet(tcp(6, traffic_class=0x2E, flow=0x12345), 1380),
    "tcp without offload": needs_checksum(tcp(size=900)),
    "udp without offload": needs_checksum(udp(6, size=901)),
    "complete": plain(tcp(size=1001)),
    "ping": plain(echo_request(*to_peer(6), data=data(60))),
}


@pytest.mark.parametrize("gso", [True, False], ids=["gso", "singly"])
@FAMILIES
@pytest.mark.parametrize("record", SUPER_PACKETS.values(), ids=SUPER_PACKETS)
def test_is_cut_as_the_twin_cuts_it(record, family, gso):
    with Rig(gso=gso) as rig:
        peer = rig.peer(0, family)
        rig.from_host(record)
        expected = cut(record)

        rig.work()

        assert peer.receive(len(expected)) == expected
        assert rig.counted("sent_packets") == len(expected)
        assert rig.counted("sent_bytes") == sum(map(len, expected))
        assert rig.page.peer(0)[2:4] == (len(expected), sum(map(len, expected)))
        assert (max(peer.arrivals) > 1) == (gso and len(expected) > 1)
        rig.check_sums()


@pytest.mark.parametrize("version", [4, 6])
def test_a_tiny_segment_size_gives_over_a_thousand_segments(version):
    record = super_packet(tcp(version, size=60_000), 48)
    with Rig() as rig:
        peer = rig.peer(0)
        rig.from_host(record)
        expected = cut(record)

        rig.work()

        assert len(expected) == 1250
        assert peer.receive(1250) == expected
        assert max(peer.arrivals) == 64
        rig.check_sums()


def test_a_burst_may_have_more_headers_than_there_is_memory_for():
    """Then it leaves in two: 60 records of 64 segments with 100 bytes of headers each."""
    record = super_packet(tcp(6, size=640, options=b"\1" * 40), 10)
    with Rig() as rig:
        peer = rig.peer(0)
        rig.from_host(*[record] * 60)

        rig.work()

        assert peer.receive(60 * 64) == cut(record) * 60
        assert rig.counted("send_bursts") == 2
        rig.check_sums()


def behind_options(packet: bytes) -> bytes:
    """The same IPv6 packet with hop-by-hop options, all padding, before its transport header."""
    options = packet[6:7] + b"\0\x01\4\0\0\0\0"
    size = int.from_bytes(packet[4:6]) + len(options)
    return packet[:4] + size.to_bytes(2) + b"\0" + packet[7:40] + options + packet[40:]


@pytest.mark.parametrize("packet", [tcp(6), tcp(6, options=TIMESTAMPS), udp(6)])
def test_a_super_packet_with_extension_headers_keeps_them_in_each_segment(packet):
    record = super_packet(packet, 1000)
    head, whole = split_record(record)
    moved = head._replace(csum_start=48, hdr_len=head.hdr_len + 8)
    with Rig() as rig:
        peer = rig.peer(0)
        rig.from_host(moved.pack() + behind_options(whole))
        expected = [behind_options(segment) for segment in cut(record)]

        rig.work()

        assert len(expected) > 2
        assert peer.receive(len(expected)) == expected
        rig.check_sums()


@st.composite
def super_packets(draw: st.DrawFn) -> bytes:
    version = draw(st.sampled_from((4, 6)))
    fields: dict = {"sport": draw(st.integers(0, 65535))}
    if version == 4:
        fields |= {
            "tos": draw(st.integers(0, 255)),
            "ident": draw(st.integers(0, 65535)),
            "ip_options": draw(st.sampled_from((b"", ROUTER_ALERT))),
        }
    else:
        fields |= {"flow": draw(st.integers(0, 2**20 - 1)), "hops": draw(st.integers(1, 255))}
    body = draw(st.binary(min_size=1, max_size=4)) * draw(st.integers(1, 600))
    if draw(st.booleans()):
        packet = datagram(*to_peer(version), body, **fields)
    else:
        options = b"\1\1\1\0" * draw(st.integers(0, 10))
        fields |= {"seq": draw(st.integers(0, 2**32 - 1)), "flags": draw(st.integers(0, 255))}
        packet = tcp_packet(*to_peer(version), body, options=options, **fields)
    size = draw(st.integers(1, 1500))
    if len(body) / size > 100:
        size = len(body) // 100
    return super_packet(packet, size, hdr_len=draw(st.integers(0, 65535)))


@given(record=super_packets(), gso=st.booleans())
@examples(150)
def test_any_super_packet_is_cut_as_the_twin_cuts_it(record, gso):
    with Rig(gso=gso) as rig:
        peer = rig.peer(0)
        rig.from_host(record)
        expected = cut(record)

        rig.work()

        assert peer.receive(len(expected)) == expected
        rig.check_sums()


def test_a_udp_checksum_of_zero_goes_out_as_all_ones():
    rest = datagram(*to_peer(), data(98) + b"\0\0")[26:28]
    packet = datagram(*to_peer(), data(98) + rest)
    assert packet[26:28] == b"\xff\xff"
    with Rig() as rig:
        peer = rig.peer(0)
        rig.from_host(needs_checksum(packet), super_packet(packet, 1000))

        rig.work()

        assert peer.receive(2) == [packet, packet]


@pytest.mark.parametrize("checksum", [b"\0\0", b"\x12\x34"], ids=["absent", "wrong"])
def test_a_checksum_that_is_not_ours_to_complete_is_left_alone(checksum):
    """A wrong one never leaves as a right one (I12)."""
    packet = bytearray(udp(size=100))
    packet[26:28] = checksum
    with Rig() as rig:
        peer = rig.peer(0)
        rig.from_host(plain(bytes(packet)))

        rig.work()

        assert peer.receive(1) == [bytes(packet)]


def bad(packet: bytes, **fields: int) -> bytes:
    return super_packet(packet, fields.pop("gso_size", 1000), **fields)


def with_data_offset(packet: bytes, words: int) -> bytes:
    return packet[:32] + bytes((words << 4,)) + packet[33:]


BAD_OFFLOADS = {
    "checksum behind the end": needs_checksum(tcp(size=100), csum_start=139),
    "checksum far behind": needs_checksum(tcp(size=100), csum_start=65535, csum_offset=65535),
    "no segment size": bad(tcp(), gso_size=0),
    "no checksum flag": bad(tcp(), flags=0),
    "unknown type": bad(tcp(), gso_type=2),
    "udp fragmentation": bad(udp(), gso_type=GSO_UDP),
    "tcp6 in an IPv4 packet": bad(tcp(), gso_type=GSO_TCPV6),
    "tcp4 in an IPv6 packet": bad(tcp(6), gso_type=GSO_TCPV4),
    "checksum start inside IP": bad(tcp(), csum_start=16),
    "checksum start inside IPv6": bad(tcp(6), csum_start=36),
    "udp's checksum start inside IP": bad(udp(), csum_start=16),
    "tcp with udp's field": bad(tcp(), csum_offset=6),
    "udp with tcp's field": bad(udp(), csum_offset=16),
    "tcp header cut": bad(tcp_packet(*to_peer()), csum_start=24),
    "data offset short": super_packet(tcp(), 1000)[:10] + with_data_offset(tcp(), 4),
    "data offset long": super_packet(tcp(), 1000)[:10] + with_data_offset(tcp(size=5), 15),
    "udp header cut": bad(datagram(*to_peer()), csum_start=22),
    "headers beyond reason": bad(udp(size=2000), csum_start=400),
    "IHL of 0": Vnet(NEEDS_CSUM, GSO_UDP_L4, 0, 100, 20, 6).pack() + b"\x40" + bytes(99),
}


@pytest.mark.parametrize("record", BAD_OFFLOADS.values(), ids=BAD_OFFLOADS)
def test_an_offload_that_does_not_add_up_is_dropped(record):
    with Rig() as rig:
        peer = rig.peer(0)
        rig.from_host(record)

        rig.work()

        assert rig.drops(rig.reader_page) == {"bad_offload": 1}
        assert peer.nothing_came()
        rig.check_sums()


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
        assert rig.reader_page.read()["queued_packets"] == rig.counted("ring_packets")


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


@FAMILIES
def test_it_leaves_from_the_address_the_peer_reached(family):
    with Rig() as rig:
        peer = rig.peer(0, family)
        local = "127.0.0.2" if family == socket.AF_INET else "::1"
        rig.admit(0, local=a16(local))
        rig.from_host(plain(tcp(size=10)))

        rig.work()
        peer.receive(1)

        assert peer.came_from[0] == local


def test_an_ipv4_socket_serves_too():
    with Rig(family=socket.AF_INET) as rig:
        peer = rig.peer(0)
        rig.admit(0, local=a16("127.0.0.1"))
        rig.from_host(SUPER_PACKETS["tcp4"])

        rig.work()

        assert peer.receive(4) == cut(SUPER_PACKETS["tcp4"])


def test_a_full_ring_drops_and_counts():
    """No byte of what is in the ring is touched, and it comes out whole."""
    record = super_packet(tcp(size=60_000), 1380)
    with Rig(capacity=1 << 17) as rig:
        peer = rig.peer(0)
        rig.from_host(*[record] * 4)
        segments = len(cut(record))

        queued = rig.reader_page.read()["queued_packets"]
        lost = rig.drops(rig.reader_page)["ring_full"]
        rig.work()

        assert queued % segments == 0
        assert 0 < queued == 4 * segments - lost
        assert rig.rings[0].dropped == lost // segments
        assert rig.reader_page.peer(0)[4] == lost
        assert peer.receive(queued) == cut(record) * (queued // segments)
        rig.check_sums()


def test_what_was_queued_for_a_former_peer_is_not_sent_to_the_next():
    with Rig() as rig:
        peer = rig.peer(0)
        rig.from_host(SUPER_PACKETS["tcp4"])
        rig.admit(0, incarnation=2)

        rig.work()

        assert rig.drops(prefix="ring_drop_") == {"stale_peer": 4}
        assert peer.nothing_came()
        rig.check_sums()


def test_what_was_queued_for_a_peer_that_left_is_dropped():
    with Rig() as rig:
        rig.peer(0)
        rig.from_host(plain(tcp(size=10)))
        rig.fib.drop_peer(0)

        rig.work()

        assert rig.drops(prefix="ring_drop_") == {"stale_peer": 1}


def test_each_ring_has_its_peers_and_one_ring_of_the_bell():
    """The bell is rung once per burst, and only for a ring that got something (I4)."""
    with Rig(rings=3) as rig:
        for slot in range(5):
            rig.peer(slot)
        records = [plain(echo_request(*to_peer(slot=slot))) for slot in (0, 3, 1, 4, 0)]
        for record in records:
            rig.host.send(record)

        assert rig.reader.run(0) == 0

        assert [os.eventfd_read(bell) for bell in rig.bells[:2]] == [1, 1]
        with pytest.raises(BlockingIOError):
            os.eventfd_read(rig.bells[2])
        slots = [[record[1] for record in iter(ring.pop, None)] for ring in rig.rings]
        assert slots == [[0, 3, 0], [1, 4], []]

        rig.from_host(plain(echo_request(*to_peer(slot=2))))

        assert os.eventfd_read(rig.bells[2]) == 1
        for bell in rig.bells[:2]:
            with pytest.raises(BlockingIOError):
                os.eventfd_read(bell)


def test_a_successor_of_the_worker_sends_the_same_bytes_again():
    """A death costs at most a burst sent twice (I3), completed checksums included."""
    record = needs_checksum(udp(size=333))
    with Rig() as rig:
        peer = rig.peer(0)
        rig.from_host(record, SUPER_PACKETS["tcp6"])
        head = rig.ring_memory[0][128:132]  # ring.h: the consumer's cache line
        before = bytes(head)
        rig.work()
        first = peer.receive(5)
        head[:] = before  # as if it had died before the release

        rig.succeed()
        rig.work()

        assert peer.receive(5) == first == cut(record) + cut(SUPER_PACKETS["tcp6"])


def test_a_successor_of_the_reader_goes_on_behind_what_was_published():
    with Rig() as rig:
        peer = rig.peer(0)
        rig.from_host(SUPER_PACKETS["tcp4"])
        rig.succeed()
        rig.from_host(SUPER_PACKETS["tcp6"])

        rig.work()

        assert peer.receive(8) == cut(SUPER_PACKETS["tcp4"]) + cut(SUPER_PACKETS["tcp6"])


def test_a_path_that_takes_no_groups_gets_datagrams_one_by_one():
    """And only for a while; a peer that moved starts afresh (I13)."""
    record = SUPER_PACKETS["tcp4"]
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


def test_a_refusal_is_an_event_and_no_end():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        sock.connect(closed.getsockname())
    with client(udp=sock, family=socket.AF_INET) as rig:
        bits = 0
        for _ in range(2):
            rig.from_host(plain(echo_request(LAN[0], LAN[0])))
            bits |= rig.work()

        assert bits == pump.REFUSED
        rig.check_sums()


def test_a_message_on_the_channel_ends_the_call():
    with Rig() as rig:
        rig.channel.send(b"update")

        assert rig.reader.run(10) == rig.worker.run(10) == pump.CHANNEL


def test_a_busy_loop_ends_at_its_timeout_too():
    """Else a signal would wait for the load to end. /dev/zero always has a 'packet'."""
    zero = os.open("/dev/zero", os.O_RDONLY)
    with Rig(tun=zero) as rig:
        rig.closing.callback(os.close, zero)

        assert ends_in_time(lambda: rig.reader.run(0.02) == 0)
        assert rig.reader_page.read()["drop_not_ip"] > 0
        rig.check_sums()


def test_a_bell_that_never_stops_does_not_keep_the_worker():
    with Rig() as rig:
        semaphore = os.eventfd(1 << 31, os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
        rig.closing.callback(os.close, semaphore)
        rig.worker_parts["doorbell"] = semaphore
        rig.succeed()

        assert ends_in_time(lambda: rig.worker.run(0.02) == 0)


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
    records = [SUPER_PACKETS["tcp4"], plain(echo_request(*to_peer(6)))] * 20
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


def test_the_reader_wants_as_many_bells_as_rings():
    with Rig() as rig, pytest.raises(ValueError, match="doorbells"):
        Reader(rings=rig.rings, doorbells=[], page=rig.reader_page, **rig.reader_parts)
