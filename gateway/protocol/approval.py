"""Which of the networks that a peer advertises the server takes up.

Asked in this order; the first answer counts:

    acceptance switched off, too many, no network of hosts, too wide,
    the server's own, told otherwise by its configuration,
    not private (without auth), not approved (waits), another peer's

What the server was told beats what was advertised: a network within one that its
configuration gives to this very peer needs no other approval, one that overlaps what it
gives to another peer is refused. (A default route through a peer gives away nothing.)
Among peers the first who has a network keeps it while his lease lasts; a second is
refused for as much as an overlap, even where a longer prefix would win: two sites with
one prefix are a mistake that must be seen.

All of it is a function of its arguments, and asking again with the same gives the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import ip_network

from gateway.protocol.overlaps import Overlaps
from gateway.protocol.packet import Network, pack_network

MAX_NETWORKS = 16
"""Networks of one peer."""

WIDEST = {4: 16, 6: 48}
"""The shortest prefix that is taken up."""

PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
"""RFC 1918 and RFC 4193."""

FORBIDDEN = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3",
            "::/16", "fe80::/10", "ff00::/8",
        ),
    )
)  # fmt: skip
"""Where no host can be reached from afar; ::/16 holds ::1 and the v4-mapped ones."""

_DEFAULT_ROUTES = (0, 96)


class Standing(IntEnum):
    """What became of an advertised network. Numbers are on the wire: append only."""

    ACCEPTED = 0
    REFUSED = 1
    WAITING = 2


class Reason(IntEnum):
    """Why it was not accepted; `REASON_TEXT` says what each means. Append only."""

    NONE = 0
    OVERLAPS_OWN = 1
    OVERLAPS_PEER = 2
    NOT_PRIVATE = 3
    TOO_WIDE = 4
    NOT_APPROVED = 5
    TOO_MANY = 6
    CONFIGURED = 7
    SWITCHED_OFF = 8
    FORBIDDEN = 9
    UNKNOWN = 255


REASON_TEXT: dict[Reason, str] = {
    Reason.NONE: "It is in use.",
    Reason.OVERLAPS_OWN: "It overlaps a network of the server itself, or the tunnel's.",
    Reason.OVERLAPS_PEER: (
        "It overlaps a network of another peer, who was there first: two sites use the same"
        " addresses. Renumber one of them."
    ),
    Reason.NOT_PRIVATE: (
        "It is no private network (RFC 1918, RFC 4193), and without auth no other is taken up."
    ),
    Reason.TOO_WIDE: "It is wider than /16 (IPv4) or /48 (IPv6).",
    Reason.NOT_APPROVED: (
        "It waits for approval: write it under `networks` of the peer's credential, or into"
        " `accept`."
    ),
    Reason.TOO_MANY: "The peer advertises more than 16 networks.",
    Reason.CONFIGURED: "The server's configuration gives these addresses to another peer.",
    Reason.SWITCHED_OFF: "The server takes up no advertised networks (`accept=off`).",
    Reason.FORBIDDEN: "No host there can be reached: loopback, link-local, multicast or reserved.",
    Reason.UNKNOWN: "The server gives a reason that this version does not know.",
}


@dataclass(frozen=True)
class Policy:
    """What the server was told.

    `own` are the tunnel networks and those of the server's own devices. `told` are the
    configured networks with the tunnel address (a16) of the peer each is behind.
    `accept` None: private networks without auth, credentials' networks with it; else the
    networks under which everything is taken up, the credentials' in addition.
    """

    own: tuple[Network, ...] = ()
    told: Overlaps[bytes] = field(default_factory=Overlaps)
    auth: bool = False
    enabled: bool = True
    accept: tuple[Network, ...] | None = None


@dataclass(frozen=True)
class Asker:
    """The peer that advertises: its slot and its tunnel addresses (a16).

    `approved` are the `networks` of the credential it came in with.
    """

    slot: int
    addresses: tuple[bytes, ...]
    approved: tuple[Network, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What becomes of one network; `holder` is the slot of a peer who has it already."""

    network: Network
    standing: Standing
    reason: Reason = Reason.NONE
    holder: int | None = None


def decide(
    networks: Sequence[Network], asker: Asker, policy: Policy, taken: Overlaps[int]
) -> tuple[Outcome, ...]:
    """What becomes of each network, in the order advertised, each once.

    `taken` are the networks in use by slot, the asker's own included or not.
    """
    return tuple(
        _decide(network, index, asker, policy, taken)
        for index, network in enumerate(dict.fromkeys(networks))
    )


def is_private(network: Network) -> bool:
    """Whether a network lies in one of `PRIVATE`."""
    return _under(network, PRIVATE)


def _decide(
    network: Network, index: int, asker: Asker, policy: Policy, taken: Overlaps[int]
) -> Outcome:
    def refused(reason: Reason, holder: int | None = None) -> Outcome:
        return Outcome(network, Standing.REFUSED, reason, holder)

    if not policy.enabled:
        return refused(Reason.SWITCHED_OFF)
    if index >= MAX_NETWORKS:
        return refused(Reason.TOO_MANY)
    if network.prefixlen < WIDEST[network.version]:
        return refused(Reason.TOO_WIDE)
    if _overlaps(network, FORBIDDEN):
        return refused(Reason.FORBIDDEN)
    if _overlaps(network, policy.own):
        return refused(Reason.OVERLAPS_OWN)
    length = pack_network(network)[1]
    told = False
    for wider, owner in policy.told.overlapping(network):
        if wider in _DEFAULT_ROUTES:
            continue
        if owner not in asker.addresses:
            return refused(Reason.CONFIGURED)
        told = told or wider <= length
    if not told and not _under(network, asker.approved + (policy.accept or ())):
        if policy.auth or policy.accept is not None:
            return Outcome(network, Standing.WAITING, Reason.NOT_APPROVED)
        if not is_private(network):
            return refused(Reason.NOT_PRIVATE)
    for _, slot in taken.overlapping(network):
        if slot != asker.slot:
            return refused(Reason.OVERLAPS_PEER, slot)
    return Outcome(network, Standing.ACCEPTED)


def _under(network: Network, wider: Iterable[Network]) -> bool:
    return any(
        network.version == other.version
        and network.prefixlen >= other.prefixlen
        and network.network_address in other
        for other in wider
    )


def _overlaps(network: Network, others: Iterable[Network]) -> bool:
    return any(network.version == other.version and network.overlaps(other) for other in others)
