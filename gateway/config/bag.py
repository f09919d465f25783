"""The options of one service, gathered from wherever the user put them.

Each option has its section (`options`). GOST reads it there only; we take it from
another section too, with a warning. A value in its own section beats a misplaced one:
GOST's own converter writes every option into all three sections.
"""

from collections.abc import Iterator
from typing import TypeVar

from gateway.config import shape
from gateway.config.host_options import INTERFACE, SO_MARK
from gateway.config.option import WHERE, Option, Section, name_and_sign, without_value
from gateway.config.options import (
    OPTIONS,
    SECTIONS,
    find_option,
    nearest_option,
    used_options,
)
from gateway.config.tree import Entry, Node, Report, Scalar, mapping_of, plain
from gateway.config.values import BadValueError, shown
from gateway.protocol.forwarding import Role

T = TypeVar("T")

_SERVER_HINTS = {
    "passphrase": ": a server asks for passphrases by handler.auther or handler.auth",
    "keepAlive": ": a client has a target, /HOST:PORT in a URL, forwarder in a file",
}


class Bag:
    """The options that were given. What cannot be read is reported and counts as absent."""

    def __init__(self, service: str, report: Report) -> None:
        self.service = service
        """The place of the service."""
        self.report = report
        self.found: dict[str, Entry] = {}
        self.unread: set[str] = set()
        """Options that were said where or as they cannot be read, which is told elsewhere."""

    def has(self, option: Option[object]) -> bool:
        """Whether the option was given."""
        return option.name in self.found

    def place(self, option: Option[object]) -> str:
        """Where a given option stands."""
        return self.found[option.name].place

    def shown(self, option: Option[object]) -> str:
        """A given option's one value, for a message."""
        value = self.found[option.name].node.value
        return "" if isinstance(value, dict | tuple) else shown(value)

    def complain(self, option: Option[object], text: str) -> None:
        """Report an error of a given option."""
        found = self.found[option.name]
        self.report.error(found.node.place, f"{found.key}: {text}")

    def warn(self, option: Option[object], text: str) -> None:
        """Report a warning about a given option."""
        found = self.found[option.name]
        self.report.warn(found.node.place, f"{found.key}: {text}")

    def is_void(self, option: Option[object]) -> bool:
        """Whether a given list has nothing in it."""
        return not _items(self.found[option.name].node, whole=option.whole)

    def one(self, option: Option[T]) -> T | None:
        """The value of an option that has one."""
        found = self.found.get(option.name)
        if found is None:
            return None
        return self._parse(option, found.key, found.node)

    def many(self, option: Option[T]) -> tuple[T, ...]:
        """The values of an option that is a list: of YAML's, or split at commas."""
        found = self.found.get(option.name)
        if found is None:
            return ()
        nodes = _items(found.node, whole=option.whole)
        values = [self._parse(option, found.key, node) for node in nodes]
        return tuple(value for value in values if value is not None)

    def _parse(self, option: Option[T], key: str, node: Node) -> T | None:
        scalar = node.value
        if isinstance(scalar, dict | tuple):
            what = (
                "no list or mapping can stand here: write" if option.many else "expected one value:"
            )
            self.report.error(node.place, f"{key}: {what} {option.kind}")
            return None
        try:
            return option.parse(scalar)
        except BadValueError as error:
            self.report.error(node.place, f"{key}: {error}")
            return None


def _items(node: Node, *, whole: bool) -> list[Node]:
    value: Scalar | tuple[Node, ...] | dict[str, Entry] = node.value
    if isinstance(value, tuple):
        return [item for item in value if not item.is_empty]
    if whole or not isinstance(value, str):
        return [] if node.is_empty else [node]
    return [Node(word, node.place) for word in map(str.strip, value.split(",")) if word]


def gather(service: dict[str, Entry], place: str, report: Report) -> Bag:
    """The options of a service mapping at that place, from its three `metadata`."""
    bag = Bag(place, report)
    bag.unread.update(_unread(service, place, report))
    given: dict[str, list[tuple[Section, Entry]]] = {}
    for section in SECTIONS:
        for entry in _metadata(service, section, report).values():
            option = find_option(entry.key)
            if option is None:
                bag.unread.add(_unknown(entry, report))
            elif option.standing != "used":
                _tell_once(given, option, section, entry, report)
            elif entry.node.value is not None:
                given.setdefault(option.name, []).append((section, entry))
    for option, entry in _own_keys(service, report):
        given.setdefault(option.name, []).append(("service", entry))
    for option in used_options():
        if option.name in given:
            found = bag.found[option.name] = _chosen(option, given[option.name], report)
            report.origins[place, option.name] = found.node.place
    return bag


def _unread(service: dict[str, Entry], place: str, report: Report) -> Iterator[str]:
    """Options beside their `metadata`, in one that is no mapping, or unreadable in a URL."""
    said = [key.rpartition(".")[2] for where, key in report.unread if where == place]
    for section in SECTIONS:
        holder = service if section == "service" else _inside(service, section)
        whole = holder is None or ("metadata" in holder and _inside(holder, "metadata") is None)
        said += [option.name for option in used_options() if whole and option.section == section]
        said += [key for key in holder or () if key not in shape.SERVICE.lower]
    yield from (option.name for key in said if (option := find_option(key)) is not None)


def _inside(holder: dict[str, Entry], key: str) -> dict[str, Entry] | None:
    """The mapping a key holds; None if it holds something else."""
    node = holder[key].node if key in holder else Node(None, "")
    return node.value if isinstance(node.value, dict) else {} if node.is_empty else None


def _own_keys(service: dict[str, Entry], report: Report) -> Iterator[tuple[Option[object], Entry]]:
    """GOST's other way to say two of them: keys of the service itself."""
    if "interface" in service and not service["interface"].node.is_empty:
        yield INTERFACE, service["interface"]
    if "sockopts" not in service:
        return
    found = shape.entries_of(service["sockopts"].node, shape.SOCKOPTS, "sockopts", report)
    if "mark" in found and not found["mark"].node.is_empty:
        yield SO_MARK, found["mark"]


def _metadata(service: dict[str, Entry], section: Section, report: Report) -> dict[str, Entry]:
    holder = service
    if section != "service":
        if section not in service:
            return {}
        node = service[section].node
        holder = node.value if isinstance(node.value, dict) else {}
    name = "metadata" if section == "service" else f"{section}.metadata"
    return mapping_of(holder["metadata"].node, name, report) if "metadata" in holder else {}


def _unknown(entry: Entry, report: Report) -> str:
    """Report an unknown option; the name it was probably meant to be, or ""."""
    if entry.key.lower() in shape.WHO_MAY_JOIN:
        advice = "write it in a file, as a key of handler, or ADDRESS:PASSWORD@ in a URL"
        report.error(entry.place, f"{entry.key}: is no option: {advice}")
        return ""
    if entry.key.lower() in ("chain", "chaingroup"):
        advice = "give its hops by -F, or name it in a file, as a key of handler"
        report.error(entry.place, f"{entry.key}: is no option: {advice}")
        return ""
    before, sign = name_and_sign(entry.key)
    if sign and (option := find_option(before)) is not None:
        advice = f"a blank is missing behind {before}:"
        if entry.node.value is not None:  # of a URL
            advice = f"write {before}=VALUE"
        elif sign == "=":
            advice = f"write {before}: VALUE"
        report.error(entry.place, f"unknown option {before}{sign}...: {advice}")
        return option.name
    told = without_value(entry.key)
    near = nearest_option(told.rstrip(".:="))
    names = ", ".join(option.name for option in used_options())
    hint = f"did you mean {near}?" if near else f"there are {names}"
    report.error(entry.place, f"unknown option {told}: {hint}")
    return near


def _tell_once(
    given: dict[str, list[tuple[Section, Entry]]],
    option: Option[object],
    section: Section,
    entry: Entry,
    report: Report,
) -> None:
    if option.name not in given:
        shape.tell(entry, entry.key, option.standing, report)
    given.setdefault(option.name, []).append((section, entry))


def _chosen(option: Option[object], given: list[tuple[Section, Entry]], report: Report) -> Entry:
    """The entry that counts among all that name this option."""
    own = [entry for section, entry in given if section == option.section]
    first = (own or [entry for _, entry in given])[0]
    if not own:
        belongs = WHERE[option.section]
        report.warn(first.place, f"{first.key}: belongs in the {belongs}; it is used all the same")
    for section, entry in given:
        if plain(entry.node) == plain(first.node):
            continue
        if section == option.section or not own:
            report.error(entry.place, f"{entry.key}: given twice, with another value before")
        else:
            report.warn(entry.place, f"{entry.key}: ignored: {WHERE[option.section]} has another")
    return first


def _asks_nothing(entry: Entry) -> bool:
    return entry.node.is_empty or entry.node.value in (False, "false")


def check_side(bag: Bag, role: Role) -> None:
    """Warn about options that only the other side has a use for."""
    other, this = ("client", "server") if role is Role.SERVER else ("server", "client")
    for option in OPTIONS:
        if option.side == other and bag.has(option) and not _asks_nothing(bag.found[option.name]):
            hint = _SERVER_HINTS.get(option.name, "") if role is Role.SERVER else ""
            bag.warn(option, f"has no use on a {this}{hint}")
