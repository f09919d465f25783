"""Status reports to draw, send and compare: a server with three peers, a client, trouble."""

import msgspec
from sample_parts import (
    OFFLOAD,
    PEER_CONTESTED,
    PEER_IPV6,
    PEER_ROAMING,
    PEER_SITE,
    READER,
    SUPERVISOR,
    WORKER_0,
    WORKER_1,
    by_reason,
)

from gateway.protocol.forwarding import DropReason, Refusal
from gateway.protocol.status import (
    DeviceStatus,
    OffloadStatus,
    RingStatus,
    ServiceStatus,
    SocketStatus,
    SourceStatus,
    Status,
    TargetStatus,
    UplinkStatus,
)

SERVER_SERVICE = ServiceStatus(
    name="tun0",
    role="server",
    listen="[::]:8421",
    auth=True,
    source_check=True,
    device=DeviceStatus(
        name="tun0",
        addresses=("192.168.123.1/24", "fd12:3456:789a:1::1/64"),
        mtu=1420,
        up=True,
        queue_dropped=0,
    ),
    offload=OFFLOAD,
    processes=(READER, WORKER_0, WORKER_1),
    rings=(
        RingStatus("tun-reader->udp-worker 0", 4_194_304, 1_310_720, 8_123_456, 0),
        RingStatus("tun-reader->udp-worker 1", 4_194_304, 128, 412, 0),
    ),
    sockets=(
        SocketStatus("udp-worker 0", "[::]:8421", 2304, 0, 8_388_608, 1_048_576),
        SocketStatus("udp-worker 1", "[::]:8421", 0, 3, 8_388_608, 1_048_576),
    ),
    peers=(PEER_ROAMING, PEER_SITE, PEER_IPV6),
    uplink=None,
    counters={
        "udp_received_packets": 12_347_925,
        "udp_received_bytes": 15_432_300_000,
        "delivered_packets": 12_000_000,
        "delivered_bytes": 15_000_000_000,
        "forwarded_packets": 337_000,
        "forwarded_bytes": 432_000_000,
        "punted_packets": 9_751,
        "tun_read_packets": 8_123_868,
        "tun_read_bytes": 11_980_246_100,
        "queued_packets": 8_123_868,
        "queued_bytes": 11_980_246_100,
        "ring_packets": 8_123_850,
        "ring_bytes": 11_980_220_000,
        "sent_packets": 9_975_308,
        "sent_bytes": 11_980_200_000,
        "turns": 5_120_331,
        "gso_fallbacks": 0,
    },
    drops=by_reason(DropReason, unroutable_source=1_150, spoofed_source=24),
    refusals=by_reason(Refusal, wrong_passphrase=3),
    sources=(
        SourceStatus("auther", "staff", "file", "/etc/gateway/users", 100_000, 12.5),
        SourceStatus(
            holder="auther",
            name="guests",
            kind="redis",
            label="redis [2001:db8::6]:6379/0 gost",
            entries=17,
            age_seconds=3700.0,
            failing_seconds=61.0,
            error="cannot be reached: Connection refused",
            problems=("redis [2001:db8::6]:6379/0 gost: field 3: the username is no IP address",),
            problem_count=25,
        ),
        SourceStatus(
            holder="auther",
            name="partners",
            kind="plugin",
            label="https://auth.example.com/tun",
            entries=0,
            age_seconds=None,
            asked=4,
            accepted=2,
            refused=1,
            failed=1,
        ),
    ),
)

SERVER = Status(
    instance="192.168.123.1",
    version="0.1.0",
    health="healthy",
    problems=(),
    started_at="2026-03-01T08:15:30+01:00",
    uptime_seconds=93_790.5,
    user="gateway",
    capabilities=("net_admin",),
    supervisor=SUPERVISOR,
    services=(SERVER_SERVICE,),
)

CLIENT = Status(
    instance="192.168.123.2",
    version="0.1.0",
    health="healthy",
    problems=(),
    started_at="2026-03-01T08:16:02+01:00",
    uptime_seconds=93_758.0,
    user="nobody",
    capabilities=("net_admin",),
    supervisor=SUPERVISOR,
    services=(
        msgspec.structs.replace(
            SERVER_SERVICE,
            role="client",
            listen="0.0.0.0:48121",
            auth=False,
            device=DeviceStatus("tun0", ("192.168.123.2/24",), 1420, True, 0),
            processes=(READER, WORKER_0),
            rings=SERVER_SERVICE.rings[:1],
            sockets=SERVER_SERVICE.sockets[:1],
            peers=(),
            uplink=UplinkStatus(
                target="vpn.example.net:8421",
                endpoint="198.51.100.1:8421",
                state="up",
                state_seconds=93_750.0,
                last_ack_seconds=3.1,
                observed_address="203.0.113.7",
                rtt_ms=11.84,
                loss_percent=0.05,
                heartbeats=9376,
                acks=9371,
                reconnects=1,
                rx_packets=9_876_000,
                rx_bytes=11_850_000_000,
                tx_packets=12_345_700,
                tx_bytes=15_432_100_000,
                tx_dropped=0,
                strategy="fifo",
                targets=(
                    TargetStatus("vpn.example.net:8421", "used", False, 11.84, 0),
                    TargetStatus("[2001:db8:1234::4]:8421", "failed", True, None, 3),
                ),
                path_mtu=1400,
                mtu_fits=False,
                mtu_advice=1372,
            ),
            drops=by_reason(DropReason),
            refusals=by_reason(Refusal),
        ),
    ),
    resolver=msgspec.structs.replace(
        SUPERVISOR, name="resolver", kind="resolver", pid=4025, cpu_percent=0.0
    ),
)

DEGRADED = msgspec.structs.replace(
    SERVER,
    instance="fd12:3456:789a:1::1",
    health="degraded",
    problems=(
        "udp-worker 1 does not answer: its last pulse was 4.2 s ago",
        "the device tun0 is down: bring it up with 'ip link set tun0 up'",
        "two hosts claim 192.168.123.14; 192.0.2.200:8421 has it",
    ),
    services=(
        msgspec.structs.replace(
            SERVER_SERVICE,
            auth=False,
            source_check=False,
            device=DeviceStatus("tun0", ("192.168.123.1/24",), 1420, False, 1_842),
            offload=OffloadStatus(
                mode="auto",
                tun=(),
                udp=("gro",),
                fallbacks=12,
                note="UDP GSO is off: the probe's datagrams came back damaged",
            ),
            processes=(
                READER,
                msgspec.structs.replace(
                    WORKER_0, restarts=2, last_exit="killed by signal 11 (SIGSEGV)"
                ),
                msgspec.structs.replace(WORKER_1, state="late", pulse_age_seconds=4.2),
            ),
            rings=(
                RingStatus("tun-reader->udp-worker 0", 4_194_304, 0, 8_123_456, 0),
                RingStatus("tun-reader->udp-worker 1", 4_194_304, 4_190_000, 112_412, 98_304),
            ),
            peers=(PEER_CONTESTED, PEER_SITE),
            drops=by_reason(DropReason, ring_full=98_304, tun_down=77, unknown_endpoint=9_001),
            refusals=by_reason(Refusal, conflict=12, outside_net=1),
        ),
        msgspec.structs.replace(CLIENT.services[0], name="tun1"),
    ),
)
"""A worker stopped, the device down, no auth, a conflict, a client beside the server."""
