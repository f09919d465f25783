"""A socket for a carrier that shall leave with a firewall mark: CAP_NET_ADMIN sets it."""

import socket

from gateway.linux.udp import Confines, confine


def open_marked(family: int, kind: int, confines: Confines) -> socket.socket:
    """Not connected and not blocking. Raises HostError, OSError."""
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        confine(sock, confines)
    except BaseException:
        sock.close()
        raise
    return sock
