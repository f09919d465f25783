"""Chains: `chains`, `hops` and their nodes, which `-F` gives too.

A chain is a list of hops, each reached through the one before it; a hop is a list of
nodes, one of which is used. Only relays are understood: nothing else carries datagrams.
"""

from typing import NamedTuple

from gateway.config import addresses, shape
from gateway.config.carrier_options import CARRIERS, OVER_UDP, TLS_CARRIERS, options_of
from gateway.config.chain_model import Carrier, ChainSpec, HopSpec, NodeSpec, RelayUser
from gateway.config.ends import WEIGHT_LIMIT, read_selector
from gateway.config.host_options import MARK_LIMIT
from gateway.config.option import nearest
from gateway.config.section import Values
from gateway.config.tls import client_tls_of, refuse_tls
from gateway.config.tree import Entry, Node, Report, items_of, mapping_of, plain
from gateway.config.values import BadValueError, boolean, printable, ranged, shown, text

CHAIN = shape.of("name hops", useless="metadata")
HOP = shape.of("name nodes selector interface sockopts metadata",
               foreign="bypass bypasses resolver hosts reload file redis http plugin")  # fmt: skip
NODE = shape.of("name addr connector dialer metadata interface sockopts",
                foreign="bypass bypasses resolver hosts netns filter matcher "
                "network")  # fmt: skip
CONNECTOR = shape.of("type auth metadata", foreign="tls")
DIALER = shape.of("type tls metadata", foreign="auth")
NODE_METADATA = shape.of("backup weight interface so_mark", foreign="maxFails failTimeout")
HOP_METADATA = shape.of("interface so_mark", foreign="netns")
CONNECTOR_METADATA = shape.of("", useless="nodelay connectTimeout")
AUTH = shape.of("username password", foreign="file")
MOST_BYTES = 255


class Chains:
    """The chains of a configuration by name, read when they are asked for."""

    def __init__(self, top: dict[str, Entry], report: Report) -> None:
        self._report = report
        self._found: dict[str, Node] = {}
        self._read: dict[str, ChainSpec | None] = {}
        self._hops: dict[str, Node] = {}
        self.places: dict[str, str] = {}
        for key, found, known in (("chains", self._found, CHAIN), ("hops", self._hops, HOP)):
            for item in items_of(top[key].node, key, report) if key in top else ():
                entries = shape.as_meant(mapping_of(item, key, report), known)
                name = _name(entries, key, item, report)
                if name in found:
                    report.error(item.place, f"{key}: {shown(name)} is there twice")
                found.setdefault(name, item)
        for name in self._found:
            self.of(name, self._found[name].place)
        self._used: set[str] = set()

    def of(self, name: str, place: str) -> ChainSpec | None:
        """The chain of this name; None, with a report, if there is none or it is wrong."""
        if name not in self._found:
            if any(line.startswith("-F ") for line in self._report.errors):
                return None  # what -F would have made is told already
            if "://" in name:  # it is not shown, as it may hold a password
                told = "a URL is no name of a chain: write it behind -F"
                self._report.error(place, f"chain: {told}")
                return None
            near = nearest(name, list(self._found))
            known = ", ".join(map(shown, self._found)) or "none"
            hint = f"did you mean {near}?" if near else f"there is {known}"
            self._report.error(place, f"chain: there is no chain {shown(name)}: {hint}")
            return None
        if name not in self._read:
            self._read[name] = self._chain(name, self._found[name])
        return self._read[name]

    def chain_of(
        self, handler: dict[str, Entry], listener: dict[str, Entry]
    ) -> tuple[ChainSpec | None, bool]:
        """The chain of a service, and whether it asks for one at all."""
        asked = False
        chain = None
        for end, name in ((handler, "handler"), (listener, "listener")):
            if "chaingroup" in end and not end["chaingroup"].node.is_empty:
                self._report.refuse(end["chaingroup"].place, f"{name}.chainGroup")
                asked = True
            if "chain" not in end or end["chain"].node.is_empty:
                continue
            asked = True
            node = end["chain"].node
            if isinstance(node.value, dict | tuple):
                self._report.error(node.place, f"{name}.chain: expected the name of a chain")
            elif name == "listener":
                self._report.error(node.place, "listener.chain: write it under handler")
            else:
                self._used.add(text(node.value))
                chain = self.of(text(node.value), node.place)
        return chain, asked

    def warn_unused(self) -> None:
        """A chain that nobody uses is seldom meant."""
        for name, node in self._found.items():
            if name not in self._used:
                self._report.warn(node.place, f"chains: {shown(name)} is used by no service")

    def _chain(self, name: str, node: Node) -> ChainSpec | None:
        entries = shape.entries_of(node, CHAIN, "chains", self._report)
        items = (
            items_of(entries["hops"].node, "chains.hops", self._report) if "hops" in entries else ()
        )
        if not items:
            self._report.error(node.place, f"chains: {shown(name)} has no hops")
            return None
        hops = [self._hop(item, index) for index, item in enumerate(items)]
        if None in hops:
            return None
        return ChainSpec(name, tuple(hop for hop in hops if hop is not None), node.place)

    def _hop(self, node: Node, index: int) -> HopSpec | None:
        if not isinstance(node.value, dict):
            self._report.error(node.place, "hops: expected a mapping here: write name: or nodes:")
            return None
        entries = shape.entries_of(node, HOP, "hops", self._report)
        if "nodes" not in entries and "name" in entries:
            name = text(_scalar(entries["name"].node))
            if name not in self._hops:
                near = nearest(name, list(self._hops))
                known = ", ".join(map(shown, self._hops)) or "none"
                hint = f"did you mean {near}?" if near else f"there is {known}"
                self._report.error(node.place, f"hops: there is no hop {shown(name)}: {hint}")
                return None
            node = self._hops[name]
            entries = shape.entries_of(node, HOP, "hops", self._report)
        items = items_of(entries["nodes"].node, "nodes", self._report) if "nodes" in entries else ()
        if not items:
            self._report.error(node.place, "hops: a hop has no nodes")
            return None
        metadata = _metadata(entries, "hops", HOP_METADATA, self._report)
        way = _way(entries, metadata, "hops", node.place, _Way(), self._report)
        nodes = [found for each in items if (found := self._node(each, index, way)) is not None]
        if len(nodes) < len(items):
            return None
        name = text(_scalar(entries["name"].node)) if "name" in entries else f"hop-{index}"
        selector = read_selector(entries, None, self._report)
        return HopSpec(name, tuple(nodes), selector)

    def _node(self, node: Node, index: int, way: "_Way") -> NodeSpec | None:
        report = self._report
        entries = shape.entries_of(node, NODE, "nodes", report)
        connector = _section(entries, "connector", CONNECTOR, report)
        dialer = _section(entries, "dialer", DIALER, report)
        carrier = _kinds(connector, dialer, node, report)
        where = _address(entries, node, report)
        if carrier is None or where is None:
            return None
        if index and carrier in OVER_UDP:
            text_ = f"{carrier} goes over UDP, so it can be the first hop only"
            report.error(node.place, f"dialer.type: {text_}")
            return None
        metadata = _metadata(entries, "nodes", NODE_METADATA, report)
        _metadata(connector, "connector", CONNECTOR_METADATA, report)
        given = _metadata(dialer, "dialer", None, report)
        tls = None
        if carrier in TLS_CARRIERS and not (carrier == "grpc" and is_insecure(given)):
            tls = client_tls_of(dialer, where[0], node.place, report)
        else:
            refuse_tls(dialer, "dialer", carrier, report)
        values = Values(metadata, "nodes.metadata", node.place, report)
        outer = Values(entries, "nodes", node.place, report)
        way = _way(entries, metadata, "nodes", node.place, way, report)
        if index and way != _Way():
            useless = "interface and so_mark have no use: only the first hop has a socket"
            report.warn(node.place, f"nodes: {useless}")
            way = _Way()
        return NodeSpec(
            name=outer.get("name", printable, ""),
            carrier=carrier,
            host=where[0],
            port=where[1],
            user=user_of(connector, "connector", report),
            tls=tls,
            options=options_of(carrier, "dial", given.values(), report),
            backup=values.get("backup", boolean, False),
            weight=values.get("weight", ranged(1, WEIGHT_LIMIT), 1),
            interface=way.interface,
            mark=way.mark,
            place=node.place,
            said={each.key: plain(each.node) for each in given.values()},
        )


class _Way(NamedTuple):
    """How an outer socket leaves: by which device, with which mark (0: none)."""

    interface: str | None = None
    mark: int = 0


def _way(
    entries: dict[str, Entry],
    metadata: dict[str, Entry],
    where: str,
    place: str,
    around: _Way,
    report: Report,
) -> _Way:
    """What a hop or a node says of it, by its own keys or in `metadata`; else what is around."""
    own = Values(entries, where, place, report)
    more = Values(metadata, f"{where}.metadata", place, report)
    sockopts: dict[str, Entry] = {}
    if "sockopts" in entries:
        found = entries["sockopts"].node
        sockopts = shape.entries_of(found, shape.SOCKOPTS, f"{where}.sockopts", report)
    mark = ranged(0, MARK_LIMIT)
    said = more.get("interface", addresses.device, around.interface)
    marked = more.get("so_mark", mark, around.mark)
    options = Values(sockopts, f"{where}.sockopts", place, report)
    return _Way(own.get("interface", addresses.device, said), options.get("mark", mark, marked))


def is_insecure(given: dict[str, Entry]) -> bool:
    """Whether gRPC shall go without TLS."""
    for key in ("insecure", "grpc.insecure", "grpcinsecure"):
        if key in given:
            value = given[key].node.value
            return not isinstance(value, dict | tuple) and text(value).lower() in ("1", "t", "true")
    return False


def user_of(end: dict[str, Entry], where: str, report: Report) -> RelayUser | None:
    """The user and password of `auth`; None where there is none."""
    if "auth" not in end or end["auth"].node.value is None:
        return None
    if end["auth"].node.is_empty:  # passed over, it would let everybody in
        place = end["auth"].place
        report.error(place, f"{where}.auth: empty: write a username and a password")
        return None
    found = shape.entries_of(end["auth"].node, AUTH, f"{where}.auth", report)
    given = Values(found, f"{where}.auth", end["auth"].place, report)
    username, password = given.secret("username"), given.secret("password")
    if max(len(username), len(password)) > MOST_BYTES:
        report.error(
            end["auth"].place, f"{where}.auth: a relay takes up to {MOST_BYTES} bytes each"
        )
        return None
    return RelayUser(username, password)


def _section(
    entries: dict[str, Entry], key: str, known: shape.Shape, report: Report
) -> dict[str, Entry]:
    if key not in entries:
        return {}
    node = shape.end_of(entries[key].node, key, report)
    if not (isinstance(node.value, dict | tuple) or node.is_empty):
        kind, example = ("relay", "") if key == "connector" else ("tcp", "for example ")
        told = f"expected a mapping here: write {example}type: {kind} under it"
        report.error(node.place, f"{key}: {told}")
        return {"type": Entry("type", node.place, Node(kind, node.place))}
    return shape.entries_of(node, known, key, report)


def _kinds(
    connector: dict[str, Entry], dialer: dict[str, Entry], node: Node, report: Report
) -> Carrier | None:
    """The carrier of a node, which must be a relay. GOST's defaults carry no datagrams."""
    kinds = []
    for end, name, default in ((connector, "connector", "http"), (dialer, "dialer", "tcp")):
        found = end["type"].node if "type" in end else Node(None, node.place)
        word = "" if isinstance(found.value, dict | tuple) else text(found.value).lower()
        kinds.append((word or default, found.place, name))
    (first, place, _), (carrier, carrier_place, _) = kinds
    if first != "relay":
        advice = "only a relay carries datagrams: write type: relay"
        report.error(place, f"connector.type: {shown(first)}: {advice}")
        return None
    return carrier_of(carrier, carrier_place, "dialer.type", report)


def carrier_of(word: str, place: str, name: str, report: Report) -> Carrier | None:
    """A carrier by its name."""
    if word in CARRIERS:
        return word  # type: ignore[return-value]
    near = nearest(word, list(CARRIERS))
    hint = f"did you mean {near}?" if near else f"there are {', '.join(CARRIERS)}"
    report.error(place, f"{name}: there is no carrier {shown(word)}: {hint}")
    return None


def _address(entries: dict[str, Entry], node: Node, report: Report) -> tuple[str, int] | None:
    found = entries["addr"].node if "addr" in entries else Node(None, node.place)
    try:
        host, port = addresses.server(text(_scalar(found)))
        if not host or not port:
            missing = "host" if not host else "port"
            raise BadValueError(f"{shown(_scalar(found))} has no {missing}: write HOST:PORT")  # noqa: TRY301
    except BadValueError as error:
        report.error(found.place, f"nodes.addr: {error}")
        return None
    return host, port


def _metadata(
    end: dict[str, Entry], where: str, known: shape.Shape | None, report: Report
) -> dict[str, Entry]:
    found = (
        mapping_of(end["metadata"].node, f"{where}.metadata", report) if ("metadata" in end) else {}
    )
    if known is not None:
        shape.check_keys(found, known, f"{where}.metadata", report)
    return found


def _name(entries: dict[str, Entry], key: str, item: Node, report: Report) -> str:
    name = text(_scalar(entries["name"].node)) if "name" in entries else ""
    if not name:
        report.error(item.place, f"{key}: one of them has no name")
    return name


def _scalar(node: Node) -> str | int | bool | None:
    return None if isinstance(node.value, dict | tuple) else node.value
