"""NAT for what comes out of the tunnel (`nat=true`): forwarding, and masquerading.

    table inet gateway-tun0 { flags owner
        chain postrouting { type nat hook postrouting priority srcnat
            iifname "tun0" oifname != "tun0" masquerade
            ip saddr 192.168.123.0/24 oifname != "tun0" masquerade
        }
    }

The first rule is for everything that the tunnel brings, networks behind other peers
included: a host on the LAN need not know any of them. The second is the one that people
write by hand; it also catches what this host itself sends from its tunnel address.

The table is *owned*: it belongs to one netlink socket, the kernel removes it when that is
closed or its process dies, and nobody else can change it, `nft flush ruleset` included.
So the socket stays open, in the supervisor only: a child must not keep it (it closes what
is not its own). Before Linux 5.12 there are no owners; the table is made all the same,
removed on stop, and replaced by the next start of the same device.

CAP_NET_ADMIN is enough for all of it, so it may be done before root is left or after.
"""

import errno
import os
from collections.abc import Iterable, Sequence

import msgspec

from gateway.errors import NO_ROOM, HostError, host_error
from gateway.linux import nftables, process, sysctl
from gateway.linux.nlmsg import Message, Netlink
from gateway.linux.sysctl import Change
from gateway.protocol.packet import Interface, Network

CHAIN = "postrouting"


class NatRecord(msgspec.Struct, frozen=True):
    """What must be put back after a crash; kept on disk. The table needs no record."""

    place: str
    changes: tuple[Change, ...] = ()


class Masquerade:
    """NAT between one tunnel device and all others of the host, both IP versions."""

    def __init__(self, device: str, nets: Sequence[Interface]) -> None:
        self.device = device
        self.table = table_of(device)
        self.owned = False
        self._networks = tuple(dict.fromkeys(net.network for net in nets))
        self._socket: Netlink | None = None
        self._changes: tuple[Change, ...] = ()
        self._begun = False

    @property
    def is_up(self) -> bool:
        """Whether `up` has been called; `up` once more mends what others undid since."""
        return self._socket is not None

    def plan(self) -> NatRecord:
        """What `up` will change for good, to be written to disk before it is called.

        Raises HostError where the host does not say what is set.
        """
        found = sysctl.plan_forwarding(network.version for network in self._networks)
        known = {change.key for change in self._changes}
        new = tuple(change for change in found if change.key not in known)
        return NatRecord(sysctl.place(), self._changes + new)

    def up(self, record: NatRecord | None = None) -> NatRecord:
        """Masquerade and forward; may be called again at any time. Raises HostError.

        `record` is what `plan` gave. Returns it, for `undo` after a crash. Where it fails
        the first time nothing stays; later, all that is in effect does.
        """
        record = record or self.plan()
        first = not self._begun
        self._begun = True
        try:
            if self._socket is None or not self.owned:
                self._close()  # anybody may have deleted a table without an owner
                self._socket = self._make_table()
            self._changes = record.changes
            sysctl.apply(record.changes)
        except HostError:
            if first:
                self.down()
            raise
        return record

    def follow(self, device: str) -> None:
        """The device may have another name by now: forget the rules for the former one.

        The next `up` makes the new ones.
        """
        if device == self.device:
            return
        self._delete_table()
        self.device, self.table = device, table_of(device)

    def down(self) -> tuple[str, ...]:
        """Take everything back; sentences about what could not be. Safe to repeat."""
        self._delete_table()
        self._begun = False
        left = sysctl.undo(self._changes)
        if not left:
            self._changes = ()
        return left

    def forget(self) -> None:
        """In a child: let go of the descriptor, change nothing."""
        self._close()
        self._changes = ()

    def _delete_table(self) -> None:
        if self._socket is not None:
            nftables.run(self._socket, [nftables.delete_table(self.table)])
        self._close()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _make_table(self) -> Netlink:
        try:
            sock = nftables.socket()
        except OSError as error:
            if error.errno in NO_ROOM:
                raise host_error("nat=true: netlink cannot be opened", error) from None
            raise _refused(error.errno or errno.EOPNOTSUPP) from None
        try:
            self._fill(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def _fill(self, sock: Netlink) -> None:
        former = nftables.run(sock, [nftables.delete_table(self.table)])
        if former == errno.EPERM and "net_admin" in process.own_capabilities():
            raise HostError(
                f"nat=true: the nftables table {self.table!r} belongs to another program "
                "or to another instance on the same device; stop that, or start as root"
            )
        if former not in (0, errno.ENOENT):
            raise _refused(former)
        code = nftables.run(sock, self._ruleset(owned=True))
        self.owned = not code
        if code in (errno.EINVAL, errno.EOPNOTSUPP):
            code = nftables.run(sock, self._ruleset(owned=False))
        if code:
            raise _refused(code)

    def _ruleset(self, *, owned: bool) -> list[Message]:
        leaves = nftables.leaves_not_by(self.device)
        conditions = [
            nftables.came_from(self.device),
            *(nftables.source_in(network) for network in self._networks),
        ]
        return [
            nftables.new_table(self.table, owned=owned),
            nftables.new_chain(self.table, CHAIN),
            *(
                nftables.new_rule(self.table, CHAIN, condition, leaves, nftables.masquerade())
                for condition in conditions
            ),
        ]


def table_of(device: str) -> str:
    """What our table is called."""
    return f"gateway-{device}"


def undo(record: NatRecord) -> tuple[str, ...]:
    """At the next start: put back what a crashed run left.

    A record of another boot or network namespace is void. Raises HostError.
    """
    if record.place != sysctl.place():
        return ()
    return sysctl.undo(record.changes)


def forwards(networks: Iterable[Network]) -> bool:
    """Whether the host forwards every IP version of these networks. Raises HostError."""
    return all(sysctl.forwarding(network.version) for network in networks)


def _refused(code: int) -> HostError:
    if nftables.is_missing(code):
        return HostError(
            "nat=true: this kernel has no nftables NAT (modules nf_tables, nft_chain_nat, "
            "nft_masq; in a container the host must load them); load them, or leave "
            "nat=true out and write an iptables rule"
        )
    if code in (errno.EPERM, errno.EACCES):
        return HostError("nat=true: CAP_NET_ADMIN is missing; start the program as root")
    return HostError(f"nat=true: nftables refuses the table ({os.strerror(code)})")
