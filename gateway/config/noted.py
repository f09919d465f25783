"""Documents whose values say where they come from, as YAML with comments.

    mtu: 1300                 # -L #1
    # name: the kernel's choice  # default

A line that is all comment tells what is decided later on, or what nothing was said about.
The text can be read again as a configuration, comments being nothing to YAML.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec
import yaml

from gateway.config.tree import Plain, Scalar, one_line

DEFAULT = "default"
_WIDEST = 56
"""Columns before a comment; where a line is longer its comment follows it."""


class Noted(msgspec.Struct, frozen=True):
    """A value and where it comes from. `only_said`: it stands in a comment alone."""

    value: Plain
    note: str
    only_said: bool = False


Origins = Mapping[tuple[str, ...], str]
"""Where what is in effect was said, as `Report` has it."""

Document = Noted | Scalar | Sequence["Document"] | Mapping[str, "Document"]


def bare(document: Document) -> Plain:
    """The document without its notes."""
    if isinstance(document, Noted):
        return document.value
    if isinstance(document, Mapping):
        return {key: bare(value) for key, value in document.items() if not _said(value)}
    if isinstance(document, Sequence) and not isinstance(document, str):
        return [bare(item) for item in document]
    return document


def annotated(document: Document) -> str:
    """The document as YAML, each note in a comment behind its value. Pure ASCII."""
    lines = list(_lines(document, ""))
    width = max((len(line) for line, note in lines if note and len(line) <= _WIDEST), default=0)
    return "".join(
        f"{line:<{width}}  # {_comment(note)}\n" if note else f"{line}\n" for line, note in lines
    )


def _comment(note: str) -> str:
    return one_line(note).encode("ascii", "backslashreplace").decode()


def _said(document: Document) -> bool:
    return isinstance(document, Noted) and document.only_said


def _lines(document: Document, indent: str) -> Iterator[tuple[str, str]]:
    """Lines and their notes."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            yield from _entry(key, value, indent)
    elif isinstance(document, list):
        for item in document:
            yield from _item(item, indent)


def _entry(key: str, value: Document, indent: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Noted):
        mark = "# " if value.only_said else ""
        text = str(value.value) if value.only_said else _scalar(value.value)
        yield f"{indent}{mark}{key}: {text}", value.note
    elif isinstance(value, Mapping | list) and value:
        yield f"{indent}{key}:", ""
        yield from _lines(value, indent + "  " if isinstance(value, Mapping) else indent)
    else:
        yield f"{indent}{key}: {_scalar(bare(value))}", ""


def _item(item: Document, indent: str) -> Iterator[tuple[str, str]]:
    if not isinstance(item, Mapping):
        note = item.note if isinstance(item, Noted) else ""
        yield f"{indent}- {_scalar(bare(item))}", note
        return
    mark = "- "
    for line, note in _lines(item, indent + "  "):
        yield f"{indent}{mark}{line[len(indent) + 2 :]}", note
        mark = "  "


class _Dumper(yaml.SafeDumper):
    """Writes a text with line breaks on one line, with escapes."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = None if data.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style)


_Dumper.add_representer(str, _Dumper.represent_str)


_PLAIN = re.compile(
    r"\d+(\.\d+){3}(/\d+)?|[\da-f]+(::?[\da-f]+)*(::)?/\d+|(?=[\d:]*[a-f])[\da-f]+(::?[\da-f]+)+",
    re.ASCII,
)
"""Addresses and networks that YAML cannot take for anything else."""

_WIDTH = 10**6
"""Columns from which on PyYAML breaks a list in brackets."""


def _scalar(value: Plain) -> str:
    """One value on one line; a list in brackets."""
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else _word(value)
    return _addresses(value) if isinstance(value, list) else _dumped(value)


def _addresses(values: list[Plain]) -> str:
    """As PyYAML writes them, which takes its time for each of many thousands of lists.

    In brackets it quotes whatever has a colon.
    """
    words = [value for value in values if isinstance(value, str) and _PLAIN.fullmatch(value)]
    if len(words) == len(values):
        text = ", ".join(f"'{word}'" if ":" in word else word for word in words)
        if len(text) < _WIDTH - 2:
            return f"[{text}]"
    return _dumped(values)


@lru_cache(maxsize=1024)
def _word(value: str) -> str:
    return _dumped(value)


def _dumped(value: Plain) -> str:
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=_WIDTH)
    return str(text).removesuffix("\n").removesuffix("\n...")
