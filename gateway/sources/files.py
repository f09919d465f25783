"""Text files as sources, opened by path at every load.

The process that reads is not root any more. A file it may not read is an error that
names the remedy; what was read before stays.
"""

import os
import stat
from typing import BinaryIO

from gateway.sources.errors import SourceError, system_reason
from gateway.sources.model import BYTE_LIMIT, FileSpec
from gateway.sources.threads import Hand


class FileLoader:
    """Reads one file."""

    def __init__(self, spec: FileSpec) -> None:
        self._path = spec.path
        self._hand = Hand("file-source")

    async def load(self) -> bytes:
        """The whole file. SourceError if it cannot be read."""
        return await self._hand.do(lambda: read_file(self._path))


def read_file(path: str, limit: int = BYTE_LIMIT) -> bytes:
    """The whole of a regular file of up to `limit` bytes. Raises SourceError only."""
    try:
        with open(path, "rb", opener=_open) as file:
            return _read(file, limit)
    except PermissionError:
        raise SourceError(_forbidden()) from None
    except OSError as error:
        raise SourceError(f"cannot be read: {system_reason(error)}") from None
    except ValueError:
        raise SourceError("cannot be read: the path has a NUL character") from None


def _open(path: str, flags: int) -> int:
    """Without O_NONBLOCK the opening of a pipe would wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def _read(file: BinaryIO, limit: int) -> bytes:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise SourceError("cannot be read: it is not a regular file")
    raw = file.read(limit + 1)
    if len(raw) > limit:
        raise SourceError(f"is larger than {limit:,} bytes")
    return raw


def _forbidden() -> str:
    return (
        f"permission denied for uid {os.geteuid()}, gid {os.getegid()}, which read it after "
        "the start: give the file and its folders to that user or group, or set user="
    )
