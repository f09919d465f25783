"""Files and directories that the gateway opens as root and uses as somebody else.

Root follows links that others made, so nothing is given away by its name: a directory
is opened first and looked at, and files inside it are made and read while root acts as
their owner (seteuid(2)). What an operator keeps elsewhere can so not be reached.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

Owner = tuple[int, int]
"""A user and a group id."""


WRITE_PRIVATELY = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
"""How a file is opened that only its owner shall read; to be made with mode 0600."""


def claim_directory(path: Path, mode: int, owner: Owner | None, *, named: bool) -> None:
    """Make sure that `path` is a directory and the owner's.

    What is made here, and an empty directory, is given to the owner; so is one that is
    the program's own by its name (`named` false). Any other must be the owner's already.
    Raises OSError with a sentence for the user.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if owner is None or os.fstat(fd).st_uid == owner[0]:
            return
        if named and any(path.iterdir()):
            raise PermissionError(
                None,
                f"the directory is not empty and belongs to uid {os.fstat(fd).st_uid}; name "
                f"another, or give it to uid {owner[0]}, as whom the gateway runs",
            )
        os.fchown(fd, *owner)
    finally:
        os.close(fd)


@contextlib.contextmanager
def acting_as(owner: Owner | None) -> Iterator[None]:
    """Open and make files as the owner for a while. The process has one thread."""
    if owner is None:
        yield
        return
    groups = os.getgroups()
    with contextlib.suppress(PermissionError):  # a user namespace may deny setgroups
        os.setgroups([])
    os.setegid(owner[1])
    os.seteuid(owner[0])
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        with contextlib.suppress(PermissionError):
            os.setgroups(groups)


def read_file(path: Path, owner: Owner | None) -> bytes:
    """A plain file that the owner may read, no link. Raises OSError."""
    with acting_as(owner):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a plain file")
        return file.read()
