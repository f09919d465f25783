"""YAML and JSON texts into trees whose every value knows its line and column.

Plain scalars are read by the rules of YAML 1.2 as far as a gateway needs them: null,
true, false and whole numbers; everything else is text, so that `off`, `1.50` and
`0123` mean what they look like.

Tabs. YAML forbids them in indentation, and people paste them anyway. A leading tab
counts as four columns, with a warning, where the result is an indentation that is
open already; otherwise the line would mean whatever we guess, and it is an error.
Tabs between values, and inside quotes, brackets and block texts, are harmless.
The scanner of PyYAML is taught this, and says which indentations are open. Large texts
without tabs are read by `large.py`.
"""

import json
import re

import yaml
from yaml.error import Mark

from gateway.config.large import compose_large
from gateway.config.option import without_value
from gateway.config.tree import Entry, Node, Report, Scalar
from gateway.errors import ConfigError

TAB_COLUMNS = 4
REPEATED_LIMIT = 100_000
"""Values that the aliases of one text may repeat, together."""

_TAG = "tag:yaml.org,2002:"
_LINE_BREAKS = "\n\r\x85\u2028\u2029"
_NULL = re.compile(r"(~|null|Null|NULL|)")
_BOOL = re.compile(r"(true|True|TRUE|false|False|FALSE)")
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})", re.ASCII)


_ADVICE = (
    ("expected the node content, but found ':'",
     """: between brackets a value like ":8421" needs quotes"""),
    ("mapping values are not allowed here",
     ": a blank may be missing behind a ':' before, or quotes around a value with ': ' in it"),
    ("expected <block end>", ": the line is not indented as those around it"),
    ("found character", ": a value that begins with it needs quotes"),
    ("expected alphabetic or numeric character", ": a value that begins with * or & needs quotes"),
    ("found unexpected end of stream", ": a quote is opened and not closed"),
)  # fmt: skip
"""What to do about some problems of YAML, by how PyYAML's sentences begin."""


def parse_yaml(text: str, source: str, report: Report) -> Node:
    """The tree of one YAML document; an empty one is an empty mapping.

    Raises ConfigError with one line if the text is no YAML.
    """
    loader: _Loader | None = None
    try:
        root = compose_large(text, _Loader.yaml_implicit_resolvers)
        if root is None:
            loader = _Loader(text)
            root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        raise ConfigError(_unreadable(text, source, error)) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_broken(source, loader, error)) from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None
    except (ValueError, OverflowError):
        raise ConfigError(f"{source}: not YAML: an escape or a number is out of range") from None
    for line, column in loader.tab_warnings if loader is not None else ():
        report.warn(
            f"{source}:{line}:{column}",
            f"a tab in the indentation was read as {TAB_COLUMNS} columns: use spaces",
        )
    if root is None:
        return Node({}, source)
    try:
        return _Converter(source, loader, report).convert(root)
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None


def parse_json(text: str, source: str, report: Report) -> Node:
    """The tree of a JSON text. Raises ConfigError with one line if it is none.

    Once JSON's own parser has accepted it, a raw tab can only be white space, and the
    text is YAML's flow style: PyYAML then gives the places.
    """
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{source}:{error.lineno}:{error.colno}"
        raise ConfigError(f"{where}: not JSON: {error.msg[:1].lower()}{error.msg[1:]}") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None
    except ValueError:
        raise ConfigError(f"{source}: not JSON: a number is out of range") from None
    return parse_yaml(text.replace("\t", " "), source, report)


class _TabError(yaml.MarkedYAMLError):
    """A leading tab whose column is no open indentation."""


class _Loader(yaml.SafeLoader):
    """PyYAML's loader with our rules for tabs and plain scalars."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        self.tabs: dict[int, tuple[int, int]] = {}
        """Line to (column of the first leading tab, number of them), all from 0."""
        self.tab_warnings: dict[tuple[int, int], None] = {}
        """Line and column, from 1, of those that were taken; every line may have one."""
        super().__init__(text)

    def scan_to_next_token(self) -> None:
        """As PyYAML's, but tabs are white space too, and leading ones are wide."""
        if self.index == 0 and self.peek() == "\ufeff":
            self.forward()
        while True:
            self._skip_blanks()
            if self.peek() == "#":
                while self.peek() not in "\0" + _LINE_BREAKS:
                    self.forward()
            if not self.scan_line_break():  # type: ignore[no-untyped-call]
                return
            if not self.flow_level:
                self.allow_simple_key = True

    def _skip_blanks(self) -> None:
        leading: bool | None = None
        while (char := self.peek()) in " \t":
            if char == "\t" and leading is None:
                leading = self._only_blanks_before()
            if char == "\t" and leading:
                first, count = self.tabs.get(self.line, (self.column, 0))
                self.tabs[self.line] = (first, count + 1)
                self.column += TAB_COLUMNS - 1
            self.forward()

    def _only_blanks_before(self) -> bool:
        at = self.pointer - 1
        while at >= 0 and self.buffer[at] not in _LINE_BREAKS:
            if self.buffer[at] not in " \ufeff":
                return False
            at -= 1
        return True

    def unwind_indent(self, column: int) -> None:
        """Called at every token, before its indentation closes what is deeper."""
        if column > 0 and self.line in self.tabs and not self.flow_level and self.peek() != "\0":
            self._check_tab(column)
        super().unwind_indent(column)

    def _check_tab(self, column: int) -> None:
        first, _ = self.tabs[self.line]
        where = (self.line + 1, first + 1)
        if where in self.tab_warnings or column != self._indentation_width():
            return
        if column not in (*self.indents, self.indent):
            raise _TabError(problem="tab", problem_mark=self.get_mark())
        self.tab_warnings[where] = None

    def _indentation_width(self) -> int:
        """Columns of the blanks that begin this line."""
        at = self.pointer
        while at > 0 and self.buffer[at - 1] not in _LINE_BREAKS:
            at -= 1
        width = 0
        while self.buffer[at] in " \t":
            width += TAB_COLUMNS if self.buffer[at] == "\t" else 1
            at += 1
        return width


for _name, _pattern, _first in (
    ("null", _NULL, ["~", "n", "N", ""]),
    ("bool", _BOOL, list("tTfF")),
    ("int", _INT, list("-+0123456789")),
):
    _Loader.add_implicit_resolver(
        _TAG + _name, re.compile(rf"(?:{_pattern.pattern})\Z", re.ASCII), _first
    )


class _Converter:
    """PyYAML's nodes into ours. A list or mapping used again by an alias is shared.

    Who reads the tree comes by again for each use, so what aliases repeat is bounded: a few
    lines of lists that name the one before twice would be more values than there is memory.
    """

    def __init__(self, source: str, loader: _Loader | None, report: Report) -> None:
        self.source = source
        self.loader = loader
        self.report = report
        self.done: dict[int, Node] = {}
        self.open: set[int] = set()
        self.values = 0
        """As if all were written out."""
        self.sizes: dict[int, int] = {}
        """Of each list and mapping of `done`, in values."""
        self.repeated = 0

    def convert(self, node: yaml.Node) -> Node:
        """Raises ConfigError for an alias inside of what it stands for, and for too many."""
        place = _place(self.source, self.loader, node.start_mark)
        self.values += 1
        if isinstance(node, yaml.ScalarNode):
            return Node(self.scalar(node, place), place)
        if id(node) in self.done:
            return self.again(node, place)
        if id(node) in self.open:
            raise ConfigError(f"{place}: an alias refers to what it is part of")
        self.open.add(id(node))
        before = self.values
        if isinstance(node, yaml.MappingNode):
            result = Node(self.entries(node), place)
        else:
            result = Node(tuple(self.convert(item) for item in node.value), place)
        self.open.discard(id(node))
        self.done[id(node)] = result
        self.sizes[id(node)] = self.values - before
        return result

    def again(self, node: yaml.Node, place: str) -> Node:
        size = self.sizes[id(node)]
        self.values += size
        self.repeated += size
        if self.repeated > REPEATED_LIMIT:
            raise ConfigError(
                f"{place}: aliases repeat this and others to more than {REPEATED_LIMIT:,} values:"
                " name fewer, or write them out"
            )
        return self.done[id(node)]

    def entries(self, node: yaml.MappingNode) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            place = _place(self.source, self.loader, key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self.report.error(place, "a key must be a plain word")
                continue
            value = self.convert(value_node)
            if key_node.value == "<<" and not key_node.style:  # libyaml has an empty one
                merged.append(value)
                continue
            self.add(found, Entry(_repaired(key_node.value), place, value))
        for value in merged:
            self.merge(found, value)
        return found

    def add(self, found: dict[str, Entry], entry: Entry) -> None:
        earlier = found.get(entry.key.lower())
        if earlier is None:
            found[entry.key.lower()] = entry
            return
        line = earlier.place.removeprefix(self.source + ":")
        self.report.error(entry.place, f"{without_value(entry.key)}: given twice, first at {line}")

    def merge(self, found: dict[str, Entry], value: Node) -> None:
        """YAML's `<<`: entries that are not there yet come from other mappings."""
        for source in value.value if isinstance(value.value, tuple) else (value,):
            if not isinstance(source.value, dict):
                self.report.error(source.place, "<<: expected a mapping or a list of mappings")
                continue
            for key, entry in source.value.items():
                found.setdefault(key, entry)

    def scalar(self, node: yaml.Node, place: str) -> Scalar:
        word, kind = str(node.value), str(node.tag).removeprefix(_TAG)
        if kind == "null":
            return None
        if kind == "bool" and _BOOL.fullmatch(word):
            return word.lower() == "true"
        if kind == "int" and _INT.fullmatch(word):
            return int(word)
        if kind not in ("str", "bool", "int", "float", "!"):
            self.report.error(place, f"the tag {node.tag} has no meaning here")
        return _repaired(word)


def _repaired(word: str) -> str:
    """Join the surrogate pairs of JSON's escapes; lone ones become U+FFFD."""
    if word.isascii() or not any("\ud800" <= c <= "\udfff" for c in word):
        return word
    return word.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _place(source: str, loader: _Loader | None, mark: Mark | None) -> str:
    if mark is None:
        return source
    column = mark.column
    if loader is not None and mark.line in loader.tabs:
        first, count = loader.tabs[mark.line]
        if column > first:
            column -= count * (TAB_COLUMNS - 1)
    return f"{source}:{mark.line + 1}:{column + 1}"


def _broken(source: str, loader: _Loader | None, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place = _place(source, loader, mark)
    tabs = loader.tabs.get(mark.line) if loader is not None and mark is not None else None
    if mark is None or tabs is None:
        problem = error.problem or error.context or "it cannot be read"
        if problem.startswith("but "):
            problem = f"{error.context} {problem}"
        advice = next((advice for start, advice in _ADVICE if problem.startswith(start)), "")
        return f"{place}: not YAML: {' '.join(problem.split())}{advice}"
    place = f"{source}:{mark.line + 1}:{tabs[0] + 1}"
    if isinstance(error, _TabError):
        return (
            f"{place}: a tab in the indentation counts as {TAB_COLUMNS} columns, and column "
            f"{mark.column + 1} is no indentation that is open here: use spaces"
        )
    return f"{place}: not YAML: {error.problem}; the line begins with a tab: use spaces"


def _unreadable(text: str, source: str, error: yaml.reader.ReaderError) -> str:
    before = text[: error.position]
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    code = error.character if isinstance(error.character, int) else ord(error.character[:1] or "\0")
    return f"{source}:{line}:{column}: not YAML: the character U+{code:04X} is not allowed"
