"""As much of nftables' netlink as NAT needs: one table with one chain and some rules.

A transaction is a batch of messages between a begin and an end; it happens whole or
not at all. Numbers in attributes are big-endian. Source: linux/netfilter/nf_tables.h.
"""

import errno
import struct
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from gateway.linux.nlmsg import (
    F_ACK,
    F_APPEND,
    F_CREATE,
    F_EXCL,
    Message,
    Netlink,
    attribute,
    nested,
)

NETLINK_NETFILTER = 12
SUBSYSTEM = 10 << 8
INET = 1
IPV4 = 2
IPV6 = 10

_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEWTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE = 0, 2, 3, 6
TABLE_OWNER = 0x2

POSTROUTING = 4
SOURCE_NAT = 100
"""The priority at which iptables and nft do source NAT."""

META_PROTOCOL, META_MARK = 1, 3
META_NFPROTO, META_IIFNAME, META_OIFNAME = 15, 6, 7
CMP_EQ, CMP_NEQ = 0, 1
NAME_SIZE = 16
_REGISTER = 1
_NETWORK_HEADER = 1


def socket() -> Netlink:
    """A socket to nftables. OSError where the kernel has none."""
    return Netlink(NETLINK_NETFILTER)


def run(sock: Netlink, messages: Sequence[Message]) -> int:
    """Do all of `messages` or none; the first error's errno, 0 if they were done."""
    batch = struct.pack(">BBH", 0, 0, 10)
    results = sock.send([Message(_BATCH_BEGIN, 0, batch), *messages, Message(_BATCH_END, 0, batch)])
    return next((code for code in results if code), 0)


def new_table(name: str, *, owned: bool) -> Message:
    """Make the table; with `owned` it goes with the socket that made it."""
    flags = attribute(2, struct.pack(">I", TABLE_OWNER if owned else 0))
    return _message(_NEWTABLE, F_CREATE | F_EXCL, text(1, name) + flags)


def delete_table(name: str) -> Message:
    """Delete the table and all that is in it."""
    return _message(_DELTABLE, 0, text(1, name))


def new_chain(table: str, name: str) -> Message:
    """A source NAT chain."""
    hook = nested(4, _number(1, POSTROUTING), _number(2, SOURCE_NAT))
    payload = text(1, table) + text(3, name) + hook + text(7, "nat")
    return _message(_NEWCHAIN, F_CREATE | F_EXCL, payload)


def new_rule(table: str, chain: str, *expressions: bytes) -> Message:
    """A rule at the chain's end."""
    payload = text(1, table) + text(2, chain) + nested(4, *expressions)
    return _message(_NEWRULE, F_CREATE | F_APPEND, payload)


def came_from(device: str) -> bytes:
    """`iifname device`."""
    return _meta(META_IIFNAME) + _compare(CMP_EQ, name(device))


def leaves_not_by(device: str) -> bytes:
    """`oifname != device`."""
    return _meta(META_OIFNAME) + _compare(CMP_NEQ, name(device))


def source_in(network: IPv4Network | IPv6Network) -> bytes:
    """`ip saddr network` or `ip6 saddr network`."""
    v4 = network.version == 4
    offset, size = (12, 4) if v4 else (8, 16)
    load = _expression(
        "payload",
        _number(1, _REGISTER) + _number(2, _NETWORK_HEADER) + _number(3, offset) + _number(4, size),
    )
    mask = _expression(
        "bitwise",
        _number(1, _REGISTER)
        + _number(2, _REGISTER)
        + _number(3, size)
        + nested(4, attribute(1, network.netmask.packed))
        + nested(5, attribute(1, bytes(size))),
    )
    family = _meta(META_NFPROTO) + _compare(CMP_EQ, bytes((IPV4 if v4 else IPV6,)))
    return family + load + mask + _compare(CMP_EQ, network.network_address.packed)


def masquerade() -> bytes:
    """`masquerade`."""
    return _expression("masq", b"")


def is_missing(code: int) -> bool:
    """Whether an errno says that this kernel lacks nftables, the inet family or NAT."""
    return code in (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.ENOENT, errno.EAFNOSUPPORT)


def header(family: int) -> bytes:
    """What every message's payload begins with (struct nfgenmsg)."""
    return struct.pack(">BBH", family, 0, 0)


def name(device: str) -> bytes:
    """A device's name as it is compared: NULs up to 16 bytes."""
    return device.encode().ljust(NAME_SIZE, b"\0")


def text(kind: int, value: str) -> bytes:
    """An attribute with a string."""
    return attribute(kind, value.encode() + b"\0")


def _message(kind: int, flags: int, payload: bytes) -> Message:
    return Message(SUBSYSTEM | kind, flags | F_ACK, header(INET) + payload)


def _expression(name: str, data: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, data))


def _meta(key: int) -> bytes:
    return _expression("meta", _number(2, key) + _number(1, _REGISTER))


def _compare(operation: int, value: bytes) -> bytes:
    data = nested(3, attribute(1, value))
    return _expression("cmp", _number(1, _REGISTER) + _number(2, operation) + data)


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value))
