"""Does some nftables rule masquerade what goes from one network to another?

Rules written by hand or by iptables-nft are read through netlink and followed for a
packet of which only the networks and devices are known. An address of which only a
prefix is known gives a comparison three results: true, false, unknown. Only what holds
for every such packet counts, so a rule with a condition on ports or connection state is
none, and neither is one behind a `return` that is sure to be met. The mark is 0.
Source: linux/netfilter/nf_tables.h; nothing is changed, CAP_NET_ADMIN is needed.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.linux import nftables
from gateway.linux.nlmsg import Netlink, attributes
from gateway.protocol.packet import Network

_GETCHAIN, _GETRULE, _GETSETELEM = 4, 7, 13
_DEPTH = 16
_HEADER_SIZE = 4
_ACCEPT, _DROP, _RETURN, _JUMP, _GOTO = 1, 0, -5, -3, -4
_MARK_MATCH = struct.Struct("=IIB")
_V4_ETHERTYPE, _V6_ETHERTYPE = b"\x08\x00", b"\x86\xdd"
_SILENT = frozenset({"counter", "log", "notrack", "objref", "last"})
_NAT_TARGETS = frozenset({"MASQUERADE", "SNAT"})

Expression = tuple[str, Mapping[int, bytes]]
Elements = Sequence[tuple[bytes, bool]]
"""A set's keys; true for one that only ends an interval."""
Place = tuple[int, str, str]
"""Family, table, chain (or set)."""


class Query(NamedTuple):
    """Packets from one network to another, in by one device and out by another."""

    source: Network
    destination: Network
    incoming: str
    outgoing: str


class Value(NamedTuple):
    """A register: its bits, and a 1 for each that is known."""

    bits: bytes
    known: bytes


@dataclass
class Ruleset:
    """All chains and rules of this host's nftables, of the network layer's families."""

    bases: list[Place] = field(default_factory=list)
    rules: dict[Place, list[list[Expression]]] = field(default_factory=dict)
    sets: dict[Place, Elements] = field(default_factory=dict)

    def masquerades(self, query: Query) -> bool:
        """Whether every packet of the query leaves with another source address."""
        family = nftables.IPV4 if query.source.version == 4 else nftables.IPV6
        return any(
            _Walk(self, query).chain(base) is True
            for base in self.bases
            if base[0] in (family, nftables.INET)
        )


def read() -> Ruleset:
    """The present ruleset; an empty one where the kernel has no nftables."""
    found = Ruleset()
    try:
        sock = nftables.socket()
    except OSError:
        return found
    with sock:
        try:
            _read_into(found, sock)
        except OSError:
            return Ruleset()
    return found


class _Walk:
    """One query on its way through the chains."""

    def __init__(self, ruleset: Ruleset, query: Query) -> None:
        self._ruleset = ruleset
        self._query = query

    def chain(self, place: Place, depth: int = 0) -> bool | None:
        """True: masqueraded. False: the packet's way ended before. None: it goes on."""
        for rule in self._ruleset.rules.get(place, ()):
            result = self._rule(place, rule, depth)
            if isinstance(result, bool):
                return result
            if result == _RETURN:
                return None
        return None

    def _rule(self, place: Place, rule: Sequence[Expression], depth: int) -> bool | int | None:
        registers: dict[int, Value] = {}
        for name, data in rule:
            if name == "immediate" and _number(data.get(1, b"")) == 0:
                return self._verdict(place, _fields(_fields(data.get(2, b"")).get(2, b"")), depth)
            if name == "masq" or (name == "nat" and _number(data.get(1, b"")) == 0):
                return True
            if name == "target":
                if _text(data.get(1, b"")) in _NAT_TARGETS:
                    return True
                continue
            if self._holds(place, name, data, registers) is not True:
                return None
        return None

    def _verdict(self, place: Place, verdict: Mapping[int, bytes], depth: int) -> bool | int | None:
        code = int.from_bytes(verdict.get(1, b""), signed=True)
        if code in (_ACCEPT, _DROP):
            return False
        if code in (_JUMP, _GOTO) and depth < _DEPTH:
            target = (place[0], place[1], _text(verdict.get(2, b"")))
            result = self.chain(target, depth + 1)
            return _RETURN if result is None and code == _GOTO else result
        return _RETURN if code == _RETURN else None

    def _holds(
        self, place: Place, name: str, data: Mapping[int, bytes], registers: dict[int, Value]
    ) -> bool | None:
        """Whether a condition is met; True for an expression that is none."""
        if name in _SILENT:
            return True
        if name == "immediate":
            return True  # an address to translate to
        if name == "match":
            return _compat_match(data)
        if name == "meta" and 1 not in data:
            return True  # it sets something
        if name in ("meta", "payload"):
            load = self._meta if name == "meta" else self._payload
            registers[_register(data.get(1, b""))] = load(data)
            return True
        if name == "bitwise":
            value = registers.get(_register(data.get(1, b"")))
            if value is None or _number(data.get(6, b"")):
                return None
            registers[_register(data.get(2, b""))] = _bitwise(value, data)
            return True
        if name == "cmp":
            value = registers.get(_register(data.get(1, b"")))
            return None if value is None else _compare(value, data)
        if name == "lookup":
            value = registers.get(_register(data.get(2, b"")))
            elements = self._ruleset.sets.get((place[0], place[1], _text(data.get(1, b""))))
            if value is None or elements is None:
                return None
            found = _member(value, elements)
            return found if found is None else found is not bool(_number(data.get(5, b"")))
        return None

    def _meta(self, data: Mapping[int, bytes]) -> Value:
        query, key = self._query, _number(data.get(2, b""))
        v4 = query.source.version == 4
        known = {
            nftables.META_IIFNAME: nftables.name(query.incoming),
            nftables.META_OIFNAME: nftables.name(query.outgoing),
            nftables.META_NFPROTO: bytes((nftables.IPV4 if v4 else nftables.IPV6,)),
            nftables.META_PROTOCOL: _V4_ETHERTYPE if v4 else _V6_ETHERTYPE,
            nftables.META_MARK: bytes(4),
        }.get(key)
        return Value(b"", b"") if known is None else Value(known, b"\xff" * len(known))

    def _payload(self, data: Mapping[int, bytes]) -> Value:
        base, offset, size = (_number(data.get(key, b"")) for key in (2, 3, 4))
        query = self._query
        v4 = query.source.version == 4
        for start, network in (
            (12 if v4 else 8, query.source),
            (16 if v4 else 24, query.destination),
        ):
            address, mask = network.network_address.packed, network.netmask.packed
            if base == 1 and start <= offset and offset + size <= start + len(address):
                part = slice(offset - start, offset - start + size)
                return Value(address[part], mask[part])
        return Value(bytes(size), bytes(size))


def _bitwise(value: Value, data: Mapping[int, bytes]) -> Value:
    size = len(value.bits)
    mask = _fields(data.get(4, b"")).get(1, b"").ljust(size, b"\xff")[:size]
    flip = _fields(data.get(5, b"")).get(1, b"").ljust(size, b"\0")[:size]
    bits = bytes((b & m) ^ f for b, m, f in zip(value.bits, mask, flip, strict=True))
    known = bytes(k | ~m & 0xFF for k, m in zip(value.known, mask, strict=True))
    return Value(bits, known)


def _compare(value: Value, data: Mapping[int, bytes]) -> bool | None:
    operation = _number(data.get(2, b""))
    wanted = _fields(data.get(3, b"")).get(1, b"")
    if operation not in (nftables.CMP_EQ, nftables.CMP_NEQ) or len(wanted) > len(value.bits):
        return None
    triples = list(zip(value.bits, value.known, wanted, strict=False))
    if any((bit ^ want) & known for bit, known, want in triples):
        equal = False
    elif all(known == 0xFF for _, known, _ in triples):
        equal = True
    else:
        return None
    return equal is (operation == nftables.CMP_EQ)


def _member(value: Value, elements: Elements) -> bool | None:
    """Whether a value is in a set; an interval goes from its key up to the next end."""
    low = int.from_bytes(value.bits)
    unknown = int.from_bytes(bytes(~byte & 0xFF for byte in value.known))
    if not value.bits or unknown & (unknown + 1):
        return None
    low, high = low & ~unknown, low | unknown
    within = touched = False
    for start, end in _intervals(elements, len(value.bits)):
        within = within or (start <= low and high < end)
        touched = touched or (start <= high and low < end)
    return True if within else None if touched else False


def _intervals(elements: Elements, size: int) -> list[tuple[int, int]]:
    if not any(is_end for _, is_end in elements):
        return [(int.from_bytes(key), int.from_bytes(key) + 1) for key, _ in elements]
    found: list[tuple[int, int]] = []
    start: int | None = None
    for key, is_end in sorted(elements, key=lambda item: (item[0], not item[1])):
        at = int.from_bytes(key)
        if start is not None:
            found.append((start, at))
        start = None if is_end else at
    if start is not None:
        found.append((start, 1 << 8 * size))
    return found


def _compat_match(data: Mapping[int, bytes]) -> bool | None:
    """A match of iptables: of those, only comments and marks can be told."""
    name, info = _text(data.get(1, b"")), data.get(3, b"")
    if name == "comment":
        return True
    if name == "mark" and _number(data.get(2, b"")) == 1 and len(info) >= _MARK_MATCH.size:
        mark, _, invert = _MARK_MATCH.unpack_from(info)
        return (mark == 0) is not bool(invert)
    return None


def _read_into(found: Ruleset, sock: Netlink) -> None:
    for family, chain in _objects(sock, _GETCHAIN):
        hook = _fields(chain.get(4, b""))
        if _text(chain.get(7, b"")) == "nat" and _number(hook.get(1, b"")) == nftables.POSTROUTING:
            found.bases.append((family, _text(chain[1]), _text(chain[3])))
    tables = {(family, table) for family, table, _ in found.bases}
    for family, rule in _objects(sock, _GETRULE):
        place = (family, _text(rule.get(1, b"")), _text(rule.get(2, b"")))
        if place[:2] not in tables:
            continue
        expressions = [_expression(value) for _, value in attributes(rule.get(4, b""))]
        found.rules.setdefault(place, []).append(expressions)
        for name, data in expressions:
            if name == "lookup":
                _read_set(found, sock, (family, place[1], _text(data.get(1, b""))))


def _read_set(found: Ruleset, sock: Netlink, place: Place) -> None:
    if place in found.sets:
        return
    elements: list[tuple[bytes, bool]] = []
    payload = nftables.header(place[0]) + nftables.text(1, place[1]) + nftables.text(2, place[2])
    for _, answer in sock.dump(nftables.SUBSYSTEM | _GETSETELEM, payload):
        for _, element in attributes(_fields(answer[_HEADER_SIZE:]).get(3, b"")):
            fields = _fields(element)
            key = _fields(fields.get(1, b"")).get(1, b"")
            elements.append((key, bool(_number(fields.get(3, b"")) & 1)))
    found.sets[place] = elements


def _objects(sock: Netlink, kind: int) -> Iterable[tuple[int, dict[int, bytes]]]:
    for _, payload in sock.dump(nftables.SUBSYSTEM | kind, nftables.header(0)):
        yield payload[0], _fields(payload[_HEADER_SIZE:])


def _expression(element: bytes) -> Expression:
    fields = _fields(element)
    return _text(fields.get(1, b"")), _fields(fields.get(2, b""))


def _fields(data: bytes) -> dict[int, bytes]:
    return dict(attributes(data))


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _number(value: bytes) -> int:
    return int.from_bytes(value)


def _register(value: bytes) -> int:
    """Registers of 16 bytes and those of 4 share their places: 1 begins where 8 does."""
    number = _number(value)
    return 8 + 4 * (number - 1) if 1 <= number <= 4 else number
