"""Taking descriptors away from a process that runs, this one or another, and giving them back."""

import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os import fstat

from gateway.linux import process

NONE = 3
"""The standard streams stay below it: whoever has more keeps them, and gets none."""
HIGHEST = 1024


def starve(pid: int) -> None:
    """From now on that process can open nothing."""
    _limit(pid, NONE)


def feed(pid: int) -> None:
    """As many as this process may have."""
    _limit(pid, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def open_descriptors() -> set[int]:
    """Of this process, looked up without opening one more."""
    found = set()
    for fd in range(HIGHEST):
        with suppress(OSError):
            fstat(fd)
            found.add(fd)
    return found


@contextmanager
def raised_again() -> Iterator[Callable[[int], None]]:
    """Lets this process open so many more at once; in the end as many as before."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def limit(room: int) -> None:
        free = sorted(set(range(HIGHEST)) - open_descriptors())
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[room], before[1]))

    try:
        yield limit
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _limit(pid: int, soft: int) -> None:
    """As who a gateway runs as: root may not have the capability."""
    owner = process.future_owner(None)
    who = {"user": owner[0], "group": owner[1], "extra_groups": ()} if owner else {}
    subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={soft}:"], check=True, **who)
