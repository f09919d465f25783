"""Go-style values: what a text means as a boolean, a number or a duration.

Each parser takes one scalar and returns its value or raises `BadValueError`, whose text
follows the option's name in a message. They read what GOST reads (its metadata
package; Go's strconv.ParseBool and time.ParseDuration), with one difference: what
GOST takes for "false" or "not there" because it cannot read it, is an error here.
"""

import json
import re
from collections.abc import Callable

from gateway.config.tree import Scalar, one_line

SHOWN_LIMIT = 60
"""Characters of a user's value in a message."""

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_INTEGER = re.compile(r"[+-]?0{0,99}[0-9]{1,18}", re.ASCII)
_DURATION_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNIT_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_DURATION_LIMIT = 2**63 / 1e9


class BadValueError(ValueError):
    """Why a value is none, as the rest of a sentence: `"x" is not ...: write ...`."""


def shown(value: Scalar) -> str:
    """A user's value as it stands in a message: quoted, on one line, not too long."""
    if not isinstance(value, str):
        return text(value)
    cut = value if len(value) <= SHOWN_LIMIT else value[: SHOWN_LIMIT - 3] + "..."
    return one_line(json.dumps(cut, ensure_ascii=False))


def text(value: Scalar) -> str:
    """Numbers and booleans count as the text Go would print for them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def boolean(value: Scalar) -> bool:
    """Go's ParseBool; a number is true unless it is 0."""
    if isinstance(value, int):
        return bool(value)
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise BadValueError(f"{shown(value)} is not a boolean: write true or false")


def switch(value: Scalar) -> bool:
    """A boolean that may also be written on or off."""
    if isinstance(value, str) and value.lower() in ("on", "off"):
        return value.lower() == "on"
    try:
        return boolean(value)
    except BadValueError:
        raise BadValueError(f"{shown(value)} is not a switch: write on or off") from None


def integer(value: Scalar) -> int:
    """A decimal number, as a number or a text."""
    if isinstance(value, int):
        return int(value)
    if value is not None and _INTEGER.fullmatch(value):
        return int(value)
    raise BadValueError(f"{shown(value)} is not a whole number")


def ranged(low: int, high: int, why: str = "") -> Callable[[Scalar], int]:
    """A parser of whole numbers from `low` to `high`."""

    def parse(value: Scalar) -> int:
        expected = f"write a whole number from {low} to {high}{why}"
        try:
            number = integer(value)
        except BadValueError as error:
            raise BadValueError(f"{error}: {expected}") from None
        if not low <= number <= high:
            raise BadValueError(f"{shown(value)} is out of range: {expected}")
        return number

    return parse


def choice(*words: str) -> Callable[[Scalar], str]:
    """A parser of a closed list of words; true and false stand for on and off."""

    def parse(value: Scalar) -> str:
        word = {"true": "on", "false": "off"}.get(text(value).lower(), text(value).lower())
        if word not in words:
            raise BadValueError(f"{shown(value)} is none of {', '.join(words)}")
        return word

    return parse


def duration(value: Scalar) -> float:
    """Seconds. Go's duration syntax, else a whole number of seconds."""
    if isinstance(value, bool):
        raise BadValueError(f"{shown(value)} is not a duration: write for example 10s or 1m30s")
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        seconds = _go_duration(value)
    else:
        seconds = float(integer(value))
    if abs(seconds) >= _DURATION_LIMIT:
        raise BadValueError(f"{shown(value)} is too long a duration: write for example 10s")
    return seconds


def struct_duration(value: Scalar) -> float:
    """Seconds, read as Go reads a field of a struct: a text has a unit, a number is ns."""
    if isinstance(value, bool):
        raise BadValueError(f"{shown(value)} is not a duration: write for example 10s or 1m30s")
    if isinstance(value, int):
        seconds = value / 1e9
    elif value in ("0", "+0", "-0"):
        seconds = 0.0
    else:
        seconds = _go_duration(text(value))
    if abs(seconds) >= _DURATION_LIMIT:
        raise BadValueError(f"{shown(value)} is too long a duration: write for example 10s")
    return seconds


def _go_duration(value: str) -> float:
    sign = -1.0 if value.startswith("-") else 1.0
    rest = value[1:] if value[:1] in ("-", "+") else value
    seconds, at = 0.0, 0
    while part := _DURATION_PART.match(rest, at):
        seconds += float(part[1]) * _UNIT_SECONDS[part[2]]
        at = part.end()
    if at == 0 or at != len(rest):
        raise BadValueError(f"{shown(value)} is not a duration: write for example 10s or 1m30s")
    return sign * round(seconds, 9)


def printable(value: Scalar) -> str:
    """Text without line breaks and other control characters; not empty."""
    word = text(value)
    if not word:
        raise BadValueError("has no value: write one, or leave it out")
    if not word.isprintable():
        raise BadValueError(f"{shown(word)} has characters that cannot be printed")
    return word
