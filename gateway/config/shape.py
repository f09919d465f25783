"""The shape of a configuration file: which keys stand where, and what we do with them.

GOST's file has far more than a TUN gateway needs. A key we do not act on is refused,
or named in a warning where leaving it out changes nothing; never passed over in
silence. An empty value says nothing and is let through.
"""

import re

from gateway.config.option import WHERE, Standing, nearest, without_value
from gateway.config.options import find_option
from gateway.config.tree import Entry, Node, Report, mapping_of
from gateway.config.values import text


class Shape(dict[str, Standing]):
    """Names as written in the docs, by what becomes of them."""

    def __init__(self, names: dict[str, Standing]) -> None:
        super().__init__(names)
        self.lower = {name.lower(): standing for name, standing in names.items()}
        """The same by names in lower case."""


def of(used: str, *, later: str = "", foreign: str = "", useless: str = "") -> Shape:
    """The shape of these names, with blanks between."""
    return Shape(
        {
            **dict.fromkeys(used.split(), "used"),
            **dict.fromkeys(later.split(), "later"),
            **dict.fromkeys(foreign.split(), "foreign"),
            **dict.fromkeys(useless.split(), "useless"),
        }
    )


_WORD = re.compile(r"[A-Za-z][A-Za-z0-9+_-]*", re.ASCII)

TOP = of(
    "services authers routers log chains hops",
    foreign="api metrics profiling admissions bypasses resolvers hosts ingresses sds recorders "
    "limiters climiters rlimiters observers quotas caches",
    useless="tls loggers",
)
SERVICE = of(
    "name addr handler listener forwarder metadata interface sockopts",
    foreign="admission admissions bypass bypasses resolver hosts limiter climiter rlimiter "
    "recorders observer",
    useless="logger loggers status",
)
HANDLER = of(
    "type auther authers auth metadata chain chainGroup",
    foreign="retries limiter observer tls",
)
LISTENER = of(
    "type metadata chain chainGroup",
    foreign="tls",
)
WHO_MAY_JOIN = ("auther", "authers", "auth")
"""Keys of a handler. Elsewhere they are errors: passed over, they would let everybody in."""
SOCKOPTS = of("mark")
FORWARDER = of("nodes selector", foreign="name hop targets")
SELECTOR = of("strategy maxFails failTimeout", foreign="maxLatency")
NODE_METADATA = of("backup weight", foreign="maxFails failTimeout")
NODE = of(
    "name addr metadata",
    foreign="interface netns sockopts bypass bypasses host network protocol path filter matcher "
    "http tls auth connector dialer resolver hosts admission",
)
ROUTER = of("name routes file redis http plugin reload")
ROUTER_ROUTE = of("dst net gateway")
AUTHER = of("name auths file redis http plugin reload")
SOURCE_FILE = of("path")
SOURCE_REDIS = of("addr db username password key type")
SOURCE_HTTP = of("url timeout")
PLUGIN = of("type addr token timeout tls")
PLUGIN_TLS = of("secure serverName caFile certFile keyFile", foreign="options")
CREDENTIAL = of("username password networks", foreign="file")
LOG = of("level", useless="format output rotation")


def check_keys(entries: dict[str, Entry], shape: Shape, where: str, report: Report) -> None:
    """Report every key of a mapping that we do not act on. `where` is "" at the top."""
    prefix = f"{where}." if where else ""
    for key, entry in entries.items():
        standing = shape.lower.get(key)
        if standing is None or entry.key.lower() != key:
            name = prefix + without_value(entry.key)
            report.error(entry.place, f"unknown key {name}: {_advice(entry.key, shape)}")
        else:
            tell(entry, prefix + entry.key, standing, report)


def entries_of(node: Node, shape: Shape, where: str, report: Report) -> dict[str, Entry]:
    """The entries of a mapping as they were meant; those we do not act on are reported."""
    entries = as_meant(mapping_of(node, where, report), shape)
    check_keys(entries, shape, where, report)
    return entries


def end_of(node: Node, where: str, report: Report) -> Node:
    """An end of a service or a node. A word alone is reported, and taken for its type.

    What is no plain word may be a secret: it is neither shown nor taken.
    """
    if isinstance(node.value, dict | tuple) or node.is_empty or not _is_word(text(node.value)):
        return node
    told = f"expected a mapping here: write type: {text(node.value)} under it"
    report.error(node.place, f"{where}: {told}")
    return Node({"type": Entry("type", node.place, node)}, node.place)


def _is_word(kind: str) -> bool:
    return bool(_WORD.fullmatch(kind)) and without_value(kind) == kind


def as_meant(entries: dict[str, Entry], shape: Shape) -> dict[str, Entry]:
    """The entries, a misspelt one under the name it was probably meant to have.

    So what is in it is looked at too, and nothing is said to be missing. `check_keys`
    reports it by the name it was written with.
    """
    if entries.keys() <= shape.lower.keys():
        return entries
    found: dict[str, Entry] = {}
    for key, entry in entries.items():
        near, meant = _meant(entry, shape) if key not in shape.lower else ("", entry)
        free = shape.lower.get(near) == "used" and near not in (entries.keys() | found.keys())
        found[near if free else key] = meant if free else entry
    return found


def _meant(entry: Entry, shape: Shape) -> tuple[str, Entry]:
    """The key that an unknown one is like, in lower case, and its entry; "" if there is none."""
    before, colon, value = entry.key.partition(":")
    if colon and entry.node.is_empty:
        return before.lower(), Entry(entry.key, entry.place, Node(value, entry.place))
    near = "" if _elsewhere(entry.key, shape) else nearest(entry.key, list(shape))
    return near.lower(), entry


def tell(entry: Entry, name: str, standing: Standing, report: Report) -> None:
    """Report one known key by its standing. Empty values and `false` ask for nothing."""
    if standing == "useless":
        report.warn(entry.place, f"{name}: has no use here and is ignored")
    elif entry.node.is_empty or entry.node.value in (False, 0, "false"):
        return
    elif standing == "later":
        report.error(entry.place, f"{name}: not supported yet: leave it out")
    elif standing == "foreign":
        report.refuse(entry.place, name)


def _advice(key: str, shape: Shape) -> str:
    if elsewhere := _elsewhere(key, shape):
        return elsewhere
    used = [name for name, standing in shape.items() if standing == "used"]
    near = nearest(key, list(shape))
    return f"did you mean {near}?" if near else f"there are {', '.join(used)}"


def _elsewhere(key: str, shape: Shape) -> str:
    """Where a key belongs that is known in another place; "" if there is none."""
    if key.lower() in WHO_MAY_JOIN and shape in (SERVICE, LISTENER):
        return f"{key.lower()} is a key of handler"
    before, colon, _ = key.partition(":")
    if colon and before.lower() in shape.lower:
        return f"a blank is missing behind {before}:"
    if key.lower() == "type" and shape is SERVICE:
        return "type is a key of handler, and of listener"
    if key.lower() in FORWARDER.lower and shape is SERVICE:
        return f"{key.lower()} is a key of forwarder"
    if shape is TOP and key.lower() in SERVICE.lower:
        return f"{key.lower()} is a key of a service: write it under services"
    option = find_option(key)
    if option is not None and any(shape is each for each in (SERVICE, HANDLER, LISTENER)):
        return f"{option.name} belongs in {WHERE[option.section]}"
    return ""
