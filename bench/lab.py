"""Hosts as network namespaces, joined by links, gone without a trace afterwards.

    H1 192.168.100.10                                   H2 192.168.101.10
     |                                                     |
    C1 198.18.1.2 ──────── R ──────── S 1.2.3.4     C2 198.18.2.2 ── R
                      (a router)

Every client Cn has a link of its own, 198.18.n.0/24 and 2001:db8:n::/64. The
server S has 1.2.3.4 and 2001:db8:1234::4. With `router=False` there is no R: the
clients' links end at S itself, at 198.18.n.1, and it keeps its public addresses on
`lo`; this is the shortest path there is, and what the bench compares with. LAN hosts Hn sit
behind Cn, in 192.168.(99+n).0/24, which nobody else has a route to.

Clients have no way to private networks but what a test or a tunnel adds: without
that rule the server would answer for its tunnel address over the plain link.

All links have the kernel's defaults (MTU 1500, offloads on). Namespaces are named
lab-<pid>-<random>-<host>; links are called `wan0` on a host, `lan0` towards a
LAN, and by the host's name at the other end. Needs `ip`; nothing else.
"""

import os
import secrets
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hosts import Host, LabUnavailable, check_host, ip
from programs import Managed, uninterrupted, wait_for

SERVER_IPV4 = "1.2.3.4"
SERVER_IPV6 = "2001:db8:1234::4"

_OTHER_INDEX = 100

__all__ = [
    "SERVER_IPV4",
    "SERVER_IPV6",
    "Host",
    "Lab",
    "LabLeakError",
    "LabUnavailable",
    "check_host",
]


class LabLeakError(AssertionError):
    """Something was left on a host of the lab when it was closed."""


class Lab:
    """The network of the drawing above, as a context manager.

    `clients` is their number; `lans` the numbers of those with a LAN host behind
    them. Raises LabUnavailable on entry; LabLeakError on exit, when a process was left
    in a namespace (it is ended first), unless another exception is on its way.
    """

    def __init__(
        self,
        clients: int = 2,
        *,
        router: bool = True,
        lans: Iterable[int] = (),
        server_addresses: Sequence[str] = (SERVER_IPV4, SERVER_IPV6),
        tun: bool = True,
    ) -> None:
        self.mark = secrets.token_hex(2)
        self.processes: list[Managed] = []
        self.hosts: list[Host] = []
        self.clients: list[Host] = []
        self.lan_hosts: dict[int, Host] = {}
        self._client_count = clients
        self._lans = tuple(lans)
        self._router = router
        self._server_addresses = tuple(server_addresses)
        self._tun = tun
        self._temporary = tempfile.TemporaryDirectory(prefix="lab-")
        self.directory = Path(self._temporary.name)

    def __enter__(self) -> Self:
        check_host(tun=self._tun)
        try:
            self._build()
        except RuntimeError as error:
            self.close()
            raise LabUnavailable(
                "netns", f"network namespaces cannot be made here: {error}"
            ) from None
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        left = self.close()
        if left and error is None:
            raise LabLeakError("; ".join(left))

    def near_address(self, number: int) -> str:
        """The server's IPv4 address on the link that leads to client Cn."""
        return self.server.ipv4 if self._router else f"198.18.{number}.1"

    def _build(self) -> None:
        v4 = next((a for a in self._server_addresses if ":" not in a), "")
        v6 = next((a for a in self._server_addresses if ":" in a), "")
        self.server = self._add("S", v4, v6)
        self.hub = self._add("R") if self._router else self.server
        self.hub.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
        if self._router:
            self._link(self.hub, "S", self.server, "1.2.3", "2001:db8:1234")
            device = "wan0"
        else:
            device = "lo"
        for address in self._server_addresses:
            if self._router and address in (SERVER_IPV4, SERVER_IPV6):
                continue
            length = "/128 nodad" if ":" in address else "/32"
            self.server.ip(f"address add {address}{length} dev {device}")
            if self._router:
                self.hub.ip(f"route add {address} dev S")
        for number in range(1, self._client_count + 1):
            self.clients.append(self._client(number))
        for number in self._lans:
            self.lan_hosts[number] = self._lan(number)

    def _start(
        self, title: str, command: Sequence[str], environment: Mapping[str, str] | None
    ) -> Managed:
        log = self.directory / f"{len(self.processes):03d}-{title.replace(' ', '-')}.log"
        process = Managed(title, command, log, environment)
        self.processes.append(process)
        return process

    def _client(self, number: int) -> Host:
        client = self._add(f"C{number}", f"198.18.{number}.2", f"2001:db8:{number}::2")
        self._link(self.hub, client.name, client, f"198.18.{number}", f"2001:db8:{number}")
        client.ip(
            *(
                f"route add unreachable {net}"
                for net in ("10.0.0.0/8", "192.168.0.0/16", "fc00::/7")
            )
        )
        return client

    def _lan(self, number: int) -> Host:
        client = self.clients[number - 1]
        near, far = f"192.168.{99 + number}.1", f"192.168.{99 + number}.10"
        host = self._add(f"H{number}", far)
        _join(client, "lan0", host, "wan0")
        client.ip(f"address add {near}/24 dev lan0", "link set dev lan0 up")
        host.ip(
            f"address add {far}/24 dev wan0",
            "link set dev wan0 up",
            f"route add default via {near}",
        )
        return host

    def _add(self, name: str, ipv4: str = "", ipv6: str = "") -> Host:
        netns = f"lab-{os.getpid()}-{self.mark}-{name}"
        host = Host(name, netns, self._start, ipv4, ipv6)
        self.hosts.append(host)
        ip("netns", "add", host.netns)
        host.sysctl(ipv6__conf__all__accept_dad=0, ipv6__conf__default__accept_dad=0)
        host.ip("link set dev lo up")
        return host

    def _link(self, hub: Host, port: str, host: Host, v4: str, v6: str) -> None:
        last = "4" if host.name == "S" else "2"
        _join(hub, port, host, "wan0")
        hub.ip(
            f"address add {v4}.1/24 dev {port}",
            f"address add {v6}::1/64 dev {port} nodad",
            f"link set dev {port} up",
        )
        host.ip(
            f"address add {v4}.{last}/24 dev wan0",
            f"address add {v6}::{last}/64 dev wan0 nodad",
            "link set dev wan0 up",
            f"route add default via {v4}.1",
            f"route add default via {v6}::1",
        )

    def close(self) -> list[str]:
        """End everything; says in sentences what had been left, and is safe to repeat.

        Not to be interrupted: Ctrl-C waits until it is done.
        """
        with uninterrupted():
            for process in reversed(self.processes):
                process.stop()
            left = [sentence for host in reversed(self.hosts) for sentence in _remove(host)]
            self.hosts.clear()
            self._temporary.cleanup()
        return left


def _remove(host: Host) -> list[str]:
    """Delete a namespace; sentences about what was still in it."""
    if not Path("/run/netns", host.netns).exists():
        return []  # its making was interrupted
    left = [f"process {pid} was left on {host.name}: {_end(pid)}" for pid in host.pids()]
    try:
        ip("netns", "delete", host.netns)
    except RuntimeError as error:
        left.append(f"the namespace of {host.name} was left: {error}")
    return left


def _join(one: Host, one_device: str, other: Host, other_device: str) -> None:
    """Join two hosts. Their devices get different numbers for a reason.

    Where a device and its peer have the same index, the kernel takes the pair for one
    plain device and reports its carrier up to a second late (net/core/link_watch.c).
    """
    ip(
        *f"link add name {other_device} index {_OTHER_INDEX} netns {other.netns} "
        f"type veth peer name {one_device} netns {one.netns}".split()
    )


def _end(pid: int) -> str:
    """Kill a stray process; returns its command line."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
        os.kill(pid, 9)
    except (FileNotFoundError, ProcessLookupError):
        return "it has just ended"
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), 5.0, f"process {pid} to be gone")
    return command
