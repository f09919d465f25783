"""What a crash would leave on the host, written down before it is done.

Most of what a service changes goes with its device or its sockets. The rest (host routes,
routes of others that gave way, sysctls) is in one file per instance, mode 0600, and the
next start of the instance puts it back before it makes anything; what that start cannot,
as without a descriptor, the next one tries again. Where runs one after another leave
something, the oldest knows how the host was before: what they left in one place is put
together, and what was before the first counts. The file is not synced: a record of
another boot is void, so it need only outlive the process.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from gateway.errors import HostError
from gateway.linux import adopted, nat, netns, resolved, route_plan, routing, sysctl
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

R = TypeVar("R", NatRecord, RouteRecord, DeviceRecord)


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


def merge(newer: Left, older: Left) -> Left | None:
    """What two runs left, as if one had; None where that were in two places."""
    if newer.netns != older.netns:
        return None
    pairs = (
        (newer.nat, older.nat),
        (newer.routes, older.routes),
        (newer.dns, older.dns),
        (newer.device, older.device),
    )
    if any(one and other and _where(one) != _where(other) for one, other in pairs):
        return None
    return Left(
        nat=_both(newer.nat, older.nat, _merge_nat),
        routes=_both(newer.routes, older.routes, _merge_routes),
        dns=older.dns or newer.dns,
        device=_both(newer.device, older.device, _merge_device),
        netns=older.netns,
    )


def _where(record: NatRecord | RouteRecord | DnsRecord | DeviceRecord) -> tuple[str, int]:
    return record.place, record.index if isinstance(record, DnsRecord | DeviceRecord) else 0


def _both(newer: R | None, older: R | None, merge: Callable[[R, R], R]) -> R | None:
    if newer is None or older is None:
        return newer or older
    return merge(newer, older)


def _merge_nat(newer: NatRecord, older: NatRecord) -> NatRecord:
    """It is undone from the end: the older run's switch before devices that stand apart."""
    known = {change.key for change in older.changes}
    later = tuple(change for change in newer.changes if change.key not in known)
    return replace(older, changes=later + older.changes)


def _merge_routes(newer: RouteRecord, older: RouteRecord) -> RouteRecord:
    """Of two that gave way for one network the last in the record is there in the end."""
    newer = replace(
        newer, displaced=tuple(each for each in newer.displaced if each not in older.displaced)
    )
    return route_plan.both(newer, older)


def _merge_device(newer: DeviceRecord, older: DeviceRecord) -> DeviceRecord:
    return replace(older, added=tuple(dict.fromkeys(older.added + newer.added)))


class _File(msgspec.Struct, frozen=True):
    """`former` is what an earlier start could not put back, by service too.

    `further` is the same in other places than that of `former`, the newest first.
    """

    services: dict[str, Left]
    former: dict[str, Left] = {}
    version: int = FILE_VERSION
    further: dict[str, tuple[Left, ...]] = {}

    def all(self) -> Iterator[tuple[str, Left]]:
        """Every service and what it left, of one service the newest first."""
        yield from self.services.items()
        yield from self.former.items()
        for service, more in self.further.items():
            yield from ((service, left) for left in more)


class Leftovers:
    """The file of one instance. Where it cannot be written that is said, once."""

    def __init__(self, directory: Path, instance: str, owner: Owner | None = None) -> None:
        self._owner = owner
        self._path = directory / f"{quote(instance)}.host"
        self._services: dict[str, Left] = {}
        self._former: dict[str, list[Left]] = {}
        self._told = False

    def undo(self) -> None:
        """Put back what a former run left. Never raises: a start is worth more."""
        saved = self._load()
        everything = tuple(saved.all())
        for service, left in everything:
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
                self._keep(service, again)
            for sentence in sentences:
                event(_log, logging.WARNING, "not-put-back", service=service, text=sentence)
        if everything:
            self._write()

    def save(self, service: str, left: Left) -> None:
        """Write down what must be undone for a service from now on; nothing, if it is empty."""
        if left:
            self._services[service] = left
        else:
            self._services.pop(service, None)
        self._write()

    def _keep(self, service: str, left: Left) -> None:
        """For the next start. `left` is older than all that is kept of this service."""
        kept = self._former.setdefault(service, [])
        for number, newer in enumerate(kept):
            merged = merge(newer, left)
            if merged is not None:
                kept[number] = merged
                return
        kept.append(left)

    def _write(self) -> None:
        if not self._services and not self._former:
            self._remove()
            return
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            with acting_as(self._owner if os.geteuid() == 0 else None):
                fd = os.open(new, WRITE_PRIVATELY, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(msgspec.json.encode(self._file()))
            new.replace(self._path)
        except OSError as error:
            self._complain(error)

    def _file(self) -> _File:
        return _File(
            self._services,
            former={service: kept[0] for service, kept in self._former.items()},
            further={
                service: tuple(kept[1:]) for service, kept in self._former.items() if kept[1:]
            },
        )

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
