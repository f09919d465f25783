from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import slow_checksum, slow_unroutable
from strategies import (
    SPECIAL_ADDRESSES,
    a16,
    addresses,
    echo_request,
    honest_packets,
    ip_packet,
    pseudo_header,
    udp_packet,
)

from gateway.protocol.packet import (
    Endpoint,
    Header,
    HeaderFault,
    checksum,
    endpoint_text,
    is_v4,
    pack_address,
    pack_network,
    parse_header,
    unpack_address,
    unroutable_source,
)

ADDRESSES = [
    ("192.168.123.2", "00000000000000000000ffffc0a87b02"),
    ("0.0.0.0", "00000000000000000000ffff00000000"),
    ("fd::2", "00fd0000000000000000000000000002"),
    ("::", "00000000000000000000000000000000"),
]
NETWORKS = [
    ("192.168.123.0/24", "192.168.123.0", 120),
    ("0.0.0.0/0", "0.0.0.0", 96),
    ("10.0.0.1/32", "10.0.0.1", 128),
    ("fd00::/64", "fd00::", 64),
    ("::/0", "::", 0),
]
ENDPOINTS = [
    (Endpoint(a16("203.0.113.7"), 8421), "203.0.113.7:8421"),
    (Endpoint(a16("2001:db8::1"), 8421), "[2001:db8::1]:8421"),
    (Endpoint(a16("fe80::1"), 1, 3), "[fe80::1%3]:1"),
    (Endpoint(a16("203.0.113.7"), 1, 3), "203.0.113.7:1"),
]


@pytest.mark.parametrize(("text", "packed"), ADDRESSES)
def test_addresses_pack_and_unpack(text: str, packed: str) -> None:
    assert pack_address(ip_address(text)).hex() == packed
    assert unpack_address(bytes.fromhex(packed)) == ip_address(text)


@pytest.mark.parametrize("size", [0, 4, 15, 17])
def test_an_address_of_another_size_is_an_error(size: int) -> None:
    with pytest.raises(ValueError, match=f"16 bytes, not {size}"):
        unpack_address(bytes(size))


@pytest.mark.parametrize(("text", "address", "length"), NETWORKS)
def test_networks_count_their_length_over_128_bits(text: str, address: str, length: int) -> None:
    assert pack_network(ip_network(text)) == (a16(address), length)


@pytest.mark.parametrize(("endpoint", "text"), ENDPOINTS)
def test_endpoints_as_text(endpoint: Endpoint, text: str) -> None:
    assert endpoint_text(*endpoint) == text
    assert str(endpoint) == text


PING4 = echo_request(a16("192.168.123.2"), a16("192.168.123.3"), data=b"abcdef")
PING6 = echo_request(a16("fd00::2"), a16("fd00::3"), data=b"abcdef")


def test_headers_are_read() -> None:
    assert parse_header(PING4) == Header(4, a16("192.168.123.2"), a16("192.168.123.3"), 1, 20)
    assert parse_header(PING6) == Header(6, a16("fd00::2"), a16("fd00::3"), 58, 40)


def changed(packet: bytes, at: int, value: int) -> bytes:
    return packet[:at] + bytes((value,)) + packet[at + 1 :]


FAULTS = [
    (b"", HeaderFault.TOO_SHORT),
    (b"\x45" + bytes(18), HeaderFault.TOO_SHORT),
    (b"\x60" + bytes(38), HeaderFault.TOO_SHORT),
    (bytes(19), HeaderFault.TOO_SHORT),
    (bytes(20), HeaderFault.NOT_IP),
    (b"\x50" + bytes(60), HeaderFault.NOT_IP),
    (PING4[:-1], HeaderFault.BAD_LENGTH),
    (PING4 + b"\0", HeaderFault.BAD_LENGTH),
    (PING6[:-1], HeaderFault.BAD_LENGTH),
    (PING6 + b"\0", HeaderFault.BAD_LENGTH),
    (changed(PING4, 0, 0x44), HeaderFault.BAD_LENGTH),
    (changed(PING4, 0, 0x4F), HeaderFault.BAD_LENGTH),
    (changed(PING6, 5, 0), HeaderFault.BAD_LENGTH),
]


@pytest.mark.parametrize(("packet", "fault"), FAULTS)
def test_dishonest_headers(packet: bytes, fault: HeaderFault) -> None:
    assert parse_header(packet) is fault


def test_options_belong_to_the_header() -> None:
    header = parse_header(changed(PING4, 0, 0x47))

    assert isinstance(header, Header)
    assert header.size == 28


@given(honest_packets())
def test_an_honest_packet_is_honest_at_its_own_size_only(packet: bytes) -> None:
    assert isinstance(parse_header(packet), Header)
    assert isinstance(parse_header(packet[:-1]), HeaderFault)
    assert isinstance(parse_header(packet + b"\0"), HeaderFault)


@given(st.binary(max_size=80))
def test_any_bytes_give_a_header_or_a_fault(packet: bytes) -> None:
    header = parse_header(packet)

    if isinstance(header, Header):
        assert header.size <= len(packet)
        assert len(header.source) == len(header.destination) == 16


@given(st.one_of(addresses, st.sampled_from(SPECIAL_ADDRESSES)))
def test_unroutable_sources_match_a_list_of_networks(source: bytes) -> None:
    assert unroutable_source(6, source) == slow_unroutable(6, source)
    if is_v4(source):
        assert unroutable_source(4, source) == slow_unroutable(4, source)


@given(st.binary(max_size=64))
def test_checksum_is_that_of_the_rfc(data: bytes) -> None:
    assert checksum(data) == slow_checksum(data)


@pytest.mark.parametrize("text", ["192.168.123.2", "fd00::2"])
def test_data_with_its_right_checksum_gives_zero(text: str) -> None:
    packet = udp_packet(a16(text), a16(text), 1, 2, b"odd")
    header = parse_header(packet)
    assert isinstance(header, Header)
    payload = packet[header.size :]

    pseudo = pseudo_header(a16(text), a16(text), 17, len(payload))

    assert len(pseudo) == (12 if header.version == 4 else 40)
    assert checksum(pseudo + payload) == 0


def test_mixed_families_make_an_ipv6_packet() -> None:
    packet = ip_packet(a16("192.168.123.2"), a16("fd00::2"))

    assert packet[0] >> 4 == 6
