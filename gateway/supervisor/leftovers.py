"""What a crash would leave on the host, written down before it is done.

Most of what a service changes goes with its device or its sockets. The rest (host routes,
routes of others that gave way, sysctls) is in one file per instance, mode 0600, and the
next start of the instance puts it back before it makes anything; what that start cannot,
as without a descriptor, the next one tries again. The file is not synced: a record of
another boot is void, so it need only outlive the process.
"""

import contextlib
import logging
import os
from pathlib import Path

import msgspec
from msgspec.structs import replace

from gateway.errors import HostError
from gateway.linux import adopted, nat, netns, resolved, routing, sysctl
from gateway.linux.adopted import DeviceRecord
from gateway.linux.belongings import WRITE_PRIVATELY, Owner, acting_as, read_file
from gateway.linux.led_routes import LedRoutes
from gateway.linux.nat import NatRecord
from gateway.linux.resolved import DnsRecord
from gateway.linux.route_plan import RouteRecord
from gateway.log import event, get_logger
from gateway.protocol.instances import quote

FILE_VERSION = 1

_log = get_logger("leftovers")


class Left(msgspec.Struct, frozen=True):
    """What one service has changed, in the network namespace at `netns`; empty: in ours."""

    nat: NatRecord | None = None
    routes: RouteRecord | None = None
    dns: DnsRecord | None = None
    device: DeviceRecord | None = None
    netns: str = ""

    def __bool__(self) -> bool:
        changed = self.nat is not None and self.nat.changes
        routed = self.routes is not None and (self.routes.placed or self.routes.displaced)
        return bool(changed or routed or self.dns is not None or self.device is not None)


def _undo(left: Left) -> tuple[list[str], Left]:
    """Sentences about what could not be put back, and what to try again at the next start."""
    sentences: list[str] = []
    again = Left(netns=left.netns)
    namespace = netns.open_namespace(left.netns or None, "netns")
    with contextlib.closing(namespace), namespace:
        if left.routes is not None:
            sentences += routing.undo(left.routes)
        if left.nat is not None:
            stays = nat.undo(left.nat)
            sentences += stays
            again = replace(again, nat=left.nat if stays else None)
        if left.device is not None:
            sentences += adopted.give_back(left.device)
            if left.device.place == sysctl.place():  # a router's routes go with their device
                LedRoutes(left.device.index).sweep(routing.read_routes)
    if left.dns is not None:
        sentences += resolved.undo(left.dns)
    return sentences, again


class _File(msgspec.Struct, frozen=True):
    """`former` is what an earlier start could not put back, by service too."""

    services: dict[str, Left]
    former: dict[str, Left] = {}
    version: int = FILE_VERSION


class Leftovers:
    """The file of one instance. Where it cannot be written that is said, once."""

    def __init__(self, directory: Path, instance: str, owner: Owner | None = None) -> None:
        self._owner = owner
        self._path = directory / f"{quote(instance)}.host"
        self._services: dict[str, Left] = {}
        self._former: dict[str, Left] = {}
        self._told = False

    def undo(self) -> None:
        """Put back what a former run left. Never raises: a start is worth more."""
        saved = self._load()
        for service, left in (*saved.services.items(), *saved.former.items()):
            sentences: list[str] = []
            again = left
            try:
                if not left.netns or Path(left.netns).exists():
                    sentences, again = _undo(left)
            except (HostError, OSError) as error:
                sentences = [str(error)]
            else:
                event(_log, logging.INFO, "put-back", service=service, text="after a crash")
            if sentences and again:
                self._former[service] = again
            for sentence in sentences:
                event(_log, logging.WARNING, "not-put-back", service=service, text=sentence)
        if saved.services or saved.former:
            self._write()

    def save(self, service: str, left: Left) -> None:
        """Write down what must be undone for a service from now on; nothing, if it is empty."""
        if left:
            self._services[service] = left
        else:
            self._services.pop(service, None)
        self._write()

    def _write(self) -> None:
        if not self._services and not self._former:
            self._remove()
            return
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            with acting_as(self._owner if os.geteuid() == 0 else None):
                fd = os.open(new, WRITE_PRIVATELY, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(msgspec.json.encode(_File(self._services, self._former)))
            new.replace(self._path)
        except OSError as error:
            self._complain(error)

    def _load(self) -> _File:
        try:
            saved = msgspec.json.decode(read_file(self._path, self._owner), type=_File)
        except FileNotFoundError:
            return _File({})
        except OSError as error:
            self._complain(error)
            return _File({})
        except msgspec.DecodeError as error:
            event(_log, logging.WARNING, "leftovers-damaged", file=self._path, error=error)
            self._remove()
            return _File({})
        if saved.version == FILE_VERSION:
            return saved
        self._remove()
        return _File({})

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _complain(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            event(
                _log, logging.WARNING, "no-leftovers", file=self._path, error=error.strerror,
                text="after a crash, sysctls, host routes and DNS will stay; set GATEWAY_STATE_DIR",
            )  # fmt: skip
