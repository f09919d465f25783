"""Hypothesis strategies, and builders of the packets they are made of.

The address space is small on purpose: sources, destinations, routes and endpoints must
hit each other often, or a property holds for want of cases.
"""

from ipaddress import IPv4Network, ip_address, ip_network
from typing import NamedTuple

from hypothesis import strategies as st

from gateway.protocol.forwarding import LOCAL, VOID
from gateway.protocol.packet import V4_MAPPED, Endpoint, checksum, is_v4, pack_address
from gateway.protocol.routes import prefix_of

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58


def a16(text: str) -> bytes:
    """`192.168.123.2` or `fd00::2` as 16 bytes."""
    return pack_address(ip_address(text))


def endpoint(text: str, port: int = 8421, scope: int = 0) -> Endpoint:
    """An endpoint from an address as text."""
    return Endpoint(a16(text), port, scope)


def ipv4_packet(
    source: bytes, destination: bytes, payload: bytes = b"", protocol: int = UDP, **fields: int
) -> bytes:
    """An IPv4 packet between two a16. `fields`: tos, ident, flags (16 bits), ttl."""
    head = bytearray(20)
    head[0] = 0x45
    head[1] = fields.get("tos", 0)
    head[2:4] = (20 + len(payload)).to_bytes(2)
    head[4:6] = fields.get("ident", 0).to_bytes(2)
    head[6:8] = fields.get("flags", 0x4000).to_bytes(2)
    head[8] = fields.get("ttl", 64)
    head[9] = protocol
    head[12:16] = source[12:]
    head[16:20] = destination[12:]
    head[10:12] = checksum(bytes(head)).to_bytes(2)
    return bytes(head) + payload


def ipv6_packet(
    source: bytes, destination: bytes, payload: bytes = b"", protocol: int = UDP, **fields: int
) -> bytes:
    """An IPv6 packet. `fields`: traffic_class, flow, hops."""
    first = 6 << 28 | fields.get("traffic_class", 0) << 20 | fields.get("flow", 0)
    head = first.to_bytes(4) + len(payload).to_bytes(2)
    return head + bytes((protocol, fields.get("hops", 64))) + source + destination + payload


def ip_packet(
    source: bytes, destination: bytes, payload: bytes = b"", protocol: int = UDP
) -> bytes:
    """IPv4 between two v4-mapped a16, else IPv6."""
    build = ipv4_packet if is_v4(source) and is_v4(destination) else ipv6_packet
    return build(source, destination, payload, protocol)


def pseudo_header(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    """The bytes TCP, UDP and ICMPv6 checksums begin with; both addresses are a16.

    IPv4: 12 bytes (RFC 9293, 3.1). IPv6: 40 bytes (RFC 8200, 8.1). `length` is the
    upper layer's, header included.
    """
    if is_v4(source) and is_v4(destination):
        return source[12:] + destination[12:] + bytes((0, protocol)) + length.to_bytes(2)
    return source + destination + length.to_bytes(4) + bytes((0, 0, 0, protocol))


def udp_packet(source: bytes, destination: bytes, sport: int, dport: int, data: bytes) -> bytes:
    """A whole UDP packet with a right checksum (RFC 768: 0 goes out as 0xffff)."""
    size = 8 + len(data)
    head = sport.to_bytes(2) + dport.to_bytes(2) + size.to_bytes(2)
    pseudo = pseudo_header(source, destination, UDP, size)
    value = checksum(pseudo + head + b"\0\0" + data) or 0xFFFF
    return ip_packet(source, destination, head + value.to_bytes(2) + data, UDP)


def echo_request(source: bytes, destination: bytes, sequence: int = 1, data: bytes = b"") -> bytes:
    """A whole ping."""
    v4 = is_v4(source)
    kind, protocol = (8, ICMP) if v4 else (128, ICMPV6)
    body = b"\0\1" + sequence.to_bytes(2) + data
    head = bytes((kind, 0))
    pseudo = b"" if v4 else pseudo_header(source, destination, ICMPV6, 4 + len(body))
    value = checksum(pseudo + head + b"\0\0" + body)
    return ip_packet(source, destination, head + value.to_bytes(2) + body, protocol)


SPECIAL_ADDRESSES = [
    a16(text)
    for text in (
        "0.0.0.0",
        "0.1.2.3",
        "1.0.0.0",
        "126.255.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.254.0.1",
        "169.255.0.0",
        "223.255.255.255",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::2",
        "fdff::1",
        "fe7f:ffff::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "feff::1",
        "ff02::2",
        "fd00::",
        "::fffe:0:1",
    )
]

v4_addresses = st.builds(
    lambda third, last: V4_MAPPED + bytes((192, 168, third, last)),
    st.sampled_from((0, 1, 123, 124)),
    st.sampled_from((0, 1, 2, 3, 127, 128, 255)),
)
v6_addresses = st.builds(
    lambda group, last: a16(f"fd00:0:0:{group:x}::{last:x}"),
    st.sampled_from((0, 1, 0x8000)),
    st.sampled_from((0, 1, 2, 3, 0x8000)),
)
addresses = st.one_of(
    v4_addresses,
    v6_addresses,
    st.sampled_from(SPECIAL_ADDRESSES),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=4, max_size=4).map(V4_MAPPED.__add__),
)
"""a16: mostly few and close together, sometimes anything."""


@st.composite
def prefixes(draw: st.DrawFn) -> tuple[bytes, int]:
    """(a16, length over 128 bits) without host bits."""
    address = draw(addresses)
    lengths = st.integers(96, 128) if is_v4(address) else st.integers(0, 128)
    length = draw(st.one_of(st.sampled_from((96, 112, 120, 121, 128)), lengths))
    return prefix_of(address, length), length


slots = st.integers(0, 5)
targets = st.one_of(slots, st.sampled_from((LOCAL, VOID)))
routes = st.lists(st.tuples(prefixes(), targets), max_size=12)

endpoints = st.builds(
    Endpoint, st.one_of(v4_addresses, v6_addresses), st.sampled_from((1, 8421, 65535))
)
endpoint_tables = st.dictionaries(endpoints, slots, max_size=6)


@st.composite
def honest_packets(
    draw: st.DrawFn,
    sources: st.SearchStrategy[bytes] = addresses,
    destinations: st.SearchStrategy[bytes] = addresses,
) -> bytes:
    """IPv4 or IPv6 whose lengths are right.

    An IPv6 packet may have v4-mapped addresses. IPv4 may have options.
    """
    source, destination = draw(sources), draw(destinations)
    payload = draw(st.binary(max_size=40))
    if draw(st.booleans()) and is_v4(source) and is_v4(destination):
        packet = bytearray(ipv4_packet(source, destination, payload))
        packet[0] = 0x40 | draw(st.integers(5, len(packet) // 4))
        return bytes(packet)
    return ipv6_packet(source, destination, payload)


@st.composite
def damaged_packets(draw: st.DrawFn) -> bytes:
    """An honest packet, cut, lengthened, or with some bytes of its head changed."""
    packet = bytearray(draw(honest_packets()))
    for at, value in draw(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 255)), max_size=3)):
        packet[at] = value
    cut = draw(st.integers(0, len(packet)))
    tail = draw(st.binary(max_size=5))
    return draw(st.sampled_from((bytes(packet), bytes(packet[:cut]), bytes(packet) + tail)))


control_datagrams = st.builds(
    lambda cut, tail: b"GOST"[:cut] + tail,
    st.sampled_from((4, 4, 4, 3, 1)),
    st.one_of(
        st.sampled_from((0, 15, 16, 17, 32, 48, 256 + 16, 272 + 16)).map(bytes),
        st.binary(max_size=80),
    ),
)
datagrams = st.one_of(
    honest_packets(), damaged_packets(), control_datagrams, st.binary(max_size=64), st.just(b"")
)
"""Whatever may come in over UDP."""

Rows = list[tuple[tuple[bytes, int], int]]
"""Routes as drawn: ((prefix, length), target)."""


class Scene(NamedTuple):
    """A segment, where it came from, and the tables it meets."""

    segment: bytes
    source: Endpoint
    peers: dict[Endpoint, int]
    rows: Rows


HOMES = [a16(f"192.168.123.{2 + slot}") for slot in range(6)]
HOMES_V6 = [a16(f"fd00::{2 + slot}") for slot in range(6)]
NET = prefix_of(a16("192.168.123.0"), 120), 120
NET_V6 = prefix_of(a16("fd00::"), 64), 64


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """A tunnel net with a home address of each family per slot, and random routes besides.

    The segment mostly comes from a known endpoint and goes from a home to a home or a
    route, so that every decision occurs.
    """
    peers = draw(endpoint_tables)
    homes = [((home, 128), slot) for row in (HOMES, HOMES_V6) for slot, home in enumerate(row)]
    rows = [(NET, VOID), (NET_V6, VOID), *homes, *draw(routes)]
    known = [st.sampled_from(list(peers))] if peers else []
    source = draw(st.one_of(*known * 4, endpoints))
    slot = peers.get(source, 0)
    own = st.sampled_from((HOMES[slot], HOMES_V6[slot]))
    near = st.sampled_from([prefix for (prefix, _), _ in rows])
    segment = draw(
        st.one_of(
            honest_packets(own, near),
            honest_packets(own, addresses),
            honest_packets(near, near),
            datagrams,
        )
    )
    return Scene(segment, source, peers, rows)


passphrases = st.binary(max_size=16).map(lambda raw: raw.rstrip(b"\0"))
heartbeat_addresses = st.lists(addresses, min_size=1, max_size=16).map(tuple)


few_networks = st.one_of(
    st.builds(
        lambda bits, length: IPv4Network(
            (0x0A000000 | bits >> 32 - length << 32 - length & 0xFFFFFF, length)
        ),
        st.integers(0, 2**24 - 1),
        st.integers(8, 32),
    ),
    st.sampled_from(
        list(
            map(
                ip_network,
                (
                    "0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/24", "10.0.0.0/32",
                    "10.0.1.0/24", "10.0.0.128/25", "::/0", "fd00::/48", "fd00::/64",
                    "fd00:0:0:1::/64", "::/1",
                ),
            )
        )
    ),
)  # fmt: skip
"""Networks that hold each other now and then."""
