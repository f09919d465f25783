"""What `gateway -t` finds in the files of sources: what is malformed, whom nobody can be.

A file may have 100,000 entries, so each is read and parsed once, and only what is not
plainly inside the tunnel's networks becomes an address object with a sentence about it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

from gateway.config.model import Interface
from gateway.config.nets import cannot_be_a_peer
from gateway.protocol.packet import pack_address, unpack_address
from gateway.protocol.routes import network_of
from gateway.sources.errors import SourceError
from gateway.sources.files import read_file
from gateway.sources.parse import PROBLEMS_KEPT, Parsed, credentials_of_text, routes_of_text
from gateway.sources.tables import Prefixed

K = TypeVar("K")


@dataclass(frozen=True)
class Loaded(Generic[K]):
    """A file: its bytes, what they say, and how they are read. `error`: why it cannot be."""

    path: str
    raw: bytes
    parsed: Parsed[K]
    parse: Callable[[bytes, str], Parsed[K]]
    error: str = ""


class Files:
    """The files of one look."""

    def __init__(self) -> None:
        self.credentials: Callable[[str], Loaded[bytes]] = cache(_credentials)
        """By path: a16 to password."""
        self.routes: Callable[[str], Loaded[Prefixed]] = cache(_routes)
        """By path: prefix to gateway (a16)."""


def _credentials(path: str) -> Loaded[bytes]:
    return _load(path, credentials_of_text)


def _routes(path: str) -> Loaded[Prefixed]:
    return _load(path, routes_of_text)


def _load(path: str, parse: Callable[[bytes, str], Parsed[K]]) -> Loaded[K]:
    try:
        raw = read_file(path)
        return Loaded(path, raw, parse(raw, path), parse)
    except SourceError as error:
        return Loaded(path, b"", Parsed(), parse, str(error))


def credentials_lines(loaded: Loaded[bytes], nets: Sequence[Interface]) -> Iterator[str]:
    """A line for each entry that nobody can use."""
    holders = ((a16, a16) for a16 in loaded.parsed.table)
    return _lines(loaded, holders, nets, "the server's own address", lambda _: "")


def routes_lines(loaded: Loaded[Prefixed], nets: Sequence[Interface]) -> Iterator[str]:
    """A line for each entry whose gateway can be nobody."""
    holders = loaded.parsed.table.items()
    return _lines(loaded, holders, nets, "this host itself", lambda key: f"{network_of(*key)}: ")


def first(path: str, lines: Sequence[str]) -> Iterator[str]:
    """The first lines, and how many more there are."""
    yield from lines[:PROBLEMS_KEPT]
    if len(lines) > PROBLEMS_KEPT:
        yield f"{path}: and {len(lines) - PROBLEMS_KEPT:,} more like these"


def _lines(
    loaded: Loaded[K],
    holders: Iterable[tuple[K, bytes]],
    nets: Sequence[Interface],
    itself: str,
    label: Callable[[K], str],
) -> Iterator[str]:
    path, parsed = loaded.path, loaded.parsed
    if loaded.error:
        yield f"{path}: {loaded.error}"
        return
    yield from parsed.problems
    if parsed.problem_count > len(parsed.problems):
        yield f"{path}: and {parsed.problem_count - len(parsed.problems):,} more like these"
    own = {net.ip for net in nets}
    wrong = {}
    for key, a16 in _doubtful(holders, nets):
        address = unpack_address(a16)
        problem = f"is {itself}" if address in own else cannot_be_a_peer(address, nets)
        if problem:
            wrong[key] = f"{label(key)}{address} {problem}"
    yield from first(path, _placed(loaded, wrong))


def _doubtful(
    holders: Iterable[tuple[K, bytes]], nets: Sequence[Interface]
) -> Iterator[tuple[K, bytes]]:
    """All but those strictly between the first and last address of some net."""
    own = {pack_address(net.ip) for net in nets}
    rooms = [
        (pack_address(net.network.network_address), pack_address(net.network.broadcast_address))
        for net in nets
    ]
    for key, a16 in holders:
        if a16 in own or not any(low < a16 < high for low, high in rooms):
            yield key, a16


def _placed(loaded: Loaded[K], wrong: Mapping[K, str]) -> list[str]:
    """Each with the line where it stands first."""
    numbers: dict[K, int] = {}
    for number, line in enumerate(loaded.raw.split(b"\n") if wrong else (), 1):
        for key in loaded.parse(line, loaded.path).table:
            numbers.setdefault(key, number)
    return [f"{loaded.path}:{numbers[key]}: {text}" for key, text in wrong.items()]
