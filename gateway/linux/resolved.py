"""Name servers of one device, through systemd-resolved's `resolvectl`.

Setting them needs root, or polkit's consent: a capability is not enough, since D-Bus
does not vouch for it. The settings belong to the device (its index) and go with it; a
device that outlives us must be given back what it had. resolved knows the devices of its
own network namespace only.
"""

import re
import shlex
import socket
import subprocess
from collections.abc import Sequence

import msgspec

from gateway.linux import sysctl
from gateway.protocol.packet import Address

PROGRAM = "resolvectl"
SECONDS = 5.0
"""A call over D-Bus takes some milliseconds; one to a resolved that hangs, for ever."""
NOT_FOUND = 127
_SERVER = re.compile(r"[0-9A-Za-z.:%#\[\]_][0-9A-Za-z.:%#\[\]_-]*")


class DnsRecord(msgspec.Struct, frozen=True):
    """What must be given back after a crash; kept on disk. `former` are the servers it had."""

    place: str
    index: int
    former: tuple[str, ...] = ()


def set_text(device: str, servers: Sequence[Address]) -> str:
    """For a shell. `device` is a word of the shell's: a name, or a quoted variable."""
    return f"exec {PROGRAM} dns {device} {' '.join(map(str, servers))}"


def revert_text(device: str, former: Sequence[str]) -> str:
    """For a shell: as it was before."""
    if former:
        return f"exec {PROGRAM} dns {device} {' '.join(map(shlex.quote, former))}"
    return f"exec {PROGRAM} revert {device}"


def servers_of(device: str) -> tuple[str, ...]:
    """What a device has now, if it exists; nothing where nobody can say. Waits a while."""
    try:
        socket.if_nametoindex(device)
    except OSError:
        return ()
    answer = _call(PROGRAM, "dns", device) or ""
    _, _, words = answer.partition("):")  # Link 5 (tun0): 192.0.2.1
    return tuple(word for word in words.split() if _SERVER.fullmatch(word))


def undo(record: DnsRecord) -> tuple[str, ...]:
    """At the next start: give a device back what it had; nothing if it has gone."""
    try:
        device = socket.if_indextoname(record.index)
    except OSError:
        return ()
    if record.place != sysctl.place():
        return ()
    former = [server for server in record.former if _SERVER.fullmatch(server)]  # from a disk
    verb = ("dns", device, *former) if former else ("revert", device)
    if _call(PROGRAM, *verb) is None:
        return (f"the name servers of {device} stay: {PROGRAM} failed",)
    return ()


def explain(code: int, problem: str) -> str:
    """Why name servers could not be set, from how the shell ended."""
    if code == NOT_FOUND:
        return f"there is no {PROGRAM}: systemd-resolved is not on this host"
    return f"{PROGRAM} {problem}"


def _call(*command: str) -> str | None:
    """Its output, None if it failed."""
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=SECONDS,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
