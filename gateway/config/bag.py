"""The options of one service, gathered from wherever the user put them.

Each option has its section (`options`). GOST reads it there only; we take it from
another section too, with a warning. A value in its own section beats a misplaced one:
GOST's own converter writes every option into all three sections.
"""

from typing import TypeVar

from gateway.config import shape
from gateway.config.options import (
    OPTIONS,
    SECTIONS,
    Option,
    Section,
    find_option,
    nearest_option,
    used_options,
)
from gateway.config.tree import Entry, Node, Report, Scalar, mapping_of, plain
from gateway.config.values import BadValueError
from gateway.protocol.forwarding import Role

T = TypeVar("T")

_SERVER_HINTS = {"passphrase": ": a server asks for passphrases by handler.auther or handler.auth"}


class Bag:
    """The options that were given. What cannot be read is reported and counts as absent."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.found: dict[str, Entry] = {}
        self.misspelt: set[str] = set()
        """Options that an unknown one was probably meant to be."""

    def has(self, option: Option[object]) -> bool:
        """Whether the option was given."""
        return option.name in self.found

    def place(self, option: Option[object]) -> str:
        """Where a given option stands."""
        return self.found[option.name].place

    def complain(self, option: Option[object], text: str) -> None:
        """Report an error of a given option."""
        found = self.found[option.name]
        self.report.error(found.node.place, f"{found.key}: {text}")

    def warn(self, option: Option[object], text: str) -> None:
        """Report a warning about a given option."""
        found = self.found[option.name]
        self.report.warn(found.node.place, f"{found.key}: {text}")

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
        values = [self._parse(option, found.key, node) for node in _items(found.node)]
        return tuple(value for value in values if value is not None)

    def _parse(self, option: Option[T], key: str, node: Node) -> T | None:
        scalar = node.value
        if isinstance(scalar, dict | tuple):
            self.report.error(node.place, f"{key}: expected one value: {option.kind}")
            return None
        try:
            return option.parse(scalar)
        except BadValueError as error:
            self.report.error(node.place, f"{key}: {error}")
            return None


def _items(node: Node) -> list[Node]:
    value: Scalar | tuple[Node, ...] | dict[str, Entry] = node.value
    if isinstance(value, tuple):
        return [item for item in value if not item.is_empty]
    if not isinstance(value, str):
        return [node]
    return [Node(word, node.place) for word in map(str.strip, value.split(",")) if word]


def gather(service: dict[str, Entry], report: Report) -> Bag:
    """The options of a service mapping, from its three `metadata`."""
    bag = Bag(report)
    given: dict[str, list[tuple[Section, Entry]]] = {}
    for section in SECTIONS:
        for entry in _metadata(service, section, report).values():
            option = find_option(entry.key)
            if option is None:
                bag.misspelt.add(_unknown(entry, report))
            elif option.standing != "used":
                _tell_once(given, option, section, entry, report)
            elif entry.node.value is not None:
                given.setdefault(option.name, []).append((section, entry))
    for option in used_options():
        if option.name in given:
            bag.found[option.name] = _chosen(option, given[option.name], report)
    return bag


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
    near = nearest_option(entry.key)
    names = ", ".join(option.name for option in used_options())
    hint = f"did you mean {near}?" if near else f"there are {names}"
    report.error(entry.place, f"unknown option {entry.key}: {hint}")
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
        belongs = f"{option.section}.metadata" if option.section != "service" else "metadata"
        report.warn(first.place, f"{first.key}: belongs in the {belongs}; it is used all the same")
    for section, entry in given:
        if plain(entry.node) == plain(first.node):
            continue
        if section == option.section or not own:
            report.error(entry.place, f"{entry.key}: given twice, with another value before")
        else:
            report.warn(entry.place, f"{entry.key}: ignored: {option.section}.metadata has another")
    return first


def check_side(bag: Bag, role: Role) -> None:
    """Warn about options that only the other side has a use for."""
    other, this = ("client", "server") if role is Role.SERVER else ("server", "client")
    for option in OPTIONS:
        if option.side == other and bag.has(option):
            hint = _SERVER_HINTS.get(option.name, "") if role is Role.SERVER else ""
            bag.warn(option, f"has no use on a {this}{hint}")
