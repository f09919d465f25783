"""The TUN device of one service: made, configured, looked at, made again.

Tests put a socketpair in its place; the methods are the whole edge.
"""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from gateway.config.model import Service
from gateway.errors import HostError
from gateway.linux import adopted, netlink, netns
from gateway.linux.adopted import DeviceRecord
from gateway.linux.links import LinkMonitor
from gateway.linux.netlink import Link
from gateway.linux.netns import Namespace
from gateway.linux.tun import Tun, open_tun
from gateway.log import event, get_logger

_log = get_logger("device")


class Device(Protocol):
    """What a service needs of its device."""

    @property
    def fd(self) -> int:
        """Packets in and out, each behind a 10-byte virtio header; never blocks."""

    @property
    def name(self) -> str:
        """The interface's name."""

    @property
    def offloads(self) -> Sequence[str]:
        """What the kernel granted: csum, tso4, tso6, uso4, uso6."""

    @property
    def persistent(self) -> bool:
        """Whether it was there before us and stays."""

    @property
    def former(self) -> DeviceRecord | None:
        """What it was like, if it was there before us."""

    def configure(self) -> None:
        """Addresses, MTU, up. Raises HostError."""

    def recreate(self) -> None:
        """After a deletion: the same device once more, on the same descriptor. HostError.

        To be called again where it fails for want of room.
        """

    def link(self) -> Link | None:
        """The kernel's view, None if the device is gone. Raises HostError."""

    def tend(self) -> bool:
        """Now and then: after a time down, set again what the kernel forgot. HostError.

        Whether it did.
        """

    def close(self) -> None:
        """Take everything back."""


class TunDevice:
    """The real one, in the network namespace `inner`.

    What is asked of the kernel by its name is asked inside; the descriptors know their place.
    """

    def __init__(
        self, service: Service, tun: Tun, inner: Namespace, former: DeviceRecord | None
    ) -> None:
        self._service = service
        self._tun = tun
        self._inner = inner
        self._former = former
        self._monitor = LinkMonitor()
        self._index = 0
        self._up = True

    @property
    def fd(self) -> int:
        """See `Device`."""
        return self._tun.fd

    @property
    def name(self) -> str:
        """See `Device`."""
        return self._tun.name

    @property
    def offloads(self) -> Sequence[str]:
        """See `Device`."""
        return self._tun.offloads

    @property
    def persistent(self) -> bool:
        """See `Device`."""
        return self._former is not None

    @property
    def former(self) -> DeviceRecord | None:
        """See `Device`."""
        return self._former

    def configure(self) -> None:
        """See `Device`."""
        with self._inner:
            self._index = netlink.configure(self.name, self._service.nets, self._service.mtu)
        self._monitor.was_down(self._index)  # until now, by our own doing

    def recreate(self) -> None:
        """See `Device`."""
        if not self._tun.attached():
            self._tun.attach(self.name, offload=self._service.offload != "off")
            self._former = None
        self.configure()

    def link(self) -> Link | None:
        """See `Device`. Another device may have taken the name."""
        if not self._tun.attached():
            return None
        with self._inner:
            return netlink.link(self.name)

    def tend(self) -> bool:
        """See `Device`. IPv6 addresses go when a device is taken down."""
        was_down = self._monitor.was_down(self._index) or not self._up
        self._up = self._tun.up()
        if not self._up or not was_down:
            return False
        self._up = False  # until it is configured: what fails is tried again
        self.configure()
        self._up = True
        return True

    def close(self) -> None:
        """See `Device`."""
        self._tun.close()
        if self._former is not None:
            with self._inner:
                _give_back(self._former, self._service)
        self._monitor.close()
        self._inner.close()


@dataclass(frozen=True)
class DeviceOpener:
    """Opens the real thing."""

    def __call__(self, service: Service) -> Device:
        """The configured device. Raises HostError, and leaves nothing behind then."""
        with ExitStack() as stack:
            inner = netns.open_namespace(service.netns, "netns")
            stack.callback(inner.close)
            with inner:
                device = _open(service, inner)
            stack.pop_all()
        return device


def _open(service: Service, inner: Namespace) -> Device:
    netlink.refuse_overlap(service.nets, service.device or "")
    former = adopted.remember(service.device, service.nets) if service.device else None
    with ExitStack() as stack:
        if former is not None:
            stack.callback(_give_back, former, service)
        tun = open_tun(service.device, offload=service.offload != "off")
        stack.callback(tun.close)
        device = TunDevice(service, tun, inner, former)
        stack.pop_all()
    try:
        _check_offload(service, tun)
        device.configure()
    except BaseException:
        device.close()
        raise
    return device


def _give_back(former: DeviceRecord, service: Service) -> None:
    try:
        sentences = adopted.give_back(former)
    except HostError as error:
        sentences = (f"device {former.index} is not as it was: {error}",)
    for sentence in sentences:
        event(_log, logging.WARNING, "not-put-back", service=service.name, text=sentence)


def _check_offload(service: Service, tun: Tun) -> None:
    if service.offload == "on" and not tun.offloads:
        raise HostError("offload=on: this kernel's TUN takes no super-packets; use offload=auto")
