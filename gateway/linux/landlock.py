"""What a child may not do to the host's files and to other processes (landlock(7)).

A child runs as the same user as its supervisor, so ownership alone would let one that was
taken over write the state file and the record of what the next start puts back as root,
or signal and trace the supervisor. Landlock forbids that to a process and to all that come
from it, for good. Descriptors that are open already, reading, and sockets are not concerned.

Kernels forbid more with each version of it (5.13: writing, making, removing, running;
5.19: moving; 6.2: truncating; 6.12: signals); what one does not know is not asked of it.
"""

import ctypes
import errno
import os
import struct

WITH_SIGNALS = 6
"""The version that knows signals."""

# Of linux/landlock.h; the numbers of the calls are the same on every architecture.
_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_ASK_VERSION = 1

_EXECUTE, _WRITE, _TRUNCATE = 1 << 0, 1 << 1, 1 << 14
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
_REFER = 1 << 13
_FILES = (
    (1, _EXECUTE | _WRITE | _REMOVE_AND_MAKE),
    (2, _REFER),
    (3, _TRUNCATE),
)  # the version a right came with
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1
_SCOPES = ((WITH_SIGNALS, _ABSTRACT_SOCKETS | _SIGNALS),)
_ABSENT = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


def confine() -> bool:
    """Write, make, remove and run no file, signal and trace nobody outside, from now on.

    Needs no_new_privs, and holds for this thread and what comes from it. Returns False where
    the kernel has no Landlock, or whoever runs this (a container's filter) withholds it.
    """
    known = version()
    if not known:
        return False
    attributes = struct.pack("=Q", _of(_FILES, known))
    if known >= WITH_SIGNALS:
        attributes = struct.pack("=QQQ", _of(_FILES, known), 0, _of(_SCOPES, known))
    ruleset = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    try:
        return _call(_RESTRICT_SELF, ruleset, 0, 0) == 0
    finally:
        os.close(ruleset)


def version() -> int:
    """How much of it this kernel has; 0: nothing, or it is withheld."""
    return max(0, _call(_CREATE_RULESET, None, 0, _ASK_VERSION))


def _of(rights: tuple[tuple[int, int], ...], known: int) -> int:
    return sum(bits for since, bits in rights if since <= known)


def _call(number: int, first: bytes | int | None, second: int, third: int) -> int:
    """The call's result, -1 where it is not there. Raises OSError for what only we can cause."""
    argument = ctypes.c_long(first) if isinstance(first, int) else first
    result: int = _libc.syscall(
        ctypes.c_long(number), argument, ctypes.c_long(second), ctypes.c_long(third)
    )
    if result < 0 and (code := ctypes.get_errno()) not in _ABSENT:
        raise OSError(code, os.strerror(code))
    return result


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
