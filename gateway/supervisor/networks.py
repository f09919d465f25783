"""Who is behind whom: the peers' addresses and the networks they lead to (I7).

Joins the peer table's changes and what the server was told of networks into one route
table, and counts its generations. Whatever happens between two calls of `publish` becomes
one update, so a burst of heartbeats is one message per child, and a renewal is none.

A network leads to the peer who holds its gateway's address, to nobody (VOID) while there
is none. A router may tell of 100,000, or of as many behind one peer who comes and goes:
so networks are settled in slices, a slice for each `publish` and its update, and whoever
publishes goes on in the next turn while `unsettled` says so.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice

from gateway.config.model import Interface, Route
from gateway.protocol.forwarding import LOCAL, VOID, Role
from gateway.protocol.messages import PeerEntry, Prefix, RouteEntry, Snapshot, Update
from gateway.protocol.packet import ANY, V4_MAPPED, pack_address, pack_network
from gateway.protocol.peer_changes import Changes
from gateway.protocol.routes import Origin, RouteTable, prefix_of
from gateway.protocol.routes import Route as TableRoute

PART_ROWS = 1500
"""Rows in one part of a snapshot: at most 70 bytes each, half of what a message may have."""

SLICE = 500
"""Networks settled between two publications: some milliseconds' work."""

SERVER_SLOT = 0
"""A client knows one peer, its server. The socket is connected, so no endpoint matters."""


Prefixed = tuple[bytes, int]
"""A prefix: (a16, length over 128 bits)."""

_EVERYTHING: tuple[Prefixed, ...] = ((V4_MAPPED + bytes(4), 96), (bytes(16), 0))


class Networks:
    """The route table of one service, and what was not published yet.

    `p2p`: every packet leads to the peer who registered last, and nothing else counts.
    """

    def __init__(
        self, role: Role, nets: Sequence[Interface], routes: Sequence[Route], *, p2p: bool = False
    ) -> None:
        self.generation = 0
        self.table = RouteTable()
        self._p2p = p2p and role is Role.SERVER
        self._peers: dict[int, PeerEntry] = {}
        self._pending = _Pending()
        self._nets = tuple(pack_network(net.network) for net in nets)
        self._own: set[Prefixed] = set()
        self._holders: dict[bytes, int] = {}
        self._told: dict[Prefixed, bytes] = {}
        self._behind: dict[bytes, dict[Prefixed, None]] = {}
        self._late: dict[Prefixed, None] = {}
        self._left_behind: set[int] = set()
        """Slots without a peer to which unsettled networks may still lead."""
        self._budget = SLICE
        self._advertised: dict[int, tuple[Prefixed, ...]] = {}
        if role is Role.SERVER:
            self._configure_server(nets, routes)
        else:
            self._configure_client(nets)

    def apply(self, changes: Changes) -> None:
        """Take up what the peer table did."""
        for prefix in changes.withdrawn:
            self._withdraw(prefix)
        for slot in changes.gone:
            self.lead(slot, ())
            self._peers.pop(slot, None)
            self._pending.gone(slot)
            if self._p2p and self.table.get(*_EVERYTHING[0]) == (
                *_EVERYTHING[0],
                slot,
                Origin.PEER,
            ):
                self._lead_everything(VOID, Origin.PEER)
            if self._late:
                self._left_behind.add(slot)
        if not self._left_behind.isdisjoint(entry.slot for entry in changes.peers):
            self.settle()
        for entry in changes.peers:
            self._peers[entry.slot] = entry
            self._pending.peer(entry)
        for route in changes.routes:
            if self._p2p:
                continue
            self._set(route.prefix, route.length, route.target, Origin.PEER)
            self._holders[route.prefix] = route.target
            self._late |= self._behind.get(route.prefix, {})
        self._settle_slice()

    def point(self, slot: int) -> None:
        """With `p2p`: the peer at this slot has just registered."""
        if self._p2p:
            self._lead_everything(slot, Origin.PEER)

    def tell(self, networks: Mapping[Prefixed, bytes], removed: Iterable[Prefixed] = ()) -> None:
        """These networks are behind the peers with these addresses, those behind nobody.

        An address of the tunnel is its peer's and the host's own networks are its own:
        what is told of such a prefix counts for nothing.
        """
        for prefix in removed:
            self._untell(prefix)
        for prefix, gateway in networks.items():
            if self._p2p or self.is_reserved(prefix):
                continue
            if self._told.get(prefix) == gateway:
                continue
            self._untell(prefix)
            self._told[prefix] = gateway
            self._behind.setdefault(gateway, {})[prefix] = None
        self._settle_slice()

    def is_reserved(self, prefix: Prefixed) -> bool:
        """Whether it is the tunnel's network, or an address in it."""
        if prefix in self._nets or prefix in self._own:
            return True
        return prefix[1] == 128 and any(
            prefix_of(prefix[0], length) == net for net, length in self._nets
        )

    def lead(self, slot: int, networks: Iterable[Prefixed]) -> None:
        """Exactly these advertised networks are behind the peer at a slot.

        What the server was told of the very same network stays as it is.
        """
        wanted = dict.fromkeys(networks)
        for network in self._advertised.pop(slot, ()):
            if network not in wanted and self.table.remove(*network):
                self._pending.withdrawn(Prefix(*network))
        led = [network for network in wanted if not self._configured(network)]
        for network in led:
            self._set(*network, slot, Origin.PEER)
        if led:
            self._advertised[slot] = tuple(led)

    @property
    def unsettled(self) -> bool:
        """Whether there is more to publish in the next turn."""
        return bool(self._late)

    def settle(self) -> None:
        """Let everything that was told count now, however much it is."""
        self._settle(len(self._late))

    def publish(self) -> Update | None:
        """The difference since the last time as the next generation; None if there is none."""
        self._settle_slice()
        self._budget = SLICE
        if not self._pending:
            return None
        self.generation += 1
        update, self._pending = self._pending.update(self.generation), _Pending()
        return update

    def snapshot(self) -> Iterator[Snapshot]:
        """The whole table as it is now, in parts that are made one by one.

        What is not published yet may be in it; the next update then says it again, which
        changes nothing.
        """
        return _parts(self.generation, list(self._peers.values()), list(self.table.rows()))

    def told(self) -> Iterable[tuple[Prefixed, bytes]]:
        """The networks that the server was told of, each with its gateway's address."""
        return self._told.items()

    def leading_to(
        self, slot: int, addresses: Iterable[bytes], most: int
    ) -> tuple[list[Prefixed], int]:
        """The first networks behind a peer, told and advertised, and how many more there are."""
        told = [self._behind[address] for address in addresses if address in self._behind]
        led = self._advertised.get(slot, ())
        if not told and not led:
            return [], 0
        first = list(islice(chain(*told, led), most))
        return first, sum(map(len, told)) + len(led) - len(first)

    def led(self, slot: int) -> tuple[tuple[bytes, int], ...]:
        """The advertised networks that are routed to the peer at a slot."""
        return self._advertised.get(slot, ())

    def _configured(self, network: Prefixed) -> bool:
        known = self.table.get(*network)
        told = network in self._told or self._p2p
        if told or known is None or known.origin is not Origin.SERVICE:
            return told
        return network not in self._late  # else it was told, and is not any more

    def _configure_server(self, nets: Sequence[Interface], routes: Sequence[Route]) -> None:
        if self._p2p:
            self._lead_everything(VOID, Origin.PEER)
        for net in nets:
            if not self._p2p:
                self._set(*pack_network(net.network), VOID, Origin.SERVICE)
            if net.version == 4 and net.network.prefixlen < 31:
                # Everybody's, so the host's too; never a peer's, and no ICMP error about it.
                broadcast = pack_address(net.network.broadcast_address)
                self._set(broadcast, 128, LOCAL, Origin.SERVICE)
        self._claim(nets)
        told: dict[Prefixed, bytes] = {}
        for route in routes:
            if route.gateway is not None:
                told.setdefault(pack_network(route.network), pack_address(route.gateway))
        self.tell(told)
        self.settle()

    def _configure_client(self, nets: Sequence[Interface]) -> None:
        server = PeerEntry(SERVER_SLOT, 1, ANY, 0, 0, ANY)
        self._peers[SERVER_SLOT] = server
        self._pending.peer(server)
        self._lead_everything(SERVER_SLOT, Origin.SERVICE)
        self._claim(nets)

    def _lead_everything(self, target: int, origin: Origin) -> None:
        for prefix in _EVERYTHING:
            self._set(*prefix, target, origin)

    def _claim(self, nets: Sequence[Interface]) -> None:
        for net in nets:
            self._own.add((pack_address(net.ip), 128))
            self._set(pack_address(net.ip), 128, LOCAL, Origin.SERVICE)

    def _withdraw(self, prefix: Prefix) -> None:
        if self._p2p:
            return
        if self.table.remove(prefix.prefix, prefix.length):
            self._pending.withdrawn(prefix)
        self._holders.pop(prefix.prefix, None)
        self._late |= self._behind.get(prefix.prefix, {})

    def _untell(self, prefix: Prefixed) -> None:
        gateway = self._told.pop(prefix, None)
        if gateway is not None:
            del self._behind[gateway][prefix]
            if not self._behind[gateway]:
                del self._behind[gateway]
        if not self.is_reserved(prefix):
            self._late[prefix] = None

    def _settle_slice(self) -> None:
        self._budget -= self._settle(self._budget)

    def _settle(self, most: int) -> int:
        networks = list(islice(self._late, most))
        for network in networks:
            del self._late[network]
            self._settle_one(network)
        if not self._late:
            self._left_behind.clear()
        return len(networks)

    def _settle_one(self, network: Prefixed) -> None:
        known = self.table.get(*network)
        gateway = self._told.get(network)
        if gateway is not None:
            if known is not None and known.origin is Origin.PEER:
                led = self._advertised.get(known.target, ())
                self._advertised[known.target] = tuple(one for one in led if one != network)
            self._set(*network, self._holders.get(gateway, VOID), Origin.SERVICE)
        elif known is not None and known.origin is Origin.SERVICE:
            self.table.remove(*network)
            self._pending.withdrawn(Prefix(*network))

    def _set(self, prefix: bytes, length: int, target: int, origin: Origin) -> None:
        former = self.table.get(prefix, length)
        if former is not None and former.target == target and former.origin is origin:
            return
        self.table.set(prefix, length, target, origin)
        if former is None or former.target != target:
            self._pending.route(RouteEntry(prefix, length, target))


def _parts(generation: int, peers: list[PeerEntry], routes: list[TableRoute]) -> Iterator[Snapshot]:
    pieces = max(1, -(-len(peers) // PART_ROWS) + -(-len(routes) // PART_ROWS))
    part = 0
    for start in range(0, len(peers), PART_ROWS):
        yield Snapshot(generation, part, pieces, tuple(peers[start : start + PART_ROWS]))
        part += 1
    for start in range(0, len(routes), PART_ROWS):
        rows = (RouteEntry(r.prefix, r.length, r.target) for r in routes[start : start + PART_ROWS])
        yield Snapshot(generation, part, pieces, routes=tuple(rows))
        part += 1
    if not part:
        yield Snapshot(generation, 0, 1)


class _Pending:
    """A difference that grows. A replica applies `gone` and `withdrawn` first."""

    def __init__(self) -> None:
        self._peers: dict[int, PeerEntry] = {}
        self._gone: dict[int, None] = {}
        self._routes: dict[tuple[bytes, int], RouteEntry] = {}
        self._withdrawn: dict[tuple[bytes, int], Prefix] = {}

    def __bool__(self) -> bool:
        return bool(self._peers or self._gone or self._routes or self._withdrawn)

    def peer(self, entry: PeerEntry) -> None:
        self._peers[entry.slot] = entry

    def gone(self, slot: int) -> None:
        self._peers.pop(slot, None)
        self._gone[slot] = None

    def route(self, entry: RouteEntry) -> None:
        self._withdrawn.pop((entry.prefix, entry.length), None)
        self._routes[entry.prefix, entry.length] = entry

    def withdrawn(self, prefix: Prefix) -> None:
        self._routes.pop((prefix.prefix, prefix.length), None)
        self._withdrawn[prefix.prefix, prefix.length] = prefix

    def update(self, generation: int) -> Update:
        return Update(
            generation,
            tuple(self._peers.values()),
            tuple(self._gone),
            tuple(self._routes.values()),
            tuple(self._withdrawn.values()),
        )
