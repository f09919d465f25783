"""Settings under /proc/sys/net: changed, remembered, put back.

CAP_NET_ADMIN is enough to write them, whatever the uid (net/sysctl_net.c,
net_ctl_permissions), so they can be put back after root was left. In a container
/proc/sys is often read-only; then only what is set already will do.

Switching forwarding is more than one file. Writing `ip_forward` or `all/forwarding`
overwrites the setting of every device, so those that stood apart are remembered. And a
host that forwards IPv6 throws away the default route it has from router advertisements
and takes no new one, unless `accept_ra` is 2 (Documentation/networking/ip-sysctl):
devices that listen to them are told so first.

A setting that is not there is None; one that cannot be read, as without a descriptor, is an
error: it may still be as we made it.
"""

import os
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import msgspec

from gateway.errors import HostError, host_error

ROOT = Path("/proc/sys/net")
SWITCHES = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
_BROADCAST = ("all", "default")
_RA_UNLESS_FORWARDING = "1"
_RA_ALWAYS = "2"
_CHANGED = re.compile(
    r"ipv4/ip_forward|ipv[46]/conf/(?!\.{1,2}/)[^/]+/forwarding|ipv6/conf/(?!\.{1,2}/)[^/]+/accept_ra"
)


class Change(msgspec.Struct, frozen=True):
    """One setting: its path below /proc/sys/net, what it was and what we made it."""

    key: str
    before: str
    after: str


def place() -> str:
    """Where records of changes hold: this boot of this host, this network namespace.

    Raises HostError.
    """
    try:
        return f"{_boot()}:{os.stat('/proc/thread-self/ns/net').st_ino}"  # noqa: PTH116 - one call
    except OSError as error:
        raise host_error("/proc does not tell where we are", error) from None


def forwarding(version: int) -> bool:
    """Whether this host forwards IPv4 (4) or IPv6 (6) between its devices. Raises HostError."""
    return _read(SWITCHES[version]) == "1"


def plan_forwarding(versions: Iterable[int]) -> tuple[Change, ...]:
    """What must change so that the host forwards; for `apply`, in this order.

    Raises HostError where the host does not say what is set.
    """
    changes: list[Change] = []
    for version in sorted(set(versions)):
        if forwarding(version):
            continue
        switch = SWITCHES[version]
        before = _read(switch)
        if before is None:
            continue  # no IPv6 on this host
        if version == 6:
            changes += _keep_router_advertisements()
        changes += _standing_apart(version)
        changes.append(Change(switch, before, "1"))
    return tuple(changes)


def apply(changes: Sequence[Change]) -> None:
    """Make the changes. HostError names the setting that could not be made.

    One that is not there any more needs none: its device has gone, or has another name.
    """
    for change in changes:
        if _read(change.key) in (change.after, None):
            continue
        try:
            _write(change.key, change.after)
        except OSError as error:
            name = _name(change.key)
            raise HostError(
                f"{name} cannot be set to {change.after} ({error.strerror}): set it "
                f"outside (sysctl -w {name}={change.after}; in a container "
                f"--sysctl {name}={change.after})"
            ) from None


def undo(changes: Sequence[Change]) -> tuple[str, ...]:
    """Put back what still is as we made it; sentences about what could not be.

    What somebody else has changed since is his. Safe to repeat; where something cannot be
    read nothing is done, since writing one setting changes others. The record comes from a
    disk where others than root write, while root reads it: what `plan_forwarding` cannot
    have changed is left alone.
    """
    ours = [
        change
        for change in changes
        if _CHANGED.fullmatch(change.key)
        and {change.before, change.after} <= {"0", _RA_UNLESS_FORWARDING, _RA_ALWAYS}
    ]
    try:
        still = [change for change in ours if _read(change.key) == change.after]
    except HostError as error:
        return (f"forwarding is not put back: {error}",)
    left: list[str] = []
    for change in reversed(still):
        try:
            if _read(change.key) != change.before:
                _write(change.key, change.before)
        except HostError as error:
            left.append(f"forwarding is not put back: {error}")
        except OSError as error:
            left.append(f"{_name(change.key)} stays {change.after}: {error.strerror}")
    return tuple(left)


@cache
def _boot() -> str:
    """It never changes: later there may be no descriptor left to read it with."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _keep_router_advertisements() -> list[Change]:
    return [
        Change(key, _RA_UNLESS_FORWARDING, _RA_ALWAYS)
        for key in _of_devices("ipv6", "accept_ra")
        if _read(key) == _RA_UNLESS_FORWARDING and _read(_sibling(key, "forwarding")) == "0"
    ]


def _standing_apart(version: int) -> list[Change]:
    """Devices that forward already, while the host does not: the switch will end that."""
    return [
        Change(key, "1", "1")
        for key in _of_devices(f"ipv{version}", "forwarding", "default")
        if _read(key) == "1"
    ]


def _of_devices(family: str, setting: str, *more: str) -> list[str]:
    folder = ROOT / family / "conf"
    try:
        names = [entry.name for entry in folder.iterdir()]
    except FileNotFoundError:
        names = []
    except OSError as error:
        raise host_error(f"{folder} cannot be read", error) from None
    chosen = [name for name in sorted(names) if name not in _BROADCAST or name in more]
    return [f"{family}/conf/{name}/{setting}" for name in chosen]


def _sibling(key: str, setting: str) -> str:
    return f"{key.rpartition('/')[0]}/{setting}"


def _name(key: str) -> str:
    """As sysctl(8) writes it; a dot in a device's name becomes a slash there."""
    return "net." + key.replace(".", "\0").replace("/", ".").replace("\0", "/")


def _read(key: str) -> str | None:
    try:
        return (ROOT / key).read_text().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise host_error(f"{_name(key)} cannot be read", error) from None


def _write(key: str, value: str) -> None:
    (ROOT / key).write_text(value)
