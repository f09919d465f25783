"""Who is behind whom: the peers' addresses and the networks they lead to (I7).

Joins the peer table's changes and the configured routes into one route table, and
counts its generations. Whatever happens between two calls of `publish` becomes one
update, so a burst of heartbeats is one message per child, and a renewal is none.
"""

from collections.abc import Iterable, Sequence

from gateway.config.model import Interface, Route
from gateway.protocol.forwarding import LOCAL, VOID, Role
from gateway.protocol.messages import PeerEntry, Prefix, RouteEntry, Snapshot, Update
from gateway.protocol.packet import ANY, V4_MAPPED, pack_address, pack_network
from gateway.protocol.peers import Changes
from gateway.protocol.routes import Origin, RouteTable

PART_ROWS = 1500
"""Rows in one part of a snapshot: at most 70 bytes each, half of what a message may have."""

SERVER_SLOT = 0
"""A client knows one peer, its server. The socket is connected, so no endpoint matters."""


class Networks:
    """The route table of one service, and what was not published yet."""

    def __init__(self, role: Role, nets: Sequence[Interface], routes: Sequence[Route]) -> None:
        self.generation = 0
        self.table = RouteTable()
        self._peers: dict[int, PeerEntry] = {}
        self._pending = _Pending()
        self._behind: dict[bytes, list[tuple[bytes, int]]] = {}
        self._advertised: dict[int, tuple[tuple[bytes, int], ...]] = {}
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
        for entry in changes.peers:
            self._peers[entry.slot] = entry
            self._pending.peer(entry)
        for route in changes.routes:
            self._set(route.prefix, route.length, route.target, Origin.PEER)
            for network in self._behind.get(route.prefix, ()):
                self._set(*network, route.target, Origin.SERVICE)

    def lead(self, slot: int, networks: Iterable[tuple[bytes, int]]) -> None:
        """Exactly these advertised networks are behind the peer at a slot.

        What the configuration says of the very same network stays as it is.
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

    def publish(self) -> Update | None:
        """The difference since the last time as the next generation; None if there is none."""
        if not self._pending:
            return None
        self.generation += 1
        update, self._pending = self._pending.update(self.generation), _Pending()
        return update

    def snapshot(self) -> list[Snapshot]:
        """The whole table in parts.

        What is not published yet may be in it; the next update then says it again, which
        changes nothing.
        """
        peers = list(self._peers.values())
        routes = [RouteEntry(r.prefix, r.length, r.target) for r in self.table.items()]
        pieces: list[tuple[list[PeerEntry], list[RouteEntry]]] = [
            *((peers[i : i + PART_ROWS], []) for i in range(0, len(peers), PART_ROWS)),
            *(([], routes[i : i + PART_ROWS]) for i in range(0, len(routes), PART_ROWS)),
        ]
        pieces = pieces or [([], [])]
        return [
            Snapshot(self.generation, part, len(pieces), tuple(some_peers), tuple(some_routes))
            for part, (some_peers, some_routes) in enumerate(pieces)
        ]

    def behind(self, addresses: Iterable[bytes]) -> list[tuple[bytes, int]]:
        """The networks that are routed to a peer with these addresses."""
        return [network for address in addresses for network in self._behind.get(address, ())]

    def led(self, slot: int) -> tuple[tuple[bytes, int], ...]:
        """The advertised networks that are routed to the peer at a slot."""
        return self._advertised.get(slot, ())

    def _configured(self, network: tuple[bytes, int]) -> bool:
        known = self.table.get(*network)
        return known is not None and known.origin is Origin.SERVICE

    def _configure_server(self, nets: Sequence[Interface], routes: Sequence[Route]) -> None:
        for net in nets:
            self._set(*pack_network(net.network), VOID, Origin.SERVICE)
            if net.version == 4 and net.network.prefixlen < 31:
                # Everybody's, so the host's too; never a peer's, and no ICMP error about it.
                broadcast = pack_address(net.network.broadcast_address)
                self._set(broadcast, 128, LOCAL, Origin.SERVICE)
        for route in routes:
            if route.gateway is None:
                continue
            network = pack_network(route.network)
            self._behind.setdefault(pack_address(route.gateway), []).append(network)
            self._set(*network, VOID, Origin.SERVICE)
        self._own(nets)

    def _configure_client(self, nets: Sequence[Interface]) -> None:
        server = PeerEntry(SERVER_SLOT, 1, ANY, 0, 0, ANY)
        self._peers[SERVER_SLOT] = server
        self._pending.peer(server)
        self._set(V4_MAPPED + bytes(4), 96, SERVER_SLOT, Origin.SERVICE)
        self._set(bytes(16), 0, SERVER_SLOT, Origin.SERVICE)
        self._own(nets)

    def _own(self, nets: Sequence[Interface]) -> None:
        for net in nets:
            self._set(pack_address(net.ip), 128, LOCAL, Origin.SERVICE)

    def _withdraw(self, prefix: Prefix) -> None:
        if self.table.remove(prefix.prefix, prefix.length):
            self._pending.withdrawn(prefix)
        for network in self._behind.get(prefix.prefix, ()):
            self._set(*network, VOID, Origin.SERVICE)

    def _set(self, prefix: bytes, length: int, target: int, origin: Origin) -> None:
        former = self.table.get(prefix, length)
        if former is not None and former.target == target:
            return
        self.table.set(prefix, length, target, origin)
        self._pending.route(RouteEntry(prefix, length, target))


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
