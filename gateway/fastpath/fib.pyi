"""A child's look-up copy of peers and routes, and the compiled verdicts (I7).

Addresses are 16 bytes, IPv4 as v4-mapped; prefix lengths count over 128 bits.
The structure is explained in `fib.h`, the order of the checks in `decide.h`;
`protocol.forwarding` is the readable twin of both.
"""

class Fib:
    def __init__(self, peers: int) -> None:
        """`peers` slots, all empty, and no route."""

    def set_peer(
        self,
        slot: int,
        incarnation: int,
        address16: bytes,
        port: int,
        scope: int = 0,
        local16: bytes = ...,
    ) -> None:
        """Put a peer into a slot, or move it. A peer that had this endpoint goes."""

    def drop_peer(self, slot: int) -> None:
        """Empty a slot; nothing happens if it is empty."""

    def peer_at(self, address16: bytes, port: int, scope: int = 0) -> int:
        """The slot of the peer at this endpoint, or -1."""

    def set_route(self, prefix16: bytes, length: int, target: int) -> None:
        """Route a prefix to a slot or to one of the targets below 0."""

    def drop_route(self, prefix16: bytes, length: int) -> bool:
        """False if there was none."""

    def clear(self) -> None:
        """Forget everything, before a snapshot."""

    def lookup(self, a16: bytes) -> int:
        """The target of the longest prefix that holds the address."""

    def lookup_all(self, a16s: bytes) -> bytes:
        """Addresses one after the other to as many targets, as 32-bit integers."""

    def watch(self) -> None:
        """From now on note addresses in packets that lead to no peer and not to the gateway."""

    def asked(self) -> list[bytes]:
        """Those noted since the last call, each once; up to 64."""

    def decide_udp(
        self, segment: bytes, address16: bytes, port: int, role: int, source_check: bool
    ) -> tuple[int, int, int]:
        """(verdict, reason or -1, slot or -1) for a segment from that endpoint."""

    def decide_tun(self, packet: bytes) -> tuple[int, int, int]:
        """The same for a packet that the host sends into the tunnel."""
