"""What the user said, before it means anything: values that know where they stand.

A URL, a YAML file and a JSON text all become the same tree, in the shape of GOST's
configuration file. Keys are compared without regard to case, and kept as written.
A **place** is text for messages: `-L #1` or `gateway.yaml:12:9`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from gateway.errors import ConfigError

UNSUPPORTED = "not supported by this program"
_REMEDY = "or run the rest with --ignore-unsupported"

Scalar = str | int | bool | None
Plain = Scalar | list["Plain"] | dict[str, "Plain"]


class Node(msgspec.Struct, frozen=True):
    """A scalar, a list or a mapping (keys in lower case), and its place."""

    value: "Scalar | tuple[Node, ...] | dict[str, Entry]"
    place: str

    @property
    def is_empty(self) -> bool:
        """Nothing was said: null, an empty text, list or mapping."""
        return self.value is None or self.value in ("", (), {})


class Entry(msgspec.Struct, frozen=True):
    """One key of a mapping: as it was written, where, and what it holds."""

    key: str
    place: str
    node: Node


class Lines(list[str]):
    """Lines in the order they came, each once; there may be one for each of many thousands."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[str] = set()

    def note(self, *lines: str) -> None:
        """Add those that are not there yet."""
        for line in map(one_line, lines):
            if line not in self._known:
                self._known.add(line)
                self.append(line)


@dataclass(slots=True)
class Report:
    """Every problem found so far: one line each, the place first.

    What we know and do not do is kept apart, so that it can be told in one go, or be
    ignored with a warning each (`ignore_unsupported`).
    """

    errors: Lines = field(default_factory=Lines)
    warnings: Lines = field(default_factory=Lines)
    unsupported: Lines = field(default_factory=Lines)
    ignore_unsupported: bool = False
    origins: dict[tuple[str, ...], str] = field(default_factory=dict)
    """Where what is in effect was said: (place of a service, option) and the like."""

    unread: set[tuple[str, str]] = field(default_factory=set)
    """Options of URLs whose values could not be read: the place, and the key in lower case."""

    def error(self, place: str, text: str) -> None:
        """Note what cannot be done; the same line is noted once."""
        self.errors.note(f"{place}: {text}")

    def warn(self, place: str, text: str) -> None:
        """Note what works and is worth a look; the same line is noted once."""
        self.warnings.note(f"{place}: {text}")

    def refuse(self, place: str, name: str) -> None:
        """Note something of GOST's that this program does not do."""
        if self.ignore_unsupported:
            self.warn(place, f"{name}: {UNSUPPORTED}: ignored")
        else:
            self.unsupported.note(f"{place}: {name}")

    @property
    def failed(self) -> bool:
        """Whether there is anything that must be told instead of a start."""
        return bool(self.errors or self.unsupported)

    def take(self, error: ConfigError) -> None:
        """Note the problems of something that could not be read at all."""
        self.errors.note(*error.problems)

    def raise_errors(self) -> None:
        """Raise `ConfigError` with all errors, if there is one."""
        if self.failed:
            raise ConfigError(*self.errors, *self._refusal())

    def _refusal(self) -> list[str]:
        """All that is not supported: one line, or a list under a line."""
        if len(self.unsupported) == 1:
            return [f"{self.unsupported[0]}: {UNSUPPORTED}: leave it out, {_REMEDY}"]
        if not self.unsupported:
            return []
        head = f"{len(self.unsupported)} things here are {UNSUPPORTED}: leave them out, {_REMEDY}"
        return [head, *(f"  {line}" for line in self.unsupported)]


def one_line(text: str) -> str:
    """Text in which line breaks and other control characters are written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def entry(key: str, value: Scalar, place: str) -> Entry:
    """A scalar entry whose key and value share one place."""
    return Entry(key, place, Node(value, place))


def mapping(entries: Iterable[Entry], place: str) -> Node:
    """A mapping node. The caller has looked for duplicates."""
    return Node({e.key.lower(): e for e in entries}, place)


def plain(node: Node) -> Plain:
    """The tree as bare Python values, with the keys as they were written."""
    if isinstance(node.value, dict):
        return {e.key: plain(e.node) for e in node.value.values()}
    if isinstance(node.value, tuple):
        return [plain(item) for item in node.value]
    return node.value


def mapping_of(node: Node, name: str, report: Report) -> dict[str, Entry]:
    """The entries of a mapping; nothing and a report if it is something else."""
    if isinstance(node.value, dict):
        return node.value
    if not node.is_empty:
        report.error(node.place, f"{name}: expected a mapping of keys to values here")
    return {}


def items_of(node: Node, name: str, report: Report) -> tuple[Node, ...]:
    """The items of a list; nothing and a report if it is something else."""
    if isinstance(node.value, tuple):
        return node.value
    if not node.is_empty:
        report.error(node.place, f"{name}: expected a list here (lines that begin with '- ')")
    return ()
