"""Links and addresses, through pyroute2 in a short `with`.

Each function opens its socket and closes it again: nothing of netlink is held over a
fork, and one request takes about a millisecond.

pyroute2 makes an event loop with each socket. Where it finds no descriptor for all of it, it
keeps those it has opened for good and writes on standard error; so `opened` looks first.
"""

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
)
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from gateway.errors import HostError, host_error

Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

IFF_UP = 0x1
IFA_F_NODAD = 0x02
ADDR_GEN_MODE_NONE = 1
QUEUE_LENGTH = 2000
"""Packets the kernel keeps for a reader that is late; super-packets count once."""
DESCRIPTORS = 8
"""As many as pyroute2 takes for a socket (five), and some."""


@dataclass(frozen=True)
class Link:
    """A device as the kernel has it. `queue_dropped` are packets the reader was too slow for."""

    index: int
    name: str
    mtu: int
    up: bool
    queue_dropped: int


@contextlib.contextmanager
def opened() -> Iterator[IPRoute]:
    """A socket for some requests, in the network namespace we are in. Raises HostError."""
    try:
        _see_that_there_is_room()
        ip = IPRoute()
    except OSError as error:
        raise host_error("netlink cannot be opened", error) from None
    with ip:
        yield ip


def link(name: str) -> Link | None:
    """The device called `name`, None if there is none. Raises HostError."""
    with opened() as ip:
        return _link(ip, name)


def configure(name: str, nets: Sequence[Interface], mtu: int) -> int:
    """Give the device its MTU, queue and addresses, and take it up. Its index. Raises HostError.

    IPv6 addresses come without duplicate detection: nobody else is on the link. The
    kernel makes no link-local address of its own, so no router solicitation leaves.
    """
    with opened() as ip:
        found = _link(ip, name)
        if found is None:
            raise HostError(f"device {name!r} is gone: somebody deleted it")
        try:
            ip.link("set", index=found.index, mtu=mtu, txqlen=QUEUE_LENGTH)
        except NetlinkError as error:
            raise HostError(f"mtu={mtu}: {name!r} does not take it ({_text(error)})") from None
        _no_link_local(ip, found.index)
        for net in nets:
            _add_address(ip, found.index, name, net)
        try:
            ip.link("set", index=found.index, state="up")
        except NetlinkError as error:
            raise HostError(f"device {name!r} cannot be taken up: {_text(error)}") from None
    return found.index


def refuse_overlap(nets: Sequence[Interface], own: str) -> None:
    """Raise HostError if another device already has one of the tunnel networks."""
    with opened() as ip:
        names = {item["index"]: str(item.get_attr("IFLA_IFNAME")) for item in ip.get_links()}
        for index, other in _addresses(ip):
            device = names.get(index, str(index))
            if device == own:
                continue
            for net in nets:
                if net.version == other.version and _overlap(net, other):
                    raise HostError(
                        f"net={net}: device {device!r} already has {other}; choose another "
                        f"tunnel network, or remove it there (ip addr del {other} dev {device})"
                    )


def _see_that_there_is_room() -> None:
    """OSError where there is none. This process has one thread: nobody takes it meanwhile."""
    taken: list[int] = []
    try:
        while len(taken) < DESCRIPTORS:
            taken.append(os.eventfd(0, os.EFD_CLOEXEC))
    finally:
        for fd in taken:
            os.close(fd)


def _link(ip: IPRoute, name: str) -> Link | None:
    try:
        answers = list(ip.link("get", ifname=name))
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return None
        raise
    if not answers:
        return None
    item = answers[0]
    stats = item.get_attr("IFLA_STATS64") or {}
    return Link(
        index=int(item["index"]),
        name=name,
        mtu=int(item.get_attr("IFLA_MTU") or 0),
        up=bool(item["flags"] & IFF_UP),
        queue_dropped=int(stats.get("tx_dropped", 0)),
    )


def _addresses(ip: IPRoute) -> Iterator[tuple[int, Interface]]:
    for family in (AF_INET, AF_INET6):
        for item in ip.get_addr(family=family):
            address = item.get_attr("IFA_LOCAL") or item.get_attr("IFA_ADDRESS")
            if address is None:
                continue
            interface = ip_interface(f"{address}/{item['prefixlen']}")
            if not interface.is_link_local:
                yield int(item["index"]), interface


def _overlap(one: Interface, other: Interface) -> bool:
    return one.network.overlaps(other.network)


def _no_link_local(ip: IPRoute, index: int) -> None:
    attributes = {
        "attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", ADDR_GEN_MODE_NONE)]})]
    }
    try:
        ip.link("set", index=index, IFLA_AF_SPEC=attributes)
    except NetlinkError:
        return  # no IPv6 on this host


def _add_address(ip: IPRoute, index: int, name: str, net: Interface) -> None:
    request: dict[str, Any] = {"index": index, "address": str(net.ip), "prefixlen": _length(net)}
    if net.version == 6:
        request["flags"] = IFA_F_NODAD
    try:
        ip.addr("replace", **request)
    except NetlinkError as error:
        if net.version == 6 and error.code in (errno.EOPNOTSUPP, errno.EACCES, errno.EPERM):
            raise HostError(
                f"net={net}: this host has IPv6 switched off "
                f"(sysctl net.ipv6.conf.all.disable_ipv6=0), or leave the address out"
            ) from None
        raise HostError(f"net={net}: {name!r} does not take it ({_text(error)})") from None


def _length(net: Interface) -> int:
    return net.network.prefixlen


def _text(error: NetlinkError) -> str:
    return str(error.args[1]) if len(error.args) > 1 else str(error)
