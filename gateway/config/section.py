"""A mapping whose values are scalars."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

from gateway.config.option import without_value
from gateway.config.tree import Entry, Report, Scalar
from gateway.config.values import BadValueError, text

T = TypeVar("T")

_SMALL = 1_000_000
"""Nanoseconds; whoever writes fewer as a bare number means seconds."""


@dataclass(frozen=True, slots=True)
class Values:
    """One mapping whose values are scalars. A bad one is reported and counts as missing."""

    entries: dict[str, Entry]
    where: str
    place: str
    report: Report

    def get(self, key: str, parse: Callable[[Scalar], T], default: T) -> T:
        """The value of a key (in lower case), or the default."""
        entry = self.entries.get(key)
        if entry is None or entry.node.is_empty:
            return default
        value = entry.node.value
        name = f"{self.where}.{without_value(entry.key)}"
        if isinstance(value, dict | tuple):
            self.report.error(entry.node.place, f"{name}: expected one value")
            return default
        try:
            return parse(value)
        except BadValueError as error:
            self.report.error(entry.node.place, f"{name}: {error}")
            return default

    def seconds(self, key: str, parse: Callable[[Scalar], float], default: T) -> float | T:
        """A duration of Go's structs, with a warning where nobody can mean its nanoseconds."""
        entry = self.entries.get(key)
        found: float | T = self.get(key, cast("Callable[[Scalar], T]", parse), default)
        value = entry.node.value if entry is not None else None
        if entry is not None and type(value) is int and 0 < value < _SMALL:
            name = f"{self.where}.{without_value(entry.key)}"
            advice = f"{value} is that many nanoseconds, as in GOST: write for example {value}s"
            self.report.warn(entry.node.place, f"{name}: {advice}")
        return found

    def needed(self, key: str, parse: Callable[[Scalar], T], advice: str) -> T | None:
        """The value of a key that must be there; None, with a report, if it is not."""
        entry = self.entries.get(key)
        if entry is None or entry.node.is_empty:
            self.report.error(self.place, f"{self.where}.{key}: missing: {advice}")
            return None
        return self.get(key, cast("Callable[[Scalar], T | None]", parse), None)

    def secret(self, key: str) -> bytes:
        """A text as bytes; empty if it is not there."""
        return self.get(key, text, "").encode()
