"""What an option is, and how an unknown word is matched with a known one."""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from gateway.config import values
from gateway.config.tree import Scalar

T_co = TypeVar("T_co", covariant=True)

Section = Literal["handler", "listener", "service", "selector"]
Side = Literal["both", "server", "client"]
Standing = Literal["used", "useless", "later", "foreign"]
"""useless: known, without a meaning here; later: not supported yet; foreign: not ours."""

WHERE: dict[Section, str] = {
    "handler": "handler.metadata",
    "listener": "listener.metadata",
    "service": "metadata",
    "selector": "forwarder.selector",
}
"""Where a file has the options of a section."""


SECRETS = ("passphrase", "token", "password", "cipherkey")
"""Names of options and keys whose values are secrets, in lower case."""

_SECRET = re.compile(
    rf"(?:[^.:=]*\.)*?(?:{'|'.join(SECRETS)}|(?:auth|pass|key)(?![a-z]))", re.IGNORECASE
)
_SIGN = re.compile("[:=]")


@dataclass(frozen=True, slots=True)
class Option(Generic[T_co]):
    """One option. `kind`, `default` and `help` are for readers.

    Of a `whole` one a text is one value, whatever commas it has.
    """

    name: str
    section: Section
    parse: Callable[[Scalar], T_co]
    kind: str
    help: str
    default: str = "none"
    aliases: tuple[str, ...] = ()
    many: bool = False
    whole: bool = False
    side: Side = "both"
    secret: bool = False
    standing: Standing = "used"


def stranger(
    standing: Standing, name: str, help_: str = "", aliases: tuple[str, ...] = ()
) -> Option[str]:
    """An option that is known and not used."""
    return Option(name, "service", values.text, "", help_, aliases=aliases, standing=standing)


def nearest(word: str, names: list[str]) -> str:
    """The name most like a word, without regard to case; "" if none is like it."""
    spelled = {name.lower(): name for name in names}
    found = difflib.get_close_matches(word.lower(), spelled, n=1)
    return spelled[found[0]] if found else ""


def without_value(key: str) -> str:
    """A key for messages: a secret may follow a ':', a '=', or the name of one that is secret."""
    before, sign = name_and_sign(key)
    secret = _SECRET.match(before)
    if secret is not None and secret.end() < len(before):
        return f"{secret[0]}..."
    return f"{before}{sign}..." if sign else key


def name_and_sign(key: str) -> tuple[str, str]:
    """What stands before the first ':' or '=' of a key, and which it is; "" if there is none."""
    found = _SIGN.search(key)
    return (key[: found.start()], found[0]) if found else (key, "")


def meant(kind: str) -> str:
    """The kind of service a word is like; "" if it is none of ours, or a word of GOST's."""
    return "" if kind == "tungo" else nearest(kind, ["tun", "relay"])
