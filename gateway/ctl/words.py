"""Numbers and foreign text as people read them, in Unicode or in ASCII."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

# En dash, em dash, minus, right arrow, ellipsis, typographic apostrophe.
_ASCII = str.maketrans(
    {"\u2013": "-", "\u2014": "-", "\u2212": "-", "\u2192": "->", "\u2026": "...", "\u2019": "'"}
)


class Words(NamedTuple):
    """How to write for one reader. `ascii_only` where the terminal promises nothing more."""

    ascii_only: bool = False

    @property
    def unknown(self) -> str:
        """What nobody can know."""
        return "-" if self.ascii_only else "\N{EN DASH}"

    def known(self, value: float | None, write: Callable[[float], str]) -> str:
        """The value as `write` has it, or the sign for what nobody can know."""
        return self.unknown if value is None else write(value)

    def text(self, text: str) -> str:
        """Text from elsewhere, on one line and without anything a terminal obeys."""
        if not text.isprintable():
            text = "".join(c if c.isprintable() else _escaped(c) for c in text)
        if not self.ascii_only or text.isascii():
            return text
        return text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")

    def bar(self, part: int, whole: int, cells: int = 10) -> str:
        """A bar of `cells` and the share in percent. Something is never shown as nothing."""
        share = min(max(part / whole, 0.0), 1.0) if whole > 0 else 0.0
        filled = min(cells, round(share * cells) or (1 if share > 0 else 0))
        full, free = ("#", ".") if self.ascii_only else ("█", "░")
        return f"{full * filled}{free * (cells - filled)} {percent(share * 100):>5}"


def duration(seconds: float) -> str:
    """Two units at most: `31ms`, `4.2s`, `26s`, `4m05s`, `3h12m`, `12d04h`."""
    if seconds < 0:
        return "-" + duration(-seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def milliseconds(number: float) -> str:
    """`0.42ms`, `23.5ms`, `120ms`."""
    return f"{_digits(number, exact=False)}ms"


def count(number: int) -> str:
    """Exact to 99,999, then three digits and a unit: `1.23M`."""
    if abs(number) < 100_000:
        return f"{number:,}"
    return _scaled(number, ("", "k", "M", "G", "T", "P", "E"))


def octets(number: int) -> str:
    """Bytes in decimal units, as links are measured: `1.41GB`."""
    return _scaled(number, ("B", "kB", "MB", "GB", "TB", "PB", "EB"))


def percent(share: float) -> str:
    """`0%`, `<0.1%`, `0.4%`, `37%`."""
    if 0 < share < 0.05:
        return "<0.1%"
    return f"{share:.1f}%" if 0 < share < 9.95 else f"{share:.0f}%"


def cpus(numbers: Iterable[int]) -> str:
    """CPU numbers with runs joined: `0-3,6`."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def _scaled(number: int, units: tuple[str, ...]) -> str:
    scaled = float(number)
    for unit in units[:-1]:
        if abs(scaled) < 999.5:
            return f"{_digits(scaled, exact=unit == units[0])}{unit}"
        scaled /= 1000
    return f"{_digits(scaled, exact=False)}{units[-1]}"


def _digits(scaled: float, *, exact: bool) -> str:
    if exact or abs(scaled) >= 99.95:
        return f"{scaled:.0f}"
    return f"{scaled:.1f}" if abs(scaled) >= 9.995 else f"{scaled:.2f}"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
