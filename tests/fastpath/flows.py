"""Packets to and from peers, and flows of them, as the pump's tests send them."""

import socket
from collections import defaultdict

import pytest
from fastpath.rig import HOST, tunnel_address
from fastpath.twins import ACK, ECE, FIN, PSH, SYN, cut, datagram, ip_size, super_packet, tcp_packet
from hypothesis import strategies as st
from strategies import TCP, UDP, a16

LAN = a16("192.0.2.1"), a16("2001:db8::1")
TIMESTAMPS = bytes((1, 1, 8, 10)) + bytes(range(8))
ROUTER_ALERT = bytes((148, 4, 0, 0))
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
GROUPED = pytest.mark.parametrize("grouped", [True, False], ids=["gro", "one by one"])


def data(size: int) -> bytes:
    return bytes(index * 7 % 251 for index in range(size))


def to_peer(version: int = 4, slot: int = 0) -> tuple[bytes, bytes]:
    return LAN[version == 6], tunnel_address(slot, version)


def tcp(version: int = 4, size: int = 5000, **fields) -> bytes:
    return tcp_packet(*to_peer(version), data(size), **fields)


def udp(version: int = 4, size: int = 5000, **fields) -> bytes:
    return datagram(*to_peer(version), data(size), **fields)


TCP4, TCP6 = super_packet(tcp(), 1380), super_packet(tcp(6), 1360)
"""Super-packets of four segments."""


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


def damaged(packet: bytes, at: int, mask: int = 1) -> bytes:
    at %= len(packet)
    return packet[:at] + bytes((packet[at] ^ mask,)) + packet[at + 1 :]


def recut(records: list[bytes]) -> list[bytes]:
    return [packet for record in records for packet in cut(record)]


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
