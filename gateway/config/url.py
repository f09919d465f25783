"""`-L` URLs into the tree that YAML gives too.

    tun://[USER:PASSWORD@][HOST]:PORT[/TARGET,TARGET...][?OPTION=VALUE&...]

User and password are `handler.auth`, the path is `forwarder.nodes`, each query key
goes to the metadata its option belongs to, or where a prefix (`handler.`, `listener.`,
`service.`) sends it. PORT may be a range, here (a service each) and in a target (a
target each), as in GOST.
"""

import base64
import re
from ipaddress import ip_address
from urllib.parse import unquote_to_bytes, urlsplit

from gateway.config.addresses import PORT_LIMIT
from gateway.config.option import Section, meant, without_value
from gateway.config.options import SECTIONS, find_option
from gateway.config.tree import Entry, Node, Report, entry, mapping
from gateway.config.values import BadValueError, shown

_QUOTES = "'\"\u2018\u2019\u201c\u201d"
RANGE_LIMIT = 256
"""Ports of one range. GOST has no limit."""
RELAY_EXAMPLE = 'write for example "relay+wss://:443"'

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*", re.ASCII)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})", re.ASCII)
_PORT_AT_THE_END = re.compile(r"(.*:)?[0-9]{1,5}(-[0-9]{1,5})?", re.ASCII)
_EXAMPLE = 'write for example "tun://:8421?net=192.168.123.1/24"'


def parse_listen(value: str, place: str, report: Report) -> list[Node]:
    """The services a `-L` describes: one for each port of its range.

    None at all, with a report, if it cannot be read or is not ours.
    """
    try:
        return _services(value.strip(), place, report)
    except BadValueError as error:
        report.error(place, str(error))
        return []


def _services(value: str, place: str, report: Report) -> list[Node]:
    scheme, rest = _split_scheme(value, place, report)
    if scheme is None:
        return []
    userinfo, at, address, path, query = split(rest, idle=True)
    handler = [entry("type", scheme, place)]
    listener = [entry("type", scheme, place)]
    metadata = _metadata(query, place, report)
    auth = _auth_option(metadata, place, report)
    if at:
        auth = _userinfo(userinfo, place)
    if auth is not None:
        handler.append(Entry("auth", place, auth))
    if found := metadata.get("handler"):
        handler.append(Entry("metadata", place, mapping(found.values(), place)))
    if found := metadata.get("listener"):
        listener.append(Entry("metadata", place, mapping(found.values(), place)))
    ends = [
        Entry("handler", place, mapping(handler, place)),
        Entry("listener", place, mapping(listener, place)),
    ]
    own = metadata.get("service")
    rest_of_it = [Entry("metadata", place, mapping(own.values(), place))] if own else []
    selector = selector_entry(metadata.get("selector", {}), place)
    targets = targets_in(path.strip("/"))
    found_ports = each_port(unescape(address, "the address"))
    services = []
    for index, addr in enumerate(found_ports):
        nodes = _shared(targets, index, len(found_ports))
        forwarder = (
            [Entry("forwarder", place, forwarder_node(nodes, selector, place))] if nodes else []
        )
        parts = [entry("addr", addr, place), *ends, *forwarder, *rest_of_it]
        services.append(mapping(parts, place))
    if selector and not targets:
        report.warn(place, "strategy, maxFails, failTimeout: have no use on a server")
    return services


def split(rest: str, *, idle: bool = False) -> tuple[str, str, str, str, str]:
    """What follows `://`: user and password, the @ behind them, the address, path and query.

    What it complains of is not shown, as it may be part of a password. With `idle` an
    address before a path is not used, and needs no port.
    """
    if "#" in rest:
        raise BadValueError("a '#' must be written %23 in a URL")
    before, question, query = rest.partition("?")
    if "@" in query.partition("=")[0]:
        raise BadValueError("before the @ a '?' must be written %3F in a URL")
    authority, _, path = before.partition("/")
    if "@" in path:
        where = "user and password stand before the first address"
        raise BadValueError(f"an @ behind a '/': {where}, and a '/' in them is written %2F")
    userinfo, at, address = authority.rpartition("@")
    if "&" in address + path:
        what = "an '&' before the '?'" if question else "no '?' in the URL"
        raise BadValueError(f"{what}: the first option stands behind a '?', not a '&'")
    is_needed = not (idle and path.strip("/"))
    if at and is_needed and _has_port(userinfo) and not _has_port(address):
        advice = "user and password stand before the @, HOST:PORT behind it"
        raise BadValueError(f"no port behind the @: {advice}")
    return userinfo, at, address, path, query


def _has_port(address: str) -> bool:
    return _PORT_AT_THE_END.fullmatch(address) is not None


def _split_scheme(value: str, place: str, report: Report) -> tuple[str | None, str]:
    """The scheme, and what follows `://`. None, with a report, if it is not ours."""
    if not value:
        raise BadValueError(f"an empty URL: {_EXAMPLE}")
    if value[0] in _QUOTES:
        raise BadValueError("the URL begins with a quote: leave out the quotes around it")
    scheme, separator, rest = value.partition("://")
    if not separator or not scheme:
        if separator or "net=" in value:
            raise BadValueError(f"no scheme in the URL: {_EXAMPLE}")
        if near := meant(value.partition(":")[0].partition("+")[0]):
            example = _EXAMPLE if near == "tun" else RELAY_EXAMPLE
            raise BadValueError(f"no scheme in the URL: {example}")
        what = "has no scheme (a tunnel begins with tun://), a proxy (auto) in GOST"
        report.refuse(place, f"{_short(value)} {what}")
        return None, rest
    if scheme.lower() in ("tun", "tun+tun"):
        return "tun", rest
    if not _SCHEME.fullmatch(scheme):
        raise BadValueError(f"no scheme in the URL: {_EXAMPLE}")
    kind, plus, carrier = scheme.lower().partition("+")
    near = meant(kind)
    if near:
        whole = near if near == "tun" else near + plus + carrier
        raise BadValueError(f"unknown scheme {shown(scheme)}: did you mean {whole}?")
    report.refuse(place, f"a service of {shown(scheme)}")
    return None, rest


def _short(value: str) -> str:
    """An address as far as it holds no secret."""
    _, at, rest = value.rpartition("@")
    address = re.split(r"[/?]", rest, maxsplit=1)[0]
    return shown(address) if not at or _has_port(address) else "the URL"


def each_port(address: str) -> list[str]:
    """One HOST:PORT for each port of a range; anything else as it is."""
    host, _, ports = address.rpartition(":")
    found = _RANGE.fullmatch(ports)
    if found is None:
        return [address]
    first, last = int(found[1]), int(found[2])
    if first > last or last > PORT_LIMIT:
        raise BadValueError(f"{shown(address)} is no range of ports: write for example 8421-8423")
    if last - first >= RANGE_LIMIT:
        raise BadValueError(f"{shown(address)} has more than {RANGE_LIMIT} ports")
    return [f"{host}:{port}" for port in range(first, last + 1)]


def targets_in(path: str) -> list[str]:
    """The targets of a path: split at commas, each port of a range."""
    return [
        target
        for word in (path.split(",") if path else ())
        for target in each_port(unescape(word, "the target"))
    ]


def _shared(targets: list[str], index: int, services: int) -> list[str]:
    """The targets of one of several services: GOST gives each its own if there are several."""
    if services == 1 or len(targets) == 1:
        return targets
    return targets[index : index + 1]


def selector_entry(given: dict[str, Entry], place: str) -> Entry | None:
    """GOST's defaults for what is not given, once something is."""
    found = {key: found for key, found in given.items() if not found.node.is_empty}
    if not found:
        return None
    entries = []
    for name, default in (("strategy", "round"), ("maxFails", "1"), ("failTimeout", "30s")):
        value = found[name.lower()].node.value if name.lower() in found else default
        if name == "failTimeout" and isinstance(value, str) and value.isdecimal():
            value += "s"  # an option's bare number is seconds, a struct's is nanoseconds
        entries.append(Entry(name, place, Node(value, place)))
    return Entry("selector", place, mapping(entries, place))


def unescape(text: str, what: str, *, plus: bool = False) -> str:
    """Percent escapes to text. The text itself is not shown: it may be a secret."""
    if _BAD_ESCAPE.search(text):
        raise BadValueError(f"{what}: a '%' must be written %25 in a URL")
    try:
        raw = unquote_to_bytes(text.replace("+", " ") if plus else text)
        return raw.decode()
    except UnicodeError:
        raise BadValueError(f"{what}: its bytes are not UTF-8") from None


def _userinfo(userinfo: str, place: str) -> Node:
    username, colon, password = userinfo.partition(":")
    if not (colon or _is_address(username)):  # it may be a password alone, so it is not repeated
        raise BadValueError("before the @: write ADDRESS:PASSWORD, the client's and its passphrase")
    return auth_node(unescape(username, "the user"), unescape(password, "the password"), place)


def _is_address(text: str) -> bool:
    try:
        ip_address(unquote_to_bytes(text).decode())
    except ValueError:
        return False
    return True


def auth_node(username: str, password: str, place: str) -> Node:
    """`auth` as a file has it."""
    return mapping([entry("username", username, place), entry("password", password, place)], place)


def _auth_option(
    metadata: dict[Section, dict[str, Entry]], place: str, report: Report
) -> Node | None:
    found = metadata.get("listener", {}).pop("auth", None)
    return None if found is None else decode_auth(found, place, report)


def decode_auth(found: Entry, place: str, report: Report) -> Node | None:
    """GOST's other way to write user and password: `auth=`, base64 of USER:PASSWORD."""
    word = str(found.node.value).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        raw = base64.b64decode(word + "=" * (-len(word) % 4), validate=True)
        username, colon, password = raw.decode().partition(":")
    except ValueError:
        username = colon = password = ""
    if not colon:
        report.error(place, "auth: expected the base64 of USER:PASSWORD")
        return None
    return auth_node(username, password, place)


def forwarder_node(targets: list[str], selector: Entry | None, place: str) -> Node:
    """`forwarder` as a file has it."""
    nodes = [
        mapping(
            [
                entry("name", f"target-{index}", place),
                entry("addr", target, place),
            ],
            place,
        )
        for index, target in enumerate(targets)
    ]
    parts = [Entry("nodes", place, Node(tuple(nodes), place))]
    return mapping([*parts, selector] if selector else parts, place)


def _metadata(query: str, place: str, report: Report) -> dict[Section, dict[str, Entry]]:
    """The query's options by the section they go to."""
    found: dict[Section, dict[str, Entry]] = {}
    for given in pairs(query, place, report).values():
        section, name = _destination(given.key)
        entries = found.setdefault(section, {})
        if name.lower() in entries:
            report.error(place, f"{without_value(given.key)}: given twice")
        else:
            entries[name.lower()] = Entry(name, place, given.node)
    return found


def pairs(query: str, place: str, report: Report) -> dict[str, Entry]:
    """The options of a query by name, in lower case; the first of doubles counts."""
    found: dict[str, Entry] = {}
    for pair in query.split("&"):
        if not pair:
            continue
        raw_key, _, raw_value = pair.partition("=")
        if not raw_key:
            report.error(place, "an option without a name: write NAME=VALUE")
            continue
        try:
            key = unescape(raw_key, "an option", plus=True)
            value = unescape(raw_value, without_value(key), plus=True)
        except BadValueError as error:
            report.error(place, str(error))
            report.unread.add((place, raw_key.lower()))
            continue
        if key.lower() in found:
            report.error(place, f"{without_value(key)}: given twice")
        else:
            found[key.lower()] = entry(key, value, place)
    return found


def _destination(key: str) -> tuple[Section, str]:
    """Where an option goes. An unknown one goes to the listener, which will say so."""
    prefix, dot, name = key.partition(".")
    for section in SECTIONS:
        if dot and prefix.lower() == section:
            return section, name
    option = find_option(key)
    if option is None:
        return "listener", key
    if option.section == "selector":  # a file has it under the option's own name
        return option.section, option.name
    return option.section, key


def without_userinfo(url: str) -> str:
    """A URL as far as its host: what follows may hold secrets, as what precedes may."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "..."
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
