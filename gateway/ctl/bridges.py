"""The parts of a status that are about carriers: a client's chain, relay listeners."""

from collections.abc import Iterator, Mapping, Sequence

from rich.text import Text

from gateway.ctl.styles import BAD, GOOD, ODD, odd, odd_if_any, switch
from gateway.ctl.tables import Cell, Column, Listing, OneLine
from gateway.ctl.words import Words, count, duration, milliseconds, octets
from gateway.protocol.bridge_counts import DROP_TEXT, QUIET, STRANGER_TEXT
from gateway.protocol.status import ChainStatus, LegStatus, RelayStatus

Fact = tuple[str, Text]


def chain(status: ChainStatus, words: Words) -> Iterator[Fact]:
    """Each hop with its nodes; those in use are green."""
    used = [leg.hops for leg in status.legs if leg.state in ("open", "up")]
    for index, nodes in enumerate(status.hops):
        now = {hops[index] for hops in used if index < len(hops)}
        labels = (Text(words.text(node), GOOD if node in now else "") for node in nodes)
        yield f"hop {index + 1}", Text("\n").join(labels)
    yield from _crossed(status.counters)
    if status.note:
        yield "buffers", Text(words.text(status.note), ODD)


def legs(found: Sequence[LegStatus], words: Words) -> Listing:
    """A row for each target; `leg_notes` has why one is down."""
    columns = (
        Column("leg to"),
        Column("state"),
        Column("for", right=True),
        Column("through"),
        Column("at"),
        Column("RTT", right=True),
        Column("reconnects", right=True),
        Column("tries", right=True, hide=("", "0")),
        Column("backlog", right=True),
        Column("dropped", right=True),
        Column("identity"),
    )
    return Listing(columns, [_leg(leg, words) for leg in found])


def leg_notes(found: Sequence[LegStatus], words: Words) -> Sequence[tuple[str, OneLine]]:
    """Why a leg is down, as the last try told."""
    return [
        (words.text(leg.target), Text(words.text(leg.error), BAD)) for leg in found if leg.error
    ]


def relay(status: RelayStatus, words: Words) -> Iterator[Fact]:
    """Where it listens, who may in, how clients know it, who is there."""
    yield "listen", Text(words.text(f"{status.carrier} {status.listen}"))
    yield "auth", switch(status.auth, "anybody can come through to the tunnel's port", words)
    if status.pin:
        yield "certificate", Text(words.text(f"its own; clients check it by pin={status.pin}"))
    streams = Text(f"{count(status.streams)} open")
    streams.append(f", {count(status.counters.get('accepted', 0))} accepted")
    streams.append(f", {count(status.counters.get('connected', 0))} led on")
    streams.append(f", {count(status.strangers)} undecided")
    yield "streams", streams.append_text(odd_if_any(status.refused, ", {} users refused"))
    yield from _crossed(status.counters)
    if status.note:
        yield "buffers", Text(words.text(status.note), ODD)


def drops(counters: Mapping[str, int]) -> dict[str, int]:
    """Every reason for which datagrams went nowhere, zeros included (I14)."""
    return {name: counters.get(name, 0) for name in DROP_TEXT}


def turned_away(counters: Mapping[str, int]) -> dict[str, int]:
    """Every reason, zeros included, and what the carriers count beside."""
    found = {name: counters.get(name, 0) for name in STRANGER_TEXT}
    others = sorted(counters.keys() - found.keys() - DROP_TEXT.keys() - QUIET)
    return found | {name: counters[name] for name in others}


def _leg(leg: LegStatus, words: Words) -> Sequence[Cell]:
    connected = leg.state in ("open", "up")
    down = leg.state == "waiting" or (leg.state == "dialling" and leg.fails > 0)
    style = GOOD if leg.state == "up" else BAD if down else ODD if leg.state == "open" else ""
    return (
        Text(words.text(leg.target), "bold"),
        Text("DOWN" if down else leg.state, style),
        duration(leg.since_seconds),
        words.text(" > ".join(leg.hops)),
        words.text(leg.remote),
        words.known(leg.rtt_ms, milliseconds) if connected else "",
        count(max(leg.connects - 1, 0)),
        odd(leg.fails) if down else "",
        octets(leg.backlog_bytes) if connected else "",
        odd(leg.dropped),
        _identity(leg) if connected else "",
    )


def _identity(leg: LegStatus) -> Text:
    return Text("verified", GOOD) if leg.verified else Text("NOT VERIFIED", BAD)


def _crossed(counters: Mapping[str, int]) -> Iterator[Fact]:
    for label, way in (("to streams", "to_stream"), ("from streams", "to_socket")):
        packets, size = counters.get(way, 0), counters.get(f"{way}_bytes", 0)
        yield label, Text(f"{count(packets)} datagrams, {octets(size)}")
