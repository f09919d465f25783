"""What `gateway-ctl` asks and is told: requests, answers, and the status report.

JSON. All structs grow by addition only: a new field goes last and has a default, a field
is never renamed or reused. `STATUS_SCHEMA` changes when that promise breaks. Addresses
are text.
"""

from typing import Literal

import msgspec

from gateway.protocol.bridge_messages import LegState

STATUS_SCHEMA = 1


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """What `gateway-ctl` asks, one JSON object and a newline."""

    command: Literal["status", "client"]
    version: int = 1
    addresses: tuple[str, ...] = ()


class RelayFacts(msgspec.Struct, frozen=True):
    """A relay listener that leads to a service, as its clients have to dial it. No secrets.

    `listen` is "" for every address. `pin` is of the certificate that it made itself, "" where
    it shows another one, or none. `server_name` is one that clients must ask for. `options` are
    those that must be the same at both ends, by their names in a URL; an empty one is a secret.
    """

    name: str
    carrier: str
    listen: str
    port: int
    auth: bool
    tls: bool
    pin: str
    wants_certificate: bool
    server_name: str
    options: dict[str, str]


class ClientFacts(msgspec.Struct, frozen=True):
    """What a client with some tunnel addresses has to be told. Without the passphrase.

    `interfaces` are the addresses with the prefix lengths of their networks. `known`
    says by what: a credential, a peer that is here now, or only a network they lie in.
    `listen` is where the server listens, "" for every address; `reached` are its own
    addresses that peers use from elsewhere, through no relay, the most frequent first.
    `routes` lead to the networks of others, as far as there is room; `left_out` counts the
    rest. `relays` are those that lead to the service.
    """

    service: str
    interfaces: tuple[str, ...]
    known: Literal["credential", "peer", "network"]
    auth: bool
    listen: str
    port: int
    reached: tuple[str, ...]
    routes: tuple[str, ...]
    left_out: int
    mtu: int
    relays: tuple[RelayFacts, ...] = ()


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A status, a client's facts or an error sentence; one JSON object, ended by closing.

    `kind` of an error: `permission`, `busy` (ask again), `no-server`, or empty.
    """

    status: "Status | None" = None
    error: str = ""
    version: int = 1
    client: ClientFacts | None = None
    kind: str = ""


class ProcessStatus(msgspec.Struct, frozen=True):
    """One process. `state`: running, starting, restarting, late (its pulse is).

    `counters` are those of its page, for a tun-reader or udp-worker.
    """

    name: str
    kind: Literal[
        "supervisor", "tun-reader", "udp-worker", "bridge", "resolver", "exporter", "steward"
    ]
    pid: int
    state: Literal["running", "starting", "restarting", "late"]
    cpus: tuple[int, ...]
    pulse_age_seconds: float | None
    cpu_seconds: float
    cpu_percent: float
    memory_bytes: int
    restarts: int = 0
    last_exit: str = ""
    counters: dict[str, int] = {}


class RingStatus(msgspec.Struct, frozen=True):
    """One ring, named `reader->worker`. Packets count super-packets once."""

    name: str
    capacity_bytes: int
    used_bytes: int
    pushed: int
    dropped: int


class SocketStatus(msgspec.Struct, frozen=True):
    """One data socket; `dropped` is the kernel's own count (SO_MEMINFO)."""

    name: str
    local: str
    queued_bytes: int
    dropped: int
    receive_buffer_bytes: int
    send_buffer_bytes: int


class NetworkStatus(msgspec.Struct, frozen=True):
    """An advertised network. `reason` says why it is not in use, `holder` who has it already."""

    network: str
    standing: Literal["accepted", "refused", "waiting", "unanswered"]
    reason: str = ""
    holder: str = ""


class PeerStatus(msgspec.Struct, frozen=True, gc=False):
    """Who is behind a tunnel address. Seconds are ages; None where nobody can know."""

    addresses: tuple[str, ...]
    endpoint: str
    local: str
    since_seconds: float
    last_seen_seconds: float
    lease_left_seconds: float
    rtt_ms: float | None
    loss_percent: float | None
    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int
    tx_dropped: int
    single_sends: bool
    heartbeats: int
    moves: int
    conflict: bool = False
    networks: tuple[str, ...] = ()
    advertised: tuple[NetworkStatus, ...] = ()
    software: str = ""
    carrier: str = ""
    remote: str = ""
    user: str = ""
    """Of one behind a relay: through which carrier, from where, as whom."""
    networks_left_out: int = 0


class TargetStatus(msgspec.Struct, frozen=True):
    """One of the servers a client may use. `fails`: unanswered since its last answer."""

    target: str
    state: Literal["used", "healthy", "failed", "unknown"]
    backup: bool
    rtt_ms: float | None
    fails: int


class UplinkStatus(msgspec.Struct, frozen=True):
    """The client's side. `state`: resolving, registering, up, lost, unwatched (no keepalive)."""

    target: str
    endpoint: str
    state: Literal["resolving", "registering", "up", "lost", "unwatched"]
    state_seconds: float
    last_ack_seconds: float | None
    observed_address: str
    rtt_ms: float | None
    loss_percent: float | None
    heartbeats: int
    acks: int
    reconnects: int
    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int
    tx_dropped: int
    strategy: str = ""
    targets: tuple[TargetStatus, ...] = ()
    path_mtu: int | None = None
    mtu_fits: bool | None = None
    mtu_advice: int | None = None
    reason: str = ""


class DeviceStatus(msgspec.Struct, frozen=True):
    """The TUN device; `queue_dropped` is the kernel's tx_dropped: a reader too slow."""

    name: str
    addresses: tuple[str, ...]
    mtu: int
    up: bool
    queue_dropped: int


class OffloadStatus(msgspec.Struct, frozen=True):
    """What is in effect, and in `note` why something is not."""

    mode: Literal["auto", "on", "off"]
    tun: tuple[str, ...]
    udp: tuple[str, ...]
    fallbacks: int
    note: str = ""


class SourceStatus(msgspec.Struct, frozen=True):
    """One source of credentials of a service. `error` is empty while all is well."""

    holder: str
    name: str
    kind: Literal["inline", "file", "redis", "http", "plugin"]
    label: str
    entries: int
    age_seconds: float | None
    failing_seconds: float | None = None
    error: str = ""
    problems: tuple[str, ...] = ()
    problem_count: int = 0
    asked: int = 0
    accepted: int = 0
    refused: int = 0
    failed: int = 0


class HostStatus(msgspec.Struct, frozen=True):
    """What is changed on the host: NAT, system routes, DNS, what commands do.

    `problems` say what could not be.
    """

    nat: Literal["off", "on", "failed"]
    problems: tuple[str, ...] = ()
    dns: Literal["off", "on", "failed"] = "off"


class LegStatus(msgspec.Struct, frozen=True):
    """One target of a chain. `hops` are the nodes in use; see `LegFigures` for the states."""

    target: str
    state: LegState
    hops: tuple[str, ...]
    remote: str
    rtt_ms: float | None
    connects: int
    fails: int
    backlog_bytes: int
    dropped: int
    verified: bool
    error: str = ""
    since_seconds: float = 0.0


class ChainStatus(msgspec.Struct, frozen=True):
    """A client's way to its targets. `counters` of its bridge, drops by reason among them."""

    name: str
    hops: tuple[tuple[str, ...], ...]
    legs: tuple[LegStatus, ...]
    processes: tuple[ProcessStatus, ...]
    counters: dict[str, int]
    note: str = ""


class RelayStatus(msgspec.Struct, frozen=True):
    """A relay listener. `counters` of its bridges: drops by reason, what strangers did."""

    name: str
    carrier: str
    listen: str
    auth: bool
    pin: str
    streams: int
    strangers: int
    refused: int
    processes: tuple[ProcessStatus, ...]
    counters: dict[str, int]
    note: str = ""


class ServiceStatus(msgspec.Struct, frozen=True):
    """One `-L`. `drops` and `refusals` list every reason, zeros included (I14)."""

    name: str
    role: Literal["server", "client"]
    listen: str
    auth: bool
    source_check: bool
    device: DeviceStatus
    offload: OffloadStatus
    processes: tuple[ProcessStatus, ...]
    rings: tuple[RingStatus, ...]
    sockets: tuple[SocketStatus, ...]
    peers: tuple[PeerStatus, ...]
    uplink: UplinkStatus | None
    counters: dict[str, int]
    drops: dict[str, int]
    refusals: dict[str, int]
    sources: tuple[SourceStatus, ...] = ()
    host: HostStatus = HostStatus("off")
    advertised: tuple[NetworkStatus, ...] = ()
    advertisements: dict[str, int] = {}
    chain: ChainStatus | None = None
    acks: dict[str, int] = {}


class Status(msgspec.Struct, frozen=True):
    """The whole report. `problems` says in sentences why `health` is degraded."""

    instance: str
    version: str
    health: Literal["healthy", "degraded"]
    problems: tuple[str, ...]
    started_at: str
    uptime_seconds: float
    user: str
    capabilities: tuple[str, ...]
    supervisor: ProcessStatus
    services: tuple[ServiceStatus, ...]
    resolver: ProcessStatus | None = None
    steward: ProcessStatus | None = None
    relays: tuple[RelayStatus, ...] = ()
    schema: int = STATUS_SCHEMA
