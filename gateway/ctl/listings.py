"""The parts of a status that are many alike: processes, peers, rings, sockets, traffic."""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from rich.text import Text

from gateway.ctl.styles import BAD, ODD, health, odd
from gateway.ctl.tables import Cell, Column, Listing, OneLine
from gateway.ctl.words import Words, count, cpus, duration, milliseconds, octets, percent
from gateway.protocol.status import (
    NetworkStatus,
    PeerStatus,
    ProcessStatus,
    RingStatus,
    SocketStatus,
    SourceStatus,
    Status,
)

_TRAFFIC = {
    "udp_received": "received from UDP",
    "delivered": "delivered to the TUN",
    "forwarded": "forwarded to peers",
    "punted": "punted to the supervisor",
    "tun_read": "read from the TUN",
    "queued": "put into rings",
    "ring": "taken from rings",
    "sent": "sent to UDP",
}

_IN = ("udp_received_packets", "tun_read_packets")
_OUT = ("forwarded_packets", "sent_packets", "delivered_packets", "queued_packets")


def instances(
    statuses: Iterable[Status], failures: Iterable[tuple[str, str]], words: Words
) -> Listing:
    """Health in a word, or the sentence that says why there is none."""
    columns = (Column("instance"), Column("version"), Column("up", right=True), Column("health"))
    rows: list[Sequence[Cell]] = [
        (
            Text(words.text(status.instance), "bold"),
            words.text(status.version),
            duration(status.uptime_seconds),
            health(status),
        )
        for status in statuses
    ]
    rows += [
        (Text(words.text(name), "bold"), "", "", Text(words.text(sentence), BAD))
        for name, sentence in failures
    ]
    return Listing(columns, rows)


def processes(found: Iterable[ProcessStatus], words: Words) -> Listing:
    """Signs of life and what each costs; `restarts` has the rest."""
    columns = (
        Column("name"),
        Column("pid", right=True),
        Column("state"),
        Column("CPUs", right=True),
        Column("pulse", right=True),
        Column("CPU", right=True),
        Column("memory", right=True),
        Column("pkts in", right=True),
        Column("out", right=True),
    )
    return Listing(columns, [_process(process, words) for process in found])


def restarts(found: Iterable[ProcessStatus], words: Words) -> Sequence[tuple[str, OneLine]]:
    """How often, and what the last one ended of."""
    return [
        (words.text(process.name), Text(words.text(_restarts(process)), ODD))
        for process in found
        if process.restarts or process.last_exit
    ]


def _restarts(process: ProcessStatus) -> str:
    ended = f", ended before: {process.last_exit}" if process.last_exit else ""
    return f"restarts: {count(process.restarts)}{ended}"


def _process(process: ProcessStatus, words: Words) -> Sequence[Cell]:
    running = process.state == "running"
    return (
        Text(words.text(process.name), "bold"),
        str(process.pid),
        Text(process.state if running else process.state.upper(), "" if running else BAD),
        cpus(process.cpus),
        words.known(process.pulse_age_seconds, duration),
        percent(process.cpu_percent),
        octets(process.memory_bytes),
        _sum(process.counters, _IN),
        _sum(process.counters, _OUT),
    )


def _sum(counters: Mapping[str, int], names: Sequence[str]) -> str:
    present = [counters[name] for name in names if name in counters]
    return count(sum(present)) if present else ""


def peers(found: Sequence[PeerStatus], words: Words) -> Listing:
    """By address. Where all were reached on one local address, it is left out."""
    several = len({peer.local for peer in found}) > 1
    columns = (
        Column("addresses"),
        Column("endpoint"),
        Column("reached on"),
        Column("since", right=True),
        Column("seen", right=True),
        Column("lease", right=True),
        Column("RTT", right=True),
        Column("loss", right=True, hide=("", words.unknown)),
        Column("rx pkts", right=True),
        Column("rx", right=True),
        Column("tx pkts", right=True),
        Column("tx", right=True),
        Column("notes"),
    )
    rows = [_peer(peer, several, words) for peer in sorted(found, key=_by_address)]
    return Listing(columns, rows)


def _peer(peer: PeerStatus, several: bool, words: Words) -> Sequence[Cell]:
    addresses = [Text(words.text(address), "bold") for address in peer.addresses]
    networks = [words.text(network) for network in peer.networks]
    if peer.networks_left_out:
        networks.append(f"and {count(peer.networks_left_out)} more")
    return (
        (*addresses, *networks),
        words.text(f"{peer.carrier} {peer.remote}" if peer.carrier else peer.endpoint),
        words.text(peer.local) if several else "",
        duration(peer.since_seconds),
        duration(peer.last_seen_seconds),
        duration(peer.lease_left_seconds),
        words.known(peer.rtt_ms, milliseconds),
        words.known(peer.loss_percent, percent),
        count(peer.rx_packets),
        octets(peer.rx_bytes),
        count(peer.tx_packets),
        octets(peer.tx_bytes),
        _notes(peer, words),
    )


def networks(found: Iterable[tuple[str, NetworkStatus]], words: Words) -> Listing:
    """Advertised networks, each with the peer that has it; the sentence says what is amiss."""
    columns = (Column("network"), Column("peer", hide=("",)), Column("standing"), Column("why"))
    rows = [
        (
            Text(words.text(each.network), "bold"),
            words.text(peer),
            Text(each.standing, "" if each.standing == "accepted" else ODD),
            words.text(_why(each)),
        )
        for peer, each in found
    ]
    return Listing(columns, rows)


def _why(network: NetworkStatus) -> str:
    return f"{network.reason} ({network.holder} has it)" if network.holder else network.reason


def _notes(peer: PeerStatus, words: Words) -> tuple[Text, ...]:
    notes = (
        (peer.user, words.text(f"user {peer.user}"), ""),
        (peer.conflict, "CONFLICT", BAD),
        (peer.tx_dropped, f"{count(peer.tx_dropped)} dropped", ODD),
        (peer.single_sends, "single sends", ODD),
        (peer.moves, f"moves {count(peer.moves)}", ""),
    )
    return tuple(Text(note, style) for present, note, style in notes if present)


def _by_address(peer: PeerStatus) -> tuple[int, int]:
    try:
        address = ipaddress.ip_address(peer.addresses[0])
    except (IndexError, ValueError):
        return 0, 0
    return address.version, int(address)


def rings(found: Sequence[RingStatus], words: Words) -> Listing:
    """Fill, and what went through."""
    columns = (
        Column("name"),
        Column("fill"),
        Column("used", right=True),
        Column("of", right=True),
        Column("packets", right=True),
        Column("dropped", right=True),
    )
    rows = [
        (
            words.text(ring.name),
            words.bar(ring.used_bytes, ring.capacity_bytes),
            octets(ring.used_bytes),
            octets(ring.capacity_bytes),
            count(ring.pushed),
            odd(ring.dropped),
        )
        for ring in found
    ]
    return Listing(columns, rows)


def sockets(found: Sequence[SocketStatus], words: Words) -> Listing:
    """What waits in the kernel, and what it dropped."""
    columns = (
        Column("name"),
        Column("local"),
        Column("queued", right=True),
        Column("receive buffer", right=True),
        Column("send buffer", right=True),
        Column("dropped", right=True),
    )
    rows = [
        (
            words.text(each.name),
            words.text(each.local),
            octets(each.queued_bytes),
            octets(each.receive_buffer_bytes),
            octets(each.send_buffer_bytes),
            odd(each.dropped),
        )
        for each in found
    ]
    return Listing(columns, rows)


def sources(found: Iterable[SourceStatus], words: Words) -> Listing:
    """Where credentials come from, and how old they are; `source_notes` has the rest."""
    columns = (
        Column("of"),
        Column("source"),
        Column("where"),
        Column("entries", right=True),
        Column("age", right=True),
        Column("asked", right=True),
        Column("yes", right=True),
        Column("no", right=True),
        Column("failed", right=True),
    )
    return Listing(columns, [_source(source, words) for source in found])


def _source(source: SourceStatus, words: Words) -> Sequence[Cell]:
    plugin = source.kind == "plugin"
    return (
        Text(words.text(f"{source.holder} {source.name}"), "bold"),
        source.kind,
        words.text(source.label),
        "" if plugin else count(source.entries),
        words.known(source.age_seconds, duration),
        count(source.asked) if plugin else "",
        count(source.accepted) if plugin else "",
        count(source.refused) if plugin else "",
        odd(source.failed) if plugin else "",
    )


def source_notes(found: Iterable[SourceStatus], words: Words) -> Sequence[tuple[str, OneLine]]:
    """What is wrong with each: why it fails, and which entries were left out."""
    notes: list[tuple[str, OneLine]] = []
    for source in found:
        name = words.text(f"{source.name} {source.kind}")
        if source.error:
            notes.append((name, Text(words.text(source.error), BAD)))
        notes += [(name, Text(words.text(problem), ODD)) for problem in source.problems]
        hidden = source.problem_count - len(source.problems)
        if hidden > 0:
            notes.append((name, Text(f"and {count(hidden)} more entries left out", ODD)))
    return notes


def traffic(counters: Mapping[str, int], words: Words) -> Listing:
    """Each pair of `<way>_packets` and `<way>_bytes`; some ways count no bytes."""
    columns = (
        Column("way"),
        Column("packets", right=True),
        Column("bytes", right=True),
    )
    ways = [name.removesuffix("_packets") for name in counters if name.endswith("_packets")]
    rows = [
        (
            words.text(_TRAFFIC.get(way, way.replace("_", " "))),
            count(counters[f"{way}_packets"]),
            octets(counters[f"{way}_bytes"]) if f"{way}_bytes" in counters else "",
        )
        for way in ways
    ]
    return Listing(columns, rows)
