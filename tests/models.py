"""Slow twins: each does in the plainest way what something in `gateway` does cleverly."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from gateway.protocol.forwarding import (
    LOCAL,
    NOTHING,
    VOID,
    Decision,
    DropReason,
    Role,
    Verdict,
)
from gateway.protocol.packet import Endpoint, unpack_address


def network_of(prefix: bytes, length: int) -> IPv4Network | IPv6Network:
    """A prefix as the `ipaddress` module sees it; ours of 96 bits and more may be IPv4."""
    if prefix[:12] == bytes(10) + b"\xff\xff" and length >= 96:
        return IPv4Network((prefix[12:], length - 96))
    return IPv6Network((prefix, length))


@dataclass
class SlowRoutes:
    """A list of networks, searched from end to end."""

    rows: list[tuple[IPv4Network | IPv6Network, int]] = field(default_factory=list)

    def set(self, prefix: bytes, length: int, target: int) -> None:
        self.remove(prefix, length)
        self.rows.append((network_of(prefix, length), target))

    def remove(self, prefix: bytes, length: int) -> bool:
        network = network_of(prefix, length)
        kept = [row for row in self.rows if row[0] != network]
        found = len(kept) < len(self.rows)
        self.rows = kept
        return found

    def lookup(self, address: bytes) -> int:
        wanted = unpack_address(address)
        hits = [row for row in self.rows if row[0].version == wanted.version and wanted in row[0]]
        return max(hits, key=lambda row: row[0].prefixlen)[1] if hits else NOTHING


def slow_checksum(data: bytes) -> int:
    """RFC 1071 as it is told: add 16-bit words, fold the carries, invert."""
    if len(data) % 2:
        data += b"\0"
    total = 0
    for high, low in zip(data[::2], data[1::2], strict=True):
        total += high << 8 | low
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


_NEVER_A_SOURCE = [
    *map(
        IPv4Network,
        ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"),
    ),
    *map(IPv6Network, ("::/128", "::1/128", "fe80::/10", "ff00::/8", "::ffff:0:0/96")),
]


def slow_unroutable(version: int, source: bytes) -> bool:
    """By a list of networks."""
    packed = source[12:] if version == 4 else source
    return any(
        int.from_bytes(packed) & int(network.netmask) == int(network.network_address)
        for network in _NEVER_A_SOURCE
        if network.version == version
    )


def slow_decide_udp(
    segment: bytes,
    source: Endpoint,
    endpoints: dict[Endpoint, int],
    lookup: Callable[[bytes], int],
    *,
    role: Role,
    source_check: bool,
) -> Decision:
    """All that is true of a segment, then the first row of a table that applies."""
    size = len(segment)
    control = segment.startswith(b"GOST")
    version = segment[0] >> 4 if segment else None
    fault = _fault(segment)
    inner = None if control or fault else _addresses(segment)
    sender = endpoints.get(source)
    target = _target(inner, version, lookup)
    checked = role is not Role.CLIENT and source_check and inner is not None
    rows: Iterable[tuple[bool, Decision]] = (
        (size == 0, _drop(DropReason.EMPTY)),
        (control and role is not Role.CLIENT and size > 20, Decision(Verdict.PUNT)),
        (control and role is Role.CLIENT and size >= 20, Decision(Verdict.PUNT)),
        (control, _drop(DropReason.BAD_CONTROL)),
        (fault is not None, Decision(Verdict.DROP, reason=fault)),
        (role is Role.CLIENT, Decision(Verdict.DELIVER)),
        (checked and sender is None, _drop(DropReason.UNKNOWN_ENDPOINT)),
        (
            checked and inner is not None and slow_unroutable(version or 0, inner[0]),
            _drop(DropReason.UNROUTABLE_SOURCE),
        ),
        (
            checked and inner is not None and lookup(inner[0]) != sender,
            _drop(DropReason.SPOOFED_SOURCE),
        ),
        (role is Role.POINT, Decision(Verdict.DELIVER)),
        (target == VOID, _drop(DropReason.NO_PEER)),
        (target in (LOCAL, NOTHING), Decision(Verdict.DELIVER)),
        (target == sender, _drop(DropReason.SAME_PEER)),
        (True, Decision(Verdict.FORWARD, slot=target)),
    )
    return next(decision for applies, decision in rows if applies)


def slow_decide_tun(packet: bytes, lookup: Callable[[bytes], int]) -> Decision:
    """The same for a packet from the TUN."""
    if not packet:
        return _drop(DropReason.EMPTY)
    fault = _fault(packet)
    if fault is not None:
        return _drop(fault)
    version = packet[0] >> 4
    inner = _addresses(packet)
    target = _target(inner, version, lookup)
    if slow_unroutable(version, inner[0]):
        return _drop(DropReason.UNROUTABLE_SOURCE)
    if target == VOID:
        return _drop(DropReason.NO_PEER)
    if target in (LOCAL, NOTHING):
        return _drop(DropReason.NO_ROUTE)
    return Decision(Verdict.FORWARD, slot=target)


def _fault(packet: bytes) -> DropReason | None:
    version = packet[0] >> 4 if packet else None
    least = {4: 20, 6: 40}.get(version or 0, 20)
    if len(packet) < least:
        return DropReason.TOO_SHORT
    if version == 4:
        header = packet[0] % 16 * 4
        honest = packet[2] * 256 + packet[3] == len(packet) and 20 <= header <= len(packet)
        return None if honest else DropReason.BAD_LENGTH
    if version == 6:
        honest = 40 + packet[4] * 256 + packet[5] == len(packet)
        return None if honest else DropReason.BAD_LENGTH
    return DropReason.NOT_IP


def _addresses(packet: bytes) -> tuple[bytes, bytes]:
    if packet[0] >> 4 == 4:
        mapped = bytes(10) + b"\xff\xff"
        return mapped + packet[12:16], mapped + packet[16:20]
    return packet[8:24], packet[24:40]


def _target(
    inner: tuple[bytes, bytes] | None, version: int | None, lookup: Callable[[bytes], int]
) -> int:
    if inner is None:
        return NOTHING
    if version == 6 and inner[1][:12] == bytes(10) + b"\xff\xff":
        return NOTHING
    return lookup(inner[1])


def _drop(reason: DropReason) -> Decision:
    return Decision(Verdict.DROP, reason=reason)
