"""Status reports with carriers: a relay with strangers, a chain of which one leg is down."""

import msgspec
from sample_parts import PEER_ROAMING, PEER_SITE, SUPERVISOR
from samples import CLIENT, SERVER, SERVER_SERVICE

from gateway.protocol.status import ChainStatus, LegStatus, RelayStatus

BRIDGE = msgspec.structs.replace(SUPERVISOR, name="bridge", kind="bridge", pid=4031)

RELAYING = msgspec.structs.replace(
    SERVER,
    services=(
        msgspec.structs.replace(
            SERVER_SERVICE,
            peers=(
                PEER_ROAMING,
                msgspec.structs.replace(
                    PEER_SITE,
                    endpoint="127.0.0.1:40001",
                    carrier="wss",
                    remote="203.0.113.7:51234",
                    user="alice",
                ),
            ),
        ),
    ),
    relays=(
        RelayStatus(
            name="relay-0",
            carrier="wss",
            listen="[::]:443",
            auth=False,
            pin="sha256:" + 32 * "0f",
            streams=1,
            strangers=2,
            refused=3,
            processes=(BRIDGE,),
            counters={
                "accepted": 44,
                "bad-kcp": 5,
                "connected": 4,
                "late": 12_345,
                "overflow": 7,
                "streams": 1,
                "to_socket": 400,
                "wrong-path": 17,
            },
            note="receive buffers have 208 kB instead of 4 MB: raise net.core.rmem_max",
        ),
    ),
)
"""One peer comes by a carrier, and strangers try to."""

CHAINED = msgspec.structs.replace(
    CLIENT,
    health="degraded",
    problems=("service tun0: the chain to [fd00::9]:8421 is down: connection refused",),
    services=(
        msgspec.structs.replace(
            CLIENT.services[0],
            chain=ChainStatus(
                name="chain-0",
                hops=(
                    ("tls 198.51.100.1:443", "wss [2001:db8:1234:5678:90ab::1]:443"),
                    ("grpc relay.example.net:8443",),
                ),
                legs=(
                    LegStatus(
                        target=":8421",
                        state="up",
                        hops=("tls 198.51.100.1:443", "grpc relay.example.net:8443"),
                        remote="198.51.100.1:443",
                        rtt_ms=12.5,
                        connects=4,
                        fails=0,
                        backlog_bytes=2048,
                        dropped=9,
                        verified=True,
                        since_seconds=3720.0,
                    ),
                    LegStatus(
                        target="[fd00::9]:8421",
                        state="waiting",
                        hops=(),
                        remote="",
                        rtt_ms=None,
                        connects=0,
                        fails=6,
                        backlog_bytes=0,
                        dropped=2,
                        verified=False,
                        error="tls 198.51.100.1:443: connection refused",
                        since_seconds=31.0,
                    ),
                ),
                processes=(BRIDGE,),
                counters={
                    "late": 9,
                    "to_stream": 100,
                    "to_stream_bytes": 140_000,
                    "unconnected": 2,
                },
            ),
        ),
    ),
)
"""Two legs through two hops, one of them down."""
