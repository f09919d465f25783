"""IP packets inside the tunnel, and addresses as the program carries them.

An address is 16 bytes, IPv4 as v4-mapped IPv6 (RFC 4291, 2.5.5.2): `a16` for short.
A prefix length counts over all 128 bits, so 192.168.123.0/24 is 120. An *inner* IPv6
packet may carry a v4-mapped address too; it is not IPv4, so whoever looks addresses
up needs the packet's version beside the address.
"""

from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import NamedTuple

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Interface = IPv4Interface | IPv6Interface

ADDRESS_SIZE = 16
V4_MAPPED = bytes(10) + b"\xff\xff"
ANY = bytes(ADDRESS_SIZE)
"""As an endpoint's `local`: it is not known which address was reached."""

IPV4_HEADER_SIZE = 20
IPV6_HEADER_SIZE = 40


class Endpoint(NamedTuple):
    """A remote UDP address: a16, port, and the interface index of a link-local one."""

    address: bytes
    port: int
    scope: int = 0

    def __str__(self) -> str:
        return endpoint_text(self.address, self.port, self.scope)


class HeaderFault(Enum):
    """What is wrong with an inner packet; each is a drop reason of the same name."""

    TOO_SHORT = "too short for an IP header"
    NOT_IP = "neither IPv4 nor IPv6"
    BAD_LENGTH = "its length fields do not agree with its size"


class Header(NamedTuple):
    """What forwarding reads of an inner packet. `size` is the IP header's own, in bytes."""

    version: int
    source: bytes
    destination: bytes
    protocol: int
    size: int


def pack_address(address: Address) -> bytes:
    """Address to a16."""
    if address.version == 4:
        return V4_MAPPED + address.packed
    return address.packed


def unpack_address(address: bytes) -> Address:
    """a16 to address; v4-mapped gives an IPv4Address. ValueError unless 16 bytes."""
    if len(address) != ADDRESS_SIZE:
        raise ValueError(f"an address has 16 bytes, not {len(address)}")
    if is_v4(address):
        return IPv4Address(address[12:])
    return IPv6Address(address)


def pack_network(network: Network) -> tuple[bytes, int]:
    """Network to (a16, length over 128 bits)."""
    offset = 96 if network.version == 4 else 0
    return pack_address(network.network_address), network.prefixlen + offset


def is_v4(address: bytes) -> bool:
    """Whether an a16 of ours stands for an IPv4 address."""
    return address[:12] == V4_MAPPED


def endpoint_text(address: bytes, port: int, scope: int = 0) -> str:
    """`203.0.113.7:8421`, `[2001:db8::1]:8421`, `[fe80::1%2]:8421`."""
    host = unpack_address(address)
    if host.version == 4:
        return f"{host}:{port}"
    zone = f"%{scope}" if scope else ""
    return f"[{host}{zone}]:{port}"


def parse_header(packet: bytes) -> Header | HeaderFault:
    """The IP header of an inner packet, if its lengths are honest: they equal its size.

    RFC 791, 3.1 and RFC 8200, 3. A payload length of 0 (a jumbogram, RFC 2675) does
    not fit a datagram and is a BAD_LENGTH. The header checksum is left to the kernel.
    """
    size = len(packet)
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        return _parse_v4(packet, size)
    if version == 6:
        return _parse_v6(packet, size)
    return HeaderFault.TOO_SHORT if size < IPV4_HEADER_SIZE else HeaderFault.NOT_IP


def _parse_v4(packet: bytes, size: int) -> Header | HeaderFault:
    if size < IPV4_HEADER_SIZE:
        return HeaderFault.TOO_SHORT
    header_size = (packet[0] & 0x0F) * 4
    if not IPV4_HEADER_SIZE <= header_size <= size:
        return HeaderFault.BAD_LENGTH
    if int.from_bytes(packet[2:4]) != size:
        return HeaderFault.BAD_LENGTH
    return Header(
        version=4,
        source=V4_MAPPED + bytes(packet[12:16]),
        destination=V4_MAPPED + bytes(packet[16:20]),
        protocol=packet[9],
        size=header_size,
    )


def _parse_v6(packet: bytes, size: int) -> Header | HeaderFault:
    if size < IPV6_HEADER_SIZE:
        return HeaderFault.TOO_SHORT
    if IPV6_HEADER_SIZE + int.from_bytes(packet[4:6]) != size:
        return HeaderFault.BAD_LENGTH
    return Header(
        version=6,
        source=bytes(packet[8:24]),
        destination=bytes(packet[24:40]),
        protocol=packet[6],
        size=IPV6_HEADER_SIZE,
    )


def unroutable_source(version: int, source: bytes) -> bool:
    """Whether no host may send from this address beyond its own link.

    Unspecified, loopback, link-local, multicast, IPv4's reserved 240/4, and a
    v4-mapped source of an IPv6 packet (RFC 6890). Every stock client emits router
    solicitations from fe80::/10: they are dropped, but are no spoofing.
    """
    if version == 4:
        first, second = source[12], source[13]
        return first in (0, 127) or first >= 224 or (first == 169 and second == 254)
    if source[0] == 0xFF or (source[0] == 0xFE and source[1] & 0xC0 == 0x80):
        return True
    return is_v4(source) or (source[:15] == bytes(15) and source[15] <= 1)


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071). An odd length is padded with a zero.

    Data that carries its right checksum gives 0.
    """
    padded = data + b"\0" if len(data) % 2 else data
    total = int.from_bytes(padded)
    folded = total % 0xFFFF
    if folded == 0 and total:
        folded = 0xFFFF
    return folded ^ 0xFFFF
