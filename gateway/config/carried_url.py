"""URLs of relays into the tree that YAML gives too: `-F`, a hop, and `-L`, a listener.

    -F relay+CARRIER://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...][?OPTION=VALUE&...]
    -L relay+CARRIER://[USER:PASSWORD@][HOST]:PORT[/TARGET,...][?OPTION=VALUE&...]

One word before `://` is connector (or handler) and dialer (or listener) in one; `relay`
alone goes over plain TCP.
"""

from gateway.config.carrier_options import CARRIERS, TLS_CARRIERS
from gateway.config.option import nearest
from gateway.config.tree import Entry, Node, Report, entry, mapping
from gateway.config.url import (
    RELAY_EXAMPLE,
    auth_node,
    decode_auth,
    each_port,
    forwarder_node,
    pairs,
    selector_entry,
    split,
    targets_in,
    unescape,
)
from gateway.config.values import BadValueError, shown

_FORWARD_EXAMPLE = 'write for example "relay+wss://203.0.113.7:443"'
_TLS_KEYS = {
    "certfile": "certFile", "cert": "certFile", "keyfile": "keyFile", "key": "keyFile",
    "cafile": "caFile", "ca": "caFile", "secure": "secure", "servername": "serverName",
    "pin": "pin", "rejectunknownsni": "rejectUnknownSNI", "servernames": "serverNames",
}  # fmt: skip
_TLS_OPTIONS = {
    "minversion": "minVersion", "maxversion": "maxVersion", "ciphersuites": "cipherSuites",
    "alpn": "alpn",
}  # fmt: skip
_SELECTOR = ("strategy", "maxfails", "failtimeout")
_NODE = ("backup", "weight", "interface", "so_mark")
_CONNECTOR = ("nodelay", "connecttimeout")
_HANDLER = (
    "readtimeout", "nodelay", "udp.buffersize", "udpbuffersize", "bind", "allow", "bridges",
    "clients", "auther", "hash", "sniffing",
)  # fmt: skip


def is_relay(value: str) -> bool:
    """Whether a `-L` describes a relay listener."""
    return value.strip().partition("://")[0].partition("+")[0].lower() == "relay"


def parse_forward(value: str, number: int, report: Report) -> Node | None:
    """The hop a `-F` describes; None, with a report, if it cannot be read."""
    place = f"-F #{number}"
    try:
        return _hop(value.strip(), number, place, report)
    except BadValueError as error:
        report.error(place, str(error))
        return None


def parse_relay(value: str, place: str, report: Report) -> list[Node]:
    """The services a `-L relay...` describes: one for each port of its range."""
    try:
        return _listeners(value.strip(), place, report)
    except BadValueError as error:
        report.error(place, str(error))
        return []


def _hop(value: str, number: int, place: str, report: Report) -> Node:
    scheme, separator, rest = value.partition("://")
    if not separator or not scheme:
        raise BadValueError(f"no scheme in the URL: {_FORWARD_EXAMPLE}")
    connector, carrier = _forward_scheme(scheme)
    auth, address, path, found = _parts(rest, place, report)
    if path.strip("/"):
        raise BadValueError(f"{shown(path)}: a hop has no target: write it behind the / of -L")
    sections = _sorted(found, carrier, {"connector": _CONNECTOR, "node": _NODE}, "dialer")
    ends = [
        Entry("connector", place, _end(connector, auth, sections.get("connector"), None, place)),
        Entry(
            "dialer", place, _end(carrier, None, sections.get("dialer"), sections.get("tls"), place)
        ),
    ]
    own = sections.get("node")
    extra = [Entry("metadata", place, mapping(own.values(), place))] if own else []
    nodes = [
        mapping(
            [entry("name", f"node-{index}", place), entry("addr", host, place), *ends, *extra],
            place,
        )
        for index, host in enumerate(unescape(address, "the address").split(","))
    ]
    selector = selector_entry(sections.get("hop", {}), place)
    parts = [
        entry("name", f"hop-{number - 1}", place),
        Entry("nodes", place, Node(tuple(nodes), place)),
    ]
    return mapping([*parts, selector] if selector else parts, place)


def _forward_scheme(scheme: str) -> tuple[str, str]:
    """Connector and dialer. What GOST would do with other words, we say instead of doing."""
    first, plus, second = scheme.lower().partition("+")
    carrier = second if plus else "tcp"
    if first == "relay" and carrier in CARRIERS:
        return first, carrier
    if first == "relay":
        near = nearest(carrier, list(CARRIERS))
        hint = f"did you mean relay+{near}?" if near else f"there are {', '.join(CARRIERS)}"
        raise BadValueError(f"{shown(scheme)}: there is no carrier {shown(carrier)}: {hint}")
    if first in CARRIERS and not plus:
        raise BadValueError(
            f"{shown(scheme)} is an HTTP proxy over {first}, which carries no datagrams: "
            f"write relay+{first}://"
        )
    raise BadValueError(f"{shown(scheme)} is no relay: {_FORWARD_EXAMPLE}")


def _listeners(value: str, place: str, report: Report) -> list[Node]:
    scheme, separator, rest = value.partition("://")
    if not separator:
        raise BadValueError(f"no scheme in the URL: {RELAY_EXAMPLE}")
    carrier = scheme.lower().partition("+")[2] or "tcp"
    if carrier not in CARRIERS:
        near = nearest(carrier, list(CARRIERS))
        hint = f"did you mean relay+{near}?" if near else f"there are {', '.join(CARRIERS)}"
        raise BadValueError(f"{shown(scheme)}: there is no carrier {shown(carrier)}: {hint}")
    auth, address, path, found = _parts(rest, place, report)
    sections = _sorted(found, carrier, {"handler": _HANDLER}, "listener")
    handler_metadata = sections.get("handler", {})
    auther = handler_metadata.pop("auther", None)
    handler = _end("relay", auth, handler_metadata, None, place)
    if auther is not None and isinstance(handler.value, dict):
        handler = Node({**handler.value, "auther": auther}, place)
    listener = _end(carrier, None, sections.get("listener"), sections.get("tls"), place)
    selector = selector_entry(sections.get("hop", {}), place)
    targets = targets_in(path.strip("/"))
    services = []
    for addr in each_port(unescape(address, "the address")):
        parts = [
            entry("addr", addr, place),
            Entry("handler", place, handler),
            Entry("listener", place, listener),
        ]
        if targets:
            parts.append(Entry("forwarder", place, forwarder_node(targets, selector, place)))
        if own := sections.get("service"):
            parts.append(Entry("metadata", place, mapping(own.values(), place)))
        services.append(mapping(parts, place))
    return services


def _parts(rest: str, place: str, report: Report) -> tuple[Node | None, str, str, dict[str, Entry]]:
    """User and password, the address, the path, the options."""
    userinfo, at, address, path, query = split(rest)
    found = pairs(query, place, report)
    auth = None
    if option := found.pop("auth", None):
        auth = decode_auth(option, place, report)
    if at:
        username, colon, password = userinfo.partition(":")
        if not colon:
            raise BadValueError("before the @: write USER:PASSWORD")
        auth = auth_node(unescape(username, "the user"), unescape(password, "the password"), place)
    return auth, address, path, found


def _sorted(
    found: dict[str, Entry], carrier: str, known: dict[str, tuple[str, ...]], otherwise: str
) -> dict[str, dict[str, Entry]]:
    """The options by the part they are of; a prefix `dialer.` and the like decides first."""
    sections: dict[str, dict[str, Entry]] = {}
    places = (*known, otherwise, "service", "hop")
    for key, given in found.items():
        prefix, dot, name = key.partition(".")
        if dot and prefix in places:
            renamed = Entry(given.key[len(prefix) + 1 :], given.place, given.node)
            sections.setdefault(prefix, {})[name] = renamed
            continue
        bare = key.removeprefix("tls.")
        if bare in _TLS_KEYS and (carrier in TLS_CARRIERS or key != bare):
            named = Entry(_TLS_KEYS[bare], given.place, given.node)
            sections.setdefault("tls", {})[_TLS_KEYS[bare].lower()] = named
        elif bare in _TLS_OPTIONS and (carrier in TLS_CARRIERS or key != bare):
            named = Entry(_TLS_OPTIONS[bare], given.place, given.node)
            sections.setdefault("tls", {})[bare] = named
        elif key in _SELECTOR:
            sections.setdefault("hop", {})[key] = given
        elif key == "user":
            sections.setdefault("service", {})[key] = given
        else:
            section = next((each for each, keys in known.items() if key in keys), otherwise)
            sections.setdefault(section, {})[key] = given
    return sections


def _end(
    kind: str,
    auth: Node | None,
    metadata: dict[str, Entry] | None,
    tls: dict[str, Entry] | None,
    place: str,
) -> Node:
    parts = [entry("type", kind, place)]
    if auth is not None:
        parts.append(Entry("auth", place, auth))
    if tls:
        options = [tls.pop(key) for key in _TLS_OPTIONS if key in tls]
        inner = list(tls.values())
        if options:
            inner.append(Entry("options", place, mapping(options, place)))
        parts.append(Entry("tls", place, mapping(inner, place)))
    if metadata:
        parts.append(Entry("metadata", place, mapping(metadata.values(), place)))
    return mapping(parts, place)
