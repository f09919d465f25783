"""Network namespaces: what is opened inside one belongs there for good.

Sockets, a TUN descriptor and with it the device it makes again later stay where they were
opened. Netlink requests and /proc/sys follow the process, so these need `with` again.
setns(2) asks for CAP_SYS_ADMIN; whoever stays where he is needs nothing. The namespace is
held by a descriptor: it may lose its name meanwhile. So is the way back, so that going in
and out needs no descriptor more, and a process that has none left goes on.
"""

import ctypes
import errno
import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.errors import HostError, host_error

DIRECTORY = Path("/run/netns")
CLONE_NEWNET = 0x40000000
SIOCGSKNS = 0x894C
_OWN = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)
_entered: list[tuple[int, int]] = []
"""Where this process is, one inside the other: each with the way home from it."""


class Namespace:
    """One network namespace. Inside `with` the process is there, else where it was.

    `path` is None for the namespace of the start, which is not entered. `identity` is the
    kernel's.
    """

    def __init__(self, fd: int | None, path: Path | None) -> None:
        """Takes `fd`, and closes it where it raises OSError."""
        self.path = path
        self._fd = fd
        self._home = -1
        try:
            self.identity = _identity(fd)
            if fd is not None:
                self._home = os.dup(_entered[0][1]) if _entered else _open_own()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        if self._fd is None:
            return self
        _enter(self._fd)
        _entered.append((self._fd, self._home))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._fd is None:
            return
        _entered.pop()
        _enter(_entered[-1][0] if _entered else self._home)

    def same_as(self, other: "Namespace") -> bool:
        """Whether both are one, whatever they are called."""
        return self.identity == other.identity

    def close(self) -> None:
        """Let go of it. Safe to repeat."""
        if self._home >= 0:
            os.close(self._home)
            self._home = -1
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def open_namespace(name: str | None, option: str) -> Namespace:
    """A name under /run/netns, a path, or None for where we are. Raises HostError.

    `option` is named in the message.
    """
    if name is None:
        return Namespace(None, None)
    path = path_of(name)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # it may be a pipe
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise HostError(_missing(name, path, option)) from None
        raise host_error(f"{option}={name}: {path} cannot be opened", error) from None
    try:
        made = Namespace(fd, path)
    except OSError as error:
        raise host_error(f"{option}={name}: the way back cannot be opened", error) from None
    try:
        with made:
            pass
    except OSError as error:
        made.close()
        if error.errno == errno.EPERM:
            raise HostError(
                f"{option}={name}: entering a network namespace needs CAP_SYS_ADMIN; "
                "start as root, or give the container --cap-add SYS_ADMIN"
            ) from None
        raise HostError(f"{option}={name}: {path} is no network namespace") from None
    return made


def path_of(name: str) -> Path:
    """Where the namespace with this name, or path, is mounted."""
    return Path(name) if name.startswith("/") else DIRECTORY / name


def of_socket(sock: socket.socket) -> Namespace:
    """Where a socket lives; CAP_NET_ADMIN. To be closed. Raises OSError."""
    fd = fcntl.ioctl(sock.fileno(), SIOCGSKNS)
    if _identity(fd) == _identity(None):
        os.close(fd)
        return Namespace(None, None)
    return Namespace(fd, None)


def _missing(name: str, path: Path, option: str) -> str:
    remedy = "" if name.startswith("/") else f"; make it (ip netns add {name})"
    return f"{option}={name}: there is no network namespace {path}{remedy}"


def _open_own() -> int:
    return os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)


def _enter(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _identity(fd: int | None) -> tuple[int, int]:
    found = os.stat(_OWN) if fd is None else os.fstat(fd)  # noqa: PTH116 - both in one line
    return found.st_dev, found.st_ino
