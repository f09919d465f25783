"""The parts of a status that are one of a kind: headline, service, uplink."""

from collections.abc import Iterable, Iterator

from rich.text import Text

from gateway.ctl.styles import BAD, GOOD, ODD, health, odd_if_any, switch
from gateway.ctl.words import Words, count, duration, milliseconds, octets, percent
from gateway.protocol.status import (
    DeviceStatus,
    OffloadStatus,
    ServiceStatus,
    Status,
    TargetStatus,
    UplinkStatus,
)

Fact = tuple[str, Text]


def headline(status: Status, words: Words) -> Text:
    """Who answers, and how it is."""
    return Text.assemble("gateway ", (words.text(status.instance), "bold"), "  ", health(status))


def instance(status: Status, words: Words) -> Iterator[Fact]:
    """Problems first."""
    for problem in status.problems:
        yield "problem", Text(words.text(problem), BAD)
    yield (
        "version",
        Text(
            words.text(
                f"{status.version}, up {duration(status.uptime_seconds)} since {status.started_at}"
            )
        ),
    )
    privileges = ", ".join(status.capabilities) or "no capabilities"
    yield "runs as", Text(words.text(f"{status.user} with {privileges}"))


def service(status: ServiceStatus, words: Words) -> Iterator[Fact]:
    """Device, listening, protection, offload."""
    yield "device", _device(status.device, words)
    if status.listen:
        yield "listen", Text(words.text(status.listen))
    if status.role == "server":
        yield "auth", switch(status.auth, "anybody who reaches the port can join", words)
        yield "source check", switch(status.source_check, "peers can pose as each other", words)
    yield "offload", _offload(status.offload, words)
    unsent = status.acks.get("full", 0) + status.acks.get("failed", 0)
    if unsent:
        yield "acks", Text(f"{count(unsent)} could not be sent", ODD)
    if status.host.nat != "off":
        yield "NAT", Text(status.host.nat, GOOD if status.host.nat == "on" else BAD)
    if status.host.dns != "off":
        yield "DNS", Text(status.host.dns, GOOD if status.host.dns == "on" else BAD)


def uplink(status: UplinkStatus, chain: str, words: Words) -> Iterator[Fact]:
    """Which server, how it is reached, what went through. Through a chain it has no address."""
    in_use = f" at {status.endpoint}" if status.endpoint and not chain else ""
    way = f" through chain {chain}" if chain else ""
    yield "target", Text(words.text(f"{status.target}{in_use}{way}"))
    yield "state", _uplink_state(status, chain, words)
    last_ack = words.known(status.last_ack_seconds, lambda age: f"{duration(age)} ago")
    yield (
        "heartbeats",
        Text(
            f"{count(status.heartbeats)} sent, {count(status.acks)} acked, last ack {last_ack},"
            f" RTT {words.known(status.rtt_ms, milliseconds)},"
            f" loss {words.known(status.loss_percent, percent)}"
        ),
    )
    yield "reconnects", Text(count(status.reconnects))
    yield "received", Text(f"{count(status.rx_packets)} packets, {octets(status.rx_bytes)}")
    sent = Text(f"{count(status.tx_packets)} packets, {octets(status.tx_bytes)}")
    yield "sent", sent.append_text(odd_if_any(status.tx_dropped, ", {} dropped"))
    if status.mtu_fits is not None:
        yield "path", _path(status)
    if len(status.targets) > 1:
        yield f"targets ({words.text(status.strategy)})", _targets(status.targets, words)


def _path(status: UplinkStatus) -> Text:
    if status.mtu_fits:
        return Text("the tunnel's packets fit in one piece")
    return Text(
        f"TOO NARROW: {status.path_mtu} bytes; set mtu={status.mtu_advice} on all ends", BAD
    )


def _targets(targets: Iterable[TargetStatus], words: Words) -> Text:
    return Text("\n").join(_target(target, words) for target in targets)


def _target(target: TargetStatus, words: Words) -> Text:
    style = {"used": GOOD, "failed": BAD}.get(target.state, "")
    text = Text.assemble(words.text(target.target), " ", (target.state, style))
    if target.backup:
        text.append(", backup")
    if target.rtt_ms is not None:
        text.append(f", RTT {milliseconds(target.rtt_ms)}")
    return text


def _device(device: DeviceStatus, words: Words) -> Text:
    addresses = ", ".join(device.addresses) or "no address"
    text = Text.assemble(
        words.text(device.name),
        " ",
        ("up", GOOD) if device.up else ("DOWN", BAD),
        words.text(f", {addresses}, MTU {device.mtu}"),
    )
    return text.append_text(odd_if_any(device.queue_dropped, ", {} dropped in its queue"))


def _offload(offload: OffloadStatus, words: Words) -> Text:
    tun = " ".join(offload.tun) or "none"
    udp = " ".join(offload.udp) or "none"
    text = Text(words.text(f"{offload.mode}: TUN {tun}; UDP {udp}"))
    text.append_text(odd_if_any(offload.fallbacks, "; {} fallbacks"))
    if offload.note:
        text.append(words.text(f"; {offload.note}"), ODD)
    return text


def _uplink_state(status: UplinkStatus, chain: str, words: Words) -> Text:
    lost = status.state == "lost"
    style = GOOD if status.state == "up" else BAD if lost else ODD
    text = Text(status.state.upper() if lost else status.state, style)
    text.append(f" for {duration(status.state_seconds)}")
    if status.observed_address and not chain:
        text.append(words.text(f", the server sees {status.observed_address}"))
    return text
