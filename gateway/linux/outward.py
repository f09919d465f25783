"""The devices that lead to the rest of the world, and how wide they are."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import psutil

RTF_UP = 0x1
RTF_REJECT = 0x200


@dataclass(frozen=True)
class Link:
    """A device with a default route of this IP version."""

    name: str
    version: int
    mtu: int


def default_links() -> tuple[Link, ...]:
    """Those of the network namespace we are in; none where nothing is known."""
    stats = {}
    with contextlib.suppress(OSError):
        stats = psutil.net_if_stats()
    found = {(name, 4) for name in _defaults4()} | {(name, 6) for name in _defaults6()}
    return tuple(
        Link(name, version, stats[name].mtu) for name, version in sorted(found) if name in stats
    )


def _defaults4() -> set[str]:
    """proc_pid_net(5), `route`: name, destination, gateway, flags, ..., mask at 7."""
    rows = _rows("route")
    return {
        row[0]
        for row in rows
        if len(row) > 7 and row[1] == row[7] == "00000000" and _usable(row[3])
    }


def _defaults6() -> set[str]:
    """`ipv6_route`: destination, length, ..., flags at 8, name at 9."""
    return {
        row[9]
        for row in _rows("ipv6_route")
        if len(row) > 9 and row[0] == "0" * 32 and row[1] == "00" and _usable(row[8])
    } - {"lo"}


def _usable(flags: str) -> bool:
    number = int(flags, 16)
    return bool(number & RTF_UP) and not number & RTF_REJECT


def _rows(table: str) -> list[list[str]]:
    text = ""
    with contextlib.suppress(OSError):
        text = Path("/proc/thread-self/net", table).read_text(encoding="ascii")
    return [row for row in map(str.split, text.splitlines()) if row and row[0] != "Iface"]
