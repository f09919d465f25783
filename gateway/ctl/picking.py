"""Which peers are shown: those with an address, a network or a remote end in what was asked."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any

import msgspec

from gateway.ctl.ask import Report
from gateway.protocol.status import PeerStatus

Network = IPv4Network | IPv6Network


class Pick:
    """Peers in one of these networks; all of them where there are none."""

    def __init__(self, wanted: Sequence[Network] = ()) -> None:
        self._wanted = [_span(str(network)) for network in wanted]

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
        spans = map(_span, (*peer.addresses, *peer.networks, remote))
        return any(
            first <= last_wanted and first_wanted <= last
            for first, last in spans
            for first_wanted, last_wanted in self._wanted
        )


def _span(text: str) -> tuple[bytes, bytes]:
    """The first and the last address; of what is none, a span that no other meets.

    Each begins with its length, so that those of one family alone compare.
    """
    try:
        if "/" in text:
            network = ip_network(text)
            first, last = network.network_address.packed, network.broadcast_address.packed
        else:
            first = last = inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return b"\xff", b""
    family = bytes((len(first),))
    return family + first, family + last
