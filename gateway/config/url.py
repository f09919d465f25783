"""`-L` URLs into the tree that YAML gives too.

    tun://[USER:PASSWORD@][HOST]:PORT[/TARGET,TARGET...][?OPTION=VALUE&...]

User and password are `handler.auth`, the path is `forwarder.nodes`, each query key
goes to the metadata its option belongs to, or where a prefix (`handler.`, `listener.`,
`service.`) sends it.
"""

import base64
import re
from ipaddress import ip_address
from urllib.parse import unquote_to_bytes

from gateway.config.options import SECTIONS, Section, find_option, nearest
from gateway.config.tree import Entry, Node, Report, entry, mapping
from gateway.config.values import BadValueError, shown

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*", re.ASCII)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_EXAMPLE = 'write for example "tun://:8421?net=192.168.123.1/24"'


def parse_listen(value: str, place: str, report: Report) -> Node | None:
    """The service a `-L` describes; None, with a report, if it cannot be read at all."""
    try:
        return _service(value.strip(), place, report)
    except BadValueError as error:
        report.error(place, str(error))
        return None


def _service(value: str, place: str, report: Report) -> Node:
    scheme, rest = _split_scheme(value)
    if "#" in rest:
        raise BadValueError("a '#' must be written %23 in a URL")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    userinfo, at, address = authority.rpartition("@")
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
    service = [
        entry("addr", _unescape(address, "the address"), place),
        Entry("handler", place, mapping(handler, place)),
        Entry("listener", place, mapping(listener, place)),
    ]
    if targets := path.strip("/"):
        service.append(Entry("forwarder", place, _forwarder(targets, place)))
    if found := metadata.get("service"):
        service.append(Entry("metadata", place, mapping(found.values(), place)))
    return mapping(service, place)


def _split_scheme(value: str) -> tuple[str, str]:
    """The scheme, which can only be `tun`, and what follows `://`."""
    if not value:
        raise BadValueError(f"an empty URL: {_EXAMPLE}")
    scheme, separator, rest = value.partition("://")
    if not separator or not scheme:
        raise BadValueError(f"no scheme in the URL: {_EXAMPLE}")
    if scheme.lower() == "tun":
        return "tun", rest
    if not _SCHEME.fullmatch(scheme):
        raise BadValueError(f"no scheme in the URL: {_EXAMPLE}")
    hint = "did you mean tun?" if nearest(scheme, ["tun"]) else "this program serves tun only"
    raise BadValueError(f"unknown scheme {shown(scheme)}: {hint}")


def _unescape(text: str, what: str, *, plus: bool = False) -> str:
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
    return _auth(_unescape(username, "the user"), _unescape(password, "the password"), place)


def _is_address(text: str) -> bool:
    try:
        ip_address(unquote_to_bytes(text).decode())
    except ValueError:
        return False
    return True


def _auth(username: str, password: str, place: str) -> Node:
    return mapping([entry("username", username, place), entry("password", password, place)], place)


def _auth_option(
    metadata: dict[Section, dict[str, Entry]], place: str, report: Report
) -> Node | None:
    """GOST's other way to write user and password: `auth=`, base64 of USER:PASSWORD."""
    found = metadata.get("listener", {}).pop("auth", None)
    if found is None:
        return None
    word = str(found.node.value).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        raw = base64.b64decode(word + "=" * (-len(word) % 4), validate=True)
        username, colon, password = raw.decode().partition(":")
    except ValueError:
        username = colon = password = ""
    if not colon:
        report.error(place, "auth: expected the base64 of USER:PASSWORD")
        return None
    return _auth(username, password, place)


def _forwarder(targets: str, place: str) -> Node:
    nodes = [
        mapping(
            [
                entry("name", f"target-{index}", place),
                entry("addr", _unescape(target, "the target"), place),
            ],
            place,
        )
        for index, target in enumerate(targets.split(","))
    ]
    return mapping([Entry("nodes", place, Node(tuple(nodes), place))], place)


def _metadata(query: str, place: str, report: Report) -> dict[Section, dict[str, Entry]]:
    """The query's options by the section they go to; the first of doubles counts."""
    found: dict[Section, dict[str, Entry]] = {}
    for pair in query.split("&"):
        if not pair:
            continue
        raw_key, _, raw_value = pair.partition("=")
        try:
            key = _unescape(raw_key, "an option", plus=True)
            value = _unescape(raw_value, key, plus=True)
        except BadValueError as error:
            report.error(place, str(error))
            continue
        section, name = _destination(key)
        entries = found.setdefault(section, {})
        if name.lower() in entries:
            report.error(place, f"{key}: given twice")
        else:
            entries[name.lower()] = entry(name, value, place)
    return found


def _destination(key: str) -> tuple[Section, str]:
    """Where an option goes. An unknown one goes to the listener, which will say so."""
    prefix, dot, name = key.partition(".")
    for section in SECTIONS:
        if dot and prefix.lower() == section:
            return section, name
    option = find_option(key)
    return (option.section if option else "listener"), key
