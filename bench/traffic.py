"""Traffic between two hosts of a lab, and how much of it arrived.

Every function is bounded in time. Rates are bits or packets per second, times
are milliseconds.
"""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hosts import Host
from programs import Managed, listening, wait_for

PACKETS = Path(__file__).with_name("packets.py")

SMALL_PAYLOAD = 36
"""UDP payload of a 64-byte IPv4 packet."""

Mode = Literal["bulk", "batch", "single"]

_CONGESTION = "/proc/sys/net/ipv4/tcp_congestion_control"
_PLAIN = "reno"
"""In every kernel, allowed in every namespace, and never paced."""
_IPERF_PORT = 5201
_SINK_PORT = 9009


class TrafficError(Exception):
    """A measuring program did not do its work; the message holds what it wrote."""


@dataclass(frozen=True)
class Pings:
    """One run of ping. Times are None when nothing came back."""

    sent: int
    received: int
    minimum: float | None
    average: float | None
    maximum: float | None

    @property
    def lost(self) -> int:
        """How many came without an answer."""
        return self.sent - self.received


@dataclass(frozen=True)
class Flood:
    """Small packets in one direction: packets a second offered, and arrived."""

    offered: float
    arrived: float


def tcp(
    client: Host,
    server: Host,
    address: str,
    *,
    source: str = "",
    seconds: float = 3.0,
    reverse: bool = False,
    congestion: str = "",
) -> float:
    """Bits per second of one TCP flow, as the receiver saw them.

    From `client` to `server` at `address`; with `reverse` the other way round.
    `congestion` names the sender's congestion control; "" is the host's choice.
    """
    port = str(_IPERF_PORT)
    listener = server.spawn("iperf3", "-s", "-1", "-B", address, "-p", port)
    former = [(host, begin_by(_PLAIN, host)) for host in (client, server) if congestion]
    try:
        wait_for(lambda: listening(listener, _IPERF_PORT), 5.0, "iperf3 to listen")
        command = ["iperf3", "-c", address, "-p", port, "-J", "--connect-timeout", "3000"]
        command += ["-t", str(max(1, round(seconds)))]  # whole seconds; 0 would mean for ever
        command += ["-B", source] if source else []
        command += ["-R"] if reverse else []
        command += ["-C", congestion] if congestion else []
        report = json.loads(_checked(client, command, seconds + 15.0))
    finally:
        listener.stop()
        for host, choice in former:
            begin_by(choice, host)
    if "error" in report:
        raise TrafficError(f"iperf3 from {client.name} to {address}: {report['error']}")
    return float(report["end"]["sum_received"]["bits_per_second"])


def begin_by(congestion: str, host: Host) -> str:
    """Let new connections of `host` begin with this congestion control; the former one.

    iperf3 names the congestion control once it is connected. A flow that began as BBR stays
    paced whatever it is later, so one that is measured must begin as something plain.
    """
    former = host.run("cat", _CONGESTION).stdout.strip()
    host.sysctl(ipv4__tcp_congestion_control=congestion)
    return former


def ping(
    host: Host,
    address: str,
    *,
    count: int = 1,
    interval: float = 0.01,
    size: int = 56,
    wait: float = 1.0,
    fragment: bool = True,
) -> Pings:
    """Ping from `host`; `size` is the ICMP payload, `fragment=False` sets DF.

    `wait` is for the first answer. Once there was one, `ping` waits one `interval` after the
    last packet, or twice the longest round trip, and calls the rest lost.
    """
    command = ["ping", "-q", "-n", "-c", str(count), "-i", f"{interval:g}", "-s", str(size)]
    command += ["-W", f"{wait:g}", *([] if fragment else ["-M", "do"]), address]
    text = host.run(*command, check=False, timeout=count * (interval + wait) + 10.0).stdout
    numbers = re.search(r"(\d+) packets transmitted, (\d+) (?:packets )?received", text)
    if numbers is None:
        return Pings(0, 0, None, None, None)
    times = re.search(r"= ([\d.]+)/([\d.]+)/([\d.]+)", text)
    low, mean, high = map(float, times.groups()) if times else (None, None, None)
    return Pings(int(numbers[1]), int(numbers[2]), low, mean, high)


def flood(
    client: Host,
    server: Host,
    source: str,
    address: str,
    *,
    mode: Mode,
    seconds: float = 2.0,
    size: int = SMALL_PAYLOAD,
) -> Flood:
    """Small UDP packets from `client` to `server`, as fast as one sender can."""
    sink = server.spawn(*server.python(PACKETS, "hold", address, _SINK_PORT), name="sink")
    try:
        wait_for(lambda: listening(sink, _SINK_PORT, "udp"), 5.0, "the sink to be bound")
        before = arrived(sink)
        arguments = ("blast", source, address, _SINK_PORT, seconds, size, mode)
        report = json.loads(_checked(client, client.python(PACKETS, *arguments), seconds + 15.0))
        count = arrived(sink) - before
    finally:
        sink.stop()
    return Flood(report["sent"] / seconds, count / seconds)


def arrived(process: Managed) -> int:
    """UDP packets that reached sockets on the host of `process`, read or not.

    The kernel's own count per namespace (RFC 4113 and its RcvbufErrors), so a
    reader's speed is no limit. Every segment of a super-packet counts.
    """
    process.expect_running()
    net = Path(f"/proc/{process.pid}/net")
    rows = [line.split() for line in (net / "snmp").read_text().splitlines()]
    names, values = (row for row in rows if row[0] == "Udp:")
    four = dict(zip(names, values, strict=True))
    six = dict(line.split() for line in (net / "snmp6").read_text().splitlines())
    return sum(
        int(count)
        for count in (
            four["InDatagrams"],
            four["RcvbufErrors"],
            six.get("Udp6InDatagrams", 0),
            six.get("Udp6RcvbufErrors", 0),
        )
    )


def flows(
    host: Host, server: str, port: int, *, count: int = 64, packets: int = 50
) -> dict[str, int]:
    """`count` peers with a source port each, all on `host`; see packets.py."""
    command = host.python(PACKETS, "flows", server, port, count, packets)
    report: dict[str, int] = json.loads(_checked(host, command, 30.0))
    return report


def _checked(host: Host, command: list[str], timeout: float) -> str:
    """What `command` printed; iperf3 -J reports its failures there too."""
    try:
        done = host.run(*command, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise TrafficError(f"{command[0]} on {host.name} took over {timeout:g} s") from None
    if not done.stdout.strip() or (done.returncode and command[0] != "iperf3"):
        raise TrafficError(
            f"{' '.join(command)} on {host.name}: exit {done.returncode}: {done.stderr.strip()}"
        )
    return done.stdout
