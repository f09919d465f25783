"""What the kernel tells of devices: so that one that was down for a moment is noticed.

A device that is taken down loses its IPv6 addresses and its routes, however short it was.
"""

import errno
import struct

from gateway.errors import HostError
from gateway.linux.nlmsg import Netlink

NETLINK_ROUTE = 0
RTM_NEWLINK = 16
GROUP_LINKS = 0x1
IFF_UP = 0x1
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg


class LinkMonitor:
    """Collects messages about the devices of the network namespace it is made in."""

    def __init__(self) -> None:
        try:
            self._socket = Netlink(NETLINK_ROUTE, GROUP_LINKS)
        except OSError as error:
            raise HostError(f"netlink cannot be opened: {error.strerror}") from None

    def was_down(self, index: int) -> bool:
        """Whether a device was down at any time since the last call; True if in doubt."""
        down = False
        try:
            for kind, payload in self._socket.drain():
                _, _, which, flags, _ = _LINK.unpack_from(payload)
                down |= kind == RTM_NEWLINK and which == index and not flags & IFF_UP
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return True
        return down

    def close(self) -> None:
        """Close the descriptor."""
        self._socket.close()
