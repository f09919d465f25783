"""From datagrams to the TUN, to other peers and to the supervisor.

What leaves for the host is cut again by the slow twin: the very datagrams must come out,
byte for byte and in order within their flow (I12).
"""

import os
import socket
import sys
from collections import defaultdict

import pytest
from fastpath.rig import HOST, Rig, examples, tunnel_address
from fastpath.test_pump_out import ROUTER_ALERT, TIMESTAMPS, data
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
from strategies import TCP, UDP, a16, control_datagrams, datagrams, echo_request, honest_packets

from gateway.fastpath import pump
from gateway.protocol.forwarding import Role
from gateway.protocol.packet import ANY

HEARTBEAT = b"GOST" + bytes(28)
GROUPED = pytest.mark.parametrize("grouped", [True, False], ids=["gro", "one by one"])
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])


def from_peer(version: int = 4, slot: int = 0) -> tuple[bytes, bytes]:
    return tunnel_address(slot, version), HOST[version == 6]


def tcp_flow(count: int, size: int = 100, version: int = 4, **fields) -> list[bytes]:
    """`count` segments of one flow, as a sender would cut them."""
    first, ident = fields.pop("seq", 0), fields.pop("ident", 0)
    packets = []
    for index in range(count):
        if version == 4:
            fields["ident"] = (ident + index) % 65536
        sequence = first + index * size
        packets.append(tcp_packet(*from_peer(version), data(size), seq=sequence, **fields))
    return packets


def udp_flow(count: int, size: int = 100, version: int = 4, **fields) -> list[bytes]:
    packets = []
    for index in range(count):
        if version == 4:
            fields["ident"] = index
        packets.append(datagram(*from_peer(version), data(size), **fields))
    return packets


def recut(records: list[bytes]) -> list[bytes]:
    return [packet for record in records for packet in cut(record)]


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


def damaged(packet: bytes, at: int, mask: int = 1) -> bytes:
    at %= len(packet)
    return packet[:at] + bytes((packet[at] ^ mask,)) + packet[at + 1 :]


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


@st.composite
def traffic(draw: st.DrawFn) -> list[bytes]:
    """Packets of a few flows in any order, each following its flow or not quite."""
    packets: list[bytes] = []
    sequence: dict[tuple, int] = defaultdict(lambda: 2**32 - 250)
    ident: dict[tuple, int] = defaultdict(lambda: 65530)
    flow = st.tuples(st.sampled_from((4, 6)), st.sampled_from((TCP, UDP)), st.integers(0, 5))
    run = st.lists(flow, min_size=1, max_size=12)
    for key in draw(run) * draw(st.integers(1, 6)):
        version, protocol, port = key
        size = draw(st.sampled_from((100, 100, 100, 100, 100, 60, 1, 0, 101)))
        fields: dict = {"dport": port}
        if version == 4:
            fields["ident"] = ident[key] % 65536
            fields["tos"] = draw(st.sampled_from((0, 0, 0, 0, 3)))
            fields["ip_flags"] = draw(st.sampled_from((0x4000,) * 6 + (0, 0x2000, 5)))
            ident[key] += draw(st.sampled_from((1, 1, 1, 1, 1, 0, 2)))
        if protocol == TCP:
            fields["flags"] = draw(st.sampled_from((ACK,) * 6 + (ACK | PSH, ACK | FIN, SYN, ECE)))
            fields["window"] = draw(st.sampled_from((512, 512, 512, 512, 511)))
            fields["seq"] = sequence[key]
            sequence[key] += size + draw(st.sampled_from((0, 0, 0, 0, 0, 1, -100)))
        build = tcp_packet if protocol == TCP else datagram
        packet = build(*from_peer(version), data(size), **fields)
        if draw(st.integers(0, 15)) == 0:
            at = draw(st.integers(ip_size(packet), len(packet) - 1))
            packet = damaged(packet, at, draw(st.integers(1, 255)))
        packets.append(packet)
    return packets


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


@pytest.mark.parametrize("gso", [True, False], ids=["gso", "singly"])
@pytest.mark.parametrize("gro", [True, False], ids=["gro", "no gro"])
@GROUPED
@FAMILIES
def test_client_to_client_is_byte_exact(family, grouped, gro, gso):
    pair = tunnel_address(0), tunnel_address(1)
    packets = [tcp_packet(*pair, data(900), seq=900 * index, ident=index) for index in range(40)]
    packets[20] = damaged(packets[20], -1)  # whatever it is, it is not ours to repair
    with Rig(gro=gro, gso=gso) as rig:
        rig.peer(0)
        other = rig.peer(1, family)
        rig.send(0, *packets, grouped=grouped)

        rig.work()

        assert other.receive(40) == packets
        assert rig.counted("forwarded_packets") == 40
        assert rig.counted("forwarded_bytes") == sum(map(len, packets))
        assert rig.page.peer(0)[:2] == rig.page.peer(1)[2:4] == (40, sum(map(len, packets)))
        assert rig.to_host() == []
        assert (max(other.arrivals) > 1) == gso
        rig.check_sums()


def test_a_run_for_the_host_and_a_run_for_a_peer_are_kept_apart():
    to_host = tcp_flow(5)
    pair = tunnel_address(0), tunnel_address(1)
    to_peer = [tcp_packet(*pair, data(100), seq=100 * index, ident=index) for index in range(5)]
    with Rig() as rig:
        rig.peer(0)
        other = rig.peer(1)
        mixed = [packet for both in zip(to_host, to_peer, strict=True) for packet in both]
        rig.send(0, *mixed, grouped=True)

        rig.work()

        assert recut(rig.to_host()) == to_host
        assert other.receive(5) == to_peer


@FAMILIES
def test_a_heartbeat_is_punted_with_where_it_came_from(family):
    with Rig() as rig:
        peer = rig.peer(0, family)
        rig.send(0, HEARTBEAT)

        assert rig.work() == pump.PUNTS
        assert rig.punts == [(peer.address, peer.port, 0, peer.address, HEARTBEAT)]
        assert rig.worker.punts() == []
        assert rig.counted("punted_packets") == 1


def test_an_ipv4_socket_punts_v4_mapped_addresses():
    with Rig(family=socket.AF_INET) as rig:
        peer = rig.peer(0)
        rig.send(0, HEARTBEAT)
        rig.work()

        assert rig.punts == [(peer.address, peer.port, 0, peer.address, HEARTBEAT)]


def test_the_magic_is_looked_for_in_every_segment():
    ping = echo_request(*from_peer(), data=data(4))
    with Rig() as rig:
        rig.peer(0)
        rig.send(0, ping, HEARTBEAT, ping, grouped=True)

        rig.work()

        assert recut(rig.to_host()) == [ping, ping]
        assert [punt[4] for punt in rig.punts] == [HEARTBEAT]


@pytest.mark.parametrize(("size", "punted"), [(20, 0), (21, 1), (2048, 1), (2049, 0)])
def test_the_size_of_a_control_datagram_decides(size, punted):
    with Rig() as rig:
        rig.peer(0)
        rig.send(0, HEARTBEAT[:4] + bytes(size - 4))

        rig.work()

        assert len(rig.punts) == punted
        assert rig.drops() == ({} if punted else {"bad_control": 1})


def test_a_turn_punts_as_much_as_it_has_room_for():
    with Rig() as rig:
        rig.peer(0)
        rig.send(0, *[HEARTBEAT] * 128, grouped=True)

        rig.work()

        assert rig.counted("punted_packets") == 64
        assert rig.drops() == {"punt_limited": 64}
        rig.check_sums()


def test_a_flood_of_strangers_leaves_the_known_their_tokens():
    with Rig() as rig:
        rig.peer(0)
        rig.peer(1)
        rig.fib.drop_peer(1)
        for _ in range(2000):
            rig.send(1, *[HEARTBEAT] * 64, grouped=True)
            rig.work()
            if rig.drops():
                break
        assert rig.drops().keys() == {"punt_limited"}
        limited, punted = rig.drops()["punt_limited"], rig.counted("punted_packets")

        rig.send(0, *[HEARTBEAT] * 64, grouped=True)
        rig.work()

        assert rig.drops()["punt_limited"] == limited
        assert rig.counted("punted_packets") == punted + 64
        rig.check_sums()


STRANGE = b"\x45" + bytes(39)
REFUSED = {
    "unknown_endpoint": (1, echo_request(*from_peer(slot=1))),
    "spoofed_source": (0, echo_request(tunnel_address(1), HOST[0])),
    "unroutable_source": (0, echo_request(a16("fe80::1"), a16("ff02::2"))),
    "no_peer": (0, echo_request(tunnel_address(0), a16("10.0.0.99"))),
    "same_peer": (0, echo_request(tunnel_address(0), tunnel_address(0))),
    "bad_length": (0, STRANGE),
    "not_ip": (0, bytes(40)),
    "too_short": (0, b"hello"),
    "empty": (0, b""),
    "bad_control": (0, b"GOST"),
}


@pytest.mark.parametrize(("reason", "slot", "packet"), [(k, *v) for k, v in REFUSED.items()])
def test_what_may_not_pass_is_counted_by_its_reason(reason, slot, packet):
    with Rig() as rig:
        rig.peer(0)
        rig.peer(1)
        rig.fib.drop_peer(1)
        rig.send(slot, packet)

        rig.work()

        assert rig.drops() == {reason: 1}
        assert rig.to_host() == []
        assert all(peer.nothing_came() for peer in rig.peers.values())
        rig.check_sums()


def test_without_a_source_check_strangers_pass():
    packet = echo_request(tunnel_address(5), HOST[0])
    with Rig(source_check=False) as rig:
        rig.peer(1)
        rig.fib.drop_peer(1)
        rig.send(1, packet)

        rig.work()

        assert recut(rig.to_host()) == [packet]


def test_a_route_to_an_empty_slot_drops_as_stale():
    with Rig() as rig:
        rig.peer(0)
        rig.fib.set_route(a16("10.0.0.9"), 128, 7)
        rig.send(0, echo_request(tunnel_address(0), a16("10.0.0.9")))

        rig.work()

        assert rig.drops() == {"stale_peer": 1}
        rig.check_sums()


whatever = st.one_of(
    datagrams,
    honest_packets(),
    control_datagrams,
    st.builds(
        lambda size, start: start + bytes(size), st.integers(0, 65_000), st.binary(max_size=4)
    ),
    traffic().map(lambda packets: packets[0]),
)


@given(st.lists(whatever, max_size=40), st.sampled_from(Role), st.booleans(), st.booleans())
@examples(150)
def test_every_datagram_is_in_exactly_one_counter(received, role, source_check, gro):
    with Rig(role=role, source_check=source_check, gro=gro) as rig:
        rig.peer(0)
        rig.peer(1)
        for data_ in received:
            rig.send(0, data_)
            if len(data_) > 9000:
                rig.work()  # the socket's buffer holds only so many
        rig.work()

        assert rig.counted("udp_received_packets") == len(received)
        assert rig.counted("udp_received_bytes") == sum(map(len, received))
        rig.check_sums()


def test_a_datagram_longer_than_any_packet_is_truncated_and_dropped():
    """UDP has none so long; a socketpair does."""
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with far, Rig(role=Role.CLIENT, udp=near) as rig:
        far.send(bytes(65_537))
        rig.sent = 1

        rig.work()

        assert rig.drops() == {"truncated": 1}
        rig.check_sums()


def test_a_client_delivers_all_that_its_server_sends():
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    packets = [echo_request(a16("203.0.113.9"), HOST[0]), echo_request(a16("fe80::1"), HOST[1])]
    with far, Rig(role=Role.CLIENT, udp=near) as rig:
        for packet in packets:
            far.send(packet)
        far.send(b"GOST" + bytes(16))
        rig.sent = 3

        assert rig.work() == pump.PUNTS
        assert recut(rig.to_host()) == packets
        assert rig.punts == [(ANY, 0, 0, ANY, b"GOST" + bytes(16))]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_client_tells_which_server_an_ack_came_from(family):
    """It may have waited in the socket while that was connected to another one."""
    with Rig(role=Role.CLIENT, family=family) as rig:
        first, second = rig.peer(0), rig.peer(1)
        name = ("::ffff:127.0.0.1" if family == socket.AF_INET6 else "127.0.0.1", first.port)
        rig.udp.connect(name)
        rig.send(0, b"GOST" + bytes(16))
        rig.udp.connect((name[0], second.port))
        rig.send(1, b"GOST" + bytes(16))

        assert rig.work() == pump.PUNTS
        assert [punt[:2] for punt in rig.punts] == [
            (first.address, first.port),
            (second.address, second.port),
        ]


def test_a_full_device_drops_and_counts():
    packets = tcp_flow(40, 1400)
    with Rig(merge=False) as rig:
        rig.peer(0)
        while not rig.drops():
            rig.send(0, *packets, grouped=True)
            rig.work()

        assert rig.drops().keys() == {"tun_full"}
        assert len(rig.to_host()) == rig.counted("delivered_packets")
        rig.check_sums()


def test_a_deleted_device_is_reported():
    reading, writing = os.pipe()
    os.close(writing)
    with Rig(tun=reading) as rig:  # writev() fails with EBADF, as on a deleted device
        rig.closing.callback(os.close, reading)
        rig.peer(0)
        rig.send(0, *tcp_flow(3))

        assert rig.work() & pump.DEVICE_GONE
        assert rig.drops() == {"tun_error": 3}
        rig.check_sums()


def test_no_object_is_made_per_packet():
    """A call is many packets and no allocation (I9)."""
    with Rig() as rig:
        rig.peer(0)
        rig.send(0, *tcp_flow(1000, 50), grouped=True)

        before = sys.getallocatedblocks()
        rig.worker.run(0)
        made = sys.getallocatedblocks() - before

        assert rig.counted("delivered_packets") == 1000
        assert made < 20


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
