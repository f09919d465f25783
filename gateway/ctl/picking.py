"""Which peers are shown: those with an address, a network or a remote end in what was asked."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import msgspec

from gateway.ctl.ask import Report
from gateway.protocol.status import PeerStatus

Network = IPv4Network | IPv6Network


class Pick:
    """Peers in one of these networks; all of them where there are none."""

    def __init__(self, wanted: Sequence[Network] = ()) -> None:
        self._wanted = tuple(wanted)

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def among(self, peers: Sequence[PeerStatus]) -> Sequence[PeerStatus]:
        """Those that are shown."""
        return [peer for peer in peers if self._has(peer)] if self else peers

    def raw(self, report: Report) -> bytes:
        """The status as the gateway wrote it, without the other peers."""
        if not self:
            return report.raw
        document: dict[str, Any] = msgspec.json.decode(report.raw)
        for written, service in zip(document["services"], report.status.services, strict=True):
            both = zip(written["peers"], service.peers, strict=True)
            written["peers"] = [each for each, peer in both if self._has(peer)]
        return msgspec.json.encode(document)

    def _has(self, peer: PeerStatus) -> bool:
        remote = (peer.remote or peer.endpoint).rpartition(":")[0].strip("[]")
        return any(map(self._meets, (*peer.addresses, *peer.networks, remote)))

    def _meets(self, text: str) -> bool:
        try:
            found = ip_network(text) if "/" in text else ip_network(ip_address(text))
        except ValueError:
            return False
        return any(found.version == each.version and found.overlaps(each) for each in self._wanted)
