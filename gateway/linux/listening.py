"""The listening sockets of relays, opened while a low port may be bound.

Children share one by the fork: whoever is idle accepts.
"""

import contextlib
import errno
import socket

import psutil

from gateway.errors import HostError

BACKLOG = 4096
"""As far as net.core.somaxconn allows."""
DATAGRAM_BUFFER = 8 << 20
SO_RCVBUFFORCE = 33
SO_SNDBUFFORCE = 32


def open_listener(host: str, port: int, *, datagrams: bool = False) -> socket.socket:
    """Listen on `host`, an address, or "" for all of both families.

    `datagrams`: a UDP socket, for a carrier that makes its own streams. Raises HostError.
    """
    kind = socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM
    for family, address in _candidates(host):
        try:
            return _open(family, kind, address, port)
        except OSError as error:
            absent = error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
            if not host and family == socket.AF_INET6 and absent:
                continue  # a host without IPv6
            raise _unbound(host, port, kind, error) from None
    raise HostError(f"{_where(host, port)}: this host has no such address family")


def _open(family: int, kind: int, address: str, port: int) -> socket.socket:
    sock = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            with contextlib.suppress(PermissionError):
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, DATAGRAM_BUFFER // 2)
                sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, DATAGRAM_BUFFER // 2)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _candidates(host: str) -> list[tuple[int, str]]:
    if not host:
        return [(socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")]  # noqa: S104
    return [(socket.AF_INET6 if ":" in host else socket.AF_INET, host)]


def _unbound(host: str, port: int, kind: int, error: OSError) -> HostError:
    where = _where(host, port)
    name = "TCP" if kind == socket.SOCK_STREAM else "UDP"
    if error.errno == errno.EADDRINUSE:
        holder = _holder(port, name.lower()) or "another process"
        return HostError(
            f"{where}: the {name} port is taken by {holder}; stop it or choose another"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return HostError(f"{where}: this host has no such address; use :{port} for all of them")
    if error.errno == errno.EACCES:
        return HostError(f"{where}: a port below 1024 needs root or CAP_NET_BIND_SERVICE")
    return HostError(f"{where}: {error.strerror}")


def _where(host: str, port: int) -> str:
    return f"listen address {f'[{host}]' if ':' in host else host}:{port}"


def _holder(port: int, kind: str) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        for item in psutil.net_connections(kind=kind):
            listens = kind == "udp" or item.status == psutil.CONN_LISTEN
            if listens and item.pid and item.laddr and item.laddr.port == port:
                return f"{psutil.Process(item.pid).name()} (pid {item.pid})"
    return ""
