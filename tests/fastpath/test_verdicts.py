"""The compiled verdicts against the readable ones."""

from collections.abc import Iterable

import pytest
from fastpath.rig import examples
from hypothesis import example, given
from hypothesis import strategies as st
from models import SlowRoutes
from strategies import (
    SPECIAL_ADDRESSES,
    a16,
    datagrams,
    honest_packets,
    ipv4_packet,
    ipv6_packet,
    routes,
    slots,
    targets,
    v4_addresses,
    v6_addresses,
)

from gateway.fastpath.fib import Fib
from gateway.protocol.forwarding import (
    LOCAL,
    VOID,
    Decision,
    Forwarding,
    Role,
    decide_tun,
    decide_udp,
)
from gateway.protocol.packet import V4_MAPPED, Endpoint

PEERS = 6

near = st.one_of(v4_addresses, v6_addresses)
endpoints = st.builds(Endpoint, near, st.sampled_from((1, 8421, 65535)), st.just(0))
endpoint_tables = st.dictionaries(endpoints, slots, max_size=6)


Table = Iterable[tuple[tuple[bytes, int], int]]


def twins(table: Table, peers: dict[Endpoint, int]) -> tuple[Fib, Forwarding]:
    """The same tables for both. A slot has one endpoint in the FIB: the last one wins."""
    fib, slow, at = Fib(PEERS), SlowRoutes(), {}
    for prefix, target in table:
        fib.set_route(*prefix, target)
        slow.set(*prefix, target)
    for endpoint, slot in peers.items():
        fib.set_peer(slot, 1, *endpoint)
        at = {e: s for e, s in at.items() if s != slot} | {endpoint: slot}
    return fib, Forwarding(at, slow.lookup)


def numbers(decision: Decision) -> tuple[int, int, int]:
    reason = -1 if decision.reason is None else int(decision.reason)
    return int(decision.verdict), reason, -1 if decision.slot is None else decision.slot


MAPPED = ipv6_packet(a16("10.0.0.1"), a16("10.0.0.2"))
DEFAULTS = [((a16("0.0.0.0"), 96), 0), ((a16("::"), 0), 0)]


@given(
    segment=datagrams,
    source=endpoints,
    table=routes,
    peers=endpoint_tables,
    role=st.sampled_from(Role),
    source_check=st.booleans(),
)
@example(MAPPED, Endpoint(a16("::1"), 1), DEFAULTS, {}, Role.SERVER, False)
@examples(600)
def test_verdicts_on_datagrams_agree(segment, source, table, peers, role, source_check):
    fib, slow = twins(table, peers)

    expected = decide_udp(segment, source, slow, role, source_check)

    fast = fib.decide_udp(segment, source.address, source.port, role, source_check)
    assert fast == numbers(expected)


@st.composite
def from_a_peer(draw: st.DrawFn):
    """A datagram of a known peer with a source that often is his: the way to the end."""
    table, peers = draw(routes), draw(endpoint_tables.filter(bool))
    packet = draw(honest_packets())
    source = draw(st.sampled_from(sorted(peers)))
    inner = packet[8:24] if packet[0] >> 4 == 6 else V4_MAPPED + packet[12:16]
    destination = packet[24:40] if packet[0] >> 4 == 6 else V4_MAPPED + packet[16:20]
    table = [*table, ((inner, 128), peers[source])]
    if draw(st.booleans()):
        table.append(((destination, 128), draw(targets)))
    return packet, source, table, peers


@given(from_a_peer(), st.sampled_from(Role), st.booleans())
@examples(300)
def test_verdicts_on_a_peers_packets_agree(case, role, source_check):
    packet, source, table, peers = case
    fib, slow = twins(table, peers)

    expected = decide_udp(packet, source, slow, role, source_check)

    fast = fib.decide_udp(packet, source.address, source.port, role, source_check)
    assert fast == numbers(expected)


@pytest.mark.parametrize("size", [0, 1, 19, 20, 21, 24, 39, 40, 41, 60, 61])
def test_verdicts_on_any_header_length_agree(size):
    """Every version and IHL; the total length is right for either version."""
    fib, slow = twins(DEFAULTS, {})
    somewhere = Endpoint(a16("198.51.100.1"), 9)
    for first in range(256):
        head = bytearray(61)
        head[0] = first
        if first >> 4 == 4:
            head[2:4] = size.to_bytes(2)
            head[12] = 192
        else:
            head[4:6] = max(size - 40, 0).to_bytes(2)
            head[8] = 0xFD
        packet = bytes(head[:size])
        expected = decide_udp(packet, somewhere, slow, Role.SERVER, False)

        assert fib.decide_udp(packet, *somewhere[:2], Role.SERVER, False) == numbers(expected)
        assert fib.decide_tun(packet) == numbers(decide_tun(packet, slow))


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("source", SPECIAL_ADDRESSES, ids=lambda a: a.hex())
def test_verdicts_on_a_special_source_agree(source, role):
    """A peer may have a route for any of them; what no host may answer is dropped all the same."""
    peer = Endpoint(a16("198.51.100.1"), 9)
    table = [*DEFAULTS, ((a16("203.0.113.1"), 128), LOCAL), ((a16("2001:db8::1"), 128), 1)]
    fib, slow = twins(table, {peer: 0})
    packets = [ipv6_packet(source, a16("2001:db8::1"))]
    if source.startswith(V4_MAPPED):
        packets.append(ipv4_packet(source, a16("203.0.113.1")))
    for packet in packets:
        expected = decide_udp(packet, peer, slow, role, True)

        assert fib.decide_udp(packet, peer.address, peer.port, role, True) == numbers(expected)
        assert fib.decide_tun(packet) == numbers(decide_tun(packet, slow))


@given(packet=datagrams, table=routes)
@example(MAPPED, DEFAULTS)
@examples(300)
def test_verdicts_on_the_hosts_packets_agree(packet, table):
    fib, slow = twins(table, {})

    assert fib.decide_tun(packet) == numbers(decide_tun(packet, slow))


@pytest.mark.parametrize("target", [0, LOCAL, VOID])
def test_a_mapped_address_inside_ipv6_is_not_ipv4(target):
    fib, slow = twins([((a16("0.0.0.0"), 96), target), ((a16("::"), 0), target)], {})
    packet = ipv6_packet(a16("fd00::1"), a16("10.0.0.2"))

    assert fib.decide_tun(packet) == numbers(decide_tun(packet, slow))
    assert fib.decide_udp(packet, a16("::1"), 1, Role.SERVER, False) == (0, -1, -1)


def test_addresses_that_lead_to_nobody_are_noted_when_somebody_watches():
    fib = Fib(PEERS)
    peer = a16("198.51.100.1")
    fib.set_peer(2, 1, peer, 9)
    fib.set_route(a16("192.168.123.0"), 120, VOID)
    fib.set_route(a16("192.168.123.1"), 128, LOCAL)
    fib.set_route(a16("192.168.123.2"), 128, 2)

    def hear(source: str, destination: str) -> None:
        packet = ipv4_packet(a16(source), a16(destination))
        fib.decide_udp(packet, peer, 9, Role.SERVER, True)
        fib.decide_tun(packet)

    hear("192.168.123.2", "10.1.1.1")
    assert fib.asked() == []
    fib.watch()
    for destination in ("10.1.1.1", "10.1.1.1", "192.168.123.9", "192.168.123.1"):
        hear("192.168.123.2", destination)
    assert fib.asked() == [a16("10.1.1.1"), a16("192.168.123.9")]
    assert fib.asked() == []
    fib.decide_udp(ipv4_packet(a16("10.9.9.9"), a16("10.1.1.2")), peer, 9, Role.SERVER, True)
    assert fib.asked() == [a16("10.9.9.9")], "a source nobody has, and nothing of a dropped packet"
    fib.decide_udp(ipv4_packet(a16("10.9.9.9"), a16("10.1.1.2")), peer, 8, Role.SERVER, True)
    assert fib.asked() == [], "a stranger makes no questions"
    fib.decide_tun(ipv6_packet(a16("fd00::1"), a16("10.1.1.1")))
    assert fib.asked() == [], "a mapped address in an IPv6 packet is none"
    for number in range(100):
        hear("192.168.123.2", f"10.2.0.{number}")
    assert len(fib.asked()) == 64
