"""The ends of a service: its types, where it listens, which servers it may use."""

from gateway.config import addresses, shape
from gateway.config.model import Target
from gateway.config.tree import Entry, Node, Report, items_of, mapping_of
from gateway.config.values import BadValueError, shown, text
from gateway.protocol.forwarding import Role


def ends(
    entries: dict[str, Entry], node: Node, report: Report
) -> tuple[dict[str, Entry] | None, dict[str, Entry] | None]:
    """Handler and listener, each None if its type is not tun."""
    found = []
    for end in ("handler", "listener"):
        inner = mapping_of(entries[end].node, end, report) if end in entries else {}
        kind = inner["type"].node if "type" in inner else Node(None, node.place)
        if kind.value is None:
            report.error(kind.place, f"{end}.type: missing: write tun")
        elif isinstance(kind.value, dict | tuple) or text(kind.value).lower() != "tun":
            word = "" if isinstance(kind.value, dict | tuple) else f"{shown(kind.value)}: "
            report.error(kind.place, f"{end}.type: {word}this program serves tun only")
        else:
            found.append(inner)
    return (found[0], found[1]) if len(found) == 2 else (None, None)


def refuse_chains(handler: dict[str, Entry], listener: dict[str, Entry], report: Report) -> bool:
    """Report every chain a service asks for, and tell whether there is one."""
    refused = False
    for name, end in (("handler", handler), ("listener", listener)):
        for key in shape.CHAIN_KEYS:
            if key in end and not end[key].node.is_empty:
                report.error(end[key].place, f"{name}.{end[key].key}: {shape.NO_CHAINS}")
                refused = True
    return refused


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
    host, port = addresses.endpoint(value)
    if role is Role.CLIENT:
        return host, port or 0
    if host and not addresses.is_literal(host):
        advice = "write an IP address of this host, or only :PORT for all"
        raise BadValueError(f"{shown(value)} is a name to listen on: {advice}")
    if not port:
        why = "has no port" if port is None else "has port 0"
        advice = "a server needs one, for example :8421 (and a client needs a target)"
        raise BadValueError(f"{shown(value)} {why}: {advice}")
    return host, port


def targets_of(
    entries: dict[str, Entry], report: Report, *, chained: bool
) -> tuple[tuple[Target, ...], Role]:
    """The targets, and the role: whoever has a forwarder node is a client."""
    if "forwarder" not in entries:
        return (), Role.SERVER
    forwarder = mapping_of(entries["forwarder"].node, "forwarder", report)
    shape.check_keys(forwarder, shape.FORWARDER, "forwarder", report)
    nodes: tuple[Node, ...] = ()
    if "nodes" in forwarder:
        nodes = items_of(forwarder["nodes"].node, "forwarder.nodes", report)
    targets: dict[Target, None] = {}
    for node in nodes:
        inner = mapping_of(node, "forwarder.nodes", report)
        shape.check_keys(inner, shape.NODE, "forwarder.nodes", report)
        found = inner["addr"].node if "addr" in inner else Node(None, node.place)
        target = _read_target(found, report, chained=chained)
        if target is None:
            continue
        if target in targets:
            report.warn(found.place, f"target: {target.host}:{target.port} is there twice")
        targets[target] = None
    return tuple(targets), Role.CLIENT if nodes else Role.SERVER


def _read_target(found: Node, report: Report, *, chained: bool) -> Target | None:
    if isinstance(found.value, dict | tuple) or found.is_empty:
        report.error(found.place, "target: missing: write the server's HOST:PORT")
        return None
    try:
        return _target(text(found.value), chained=chained)
    except BadValueError as error:
        report.error(found.place, f"target: {error}")
        return None


def _target(value: str, *, chained: bool) -> Target:
    host, port = addresses.endpoint(value)
    advice = "write the server's HOST:PORT"
    if not port:
        why = "has no port" if port is None else "has port 0"
        raise BadValueError(f"{shown(value)} {why}: {advice}")
    if not host and not chained:
        raise BadValueError(f"{shown(value)} has no host: {advice}")
    return Target(host, port)
