"""What happens to one packet, and every reason why it may not get through (I14).

`decide_udp` and `decide_tun` are the readable truth; the compiled data path makes the
same decisions a burst at a time, and a test compares the two on random input. The
enums' numbers are shared with it: append, never renumber.

From UDP a segment is judged in this order, cheapest check first:

    empty, control (`GOST`), IP header, [client: deliver], source, [point: deliver], destination

The magic comes before the IP version, as its first nibble is a 4 too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from gateway.protocol.packet import (
    Endpoint,
    Header,
    HeaderFault,
    is_v4,
    parse_header,
    unroutable_source,
)

MAGIC = b"GOST"
ACK_SIZE = 20

LOCAL = -1
"""Route target: the gateway's own addresses, and what else its TUN shall get."""
VOID = -2
"""Route target: inside a tunnel net, but nobody is there."""
NOTHING = -3
"""Result of a look-up that no route matched."""


class Role(IntEnum):
    """Which side of the tunnel a service is. POINT: a server whose one peer is all there is."""

    SERVER = 0
    CLIENT = 1
    POINT = 2


class Verdict(IntEnum):
    """What happens to a packet. From the TUN: FORWARD or DROP only."""

    DELIVER = 0
    FORWARD = 1
    PUNT = 2
    DROP = 3


class DropReason(IntEnum):
    """Why a packet was dropped; `DROP_TEXT` says what each means for an operator."""

    EMPTY = 0
    TRUNCATED = 1
    TOO_SHORT = 2
    NOT_IP = 3
    BAD_LENGTH = 4
    BAD_CONTROL = 5
    UNKNOWN_ENDPOINT = 6
    UNROUTABLE_SOURCE = 7
    SPOOFED_SOURCE = 8
    NO_PEER = 9
    SAME_PEER = 10
    NO_ROUTE = 11
    PUNT_LIMITED = 12
    BAD_OFFLOAD = 13
    RING_FULL = 14
    STALE_PEER = 15
    SEND_FULL = 16
    SEND_REFUSED = 17
    SEND_ERROR = 18
    TUN_DOWN = 19
    TUN_FULL = 20
    TUN_ERROR = 21
    TOO_BIG = 22


class Refusal(IntEnum):
    """Why a heartbeat was refused, in silence; `REFUSAL_TEXT` says what each means."""

    MALFORMED = 0
    TOO_MANY = 1
    OWN_ADDRESS = 2
    OUTSIDE_NET = 3
    FORBIDDEN_ADDRESS = 4
    UNKNOWN_ADDRESS = 5
    WRONG_PASSPHRASE = 6
    CONFLICT = 7
    TABLE_FULL = 8
    UNDECIDED = 9


DROP_TEXT: dict[DropReason, str] = {
    DropReason.EMPTY: "An empty datagram or read came in: a scanner, or a broken sender.",
    DropReason.TRUNCATED: (
        "A datagram was longer than the receive buffer: no tunnel packet is that long."
    ),
    DropReason.TOO_SHORT: "The packet is shorter than an IP header: a scanner, or noise.",
    DropReason.NOT_IP: (
        "The packet is neither IPv4 nor IPv6: another protocol is talking to this port."
    ),
    DropReason.BAD_LENGTH: (
        "The IP header's length differs from the packet's size: it was cut or padded on the way."
    ),
    DropReason.BAD_CONTROL: (
        "The packet starts like a heartbeat or an ack but has the wrong size for this side."
    ),
    DropReason.UNKNOWN_ENDPOINT: (
        "Data came from an address and port that no peer registered: a client that is not"
        " admitted, one whose NAT mapping changed before its next heartbeat, or a stranger."
    ),
    DropReason.UNROUTABLE_SOURCE: (
        "The inner source is link-local, multicast, loopback or unspecified: mostly router"
        " solicitations that every host sends, harmless."
    ),
    DropReason.SPOOFED_SOURCE: (
        "A peer sent from an inner address that is not its own: it forwards a network the"
        " gateway was not told of, or it poses as somebody else."
    ),
    DropReason.NO_PEER: (
        "The destination lies in the tunnel network but no peer holds it now: it never"
        " registered, or its lease ended."
    ),
    DropReason.SAME_PEER: (
        "The destination is behind the very peer that sent the packet: sending it back"
        " would be a loop; check that peer's routes."
    ),
    DropReason.NO_ROUTE: (
        "The host routed a packet into the tunnel for which the gateway knows no peer:"
        " a system route that no peer's network matches, or multicast."
    ),
    DropReason.PUNT_LIMITED: (
        "Heartbeats came faster than the supervisor takes them: a flood, or very many peers."
    ),
    DropReason.BAD_OFFLOAD: (
        "The kernel handed over a super-packet whose headers do not add up; if it happens"
        " often, try offload=off."
    ),
    DropReason.RING_FULL: (
        "The ring to a worker was full: the worker cannot send as fast as the TUN delivers."
    ),
    DropReason.STALE_PEER: (
        "The peer a queued packet was meant for was gone before it could be sent."
    ),
    DropReason.SEND_FULL: (
        "The UDP send buffer was full: the outgoing link is slower than the traffic."
    ),
    DropReason.SEND_REFUSED: (
        "The remote host answered that nobody listens on that port any more."
    ),
    DropReason.SEND_ERROR: (
        "The kernel refused to send: no route to the peer's endpoint, a firewall rule,"
        " or a path that takes no datagram of this size."
    ),
    DropReason.TUN_DOWN: "The TUN device is down: set it up again with `ip link set ... up`.",
    DropReason.TUN_FULL: "The TUN device's queue was full: this host takes packets too slowly.",
    DropReason.TUN_ERROR: "The TUN device did not take the packet: too long or malformed for it.",
    DropReason.TOO_BIG: (
        "A packet from one peer to another was wider than the tunnel's MTU and may not be"
        " fragmented; its sender was told so."
    ),
}

REFUSAL_TEXT: dict[Refusal, str] = {
    Refusal.MALFORMED: "The heartbeat's size is not 20 bytes and whole addresses of 16.",
    Refusal.TOO_MANY: "The heartbeat claims more than 16 addresses.",
    Refusal.OWN_ADDRESS: "A client claims an address of the server itself: correct its `net`.",
    Refusal.OUTSIDE_NET: (
        "A client claims an address outside the server's `net`: one of the two is wrong."
    ),
    Refusal.FORBIDDEN_ADDRESS: (
        "A client claims a network, broadcast, multicast, loopback or unspecified address."
    ),
    Refusal.UNKNOWN_ADDRESS: "No credential exists for an address that a client claims.",
    Refusal.WRONG_PASSPHRASE: "A client's passphrase differs from the one of its credential.",
    Refusal.CONFLICT: (
        "Two hosts claim one address and no credential tells who is right: the first one"
        " keeps it. Give one of them another address, or turn auth on."
    ),
    Refusal.TABLE_FULL: "The peer table is full: no further peer fits.",
    Refusal.UNDECIDED: "The auther's plugin gave no answer, or too many questions to it wait.",
}


@dataclass(frozen=True)
class Decision:
    """A verdict, with the reason of a DROP or the slot of a FORWARD."""

    verdict: Verdict
    reason: DropReason | None = None
    slot: int | None = None


@dataclass(frozen=True)
class Forwarding:
    """What a decision looks at: endpoint to slot, and a16 to target (longest prefix)."""

    endpoints: Mapping[Endpoint, int]
    lookup: Callable[[bytes], int]


_DELIVER = Decision(Verdict.DELIVER)
_PUNT = Decision(Verdict.PUNT)


def decide_udp(
    segment: bytes, source: Endpoint, table: Forwarding, role: Role, source_check: bool
) -> Decision:
    """What happens to one segment that came from `source` over UDP."""
    if not segment:
        return _drop(DropReason.EMPTY)
    if segment[: len(MAGIC)] == MAGIC:
        return _decide_control(len(segment), role)
    header = parse_header(segment)
    if isinstance(header, HeaderFault):
        return _drop(DropReason[header.name])
    if role is Role.CLIENT:
        return _DELIVER  # the socket is connected: this came from the server
    sender = table.endpoints.get(source)
    if source_check:
        reason = _check_source(header, sender, table)
        if reason is not None:
            return _drop(reason)
    if role is Role.POINT:
        return _DELIVER  # its one peer sends to nobody but the host
    target = _target(header, table)
    if target in (LOCAL, NOTHING):
        return _DELIVER
    if target == VOID:
        return _drop(DropReason.NO_PEER)
    if target == sender:
        return _drop(DropReason.SAME_PEER)
    return Decision(Verdict.FORWARD, slot=target)


def decide_tun(packet: bytes, table: Forwarding) -> Decision:
    """What happens to one packet that the host sent into the TUN."""
    if not packet:
        return _drop(DropReason.EMPTY)
    header = parse_header(packet)
    if isinstance(header, HeaderFault):
        return _drop(DropReason[header.name])
    if unroutable_source(header.version, header.source):
        return _drop(DropReason.UNROUTABLE_SOURCE)
    target = _target(header, table)
    if target >= 0:
        return Decision(Verdict.FORWARD, slot=target)
    return _drop(DropReason.NO_PEER if target == VOID else DropReason.NO_ROUTE)


def _decide_control(size: int, role: Role) -> Decision:
    """A server takes heartbeats (over 20 bytes), a client acks and what may follow them."""
    wanted = size >= ACK_SIZE if role is Role.CLIENT else size > ACK_SIZE
    return _PUNT if wanted else _drop(DropReason.BAD_CONTROL)


def _check_source(header: Header, sender: int | None, table: Forwarding) -> DropReason | None:
    """The longest prefix must yield this very peer.

    Mere containment would let whoever owns 0.0.0.0/0 pose as anybody.
    """
    if sender is None:
        return DropReason.UNKNOWN_ENDPOINT
    if unroutable_source(header.version, header.source):
        return DropReason.UNROUTABLE_SOURCE
    if table.lookup(header.source) != sender:
        return DropReason.SPOOFED_SOURCE
    return None


def _target(header: Header, table: Forwarding) -> int:
    """The route target; a v4-mapped destination of an IPv6 packet is not IPv4."""
    if header.version == 6 and is_v4(header.destination):
        return NOTHING
    return table.lookup(header.destination)


def _drop(reason: DropReason) -> Decision:
    return Decision(Verdict.DROP, reason=reason)
