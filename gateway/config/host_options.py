"""Options of what is around a service, and of which target is used."""

from gateway.config import addresses, values
from gateway.config.model import Address, Strategy
from gateway.config.option import Option, nearest
from gateway.config.tree import Scalar

MARK_LIMIT = (1 << 32) - 1

STRATEGIES: dict[str, Strategy] = {
    "round": "round",
    "rr": "round",
    "random": "random",
    "rand": "random",
    "fifo": "fifo",
    "ha": "fifo",
    "hash": "hash",
    "parallel": "parallel",
    "lowestlatency": "lowestlatency",
    "lowest": "lowestlatency",
    "ll": "lowestlatency",
}
"""GOST's words. It takes any other for `round`."""


def interface(value: Scalar) -> str:
    """A device. GOST takes an address too, or several of either."""
    word = values.printable(value)
    if "," in word or addresses.is_literal(word):
        raise values.BadValueError(f"{values.shown(value)} is no device: write the name of one")
    return addresses.device(word)


def namespace(value: Scalar) -> str:
    """A network namespace: a name under /run/netns, or an absolute path."""
    word = values.printable(value)
    if word.startswith("/"):
        return word
    if "/" in word or word in (".", ".."):
        advice = "write a name under /run/netns, or a path from / on"
        raise values.BadValueError(f"{values.shown(value)} is no network namespace: {advice}")
    return word


def command(value: Scalar) -> str:
    """A command for a shell. It is not shown in messages, as it may hold a secret."""
    word = values.text(value).strip()
    if not word:
        raise values.BadValueError("an empty command")
    if "\0" in word:
        raise values.BadValueError("must not contain NUL characters")
    return word


def strategy(value: Scalar) -> Strategy:
    """One of GOST's words, in its long form."""
    word = values.text(value).lower()
    if word in STRATEGIES:
        return STRATEGIES[word]
    near = nearest(word, list(STRATEGIES))
    hint = f"did you mean {near}?" if near else f"there are {', '.join(STRATEGIES)}"
    raise values.BadValueError(f"{values.shown(value)} is no strategy: {hint}")


def max_fails(value: Scalar) -> int:
    """A number; below 1 it is the default, as in GOST."""
    try:
        return values.integer(value)
    except values.BadValueError as error:
        raise values.BadValueError(f"{error}: write for example 3") from None


DNS: Option[Address] = Option(
    "dns",
    "listener",
    addresses.name_server,
    "list of IP addresses",
    "Name servers that are asked through this device, set by systemd-resolved's `resolvectl`. Not "
    "with `netns`.",
    many=True,
)
INTERFACE: Option[str] = Option(
    "interface",
    "service",
    interface,
    "device name",
    "The device that datagrams leave by and arrive on.",
)
SO_MARK: Option[int] = Option(
    "so_mark",
    "service",
    values.ranged(0, MARK_LIMIT),
    f"number, 0 to {MARK_LIMIT}",
    "The firewall mark of datagrams.",
    default="0, no mark",
)
NETNS: Option[str] = Option(
    "netns",
    "service",
    namespace,
    "name or path",
    "The network namespace of the device: a name under `/run/netns`, or a path.",
    default="that of the program",
)
NETNS_OUT: Option[str] = Option(
    "netns.out",
    "service",
    namespace,
    "name or path",
    "The network namespace of the UDP socket.",
    default="that of the program",
)
PRE_UP: Option[str] = Option(
    "preUp",
    "service",
    command,
    "command, or list of commands",
    "Run by `/bin/sh` as root before the device is made.",
    many=True,
    whole=True,
)
POST_UP: Option[str] = Option(
    "postUp",
    "service",
    command,
    "command, or list of commands",
    "Run once the service works.",
    many=True,
    whole=True,
)
PRE_DOWN: Option[str] = Option(
    "preDown",
    "service",
    command,
    "command, or list of commands",
    "Run before the service stops.",
    many=True,
    whole=True,
)
POST_DOWN: Option[str] = Option(
    "postDown",
    "service",
    command,
    "command, or list of commands",
    "Run after it stopped.",
    many=True,
    whole=True,
)
STRATEGY: Option[Strategy] = Option(
    "strategy",
    "selector",
    strategy,
    "word",
    "Which of several targets is used: `round` (`rr`), `random` (`rand`), `fifo` (`ha`), `hash`, "
    "`parallel`, `lowestlatency` (`lowest`, `ll`).",
    default="round",
    side="client",
)
MAX_FAILS: Option[int] = Option(
    "maxFails",
    "selector",
    max_fails,
    "number",
    "After so many failures in a row a target rests.",
    default="1",
    aliases=("max_fails",),
    side="client",
)
FAIL_TIMEOUT: Option[float] = Option(
    "failTimeout",
    "selector",
    values.duration,
    "duration",
    "For how long it rests.",
    default="10s; 30s in a URL that has one of these three",
    aliases=("fail_timeout",),
    side="client",
)

HOST_OPTIONS: tuple[Option[object], ...] = (
    DNS,
    INTERFACE,
    SO_MARK,
    NETNS,
    NETNS_OUT,
    PRE_UP,
    POST_UP,
    PRE_DOWN,
    POST_DOWN,
    STRATEGY,
    MAX_FAILS,
    FAIL_TIMEOUT,
)
