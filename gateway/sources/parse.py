"""GOST's text formats and Redis values into tables: pure, and safe with any bytes.

Credentials, one a line: `ADDRESS PASSWORD`. Tabs count as blanks, blanks around are cut,
and a line that begins with `#` is a comment; a `#` further on is part of the password.

Routes, one a line: `NETWORK GATEWAY`, with blanks or tabs between; `#` begins a comment
anywhere. A network without a length is one address.

What is malformed is left out and becomes a line with its place and the reason. The rest
stays. No such line shows a word of a credential, which may be a password out of place;
nor what is no gateway of a route: the file may be one of credentials.
"""

import io
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Generic, TypeVar

from gateway.config.model import PASSPHRASE_LIMIT, Credential, Route
from gateway.config.values import shown
from gateway.protocol.packet import V4_MAPPED, pack_address, pack_network
from gateway.protocol.routes import prefix_of
from gateway.sources.errors import SourceError
from gateway.sources.model import ENTRY_LIMIT
from gateway.sources.tables import Prefixed

K = TypeVar("K")

PROBLEMS_KEPT = 20
LINE_LIMIT = 2 * ENTRY_LIMIT
"""Lines of one text, comments and blank ones among them."""

_BOM = b"\xef\xbb\xbf"
_HASH = ord("#")

Values = dict[bytes, bytes] | list[bytes]
"""What a Redis key holds: a hash, or the items of a list or set."""

Line = tuple[str, bytes]
"""Where it stands, for messages, and its bytes."""


@dataclass(slots=True)
class Parsed(Generic[K]):
    """A table, and what was wrong: the first lines of it, and how many there are."""

    table: dict[K, bytes] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    problem_count: int = 0

    def complain(self, place: str, reason: str) -> None:
        """Count a problem; the first few are kept."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(f"{place}: {reason}")


def credentials_of_text(raw: bytes, label: str) -> Parsed[bytes]:
    """The credentials of a text: a16 to password. SourceError if it has too many lines."""
    parsed: Parsed[bytes] = Parsed()
    long: list[int] = []
    for number, line in _numbered(raw):
        words = line.replace(b"\t", b" ").strip()
        if not words or words[0] == _HASH:
            continue
        user, _, password = words.partition(b" ")
        if _add_credential(parsed, f"{label}:{number}", user, password.lstrip()):
            long.append(number)
    if long:
        parsed.complain(f"{label}:{long[0]}", _cut(len(long)))
    return parsed


def credentials_of_redis(values: Values, label: str) -> Parsed[bytes]:
    """The credentials of a hash: fields are addresses, values are passwords as they are."""
    if not isinstance(values, dict):
        raise SourceError("credentials are kept in a hash")
    parsed: Parsed[bytes] = Parsed()
    long = 0
    for number, (user, password) in enumerate(sorted(values.items()), 1):
        long += _add_credential(parsed, f"{label}: field {number}", user, password)
    if long:
        parsed.complain(label, _cut(long))
    return parsed


def credentials_of_config(credentials: Iterable[Credential]) -> Parsed[bytes]:
    """The inline credentials, which the configuration has checked."""
    parsed: Parsed[bytes] = Parsed()
    for credential in credentials:
        address = pack_address(ip_address(credential.username))
        parsed.table[address] = bytes(credential.password[:PASSPHRASE_LIMIT])
    return parsed


def _add_credential(parsed: Parsed[bytes], place: str, user: bytes, password: bytes) -> bool:
    """Whether the password was cut. What cannot be used is reported and left out."""
    address = address_of(user)
    if address is None:
        parsed.complain(place, "the username is not an IP address")
        return False
    if not password:
        parsed.complain(place, "there is no password: nobody could use it")
        return False
    if b"\0" in password:
        parsed.complain(place, "the password must not contain NUL characters")
        return False
    if address in parsed.table:
        parsed.complain(place, "the address was there before: this password counts")
    parsed.table[address] = password[:PASSPHRASE_LIMIT]
    return len(password) > PASSPHRASE_LIMIT


def _cut(count: int) -> str:
    many = "a password is" if count == 1 else f"the first of {count} passwords that are"
    return f"{many} longer than {PASSPHRASE_LIMIT} bytes: the first {PASSPHRASE_LIMIT} count"


def routes_of_text(raw: bytes, label: str) -> Parsed[Prefixed]:
    """The routes of a text: prefix to gateway. SourceError if it has too many lines."""
    return _routes((f"{label}:{number}", line) for number, line in _numbered(raw))


def routes_of_redis(values: Values, label: str) -> Parsed[Prefixed]:
    """The routes of a hash (network to gateway), or of items of one line of text each."""
    if isinstance(values, dict):
        fields = enumerate(sorted(values.items()), 1)
        return _routes((f"{label}: field {n}", key + b" " + value) for n, (key, value) in fields)
    return _routes((f"{label}: item {n}", line) for n, line in enumerate(values, 1))


def routes_of_config(routes: Iterable[Route]) -> Parsed[Prefixed]:
    """The inline routes that have a gateway; of one prefix the first counts."""
    parsed: Parsed[Prefixed] = Parsed()
    for route in routes:
        if route.gateway is not None:
            parsed.table.setdefault(pack_network(route.network), pack_address(route.gateway))
    return parsed


def _routes(lines: Iterable[Line]) -> Parsed[Prefixed]:
    parsed: Parsed[Prefixed] = Parsed()
    for place, line in lines:
        words = line.partition(b"#")[0].split()
        if words:
            _add_route(parsed, place, words)
    return parsed


def _add_route(parsed: Parsed[Prefixed], place: str, words: list[bytes]) -> None:
    if len(words) != 2:
        found = "no gateway" if len(words) == 1 else "too many words"
        parsed.complain(place, f"{_text(words[0])} has {found}: write NETWORK GATEWAY")
        return
    prefix = prefix_of_text(words[0])
    if prefix is None:
        parsed.complain(place, f"{_text(words[0])} is not a network: write ADDRESS/LENGTH")
        return
    gateway = address_of(words[1])
    if gateway is None:
        parsed.complain(place, f"the gateway of {_text(words[0])} is not an IP address")
        return
    if (prefix[0][:12] == V4_MAPPED) != (gateway[:12] == V4_MAPPED):
        parsed.complain(place, f"{_text(words[1])} is a gateway of the other IP version")
        return
    if parsed.table.setdefault(prefix, gateway) != gateway:
        parsed.complain(place, f"{_text(words[0])} was there before: the first gateway counts")


def address_of(word: bytes) -> bytes | None:
    """The a16 of an address in text; None if it is none. IPv4 inside IPv6 counts as IPv4."""
    try:
        text = word.decode("ascii")
        if ":" in text:
            return socket.inet_pton(socket.AF_INET6, text)
        return V4_MAPPED + socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        return None


def prefix_of_text(word: bytes) -> Prefixed | None:
    """(a16, length) of a network in text; None if it is none. Bits behind are cleared.

    Without a length it is one address. An IPv4 network inside IPv6 is none.
    """
    host, slash, digits = word.partition(b"/")
    address = address_of(host)
    if address is None:
        return None
    if not slash:
        return address, 128
    if not digits.isdigit() or len(digits) > 3:
        return None
    offset = 0 if b":" in host else 96
    length = int(digits) + offset
    if length > 128:
        return None
    prefix = prefix_of(address, length)
    if not offset and prefix[:12] == V4_MAPPED:
        return None
    return prefix, length


def _numbered(raw: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(io.BytesIO(raw.removeprefix(_BOM)), 1):
        if number > LINE_LIMIT:
            raise SourceError(f"it has more than {LINE_LIMIT:,} lines")
        yield number, line


def _text(word: bytes) -> str:
    return shown(word.decode("utf-8", "backslashreplace"))
