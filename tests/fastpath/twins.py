"""Packets with every field free, and the slow twin of cutting: one rule after the other.

`cut` is used both ways. What the worker sends must be what `cut` makes of the record; and
what it joined for the host must, cut again, be the very datagrams that came in.
"""

import struct
from typing import NamedTuple

from models import slow_checksum
from strategies import TCP, UDP, ipv4_packet, ipv6_packet

from gateway.protocol.packet import is_v4

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
NEEDS_CSUM = 1
GSO_NONE, GSO_TCPV4, GSO_UDP, GSO_TCPV6, GSO_UDP_L4, GSO_ECN = 0, 1, 3, 4, 5, 0x80
SUM_OFFSET = {TCP: 16, UDP: 6}

_VNET = struct.Struct("=BBHHHH")
VNET_SIZE = _VNET.size


class Vnet(NamedTuple):
    """The virtio header in front of a packet (virtio 1.2, 5.1.6)."""

    flags: int = 0
    gso_type: int = GSO_NONE
    hdr_len: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0

    def pack(self) -> bytes:
        return _VNET.pack(*self)


def split_record(record: bytes) -> tuple[Vnet, bytes]:
    """The virtio header and the packet behind it."""
    return Vnet(*_VNET.unpack_from(record)), record[VNET_SIZE:]


def tcp_packet(source: bytes, destination: bytes, data: bytes = b"", **fields) -> bytes:
    """A whole TCP packet with right checksums.

    `fields`: sport, dport, seq, ack, flags, window, urgent, options, ip_options, and those of
    `ipv4_packet` (ip_flags for its `flags`) or `ipv6_packet`.
    """
    options = fields.pop("options", b"")
    head = struct.pack(
        "!HHIIBBHHH",
        fields.pop("sport", 1000),
        fields.pop("dport", 2000),
        fields.pop("seq", 0) % 2**32,
        fields.pop("ack", 1),
        (20 + len(options)) // 4 << 4,
        fields.pop("flags", ACK),
        fields.pop("window", 512),
        0,
        fields.pop("urgent", 0),
    )
    return _whole(source, destination, head + options + data, TCP, fields)


def datagram(source: bytes, destination: bytes, data: bytes = b"", **fields) -> bytes:
    """A whole UDP packet with right checksums. `fields` as for `tcp_packet`."""
    ports = struct.pack("!HH", fields.pop("sport", 1000), fields.pop("dport", 2000))
    head = ports + (8 + len(data)).to_bytes(2) + b"\0\0"
    return _whole(source, destination, head + data, UDP, fields)


def _whole(source, destination, transport, protocol, fields):
    ip_options = fields.pop("ip_options", b"")
    if is_v4(source):
        fields.setdefault("flags", fields.pop("ip_flags", 0x4000))
        packet = bytearray(
            ipv4_packet(source, destination, ip_options + transport, protocol, **fields)
        )
        packet[0] += len(ip_options) // 4
    else:
        packet = bytearray(ipv6_packet(source, destination, transport, protocol, **fields))
    return with_checksums(bytes(packet))


def ip_size(packet: bytes) -> int:
    return (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40


def protocol_of(packet: bytes) -> int:
    return packet[9] if packet[0] >> 4 == 4 else packet[6]


def with_checksums(packet: bytes) -> bytes:
    """The same packet with the checksums a sender would have put there."""
    whole, ip = bytearray(packet), ip_size(packet)
    if packet[0] >> 4 == 4:
        whole[10:12] = b"\0\0"
        whole[10:12] = slow_checksum(bytes(whole[:ip])).to_bytes(2)
    protocol = protocol_of(packet)
    if protocol not in SUM_OFFSET:
        return bytes(whole)
    at = ip + SUM_OFFSET[protocol]
    whole[at : at + 2] = b"\0\0"
    value = slow_checksum(_pseudo(packet) + bytes(whole[ip:]))
    if protocol == UDP and value == 0:
        value = 0xFFFF
    whole[at : at + 2] = value.to_bytes(2)
    return bytes(whole)


def partial(packet: bytes) -> bytes:
    """The same packet as the kernel leaves it to a device that completes checksums."""
    whole = bytearray(packet)
    at = ip_size(packet) + SUM_OFFSET[protocol_of(packet)]
    whole[at : at + 2] = (slow_checksum(_pseudo(packet)) ^ 0xFFFF).to_bytes(2)
    return bytes(whole)


def _pseudo(packet: bytes) -> bytes:
    size = len(packet) - ip_size(packet)
    addresses = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
    return addresses + size.to_bytes(4) + bytes((0, 0, 0, protocol_of(packet)))


def needs_checksum(packet: bytes, **fields: int) -> bytes:
    """A record with one packet whose checksum is not complete."""
    offset = SUM_OFFSET[protocol_of(packet)]
    head = Vnet(flags=NEEDS_CSUM, csum_start=ip_size(packet), csum_offset=offset)
    return head._replace(**fields).pack() + partial(packet)


def super_packet(packet: bytes, size: int, **fields: int) -> bytes:
    """A record with `packet` as a super-packet of segments with `size` bytes of payload."""
    ip, protocol, version = ip_size(packet), protocol_of(packet), packet[0] >> 4
    transport = 8 if protocol == UDP else (packet[ip + 12] >> 4) * 4
    tcp_type = GSO_TCPV4 if version == 4 else GSO_TCPV6
    head = Vnet(
        gso_type=GSO_UDP_L4 if protocol == UDP else tcp_type,
        hdr_len=ip + transport,
        gso_size=size,
    )
    return needs_checksum(packet, **(head._asdict() | _sums(packet) | fields))


def _sums(packet: bytes) -> dict[str, int]:
    offset = SUM_OFFSET[protocol_of(packet)]
    return {"flags": NEEDS_CSUM, "csum_start": ip_size(packet), "csum_offset": offset}


def plain(packet: bytes) -> bytes:
    """A record with one packet that is complete."""
    return Vnet().pack() + packet


def cut(record: bytes) -> list[bytes]:
    """The packets a record stands for."""
    head, packet = split_record(record)
    if not head.flags & NEEDS_CSUM:
        return [packet]
    if not head.gso_type:
        return [_completed(head, packet)]
    ip, udp = head.csum_start, head.gso_type == GSO_UDP_L4
    headers = ip + (8 if udp else (packet[ip + 12] >> 4) * 4)
    payload = packet[headers:]
    starts = range(0, len(payload), head.gso_size) if payload else (0,)
    pieces = [payload[start : start + head.gso_size] for start in starts]
    return [
        _segment(packet[:headers], ip, udp, index, start, piece, last=index == len(pieces) - 1)
        for index, (start, piece) in enumerate(zip(starts, pieces, strict=True))
    ]


def _completed(head: Vnet, packet: bytes) -> bytes:
    whole, at = bytearray(packet), head.csum_start + head.csum_offset
    value = slow_checksum(packet[head.csum_start :])
    if value == 0 and head.csum_offset == SUM_OFFSET[UDP]:
        value = 0xFFFF
    whole[at : at + 2] = value.to_bytes(2)
    return bytes(whole)


def _segment(headers, ip, udp, index, start, piece, *, last):
    segment = bytearray(headers + piece)
    if segment[0] >> 4 == 4:
        segment[2:4] = len(segment).to_bytes(2)
        ident = int.from_bytes(segment[4:6]) + index
        segment[4:6] = (ident % 2**16).to_bytes(2)
    else:
        segment[4:6] = (len(segment) - 40).to_bytes(2)
    if udp:
        segment[ip + 4 : ip + 6] = (8 + len(piece)).to_bytes(2)
    else:
        sequence = int.from_bytes(segment[ip + 4 : ip + 8]) + start
        segment[ip + 4 : ip + 8] = (sequence % 2**32).to_bytes(4)
        if not last:
            segment[ip + 13] &= ~(FIN | PSH)
        if index:
            segment[ip + 13] &= ~CWR
    return with_checksums(bytes(segment))
