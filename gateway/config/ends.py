"""The ends of a service: its types, where it listens, which servers it may use."""

from typing import TypeVar

from msgspec.structs import replace

from gateway.config import addresses, host_options, shape
from gateway.config.bag import Bag
from gateway.config.model import Selector, Target
from gateway.config.option import Option, meant
from gateway.config.outer import said
from gateway.config.section import Values
from gateway.config.tree import Entry, Node, Report, items_of, mapping_of
from gateway.config.values import (
    BadValueError,
    boolean,
    printable,
    ranged,
    shown,
    struct_duration,
    text,
)
from gateway.protocol.forwarding import Role

T = TypeVar("T")

WEIGHT_LIMIT = 1 << 16

_SELECTOR_OPTIONS = (host_options.STRATEGY, host_options.MAX_FAILS, host_options.FAIL_TIMEOUT)


def ends(
    entries: dict[str, Entry], node: Node, report: Report
) -> tuple[dict[str, Entry] | None, dict[str, Entry] | None]:
    """Handler and listener, both None if this is no TUN service.

    One that has no type, or a misspelt one, is reported and taken for ours.
    """
    handler, of_handler = _end(entries, "handler", node, report)
    listener, of_listener = _end(entries, "listener", node, report)
    kinds = (of_handler.value, of_listener.value)
    if kinds != (None, None) and "tun" not in kinds:
        words = (str(of_handler.value or "auto"), str(of_listener.value or "tcp"))
        near = meant(words[0])
        if not near:
            report.refuse(node.place, f"a service of {shown(words[0])} over {shown(words[1])}")
            return None, None
        if near != "tun":
            word = shown(words[0])
            report.error(of_handler.place, f"handler.type: unknown type {word}: write {near}")
            shape.check_keys(entries, shape.SERVICE, "", report)
            return None, None
    for end, kind in (("handler", of_handler), ("listener", of_listener)):
        word = str(kind.value or "")
        if kind.value is None:
            report.error(kind.place, f"{end}.type: missing: write tun")
        elif meant(word) == "tun" != word:
            report.error(kind.place, f"{end}.type: unknown type {shown(word)}: write tun")
        elif word != "tun":
            report.error(kind.place, f"{end}.type: {shown(word)} cannot be with tun: write tun")
    return handler, listener


def _end(
    entries: dict[str, Entry], end: str, node: Node, report: Report
) -> tuple[dict[str, Entry], Node]:
    """The mapping of one end, and its type in lower case; None is none."""
    found = entries.get(end)
    if found is None:
        return {}, Node(None, node.place)
    if not (isinstance(found.node.value, dict) or found.node.is_empty):
        report.error(found.node.place, f"{end}: expected a mapping here: write type: tun under it")
        return {}, Node("tun", found.place)
    inner = mapping_of(found.node, end, report)
    kind = inner["type"].node if "type" in inner else Node(None, found.place)
    if isinstance(kind.value, dict | tuple):
        report.error(kind.place, f"{end}.type: expected one value: write tun")
        return inner, Node("tun", kind.place)
    return inner, Node(text(kind.value).lower() or None, kind.place)


def as_meant(node: Node, report: Report) -> Node:
    """A service whose misspelt keys are under the names they were meant to have."""
    if not isinstance(node.value, dict):
        return node
    entries = shape.as_meant(node.value, shape.SERVICE)
    for end, known in (("handler", shape.HANDLER), ("listener", shape.LISTENER)):
        if end not in entries:
            continue
        inner = shape.end_of(entries[end].node, end, report)
        if isinstance(inner.value, dict):
            inner = Node(shape.as_meant(inner.value, known), inner.place)
        entries = {**entries, end: replace(entries[end], node=inner)}
    return replace(node, value=entries)


def read_listen(entries: dict[str, Entry], node: Node, report: Report) -> tuple[str, int]:
    """Where a relay listens."""
    return listen_of(entries, node, Role.SERVER, report)


def read_targets(entries: dict[str, Entry], report: Report) -> tuple[Target, ...]:
    """Where a relay leads every stream, if that is fixed."""
    return targets_of(entries, "", report, chained=True)[0]


def listen_of(entries: dict[str, Entry], node: Node, role: Role, report: Report) -> tuple[str, int]:
    """Where a server listens. A client's address is read and otherwise not used."""
    found = entries["addr"].node if "addr" in entries else Node(None, node.place)
    if isinstance(found.value, dict | tuple):
        report.error(found.place, "addr: expected one value, for example :8421")
        return "", 0
    try:
        return _listen(text(found.value), role)
    except BadValueError as error:
        report.error(found.place, f"addr: {error}")
        return "", 0


def _listen(value: str, role: Role) -> tuple[str, int]:
    if role is Role.CLIENT and not value.isdecimal():
        host, port = addresses.endpoint(value)
        return host, port or 0
    host, port = addresses.listener(value)
    if not port:
        why = "has no port" if port is None else "has port 0"
        advice = "a server needs one, for example :8421 (and a client needs a target)"
        raise BadValueError(f"{shown(value)} {why}: {advice}")
    return host, port


def targets_of(
    entries: dict[str, Entry], place: str, report: Report, *, chained: bool
) -> tuple[tuple[Target, ...], Role]:
    """The targets, and the role: whoever has a forwarder node is a client.

    `place` is the service's.
    """
    if "forwarder" not in entries:
        return (), Role.SERVER
    forwarder = shape.entries_of(entries["forwarder"].node, shape.FORWARDER, "forwarder", report)
    nodes: tuple[Node, ...] = ()
    if "nodes" in forwarder:
        nodes = items_of(forwarder["nodes"].node, "forwarder.nodes", report)
        if forwarder["nodes"].node.is_empty:
            told = "empty, so this is a server: write the targets of a client, or leave it out"
            report.warn(forwarder["nodes"].place, f"forwarder.nodes: {told}")
    targets: dict[tuple[str, int], Target] = {}
    for node in nodes:
        if not isinstance(node.value, dict):
            report.error(node.place, f"forwarder.nodes: {_no_node(node)}")
            continue
        inner = shape.entries_of(node, shape.NODE, "forwarder.nodes", report)
        found = inner["addr"].node if "addr" in inner else Node(None, node.place)
        target = _read_target(found, report, chained=chained)
        target = _described(target or Target("", 0), inner, report)
        if not target.port:
            continue
        key = (target.host, target.port)
        if key in targets:
            report.warn(found.place, f"target: {target.host}:{target.port} is there twice")
        targets.setdefault(key, target)
        report.origins.setdefault((place, "target", *map(str, key)), found.place)
    return tuple(targets.values()), Role.CLIENT if nodes else Role.SERVER


def _no_node(node: Node) -> str:
    addr = "HOST:PORT"
    if isinstance(node.value, str) and _is_target(node.value):
        addr = shown(node.value)
    return f"expected a mapping here: write addr: {addr}"


def _is_target(value: str) -> bool:
    """Whether this is a target, and so nothing that must not be shown."""
    try:
        return bool(addresses.server(value)[1])
    except BadValueError:
        return False


def _read_target(found: Node, report: Report, *, chained: bool) -> Target | None:
    if isinstance(found.value, dict | tuple) or found.is_empty:
        report.error(found.place, "target: missing: write the server's HOST:PORT")
        return None
    value = text(found.value)
    try:
        host, port = _target(value, chained=chained)
    except BadValueError as error:
        report.error(found.place, f"target: {error}")
        return None
    if not addresses.is_unspecified(host):
        return Target(host, port)
    why = f"{shown(value)} has an unspecified address, read as the relay's own host"
    report.warn(found.place, f"target: {why}: write :{port}")
    return Target("", port)


def _target(value: str, *, chained: bool) -> tuple[str, int]:
    """Host and port; the host of a chained one may be none, or an unspecified address."""
    host, port = addresses.endpoint(value)
    if not (chained and addresses.is_unspecified(host)):
        addresses.server(value)
    advice = "write the server's HOST:PORT"
    if not port:
        why = "has no port" if port is None else "has port 0"
        raise BadValueError(f"{shown(value)} {why}: {advice}")
    if not host and not chained:
        raise BadValueError(f"{shown(value)} has no host: {advice}")
    return host, port


def _described(target: Target, node: dict[str, Entry], report: Report) -> Target:
    """The target with the name and the metadata of its node."""
    name = Values(node, "forwarder.nodes", "", report).get("name", printable, "")
    where = "forwarder.nodes.metadata"
    found: dict[str, Entry] = {}
    if "metadata" in node:
        found = shape.entries_of(node["metadata"].node, shape.NODE_METADATA, where, report)
    metadata = Values(found, where, "", report)
    return Target(
        target.host,
        target.port,
        name,
        metadata.get("backup", boolean, False),
        metadata.get("weight", ranged(1, WEIGHT_LIMIT), 1),
    )


def selector_of(entries: dict[str, Entry], bag: Bag, report: Report) -> Selector:
    """Which target is used. What stands in `metadata` counts where the selector has nothing."""
    forwarder: dict[str, Entry] = {}
    if "forwarder" in entries and isinstance(entries["forwarder"].node.value, dict):
        forwarder = shape.as_meant(entries["forwarder"].node.value, shape.FORWARDER)
    return read_selector(forwarder, bag, report)


def read_selector(holder: dict[str, Entry], bag: Bag | None, report: Report) -> Selector:
    """The `selector` of a forwarder or a hop; without it what the bag has, or defaults."""
    found: dict[str, Entry] = {}
    if "selector" in holder:
        found = shape.entries_of(holder["selector"].node, shape.SELECTOR, "selector", report)
    given = Values(found, "selector", "", report)
    default = Selector()
    strategy = given.get("strategy", host_options.strategy, _said(bag, host_options.STRATEGY))
    fails = given.get("maxfails", host_options.max_fails, _said(bag, host_options.MAX_FAILS))
    seconds = given.seconds("failtimeout", struct_duration, _said(bag, host_options.FAIL_TIMEOUT))
    for option in _SELECTOR_OPTIONS:
        if bag is not None and option.name.lower() in found:
            report.origins[bag.service, option.name] = found[option.name.lower()].node.place
    return Selector(
        strategy or default.strategy,
        fails if fails is not None and fails > 0 else default.max_fails,
        seconds if seconds is not None and seconds > 0 else default.fail_timeout,
    )


def _said(bag: Bag | None, option: Option[T]) -> T | None:
    return None if bag is None else said(bag, option)
