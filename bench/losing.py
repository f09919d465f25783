"""Links that lose packets at random, both ways, by nftables on the lab's own hosts.

A link of the lab carries up to 64 KB as one buffer, as both ends are in one kernel. `packets`
has every packet cross on its own, and lost on its own, as on a real path. `buffers` leaves
the links as they are: what is lost is up to 44 packets in a row. TCP takes either in its own
way: BBR, which some hosts prefer, sends on, and what every kernel has by default slows down. So
each is measured with TCP as the host prefers it, and as `reno`.
"""

import contextlib
from collections.abc import Iterator

from hosts import Host
from lab import Lab
from traffic import begin_by

WAYS = ("packets", "buffers", "packets_reno", "buffers_reno")

_RULES = """
table inet losing {{
    chain arrived {{
        type filter hook prerouting priority raw; policy accept;
        iifname "{device}" numgen random mod 100 < {percent} drop
    }}
}}
"""

_KERNELS_OWN = 65535
"""The most segments of a buffer that a veth device begins with."""


@contextlib.contextmanager
def losing(lab: Lab, percent: int, way: str) -> Iterator[None]:
    """Lose this share of what arrives at C1 from S and at S from C1. Needs `nft`."""
    ends = [(lab.server, "C1"), (lab.clients[0], "wan0")]
    former: list[tuple[Host, str]] = []
    try:
        for host, device in ends:
            host.run("nft", "-f", "-", stdin=_RULES.format(device=device, percent=percent))
            _segments(host, device, 1 if way.startswith("packets") else _KERNELS_OWN)
            if way.endswith("reno"):
                former.append((host, begin_by("reno", host)))
        yield
    finally:
        for host, congestion in former:
            begin_by(congestion, host)
        for host, device in ends:
            host.run("nft", "delete", "table", "inet", "losing", check=False)
            _segments(host, device, _KERNELS_OWN)


def _segments(host: Host, device: str, most: int) -> None:
    host.ip(f"link set dev {device} gso_max_segs {most}")
