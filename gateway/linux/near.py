"""UDP sockets between a bridge and the gateway's own services, on this very host.

Their bursts are 64 KB and their reader is busy now and then, so their receive buffers are
large: forced where we may, else as large as `net.core.rmem_max` allows.
"""

import socket
from pathlib import Path

from gateway.linux.udp import SO_RCVBUFFORCE, SOL_UDP, UDP_GRO

RECEIVE_BUFFER = 4 << 20
SEND_BUFFER = 1 << 20
LOOPBACK = "127.0.0.1"


def open_near(family: int = socket.AF_INET) -> socket.socket:
    """An unbound socket that receives with GRO. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        # The kernel doubles what it is told. FORCE needs CAP_NET_ADMIN.
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER // 2)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER // 2)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER // 2)
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def open_leg() -> socket.socket:
    """A socket on a loopback port, deaf until `lead_leg` says whom it is for. Raises OSError."""
    sock = open_near()
    try:
        sock.bind((LOOPBACK, 0))
        sock.connect(sock.getsockname())  # whoever sends before his time is not heard
    except BaseException:
        sock.close()
        raise
    return sock


def lead_leg(sock: socket.socket, port: int) -> None:
    """Hear and answer this loopback port alone; the holders of a copy need not be told."""
    sock.connect((LOOPBACK, port))


def shortfall(sock: socket.socket) -> str:
    """Why the receive buffer is smaller than it should be, "" if it is not."""
    size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    if size >= RECEIVE_BUFFER:
        return ""
    limit = int(Path("/proc/sys/net/core/rmem_max").read_text())
    return (
        f"a bridge's sockets buffer {size >> 10} KB instead of {RECEIVE_BUFFER >> 10}: without "
        f"CAP_NET_ADMIN the limit is net.core.rmem_max={limit}, so set it to {RECEIVE_BUFFER // 2}"
    )
