"""The route table: the supervisor's truth about prefix to target; longest prefix wins (I7).

Targets are a peer's slot, `LOCAL` or `VOID` (forwarding.py). IPv4 and IPv6 are two
tables: 0.0.0.0/0 is ::ffff:0:0/96 and ::/0 does not cover it. Host bits must be zero,
one prefix has one target, and the order of insertion never matters. Look-ups walk the
prefix lengths in use, longest first; the data path has a faster structure of its own.
"""

from collections.abc import Iterator
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from gateway.protocol.forwarding import NOTHING
from gateway.protocol.packet import ADDRESS_SIZE, V4_MAPPED, Network, is_v4

_BITS = 8 * ADDRESS_SIZE
_V4_OFFSET = 96


class Origin(IntEnum):
    """Who says so: the service's own configuration, or a peer's registration."""

    SERVICE = 0
    PEER = 1


class Route(NamedTuple):
    """Prefix (a16, length over 128 bits) to target."""

    prefix: bytes
    length: int
    target: int
    origin: Origin


def prefix_of(address: bytes, length: int) -> bytes:
    """The a16 with everything after its first `length` bits cleared."""
    shift = _BITS - length
    return (int.from_bytes(address) >> shift << shift).to_bytes(ADDRESS_SIZE)


def is_prefix(prefix: bytes, length: int) -> bool:
    """Whether it is an a16 with nothing behind its first `length` bits."""
    return (
        len(prefix) == ADDRESS_SIZE
        and 0 <= length <= _BITS
        and (length >= _V4_OFFSET or prefix[:12] != V4_MAPPED)
        and prefix_of(prefix, length) == prefix
    )


def network_of(prefix: bytes, length: int) -> Network:
    """The network of an a16 and a length over 128 bits. Host bits are cleared."""
    if length >= _V4_OFFSET and is_v4(prefix):
        return IPv4Network((prefix[12:], length - _V4_OFFSET), strict=False)
    return IPv6Network((prefix, length), strict=False)


class RouteTable:
    """Prefixes and where they lead."""

    def __init__(self) -> None:
        self._v4: dict[int, dict[bytes, Route]] = {}
        self._v6: dict[int, dict[bytes, Route]] = {}

    def __len__(self) -> int:
        return sum(len(routes) for family in (self._v4, self._v6) for routes in family.values())

    def set(self, prefix: bytes, length: int, target: int, origin: Origin) -> None:
        """Add the route, or replace the one of the same prefix. ValueError for host bits."""
        _check(prefix, length)
        family = self._family(prefix, length)
        family.setdefault(length, {})[prefix] = Route(prefix, length, target, origin)

    def remove(self, prefix: bytes, length: int) -> bool:
        """Whether there was such a route; now there is none."""
        _check(prefix, length)
        family = self._family(prefix, length)
        routes = family.get(length, {})
        if routes.pop(prefix, None) is None:
            return False
        if not routes:
            del family[length]
        return True

    def get(self, prefix: bytes, length: int) -> Route | None:
        """The route of exactly this prefix."""
        return self._family(prefix, length).get(length, {}).get(prefix)

    def lookup(self, address: bytes) -> int:
        """The target of the longest prefix that covers this a16, or `NOTHING`."""
        family = self._v4 if is_v4(address) else self._v6
        for length in sorted(family, reverse=True):
            route = family[length].get(prefix_of(address, length))
            if route is not None:
                return route.target
        return NOTHING

    def items(self) -> Iterator[Route]:
        """All routes: IPv4 first, then by prefix, wide before narrow."""
        for family in (self._v4, self._v6):
            yield from sorted(route for routes in family.values() for route in routes.values())

    def rows(self) -> Iterator[Route]:
        """All routes, in no order."""
        for family in (self._v4, self._v6):
            for routes in family.values():
                yield from routes.values()

    def _family(self, prefix: bytes, length: int) -> dict[int, dict[bytes, Route]]:
        return self._v4 if length >= _V4_OFFSET and prefix[:12] == V4_MAPPED else self._v6


def _check(prefix: bytes, length: int) -> None:
    if len(prefix) != ADDRESS_SIZE or not 0 <= length <= _BITS:
        raise ValueError("a prefix is 16 bytes and a length from 0 to 128")
    if prefix_of(prefix, length) != prefix:
        raise ValueError(f"the prefix {prefix.hex()}/{length} has host bits")
