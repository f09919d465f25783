"""Super-packets from the TUN leave as datagrams: byte for byte what the twin cuts (I12)."""

import pytest
from fastpath.flows import (
    FAMILIES,
    ROUTER_ALERT,
    TCP4,
    TCP6,
    TIMESTAMPS,
    data,
    recut,
    tcp,
    tcp_flow,
    to_peer,
    udp,
)
from fastpath.rig import Rig, examples
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
from strategies import echo_request

SUPER_PACKETS = {
    "tcp4": TCP4,
    "tcp6": TCP6,
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
    "checksum at the very end": needs_checksum(tcp(size=100), csum_start=120, csum_offset=18),
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
    """Then it leaves in two: 60 records of 64 segments with 100 bytes of headers each.

    What lies behind that memory is whole afterwards: the flows for the host still join.
    """
    record = super_packet(tcp(6, size=640, options=b"\1" * 40), 10)
    with Rig() as rig:
        peer = rig.peer(0)
        rig.from_host(*[record] * 60)

        rig.work()

        assert peer.receive(60 * 64) == cut(record) * 60
        assert rig.counted("send_bursts") == 2
        rig.send(0, *tcp_flow(3, 10), grouped=True)
        rig.work()
        assert recut(rig.to_host()) == tcp_flow(3, 10)
        rig.check_sums()


def behind_options(packet: bytes, size: int = 8) -> bytes:
    """The same IPv6 packet with `size` bytes of padding options before its transport header."""
    options = packet[6:7] + bytes((size // 8 - 1,)) + bytes(size - 2)
    size = int.from_bytes(packet[4:6]) + len(options)
    return packet[:4] + size.to_bytes(2) + b"\0" + packet[7:40] + options + packet[40:]


def far_behind(packet: bytes, size: int) -> bytes:
    """A super-packet with `size` bytes of options before its transport header."""
    head, whole = split_record(super_packet(packet, 1000))
    moved = head._replace(csum_start=40 + size, hdr_len=head.hdr_len + size)
    return moved.pack() + behind_options(whole, size)


@pytest.mark.parametrize(
    ("packet", "size"),
    [(tcp(6), 8), (tcp(6, options=TIMESTAMPS), 8), (udp(6), 8), (udp(6), 208)],
)
def test_a_super_packet_with_extension_headers_keeps_them_in_each_segment(packet, size):
    """Up to 256 bytes of headers."""
    with Rig() as rig:
        peer = rig.peer(0)
        rig.from_host(far_behind(packet, size))
        expected = [behind_options(segment, size) for segment in cut(super_packet(packet, 1000))]

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


def test_a_tcp_checksum_of_zero_stays_zero():
    """Both of its forms are right; the host would have sent this one."""
    rest = tcp_packet(*to_peer(), data(98) + b"\0\0")[36:38]
    packet = tcp_packet(*to_peer(), data(98) + rest)
    assert packet[36:38] == b"\0\0"
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
    "checksum half behind the end": needs_checksum(tcp(size=100), csum_start=120, csum_offset=19),
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
    "data offset just too long": super_packet(tcp(), 1000)[:10] + with_data_offset(tcp(size=3), 6),
    "udp header cut": bad(datagram(*to_peer()), csum_start=22),
    "headers beyond reason": bad(udp(size=2000), csum_start=400),
    "headers a byte too long": bad(udp(size=2000), csum_start=249),
    "options a word too long": far_behind(udp(6), 216),
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
