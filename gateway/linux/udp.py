"""The data sockets: the server's group and the client's connected one.

They are shared by processes, so nobody sets `O_NONBLOCK` (it belongs to all of them);
every call carries `MSG_DONTWAIT`. No `IP_RECVERR`: on an unconnected socket it makes
sends to healthy peers fail with another peer's error (I13).

The first socket of the group binds before it sets `SO_REUSEPORT`, the others join it.
Set before, it would let a second instance join in silence and take a share of the
flows. The ack socket joins last and never receives (`reuseport`).
"""

import contextlib
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import psutil

from gateway.errors import HostError
from gateway.linux import netns, reuseport
from gateway.protocol.packet import Endpoint, pack_address, unpack_address

RECEIVE_BUFFER = 8 << 20
SEND_BUFFER = 1 << 20
"""Bounded: it is one queue for all peers (I13)."""

SO_RCVBUFFORCE = 33
SO_MEMINFO = 55
IP_MTU_DISCOVER = 10
IP_PMTUDISC_OMIT = 5
IP_PKTINFO = 8
IPV6_MTU_DISCOVER = 23
IPV6_PMTUDISC_WANT = 1
SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104

_MEMINFO = struct.Struct("9I")
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Memory:
    """`SO_MEMINFO`: any holder of a socket can read it, whoever is stopped."""

    queued_bytes: int
    receive_buffer: int
    send_queued_bytes: int
    send_buffer: int
    dropped: int


@dataclass(frozen=True)
class Confines:
    """What an outer socket is held to: a device by name (None: any), a firewall mark (0: none)."""

    interface: str | None = None
    mark: int = 0


ANYWHERE = Confines()


@dataclass(frozen=True)
class Group:
    """A server's sockets: one for each worker, and the supervisor's for acks."""

    workers: tuple[socket.socket, ...]
    acks: socket.socket

    def close(self) -> None:
        """Close this process's copies."""
        for sock in (*self.workers, self.acks):
            sock.close()


def open_group(
    host: str, port: int, workers: int, *, gro: bool, confines: Confines = ANYWHERE
) -> Group:
    """Bind `workers` sockets and the ack socket to one port.

    An empty host or `::` means both families, IPv4 alone where the host has no IPv6.
    Raises HostError: port taken (and by whom), address or device not on this host.
    """
    first = _bind_first(host, port, confines, gro=gro)
    sockets = [first]
    try:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        where = first.getsockname()
        sockets += [_join(first.family, where, confines, gro=gro) for _ in range(workers - 1)]
        if workers > 1:
            reuseport.spread(first, workers)
        acks = _join(first.family, where, confines, gro=False)
        sockets.append(acks)
        if workers == 1:
            reuseport.spread(first, workers)
    except (OSError, HostError) as error:
        for sock in sockets:
            sock.close()
        if isinstance(error, HostError):
            raise
        raise HostError(f"{_where(host, port)}: cannot be shared ({error.strerror})") from None
    return Group(tuple(sockets[:-1]), acks)


def open_client(*, gro: bool, confines: Confines = ANYWHERE) -> socket.socket:
    """An unconnected socket for one server at a time, of either family if the host has both.

    Raises HostError.
    """
    family = socket.AF_INET6 if _has_ipv6() else socket.AF_INET
    return _new(family, confines, gro=gro)


def connect(sock: socket.socket, address: str, port: int, scope: int = 0) -> None:
    """Connect, or connect anew: the kernel then picks a new source port. Raises OSError.

    `address` is text; an IPv4 address on a dual-stack socket goes as v4-mapped.
    """
    disconnect(sock)
    if sock.family == socket.AF_INET:
        sock.connect((address, port))
        return
    if ip_address(address).version == 4:
        address = f"::ffff:{address}"
    sock.connect((address, port, 0, scope))


def disconnect(sock: socket.socket) -> None:
    """`connect(AF_UNSPEC)`: forget the server and give the source port back."""
    unspec = struct.pack("H14x", socket.AF_UNSPEC)
    if _libc.connect(sock.fileno(), unspec, len(unspec)) != 0:
        number = ctypes.get_errno()
        if number != errno.EAFNOSUPPORT:
            raise OSError(number, os.strerror(number))
    if isinstance(sock, _Confined) and sock.interface is not None:
        _bind_to_device(sock, sock.interface)  # the kernel has forgotten that, too


def send_to(sock: socket.socket, datagram: bytes, endpoint: Endpoint) -> None:
    """From an unconnected socket, without waiting. Raises OSError."""
    address = unpack_address(endpoint.address)
    if sock.family == socket.AF_INET:
        where: tuple[str, int] | tuple[str, int, int, int] = (str(address), endpoint.port)
    else:
        text = f"::ffff:{address}" if address.version == 4 else str(address)
        where = (text, endpoint.port, 0, endpoint.scope)
    sock.sendto(datagram, socket.MSG_DONTWAIT, where)


def senders(sock: socket.socket, most: int) -> Iterator[Endpoint]:
    """Where the datagrams came from that wait on an unconnected socket; they are taken."""
    for _ in range(most):
        try:
            _, name = sock.recvfrom(1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            continue  # what ICMP left there: an earlier datagram went nowhere
        scope = name[3] if len(name) > 3 else 0
        yield Endpoint(pack_address(ip_address(name[0].partition("%")[0])), name[1], scope)


def source_gone(sock: socket.socket) -> bool:
    """Whether the host has lost the address a connected socket sends from.

    The kernel does not always say so: IPv4 sends fail with EINVAL, IPv6 goes on sending.
    The host is the network namespace that the socket lives in.
    """
    name = sock.getsockname()
    try:
        with _where_it_lives(sock), socket.socket(sock.family, socket.SOCK_DGRAM) as probe:
            probe.bind((name[0], 0, *name[2:]))
    except OSError as error:
        return error.errno == errno.EADDRNOTAVAIL
    return False


def pending_error(sock: socket.socket) -> int:
    """Take the error an ICMP message left on the socket, 0 if none."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def memory(sock: socket.socket) -> Memory:
    """Queue, buffers and the kernel's own count of datagrams dropped."""
    raw = sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size)
    queued, receive, sending, send, _, _, _, _, dropped = _MEMINFO.unpack(raw)
    return Memory(queued, receive, sending, send, dropped)


def local_text(sock: socket.socket) -> str:
    """The bound address as `203.0.113.7:8421` or `[::]:8421`."""
    name = sock.getsockname()
    host, port = str(name[0]), int(name[1])
    host = host.removeprefix("::ffff:") if host.count(".") == 3 else host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.contextmanager
def _where_it_lives(sock: socket.socket) -> Iterator[None]:
    with contextlib.closing(netns.of_socket(sock)) as namespace, namespace:
        yield


class _Confined(socket.socket):
    """A socket that knows its device. Any user may name one to a socket that has none."""

    interface: str | None = None


def _new(family: int, confines: Confines, *, gro: bool) -> socket.socket:
    sock = _Confined(family, socket.SOCK_DGRAM)
    sock.interface = confines.interface
    try:
        confine(sock, confines)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_WANT)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        # On a dual-stack socket too: what it sends to IPv4 obeys the IPv4 option.
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER // 2)
        _receive_buffer(sock)
        if gro:
            sock.setsockopt(SOL_UDP, UDP_GRO, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def confine(sock: socket.socket, confines: Confines) -> None:
    """Keep a socket to a device, and give it a mark. Raises HostError."""
    if confines.interface is not None:
        try:
            _bind_to_device(sock, confines.interface)
        except OSError as error:
            reason = (
                "this host has no such device (ip link)"
                if error.errno == errno.ENODEV
                else error.strerror
            )
            raise HostError(f"interface={confines.interface}: {reason}") from None
    if confines.mark:
        try:
            mark = struct.pack("=I", confines.mark)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        except PermissionError:
            raise HostError(
                f"so_mark={confines.mark}: CAP_NET_ADMIN is missing; start the program as root"
            ) from None


def _bind_to_device(sock: socket.socket, name: str) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode() + b"\0")


def _receive_buffer(sock: socket.socket) -> None:
    # The kernel doubles what it is told. FORCE passes rmem_max, with CAP_NET_ADMIN.
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER // 2)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER // 2)


def _bind_first(host: str, port: int, confines: Confines, *, gro: bool) -> socket.socket:
    for family, address in _candidates(host, port):
        try:
            sock = _new(family, confines, gro=gro)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                continue
            raise
        try:
            sock.bind(address)
        except OSError as error:
            sock.close()
            if error.errno == errno.EADDRNOTAVAIL and not host:
                continue
            raise _unbound(host, port, error) from None
        return sock
    raise HostError(f"{_where(host, port)}: this host has no such address family")


def _candidates(host: str, port: int) -> Iterator[tuple[int, tuple[str, int]]]:
    if host in ("", "::"):
        yield socket.AF_INET6, ("::", port)
        if not host:
            yield socket.AF_INET, ("0.0.0.0", port)  # noqa: S104  (that is what ":port" asks for)
        return
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except socket.gaierror as error:
        raise HostError(f"{_where(host, port)}: cannot be resolved ({error.strerror})") from None
    for family, _, _, _, address in found[:1]:
        yield family, address  # type: ignore[misc]


def _join(family: int, where: object, confines: Confines, *, gro: bool) -> socket.socket:
    sock = _new(family, confines, gro=gro)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(where)  # type: ignore[arg-type]
    except BaseException:
        sock.close()
        raise
    return sock


def _unbound(host: str, port: int, error: OSError) -> HostError:
    where = _where(host, port)
    if error.errno == errno.EADDRINUSE:
        holder = ", ".join(_holders(port)) or "another process"
        return HostError(f"{where}: the UDP port is taken by {holder}; stop it or choose another")
    if error.errno == errno.EADDRNOTAVAIL:
        return HostError(f"{where}: this host has no such address; use :{port} for all of them")
    if error.errno == errno.EACCES:
        return HostError(f"{where}: a port below 1024 needs root or CAP_NET_BIND_SERVICE")
    return HostError(f"{where}: {error.strerror}")


def _where(host: str, port: int) -> str:
    return f"listen address {f'[{host}]' if ':' in host else host}:{port}"


def _holders(port: int) -> list[str]:
    pids = set()
    with contextlib.suppress(psutil.Error, OSError):
        pids = {
            item.pid
            for item in psutil.net_connections(kind="udp")
            if item.pid and item.laddr and item.laddr.port == port
        }
    names = []
    for pid in sorted(pids)[:3]:
        with contextlib.suppress(psutil.Error):
            names.append(f"{psutil.Process(pid).name()} (pid {pid})")
    return names


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True
