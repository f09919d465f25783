"""Flows to the TUN are joined, and cut again by the slow twin.

The very datagrams must come out, byte for byte and in order within their flow (I12).
"""

from collections import defaultdict

import pytest
from fastpath.flows import (
    GROUPED,
    ROUTER_ALERT,
    TIMESTAMPS,
    damaged,
    data,
    from_peer,
    recut,
    tcp_flow,
    traffic,
    udp_flow,
)
from fastpath.rig import HOST, Rig, examples, tunnel_address
from fastpath.twins import (
    ACK,
    CWR,
    ECE,
    FIN,
    GSO_NONE,
    PSH,
    SYN,
    URG,
    cut,
    datagram,
    ip_size,
    protocol_of,
    split_record,
    tcp_packet,
    with_checksums,
)
from hypothesis import given
from hypothesis import strategies as st
from strategies import TCP, UDP, echo_request, ip_packet


def joined(records: list[bytes]) -> list[int]:
    """How many datagrams each write held."""
    return [len(cut(record)) for record in records]


@GROUPED
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("flow", [tcp_flow, udp_flow])
def test_a_flow_leaves_as_one_write(flow, version, grouped):
    packets = flow(16, 1000, version)
    with Rig() as rig:
        rig.peer(0)
        rig.send(0, *packets, grouped=grouped)

        rig.work()
        records = rig.to_host()

        assert joined(records) == [16]
        assert recut(records) == packets
        assert rig.counted("delivered_packets") == 16
        assert rig.counted("delivered_bytes") == sum(map(len, packets))
        assert rig.page.peer(0)[:2] == (16, sum(map(len, packets)))
        rig.check_sums()


JOINED = {
    "a shorter last one": [
        *tcp_flow(3, 1000),
        tcp_packet(*from_peer(), data(7), seq=3000, ident=3),
    ],
    "psh on the last": [
        *tcp_flow(3),
        tcp_packet(*from_peer(), data(100), seq=300, ident=3, flags=ACK | PSH),
    ],
    "fin on the last": [
        *tcp_flow(3, version=6),
        tcp_packet(*from_peer(6), data(100), seq=300, flags=ACK | PSH | FIN),
    ],
    "same tcp options": tcp_flow(4, options=TIMESTAMPS),
    "same ip options": tcp_flow(4, ip_options=ROUTER_ALERT),
    "id wraps": tcp_flow(4, ident=65534),
    "sequence wraps": tcp_flow(4, seq=2**32 - 150),
    "same urgent pointer": tcp_flow(4, urgent=9),
    "without DF": udp_flow(4, ip_flags=0),
    "one byte each": tcp_flow(4, 1, version=6),
    "same marks": tcp_flow(4, tos=0xB9, ttl=3, window=0),
    "same marks in IPv6": tcp_flow(4, version=6, traffic_class=0xB9, flow=0xFFFFF, hops=3),
}


@pytest.mark.parametrize("packets", JOINED.values(), ids=JOINED)
def test_is_joined_and_cut_again_to_the_same(packets):
    with Rig() as rig:
        rig.peer(0)
        rig.send(0, *packets)

        rig.work()
        records = rig.to_host()

        assert joined(records) == [4]
        assert recut(records) == packets


def second(version: int = 4, **fields) -> list[bytes]:
    """Two segments; the second differs from the one that would fit in `fields`."""
    fits = {"seq": 100, **({"ident": 1} if version == 4 else {})}
    return [
        tcp_packet(*from_peer(version), data(100)),
        tcp_packet(*from_peer(version), fields.pop("data", data(100)), **(fits | fields)),
    ]


def without_checksum() -> list[bytes]:
    """UDP without a checksum, of contents whose sum would be right all the same."""
    packets = []
    for ident in (0, 1):
        rest = datagram(*from_peer(), data(98) + b"\0\0")[26:28]
        packet = datagram(*from_peer(), data(98) + rest, ident=ident)
        assert packet[26:28] == b"\xff\xff"
        packets.append(packet[:26] + b"\0\0" + packet[28:])
    return packets


NEVER_JOINED = {
    "udp without a checksum that would fit": without_checksum(),
    "a gap in the sequence": second(seq=101),
    "a sequence again": second(seq=0),
    "a gap in the ids": second(ident=2),
    "the same id": second(ident=0),
    "another tos": second(tos=4),
    "congestion was experienced": second(tos=3),
    "another ttl": second(ttl=63),
    "DF only here": second(ip_flags=0),
    "the reserved flag": second(ip_flags=0xC000),
    "the reserved flag before": [
        tcp_packet(*from_peer(), data(100), ip_flags=0xC000),
        second()[1],
    ],
    "another ack": second(ack=2),
    "another window": second(window=513),
    "another urgent pointer": second(urgent=1),
    "another option": second(options=TIMESTAMPS),
    "another port": second(dport=2001),
    "longer than the first": second(data=data(101)),
    "syn": second(flags=SYN | ACK),
    "urg": second(flags=ACK | URG),
    "ece": second(flags=ACK | ECE),
    "cwr": second(flags=ACK | CWR),
    "no ack": second(flags=0),
    "a fragment to follow": second(ip_flags=0x2000),
    "a later fragment": second(ip_flags=0x0001),
    "fragments to follow": tcp_flow(2, ip_flags=0x2000),
    "later fragments": tcp_flow(2, ip_flags=0x0001),
    "without payload": second(data=b""),
    "more ip options": second(ip_options=ROUTER_ALERT),
    "other ip options": [
        tcp_packet(*from_peer(), data(100), ip_options=ROUTER_ALERT),
        tcp_packet(*from_peer(), data(100), ip_options=b"\1" * 4, seq=100, ident=1),
    ],
    "ip options where tcp had some, and these in the payload": [
        tcp_packet(*from_peer(), data(100), options=b"\1" * 4),
        tcp_packet(*from_peer(), b"\1" * 100, ip_options=b"\1" * 4, seq=100, ident=1),
    ],
    "another traffic class": second(6, traffic_class=1),
    "another flow label": second(6, flow=1),
    "another hop limit": second(6, hops=63),
    "a gap in IPv6": second(6, seq=99),
    "after psh": [
        tcp_packet(*from_peer(), data(100), flags=ACK | PSH),
        tcp_packet(*from_peer(), data(100), seq=100, ident=1),
    ],
    "udp of another id": [
        datagram(*from_peer(), data(100)),
        datagram(*from_peer(), data(100), ident=7),
    ],
    "udp that grows": [
        datagram(*from_peer(6), data(100)),
        datagram(*from_peer(6), data(101)),
    ],
    "udp and tcp": [datagram(*from_peer(), data(100)), *second()[1:]],
    "tcp checksum wrong in the first": [damaged(second()[0], -1), second()[1]],
    "tcp checksum wrong in the second": [second()[0], damaged(second()[1], -1)],
    "ip checksum wrong in the first": [damaged(second()[0], 10), second()[1]],
    "ip checksum wrong in the second": [second()[0], damaged(second()[1], 11)],
    "udp checksum wrong": [udp_flow(2)[0], damaged(udp_flow(2)[1], -1)],
    "IPv6 checksum wrong": [second(6)[0], damaged(second(6)[1], -1)],
    "udp without a checksum": [
        udp_flow(2)[0],
        udp_flow(2)[1][:26] + b"\0\0" + udp_flow(2)[1][28:],
    ],
    "udp length differs": [udp_flow(2)[0], with_checksums(damaged(udp_flow(2)[1], 25))],
    "extension headers": [
        packet[:6] + bytes((0,)) + packet[7:40] + bytes((TCP,)) + bytes(7) + packet[40:]
        for packet in (b"\x60" + packet[1:4] + b"\0\x80" + packet[6:] for packet in second(6))
    ],
    "reserved bits": [with_checksums(damaged(packet, 32)) for packet in second()],
    "ping": [echo_request(*from_peer(), index, data(92)) for index in (1, 2)],
}


@pytest.mark.parametrize("packets", NEVER_JOINED.values(), ids=NEVER_JOINED)
def test_is_never_joined(packets):
    """Each leaves alone, as it came, and without a virtio flag: nothing is repaired (I12)."""
    with Rig() as rig:
        rig.peer(0)
        rig.send(0, *packets)

        rig.work()
        records = [split_record(record) for record in rig.to_host()]

        assert [packet for _, packet in records] == packets
        assert all(head.flags == 0 and head.gso_type == GSO_NONE for head, _ in records)
        rig.check_sums()


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"merge": False}, [1] * 8),
        ({"merge_udp": False}, [4, 1, 1, 1, 1]),
        ({}, [4, 4]),
    ],
)
def test_only_what_the_device_takes_is_joined(parts, expected):
    packets = tcp_flow(4) + udp_flow(4)
    with Rig(**parts) as rig:
        rig.peer(0)
        rig.send(0, *packets)

        rig.work()
        records = rig.to_host()

        assert sorted(joined(records), reverse=True) == expected
        assert sorted(recut(records)) == sorted(packets)


def test_a_write_holds_64_segments_and_64_kb_at_most():
    small, large = tcp_flow(100, 10), tcp_flow(60, 1380, sport=7)
    with Rig() as rig:
        rig.peer(0)
        rig.send(0, *small, *large, grouped=True)

        rig.work()
        records = rig.to_host()

        assert joined(records)[0] == 64
        assert max(map(len, records)) <= 65_535 + 10
        assert by_flow(recut(records)) == by_flow([*small, *large])


@pytest.mark.parametrize(("last", "expected"), [(635, [48]), (636, [47, 1])])
def test_a_write_fills_an_ip_packet_to_its_last_byte_and_no_further(last, expected):
    packets = tcp_flow(47, 1380)
    packets.append(tcp_packet(*from_peer(), data(last), seq=47 * 1380, ident=47))
    with Rig() as rig:
        rig.peer(0)
        rig.send(0, *packets, grouped=True)

        rig.work()
        records = rig.to_host()

        assert recut(records) == packets
        assert joined(records) == expected


def flow_of(packet: bytes) -> tuple:
    """What must stay in order: fragments belong to no ports, so to their hosts."""
    ip, v4 = ip_size(packet), packet[0] >> 4 == 4
    fragment = v4 and int.from_bytes(packet[6:8]) & 0x3FFF
    ports = b"" if fragment or protocol_of(packet) not in (TCP, UDP) else packet[ip : ip + 4]
    return (v4, protocol_of(packet), ports)


def by_flow(packets: list[bytes]) -> dict[tuple, list[bytes]]:
    flows = defaultdict(list)
    for packet in packets:
        flows[flow_of(packet)].append(packet)
    return flows


@given(packets=traffic(), grouped=st.booleans(), merge_udp=st.booleans())
@examples(150)
def test_every_flow_comes_out_byte_for_byte_and_in_order(packets, grouped, merge_udp):
    with Rig(merge_udp=merge_udp) as rig:
        rig.peer(0)
        rig.send(0, *packets, grouped=grouped)

        rig.work()

        assert by_flow(recut(rig.to_host())) == by_flow(packets)
        rig.check_sums()


def test_more_flows_than_places_keep_their_order():
    flows = [tcp_flow(5, sport=port) for port in range(12)]
    packets = [flow[index] for index in range(5) for flow in flows]
    with Rig() as rig:
        rig.peer(0)
        rig.send(0, *packets)

        rig.work()

        assert by_flow(recut(rig.to_host())) == by_flow(packets)


def test_a_packet_that_cannot_join_does_not_overtake_its_flow():
    packets = tcp_flow(6)
    packets[3] = tcp_packet(*from_peer(), data(100), seq=300, ident=3, flags=ACK | CWR)
    with Rig() as rig:
        rig.peer(0)
        rig.send(0, *packets)

        rig.work()
        records = rig.to_host()

        assert recut(records) == packets
        assert joined(records) == [3, 1, 2]


def test_a_packet_too_short_for_ports_does_not_overtake_any_flow():
    there, here = from_peer()
    for protocol, flow in ((TCP, tcp_flow(3)), (UDP, udp_flow(3))):
        packets = [*flow[:2], ip_packet(there, here, flow[0][20:23], protocol), flow[2]]
        with Rig() as rig:
            rig.peer(0)
            rig.send(0, *packets)

            rig.work()
            records = rig.to_host()

            assert recut(records) == packets
            assert joined(records) == [2, 1, 1]


def test_a_pure_ack_flushes_its_own_flow_only():
    """Other connections of the same two hosts go on joining."""
    there, here = tunnel_address(0), HOST[0]

    def piece(sport: int, index: int) -> bytes:
        return tcp_packet(there, here, bytes(100), sport=sport, seq=100 * index, ident=index)

    with Rig() as rig:
        rig.peer(0)
        ack = tcp_packet(there, here, sport=1)

        rig.send(0, piece(1, 0), piece(2, 0), piece(1, 1), ack, piece(2, 1), piece(1, 2))
        rig.work()

        sizes = [len(split_record(record)[1]) for record in rig.to_host()]
        assert sizes == [240, 40, 240, 140]
