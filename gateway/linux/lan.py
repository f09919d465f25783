"""The networks on this host's LAN side, and whether others can reach them through it.

What a client advertises by itself (`advertise=auto`): private networks of its own
devices, into which it forwards and masquerades what comes from the tunnel; so a host
there answers without knowing the tunnel. Container engines' bridges are no LANs, nor
are point-to-point devices (other tunnels, dial-up).

Masquerading is recognised as this program's own table (`nat=true`, the caller knows) or
as a rule of somebody's: nftables and iptables-nft are read whenever asked (`ruleset`).
The older iptables-legacy keeps its rules where only root may read them and only its own
program can: `read_legacy` asks that program once, before root is left, and only where
the kernel has such a table. What is written there later is seen at the next start.
"""

import re
import subprocess
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import NamedTuple

from gateway.linux import netlink, ruleset, sysctl
from gateway.linux.ruleset import Query
from gateway.protocol.approval import is_private
from gateway.protocol.packet import Network

_ENGINES = re.compile(
    r"docker\d+|docker_gwbridge|br-[0-9a-f]{12}|cni.*|podman\d+|virbr\d.*|veth.*|lxcbr\d+|"
    r"lxdbr\d+|incusbr\d+|cali.*|cilium.*|flannel.*|kube-.*|nerdctl\d+|vnet\d+"
)
_UP, _LOOPBACK, _POINT_TO_POINT = 0x1, 0x8, 0x10
_TIMEOUT = 5.0
_NET = Path("/proc/thread-self/net")
_TABLES = {4: _NET / "ip_tables_names", 6: _NET / "ip6_tables_names"}
_PROGRAMS = {4: "iptables-legacy-save", 6: "ip6tables-legacy-save"}


class Connected(NamedTuple):
    """A network that is on one of this host's devices."""

    network: Network
    device: str
    is_lan: bool


@dataclass(frozen=True)
class LegacyRule:
    """A source NAT rule of iptables-legacy. None: any; the flags: all but this one."""

    version: int
    source: Network | None = None
    other_sources: bool = False
    outgoing: str | None = None
    other_devices: bool = False

    def covers(self, query: Query) -> bool:
        """Whether it applies to every packet of the query."""
        if self.version != query.source.version:
            return False
        return self._covers_source(query.source) and self._covers_device(query.outgoing)

    def _covers_source(self, source: Network) -> bool:
        if self.source is None:
            return True
        if self.other_sources:
            return not source.overlaps(self.source)
        return _within(source, self.source)

    def _covers_device(self, device: str) -> bool:
        if self.outgoing is None:
            return True
        wildcard = self.outgoing.endswith("+")
        same = device.startswith(self.outgoing[:-1]) if wildcard else device == self.outgoing
        return same is not self.other_devices


def connected() -> tuple[Connected, ...]:
    """Every network of a device that is up, in order; not loopback, not link-local.

    Raises HostError.
    """
    found: dict[tuple[Network, str], Connected] = {}
    with netlink.opened() as ip:
        links = {item["index"]: item for item in ip.get_links()}
        for item in ip.get_addr():
            device = links.get(item["index"])
            address = item.get_attr("IFA_LOCAL") or item.get_attr("IFA_ADDRESS")
            if device is None or address is None or not device["flags"] & _UP:
                continue
            network = ip_interface(f"{address}/{item['prefixlen']}").network
            if network.is_loopback or network.is_link_local:
                continue
            name = str(device.get_attr("IFLA_IFNAME"))
            is_lan = not device["flags"] & (_LOOPBACK | _POINT_TO_POINT) and not is_engine(name)
            found[network, name] = Connected(network, name, is_lan)
    return tuple(sorted(found.values(), key=_order))


def is_engine(device: str) -> bool:
    """Whether a device has the name of a container or VM engine's bridge or port."""
    return _ENGINES.fullmatch(device) is not None


def private_lans(networks: Iterable[Connected], tunnels: Container[str]) -> tuple[Connected, ...]:
    """Those of `networks` that may lie behind a client; `tunnels` are our own devices."""
    return tuple(
        item
        for item in networks
        if item.is_lan
        and item.device not in tunnels
        and is_private(item.network)
        and item.network.prefixlen < item.network.max_prefixlen
    )


def reachable(
    lans: Iterable[Connected],
    tunnel: str,
    nets: Sequence[Network],
    *,
    own_nat: bool,
    legacy: Sequence[LegacyRule] = (),
) -> tuple[Network, ...]:
    """The networks of `lans` that a host in the tunnel networks `nets` gets answers from.

    The host forwards their IP version, and `own_nat` (our table is up) or a rule
    masquerades what comes from `nets` by the device `tunnel`. Reads the ruleset.
    """
    versions = {version for version in (4, 6) if sysctl.forwarding(version)}
    open_lans = [item for item in lans if item.network.version in versions]
    rules = ruleset.Ruleset() if own_nat or not open_lans else ruleset.read()
    found: list[Network] = []
    for item in open_lans:
        sources = [net for net in nets if net.version == item.network.version]
        queries = [Query(net, item.network, tunnel, item.device) for net in sources]
        if (own_nat and sources) or (
            queries
            and all(
                rules.masquerades(query) or any(rule.covers(query) for rule in legacy)
                for query in queries
            )
        ):
            found.append(item.network)
    return tuple(dict.fromkeys(found))


def read_legacy() -> tuple[LegacyRule, ...]:
    """What iptables-legacy translates, if the kernel has its tables. Needs root; never raises."""
    rules: list[LegacyRule] = []
    for version, tables in _TABLES.items():
        try:
            if "nat" not in tables.read_text().split():
                continue
            done = subprocess.run(
                [_PROGRAMS[version], "-t", "nat"],
                check=False,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        rules += parse_legacy(done.stdout, version)
    return tuple(rules)


def parse_legacy(text: str, version: int) -> list[LegacyRule]:
    """The source NAT rules in what iptables-legacy-save wrote.

    A rule with conditions other than source and outgoing device is left out.
    """
    parsed = [_parse_rule(line.split(), version) for line in text.splitlines()]
    return [rule for rule in parsed if rule is not None]


def _parse_rule(words: Sequence[str], version: int) -> LegacyRule | None:
    if words[:2] != ["-A", "POSTROUTING"]:
        return None
    source: Network | None = None
    outgoing: str | None = None
    other_sources = other_devices = inverted = False
    rest = iter(words[2:])
    for word in rest:
        if word == "!":
            inverted = True
            continue
        if word == "-j":
            if next(rest, "") not in ("MASQUERADE", "SNAT"):
                return None
            return LegacyRule(version, source, other_sources, outgoing, other_devices)
        if word == "-s":
            source, other_sources = _network(next(rest, "")), inverted
            if source is None:
                return None
        elif word == "-o":
            outgoing, other_devices = next(rest, ""), inverted
        else:
            return None
        inverted = False
    return None


def _network(text: str) -> Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _within(inner: Network, outer: Network) -> bool:
    return (
        inner.version == outer.version
        and inner.prefixlen >= outer.prefixlen
        and inner.network_address in outer
    )


def _order(item: Connected) -> tuple[int, int, int, str]:
    network = item.network
    return network.version, int(network.network_address), network.prefixlen, item.device
