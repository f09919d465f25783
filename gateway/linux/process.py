"""What a process may do and what it is called: privileges, descriptors, CPUs, names.

Order matters (capabilities(7), prctl(2)): the bounding set can only be emptied while
CAP_SETPCAP is held, so the supervisor does it before it leaves root, and its children
inherit it; a change of uid clears the effective capabilities, the keep-capabilities
flag lets the permitted ones survive it; and a change of uid clears the parent-death
signal, so that is set last and the parent checked afterwards.
"""

import contextlib
import ctypes
import errno
import faulthandler
import os
import pwd
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import prctl

from gateway.users import find_user

KEPT_BY_SUPERVISOR = ("net_admin",)
_DESCRIPTOR_END = 1 << 30


def leave_root(user: str | None, keep: Iterable[str] = KEPT_BY_SUPERVISOR) -> str:
    """Become `user` with the capabilities `keep` and no others. Returns the user's name.

    Without `user`: `gateway` where it exists, else `nobody`. A process that is not root
    stays who it is and only limits its capabilities; so does root of a user namespace
    that has no other user. Raises ConfigError for an unknown `user`.
    """
    owner = future_owner(user)
    if os.geteuid() == 0:
        prctl.capbset.limit()
    if owner is not None:
        prctl.set_keepcaps(True)
        with contextlib.suppress(PermissionError):  # a user namespace may deny setgroups
            os.setgroups([])
        os.setresgid(owner[1], owner[1], owner[1])
        os.setresuid(owner[0], owner[0], owner[0])
    _limit(tuple(keep))
    prctl.set_keepcaps(False)
    return _own_name()


def future_owner(user: str | None) -> tuple[int, int] | None:
    """The user and group id `leave_root` will change to, None if to no other."""
    if os.geteuid() != 0:
        return None
    entry = find_user(user)
    if not (_mapped("uid", entry.pw_uid) and _mapped("gid", entry.pw_gid)):
        return None
    return entry.pw_uid, entry.pw_gid


def drop_everything() -> None:
    """Give up every capability, and the means to get one back."""
    _limit(())
    prctl.set_no_new_privs(1)


def die_with(parent: int) -> None:
    """Ask for SIGKILL at the parent's death; exit at once if it died before."""
    prctl.set_pdeathsig(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def forget_standard_input() -> None:
    """Read nothing from now on: standard input may be a configuration with secrets."""
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)


def close_all_except(keep: Iterable[int]) -> None:
    """Close every descriptor that is not in `keep`, however many there are."""
    start = 0
    for fd in sorted(set(keep)):
        if start < fd:  # an empty range makes CPython close all there is
            os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, _DESCRIPTOR_END)


def name_process(name: str, title: str) -> None:
    """Show `name` in top and `title` in ps.

    The title overwrites the command line, which may hold a passphrase.
    """
    prctl.set_name(name[:15])
    prctl.set_proctitle(title)


def usable_cpus() -> tuple[int, ...]:
    """The CPUs this process may run on, in order."""
    return tuple(sorted(os.sched_getaffinity(0)))


def pin(cpus: Iterable[int]) -> None:
    """Run on `cpus` only; a CPU that has gone leaves the process where it was."""
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def quiet_signals() -> None:
    """A child's signals: a Ctrl-C is the supervisor's business, SIGABRT tells where it hung."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    faulthandler.enable()


def own_capabilities() -> tuple[str, ...]:
    """The capabilities in effect, as `net_admin`."""
    return tuple(
        name.lower().removeprefix("cap_")
        for name in sorted(prctl.ALL_CAP_NAMES)
        if getattr(prctl.cap_effective, name.lower().removeprefix("cap_"), False)
    )


def _mapped(kind: str, number: int) -> bool:
    """Whether this user namespace has the id (user_namespaces(7))."""
    lines = Path(f"/proc/self/{kind}_map").read_text().splitlines()
    ranges = [(int(first), int(count)) for first, _, count in map(str.split, lines)]
    return any(first <= number < first + count for first, count in ranges)


def _limit(wanted: tuple[str, ...]) -> None:
    """Keep those of `wanted` that are permitted now, in effect, and no others."""
    held = [cap for cap in (_number(name) for name in wanted) if _permitted(cap)]
    prctl.cap_inheritable.limit()
    prctl.cap_effective.limit(*held)
    prctl.cap_permitted.limit(*held)
    if held:
        prctl.set_caps((held, prctl.CAP_EFFECTIVE, True))


def _number(name: str) -> int:
    number: int = getattr(prctl, f"CAP_{name.upper()}")
    return number


def _permitted(cap: int) -> bool:
    return bool(prctl.get_caps((cap, prctl.CAP_PERMITTED))[prctl.CAP_PERMITTED][cap])


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def exit_text(code: int, *, out_of_memory: bool = False) -> str:
    """Why a child ended, from its exit code (negative: a signal), in a phrase."""
    if code == 0:
        return "ended by itself (exit 0)"
    if code > 0:
        return f"ended with an error (exit {code})"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if -code == signal.SIGKILL and out_of_memory:
        return f"killed by {name}: the kernel ran out of memory"
    return f"killed by {name}"


def wipe(secret: bytes) -> None:
    """Overwrite a secret in this process's memory, where only its owner may refer to it.

    Bytes objects keep their data at their end (CPython's bytesobject.h). Empty and
    one-byte plain objects are shared by the interpreter and left alone.
    """
    if len(secret) > 1 or (secret and type(secret) is not bytes):
        offset = bytes.__basicsize__ - 1
        ctypes.memset(id(secret) + offset, 0, len(secret))


def wipe_text(secret: str) -> None:
    """The same for a text; what is not ASCII becomes NULs of its own width.

    A text is one object too, its characters and a NUL at the end (unicodeobject.h); the
    head is larger where they are not ASCII.
    """
    if len(secret) < 2:
        return
    if secret.isascii():
        offset, size = sys.getsizeof(secret) - len(secret) - 1, len(secret)
    else:
        offset = str.__basicsize__ - ctypes.sizeof(ctypes.c_void_p)
        size = len(secret) * (
            1 if max(secret) < "\u0100" else 2 if max(secret) < "\U00010000" else 4
        )
    ctypes.memset(id(secret) + offset, 0, size)
