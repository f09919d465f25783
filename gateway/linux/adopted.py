"""A device that was there before us: what it was like, so that it is so again afterwards."""

import errno
from collections.abc import Sequence
from typing import Any

import msgspec
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from gateway.linux import netlink, sysctl
from gateway.linux.netlink import ADDR_GEN_MODE_NONE, IFF_UP
from gateway.protocol.packet import Interface


class DeviceRecord(msgspec.Struct, frozen=True):
    """Kept on disk, too. `added` are addresses that only we give it.

    `link_local` is how the kernel makes its link-local address, None without IPv6.
    """

    place: str
    index: int
    mtu: int
    queue_length: int
    up: bool
    link_local: int | None
    added: tuple[tuple[str, int], ...]


def remember(name: str, nets: Sequence[Interface]) -> DeviceRecord | None:
    """What a device is like, None if there is none of that name. Before we attach to it.

    It gets no link-local address from now on: a carrier, which it has with us, would
    make the kernel give it one. Raises HostError.
    """
    with netlink.opened() as ip:
        try:
            item = ip.link("get", ifname=name)[0]
        except (NetlinkError, IndexError):
            return None
        index = int(item["index"])
        has = {
            item.get_attr("IFA_LOCAL") or item.get_attr("IFA_ADDRESS")
            for item in ip.get_addr()
            if item["index"] == index
        }
        record = DeviceRecord(
            place=sysctl.place(),
            index=index,
            mtu=int(item.get_attr("IFLA_MTU")),
            queue_length=int(item.get_attr("IFLA_TXQLEN")),
            up=bool(item["flags"] & IFF_UP),
            link_local=_link_local(item),
            added=tuple(
                (str(net.ip), net.network.prefixlen) for net in nets if str(net.ip) not in has
            ),
        )
        if record.link_local is not None:
            _set_link_local(ip, index, ADDR_GEN_MODE_NONE)
    return record


def give_back(record: DeviceRecord) -> tuple[str, ...]:
    """Make it so again; sentences about what could not be. Nothing if it has gone.

    A record of another boot or network namespace is void. Raises HostError.
    """
    if record.place != sysctl.place():
        return ()
    with netlink.opened() as ip:
        try:
            ip.link("set", index=record.index, mtu=record.mtu, txqlen=record.queue_length)
            for address, length in record.added:
                _remove(ip, record.index, address, length)
            if record.link_local is not None:
                _set_link_local(ip, record.index, record.link_local)
            if not record.up:
                ip.link("set", index=record.index, state="down")
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return ()
            return (f"device {record.index} is not as it was: {error}",)
    return ()


def _remove(ip: IPRoute, index: int, address: str, length: int) -> None:
    try:
        ip.addr("del", index=index, address=address, prefixlen=length)
    except NetlinkError:
        return  # somebody has removed it


def _link_local(item: Any) -> int | None:
    families = item.get_attr("IFLA_AF_SPEC")
    six = families.get_attr("AF_INET6") if families is not None else None
    mode = six.get_attr("IFLA_INET6_ADDR_GEN_MODE") if six is not None else None
    return None if mode is None else int(mode)


def _set_link_local(ip: IPRoute, index: int, mode: int) -> None:
    family = ("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", mode)]})
    ip.link("set", index=index, IFLA_AF_SPEC={"attrs": [family]})
