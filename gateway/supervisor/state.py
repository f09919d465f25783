"""The peer table on disk, so that a restart loses no peer.

One file per instance, mode 0600, JSON with a version. Written to a temporary name
and renamed, so that a reader finds the old one or the new one. In it are ages
and remainders, the wall-clock time of writing (I11: the wall clock is used on disk
only), and the key of the passphrase digests, never a passphrase.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path

import msgspec

from gateway.errors import NO_ROOM, remedy
from gateway.linux.belongings import (
    WRITE_PRIVATELY,
    Owner,
    claim_directory,
    read_file,
)
from gateway.log import event, get_logger
from gateway.protocol.instances import quote
from gateway.protocol.peer import PeerState
from gateway.supervisor.admission import KEY_BYTES, new_key
from gateway.supervisor.loop import Loop

FILE_VERSION = 1
DEFAULT_DIRECTORY = "/var/lib/gateway"
STATE_DIRECTORY_VARIABLE = "GATEWAY_STATE_DIR"
WRITE_DELAY = 0.1
"""Seconds between a change and its write: those that come together are in one."""
WRITE_GAP = 2.0
"""Seconds between two writes at least, however much changes."""
WRITE_INTERVAL = 60.0
"""Seconds between two writes while nothing changes but the leases."""
LONGEST_DOWN = 24 * 3600.0

_log = get_logger("state")


class SavedState(msgspec.Struct, frozen=True):
    """The file. `written` is wall-clock seconds; `services` by name."""

    key: bytes
    written: float
    services: dict[str, PeerState]
    version: int = FILE_VERSION


def state_directory(environ: Mapping[str, str]) -> Path:
    """GATEWAY_STATE_DIR, else what systemd gave us, else /var/lib/gateway."""
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(environ.get(STATE_DIRECTORY_VARIABLE) or given or DEFAULT_DIRECTORY)


class StateFile:
    """The file of one instance. A directory that cannot be used means no state: it is said."""

    def __init__(
        self, directory: Path, instance: str, owner: Owner | None, *, named: bool = True
    ) -> None:
        """`owner`: who will write it, if that is not who opens it.

        `named`: the directory is the operator's choice, not the program's own.
        """
        self._path = directory / f"{quote(instance)}.json"
        self._usable = True
        self._lacking = False
        self._prepare(directory, owner, named=named)
        self.saved = self._load(owner)
        self.key = self.saved.key if self.saved is not None else new_key()

    def down(self) -> float:
        """Seconds since the file was written, by the wall clock; 0 if that went backwards."""
        if self.saved is None:
            return 0.0
        return min(LONGEST_DOWN, max(0.0, time.time() - self.saved.written))

    def peers_of(self, service: str) -> PeerState | None:
        """What a former run knew."""
        return self.saved.services.get(service) if self.saved is not None else None

    def save(self, services: dict[str, PeerState], *, last: bool = False) -> None:
        """Write. A failure is logged once and costs only the next restart its peers.

        Want of descriptors may pass: the next write is tried all the same.
        Only the last write waits for the disk: a loop that runs must not (I8), and the
        file is whole in any case.
        """
        if not self._usable:
            return
        data = msgspec.json.encode(SavedState(bytes(self.key), time.time(), services))
        temporary = self._path.with_suffix(".tmp")
        try:
            fd = os.open(temporary, WRITE_PRIVATELY, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                if last:
                    file.flush()
                    os.fdatasync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            if error.errno not in NO_ROOM:
                self._unusable(error)
            elif not self._lacking:
                self._lacking = True
                then = "the write before this one stands" if last else "it is tried again"
                self._tell(error, f"{then}; {remedy(error)}")
        else:
            self._lacking = False

    def _prepare(self, directory: Path, owner: Owner | None, *, named: bool) -> None:
        try:
            claim_directory(directory, 0o700, owner, named=named)
        except OSError as error:
            self._unusable(error)

    def _load(self, owner: Owner | None) -> SavedState | None:
        try:
            saved = msgspec.json.decode(read_file(self._path, owner), type=SavedState)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._unusable(error)
            return None
        except msgspec.DecodeError as error:
            event(_log, logging.WARNING, "state-damaged", file=self._path, error=error)
            return None
        if saved.version != FILE_VERSION or len(saved.key) != KEY_BYTES:
            event(_log, logging.WARNING, "state-unknown", file=self._path, version=saved.version)
            return None
        return saved

    def _unusable(self, error: OSError) -> None:
        if not self._usable:
            return  # a directory that cannot be used has no file that can be read, either
        self._usable = False
        self._tell(error, "peers will not survive a restart; set GATEWAY_STATE_DIR")

    def _tell(self, error: OSError, text: str) -> None:
        event(_log, logging.WARNING, "no-state", file=self._path, error=error.strerror, text=text)


class Writing:
    """When the file is written while the program runs: soon after a change, not too often.

    So a supervisor that is killed forgets the last `WRITE_DELAY` at best, and never more
    than the last `WRITE_GAP`.
    """

    def __init__(self, loop: Loop, write: Callable[[], None]) -> None:
        self._loop = loop
        self._write = write
        self._written = -inf
        self._waits = False

    def changed(self) -> None:
        """There is something to be written."""
        if not self._waits:
            self._waits = True
            wait = max(WRITE_DELAY, self._written + WRITE_GAP - self._loop.now)
            self._loop.call_in(wait, self._on_time)

    def _on_time(self) -> None:
        self._waits = False
        self._written = self._loop.now
        self._write()
