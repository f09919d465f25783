"""Where a configuration comes from: `-L` URLs, files, standard input, default places.

Sources are merged from left to right, the command line's services last. Lists are
joined, of anything else the later one counts as a whole; an empty one says nothing.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from gateway.config.carried_url import is_relay, parse_forward, parse_relay
from gateway.config.collector import collector_at_rest
from gateway.config.fetch import Page, fetch
from gateway.config.tree import Entry, Node, Report, entry, mapping
from gateway.config.url import parse_listen
from gateway.config.yaml import parse_json, parse_yaml
from gateway.errors import ConfigError

_SUFFIXES = ("yaml", "yml", "json")


_ETC = Path("/etc")
CHAIN = "chain-0"
"""GOST's name for what all `-F` make together."""
_CERTIFICATES = tuple(
    (*path, "tls", key)
    for path in (
        ("services", "listener"),
        ("chains", "hops", "nodes", "dialer"),
        ("hops", "nodes", "dialer"),
        ("authers", "plugin"),
        ("routers", "plugin"),
    )
    for key in ("certfile", "keyfile", "cafile")
)


def default_file(environment: Mapping[str, str] = os.environ, etc: Path = _ETC) -> Path | None:
    """The first configuration file that exists in the usual places."""
    home = environment.get("HOME")
    folders = [etc / "gateway", etc / "gost", Path()]
    if home:
        folders.insert(2, Path(home, ".gost"))
    for folder in folders:
        for stem in ("gateway", "gost"):
            for suffix in _SUFFIXES:
                path = folder / f"{stem}.{suffix}"
                if path.is_file():
                    return path
    return None


@collector_at_rest()
def read_tree(
    listens: Sequence[str], configs: Sequence[str], report: Report, forwards: Sequence[str] = ()
) -> Node:
    """Everything that was given, as one tree in which each service has a name.

    What cannot be read is reported and left out.
    """
    trees = []
    for number, config in enumerate(configs, 1):
        try:
            trees.append(_read(config, number, report))
        except ConfigError as error:
            report.take(error)
    services = []
    for number, listen in enumerate(listens, 1):
        parse = parse_relay if is_relay(listen) else parse_listen
        services.extend(parse(listen, f"-L #{number}", report))
    hops = [parse_forward(forward, number, report) for number, forward in enumerate(forwards, 1)]
    if forwards:
        services = [_chained(service) for service in services]
    if services or hops:
        trees.append(_of_command_line(services, [hop for hop in hops if hop is not None]))
    return _named(merge(trees))


def _of_command_line(services: Sequence[Node], hops: Sequence[Node]) -> Node:
    place = (*services, *hops)[0].place if services or hops else "-F #1"
    parts = {}
    if services:
        parts["services"] = Entry("services", place, Node(tuple(services), place))
    if hops:
        at = hops[0].place
        parts_of_chain = [entry("name", CHAIN, at), Entry("hops", at, Node(tuple(hops), at))]
        chain = mapping(parts_of_chain, at)
        parts["chains"] = Entry("chains", at, Node((chain,), at))
    return Node(parts, place)


def _chained(service: Node) -> Node:
    """A TUN service of the command line goes through the chain of all `-F`."""
    if not isinstance(service.value, dict) or "forwarder" not in service.value:
        return service
    handler = service.value["handler"]
    kind = handler.node.value
    if not isinstance(kind, dict) or kind["type"].node.value != "tun":
        return service
    place = handler.place
    led = replace(handler.node, value={**kind, "chain": entry("chain", CHAIN, place)})
    return replace(service, value={**service.value, "handler": replace(handler, node=led)})


def _read(config: str, number: int, report: Report) -> Node:
    """One `-C`. Raises ConfigError if it cannot be read."""
    if config.startswith("{"):
        return parse_json(config, f"-C #{number}", report)
    if config.startswith(("http://", "https://")):
        return _fetched(fetch(config), report)
    if config == "-":
        return _parse(_decode(sys.stdin.buffer.read(), "<stdin>"), "<stdin>", report)
    path = Path(config)
    try:
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"-C {config}: cannot be read: {reason}") from None
    text = _decode(raw, config)
    if path.suffix == ".json":
        return _anchored(parse_json(text, config, report), path)
    if path.suffix not in ("", ".yaml", ".yml"):
        raise ConfigError(f"-C {config}: a configuration is .yaml, .yml or .json")
    return _anchored(_parse(text, config, report), path)


def _fetched(page: Page, report: Report) -> Node:
    if page.is_clear:
        report.warn(page.label, "read over plain HTTP: who is on the way can read and change it")
    text = _decode(page.body, page.label)
    if page.form == "json":
        return parse_json(text, page.label, report)
    return _parse(text, page.label, report)


def _anchored(tree: Node, file: Path) -> Node:
    """The paths of files are meant from the folder of the file that names them."""
    folder = Path(os.path.abspath(file)).parent  # noqa: PTH100  (it keeps links as they are)

    def anchor(path: Node) -> Node:
        if not isinstance(path.value, str) or not path.value:
            return path
        return replace(path, value=str(folder / path.value))

    for holder in ("authers", "routers"):
        tree = _changed(tree, (holder, "file", "path"), anchor)
    for keys in _CERTIFICATES:
        tree = _changed(tree, keys, anchor)
    return tree


def _changed(node: Node, keys: tuple[str, ...], change: Callable[[Node], Node]) -> Node:
    """The node with what these keys lead to changed, in each item of the lists on the way."""
    if isinstance(node.value, tuple):
        return replace(node, value=tuple(_changed(item, keys, change) for item in node.value))
    if not keys:
        return change(node)
    if not isinstance(node.value, dict) or keys[0] not in node.value:
        return node
    found = node.value[keys[0]]
    entries = {**node.value, keys[0]: replace(found, node=_changed(found.node, keys[1:], change))}
    return replace(node, value=entries)


def _decode(raw: bytes, source: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(f"{source}:{line}: the text is not UTF-8") from None


def _parse(text: str, source: str, report: Report) -> Node:
    if text.startswith("{"):
        return parse_json(text, source, report)
    return parse_yaml(text, source, report)


def merge(trees: Sequence[Node]) -> Node:
    """Join trees from left to right."""
    if len(trees) == 1:
        return trees[0]
    merged: dict[str, Entry] = {}
    for tree in trees:
        if not isinstance(tree.value, dict):
            return tree
        for key, found in tree.value.items():
            merged[key] = _joined(merged.get(key), found)
    return Node(merged, trees[0].place if trees else "the command line")


def _joined(earlier: Entry | None, later: Entry) -> Entry:
    if earlier is None or later.node.value in (None, ""):
        return earlier or later
    first, second = earlier.node.value, later.node.value
    if isinstance(first, tuple) and isinstance(second, tuple):
        return replace(earlier, node=Node(first + second, earlier.node.place))
    return later


def _named(tree: Node) -> Node:
    """Give each service without a name the next free one of service-0, service-1..."""
    top = tree.value
    if not isinstance(top, dict) or "services" not in top:
        return tree
    items = top["services"].node
    if not isinstance(items.value, tuple):
        return tree
    taken = {_name_of(item) for item in items.value}
    free = (f"service-{n}" for n in range(2 * len(items.value) + 1))
    names = (name for name in free if name not in taken)
    services = tuple(item if _name_of(item) else _with_name(item, names) for item in items.value)
    found = replace(top["services"], node=Node(services, items.place))
    return Node({**top, "services": found}, tree.place)


def _name_of(service: Node) -> str:
    if not isinstance(service.value, dict) or "name" not in service.value:
        return ""
    node = service.value["name"].node
    if isinstance(node.value, dict | tuple):
        return "" if node.is_empty else "one that will be refused"
    return "" if node.is_empty else str(node.value)


def _with_name(service: Node, names: Iterator[str]) -> Node:
    if not isinstance(service.value, dict) or not service.value:
        return service
    rest = {key: found for key, found in service.value.items() if key != "name"}
    name = entry("name", next(names), service.place)
    return Node({"name": name, **rest}, service.place)
