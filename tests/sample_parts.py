"""Parts of status reports: processes, peers, offload.

They hold what is hard to show: long IPv6 addresses, two addresses behind one peer, unknown
values, a peer without offload.
"""

from enum import IntEnum

import msgspec

from gateway.protocol.status import OffloadStatus, PeerStatus, ProcessStatus


def by_reason(reasons: type[IntEnum], **counts: int) -> dict[str, int]:
    """Every reason of the list in its order, zeros included."""
    return {reason.name.lower(): counts.get(reason.name.lower(), 0) for reason in reasons}


SUPERVISOR = ProcessStatus(
    name="supervisor",
    kind="supervisor",
    pid=4021,
    state="running",
    cpus=(0, 1, 2, 3),
    pulse_age_seconds=None,
    cpu_seconds=3.91,
    cpu_percent=0.2,
    memory_bytes=38_412_288,
)
READER = ProcessStatus(
    name="tun-reader",
    kind="tun-reader",
    pid=4022,
    state="running",
    cpus=(0,),
    pulse_age_seconds=0.031,
    cpu_seconds=912.4,
    cpu_percent=41.7,
    memory_bytes=21_733_376,
    counters={"tun_read_packets": 8_123_868, "queued_packets": 8_123_868},
)
WORKER_0 = ProcessStatus(
    name="udp-worker 0",
    kind="udp-worker",
    pid=4023,
    state="running",
    cpus=(1,),
    pulse_age_seconds=0.012,
    cpu_seconds=1804.2,
    cpu_percent=88.1,
    memory_bytes=22_511_616,
    counters={
        "udp_received_packets": 12_000_000,
        "delivered_packets": 11_700_000,
        "forwarded_packets": 290_000,
        "sent_packets": 9_600_000,
    },
)
WORKER_1 = ProcessStatus(
    name="udp-worker 1",
    kind="udp-worker",
    pid=4024,
    state="running",
    cpus=(2, 3),
    pulse_age_seconds=0.044,
    cpu_seconds=77.0,
    cpu_percent=0.0,
    memory_bytes=22_511_616,
    counters={
        "udp_received_packets": 347_925,
        "delivered_packets": 300_000,
        "forwarded_packets": 47_000,
        "sent_packets": 375_308,
    },
)

PEER_SITE = PeerStatus(
    addresses=("192.168.123.2", "fd12:3456:789a:1::2"),
    endpoint="203.0.113.7:51234",
    local="198.51.100.1",
    since_seconds=93_784.2,
    last_seen_seconds=4.2,
    lease_left_seconds=30.8,
    rtt_ms=None,
    loss_percent=None,
    rx_packets=12_345_678,
    rx_bytes=15_432_097_500,
    tx_packets=9_876_543,
    tx_bytes=11_851_851_600,
    tx_dropped=0,
    single_sends=False,
    heartbeats=9378,
    moves=0,
    networks=("192.168.100.0/24",),
)
PEER_IPV6 = PeerStatus(
    addresses=("192.168.123.3",),
    endpoint="[2001:db8:85a3:1234:5678:8a2e:1370:7334]:60123",
    local="2001:db8:ffff:1234:5678:abcd:ef01:1",
    since_seconds=3720.0,
    last_seen_seconds=0.4,
    lease_left_seconds=34.6,
    rtt_ms=23.456,
    loss_percent=0.3,
    rx_packets=1_234,
    rx_bytes=160_420,
    tx_packets=98_765,
    tx_bytes=128_394_500,
    tx_dropped=17,
    single_sends=True,
    heartbeats=372,
    moves=2,
)
PEER_CONTESTED = PeerStatus(
    addresses=("192.168.123.14",),
    endpoint="192.0.2.200:8421",
    local="198.51.100.1",
    since_seconds=12.0,
    last_seen_seconds=12.0,
    lease_left_seconds=23.0,
    rtt_ms=None,
    loss_percent=None,
    rx_packets=0,
    rx_bytes=0,
    tx_packets=0,
    tx_bytes=0,
    tx_dropped=0,
    single_sends=False,
    heartbeats=1,
    moves=0,
    conflict=True,
)

PEER_ROAMING = msgspec.structs.replace(
    PEER_CONTESTED, addresses=("192.168.123.4",), endpoint="198.51.100.77:40404", conflict=False
)

OFFLOAD = OffloadStatus(
    mode="auto", tun=("csum", "tso4", "tso6"), udp=("gso", "gro"), fallbacks=0, note=""
)
