"""Opening the TUN device.

The device carries a 10-byte virtio header before every packet (`IFF_VNET_HDR`) and is
never multi-queue: a second process would join such a device in silence, while a
single-queue device that is in use answers EBUSY.

A device that somebody deletes leaves its descriptor open but detached; every read
then fails with EBADFD. `TUNSETIFF` on that same descriptor attaches a new device, so
`Tun.attach` serves a first start and a re-creation, and processes that share the
descriptor go on without a fork (drivers/net/tun.c: tun_detach_all, tun_attach).
"""

import errno
import fcntl
import os
import socket
import struct
from pathlib import Path

from gateway.errors import HostError

DEVICE_FILE = "/dev/net/tun"
VNET_HEADER_BYTES = 10
HOLDERS_NAMED = 3

# linux/if_tun.h
TUNSETIFF = 0x400454CA
TUNGETIFF = 0x800454D2
TUNSETOFFLOAD = 0x400454D0
TUNSETVNETHDRSZ = 0x400454D8
SIOCGIFFLAGS = 0x8913
IFF_UP = 0x0001
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
IFF_TUN_EXCL = 0x8000
TUN_F_CSUM = 0x01
TUN_F_TSO4 = 0x02
TUN_F_TSO6 = 0x04
TUN_F_USO4 = 0x20
TUN_F_USO6 = 0x40

TSO = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6
USO = TUN_F_USO4 | TUN_F_USO6
"""UDP super-packets: Linux 6.2, both or none, and not without TUN_F_CSUM."""

_OFFLOADS = (
    (TSO | USO, ("csum", "tso4", "tso6", "uso4", "uso6")),
    (TSO, ("csum", "tso4", "tso6")),
    (0, ()),
)

_IFREQ = struct.Struct("16sH22x")


class Tun:
    """One TUN device; `offloads` is what the kernel granted.

    It belongs to the network namespace it is opened in, and so does what asks for its flags.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.offloads: tuple[str, ...] = ()
        self._name = ""
        self._asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    @property
    def name(self) -> str:
        """As the kernel has it: somebody may rename it. The last one of a device that is gone."""
        try:
            self._name = _name_in(fcntl.ioctl(self.fd, TUNGETIFF, _IFREQ.pack(b"", 0)))
        except OSError as error:
            if error.errno != errno.EBADFD:
                raise
        return self._name

    def attach(self, name: str | None, *, offload: bool) -> None:
        """Create the device, or take over the existing persistent one called `name`.

        Raises HostError with the remedy when the kernel refuses.
        """
        self._name = self._set_interface(name)
        fcntl.ioctl(self.fd, TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER_BYTES))
        self.offloads = self._set_offload(wanted=offload)

    def attached(self) -> bool:
        """Whether the descriptor has a device still: a deletion takes it away."""
        try:
            fcntl.ioctl(self.fd, TUNGETIFF, _IFREQ.pack(b"", 0))
        except OSError as error:
            if error.errno == errno.EBADFD:
                return False
            raise
        return True

    def up(self) -> bool:
        """Whether the device is there and up; costs one system call, unlike netlink."""
        try:
            answer = fcntl.ioctl(self._asking, SIOCGIFFLAGS, _IFREQ.pack(self.name.encode(), 0))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            raise
        flags: int = _IFREQ.unpack(answer)[1]
        return bool(flags & IFF_UP)

    def close(self) -> None:
        """Give the descriptor back. The device goes when the last process has done so."""
        self._asking.close()
        os.close(self.fd)

    def _set_interface(self, name: str | None) -> str:
        try:
            return self._try_interface(name, IFF_TUN_EXCL)
        except OSError as error:
            if error.errno != errno.EBUSY or name is None:
                raise _refused(name, error) from None
        try:
            return self._try_interface(name, 0)
        except OSError as error:
            raise _refused(name, error) from None

    def _try_interface(self, name: str | None, more_flags: int) -> str:
        flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | more_flags
        request = _IFREQ.pack((name or "").encode(), flags)
        return _name_in(fcntl.ioctl(self.fd, TUNSETIFF, request))

    def _set_offload(self, *, wanted: bool) -> tuple[str, ...]:
        # TSO with ECN is never asked for; the data path could not split it honestly.
        for flags, names in _OFFLOADS if wanted else _OFFLOADS[-1:]:
            try:
                fcntl.ioctl(self.fd, TUNSETOFFLOAD, flags)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
            else:
                return names
        return ()


def open_tun(name: str | None, *, offload: bool) -> Tun:
    """Open `/dev/net/tun` and attach a device. Raises HostError."""
    try:
        fd = os.open(DEVICE_FILE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise HostError(
            f"{DEVICE_FILE} does not exist: load the module (modprobe tun), "
            "or give the container the device (--device /dev/net/tun)"
        ) from None
    except PermissionError:
        raise HostError(f"{DEVICE_FILE} may not be opened: start the gateway as root") from None
    except OSError as error:
        raise HostError(
            f"{DEVICE_FILE} cannot be opened ({error.strerror}): is the tun module loaded?"
        ) from None
    tun = Tun(fd)
    try:
        tun.attach(name, offload=offload)
    except BaseException:
        tun.close()
        raise
    return tun


def _name_in(answer: bytes) -> str:
    name: bytes = _IFREQ.unpack(answer)[0]
    return name.partition(b"\0")[0].decode(errors="surrogateescape")


def _refused(name: str | None, error: OSError) -> HostError:
    device = f"TUN device {name!r}" if name else "a TUN device"
    if error.errno == errno.EPERM:
        return HostError(
            f"{device} may not be created: CAP_NET_ADMIN is missing; start as root, "
            "or give the container --cap-add NET_ADMIN"
        )
    if error.errno == errno.EBUSY:
        holders = ", ".join(_holders(name or "")) or "another process"
        return HostError(f"{device} is in use by {holders}: choose another name= or stop it")
    if error.errno == errno.EINVAL:
        return HostError(f"{device} exists and is no single-queue TUN device: choose another name=")
    if error.errno == errno.ENOTTY:
        return HostError(
            f"{device} cannot be created: {DEVICE_FILE} is not the kernel's TUN driver; "
            "give the container the real one (--device /dev/net/tun)"
        )
    return HostError(f"{device} cannot be created: {error.strerror}")


def _holders(name: str) -> list[str]:
    """The processes of this network namespace that have the device, as far as /proc shows."""
    needle = f"iff:\t{name}\n"
    namespace = Path("/proc/self/ns/net").stat().st_ino
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns/net").stat().st_ino != namespace:
                continue
            if any(needle in info.read_text() for info in (process / "fdinfo").iterdir()):
                found.append(f"{(process / 'comm').read_text().strip()} (pid {process.name})")
        except OSError:
            continue
    return found[:HOLDERS_NAMED]
