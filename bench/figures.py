"""The figures: how each is measured, and what it is compared with.

One figure is one number per subject and round. A target is the median of one subject
divided by the median of another in the same run: machines differ, and the same machine
differs from hour to hour.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab import Lab
from subjects import Running
from traffic import Mode, TrafficError, flood, ping, tcp

Measure = Callable[[Lab, Running, float], float]
"""(lab, subject, seconds to spend) -> the number."""

GIGA = 1e9

CUBIC = "cubic"
"""The kernel's own default. BBR, which some hosts prefer, paces: it sends one super-packet at a
time, at the rate it believes in."""


@dataclass(frozen=True)
class Figure:
    """A number to measure, in `unit`; `text` says what it is. `measure` is a `Measure` here."""

    name: str
    unit: str
    text: str
    measure: Callable[..., float]


@dataclass(frozen=True)
class Target:
    """What the ratio of `subject` to `other` must be: at least `low`, at most `high`.

    Without `other` it is the figure itself. Without a bound it is printed to be looked at.
    """

    figure: str
    other: str
    low: float | None = None
    high: float | None = None
    subject: str = "gateway"

    def met(self, ratio: float) -> bool:
        """Whether `ratio` is good enough."""
        above = self.low is None or ratio >= self.low
        return above and (self.high is None or ratio <= self.high)


def _up(congestion: str) -> Measure:
    def measure(lab: Lab, subject: Running, seconds: float) -> float:
        here, there = lab.clients[0], lab.server
        return tcp(here, there, subject.server, seconds=seconds, congestion=congestion) / GIGA

    return measure


def _down(congestion: str) -> Measure:
    def measure(lab: Lab, subject: Running, seconds: float) -> float:
        here, there = lab.clients[0], lab.server
        rate = tcp(
            here, there, subject.server, seconds=seconds, reverse=True, congestion=congestion
        )
        return rate / GIGA

    return measure


def _across(congestion: str) -> Measure:
    def measure(lab: Lab, subject: Running, seconds: float) -> float:
        here, there = lab.clients[:2]
        return tcp(here, there, subject.clients[1], seconds=seconds, congestion=congestion) / GIGA

    return measure


def _small(mode: Mode) -> Measure:
    def measure(lab: Lab, subject: Running, seconds: float) -> float:
        here, there = subject.clients[:2]
        one, other = lab.clients[:2]
        return flood(one, other, here, there, mode=mode, seconds=seconds).arrived

    return measure


def _rtt(lab: Lab, address: str, seconds: float) -> float:
    pings = ping(lab.clients[0], address, count=max(10, int(seconds * 100)), interval=0.01)
    if pings.average is None:
        raise TrafficError(f"no answer to a ping from C1 to {address}")
    return pings.average


def _rtt_server(lab: Lab, subject: Running, seconds: float) -> float:
    return _rtt(lab, subject.server, seconds)


def _rtt_client(lab: Lab, subject: Running, seconds: float) -> float:
    return _rtt(lab, subject.clients[1], seconds)


_WAYS = ("client_to_server", "server_to_client", "client_to_client")

FIGURES = (
    Figure("tcp_client_to_server", "Gbit/s", "one TCP flow as this host prefers, C1 to S", _up("")),
    Figure("tcp_server_to_client", "Gbit/s", "the same, S to C1", _down("")),
    Figure("tcp_client_to_client", "Gbit/s", "the same, C1 to C2", _across("")),
    Figure("cubic_client_to_server", "Gbit/s", "one TCP flow by cubic, C1 to S", _up(CUBIC)),
    Figure("cubic_server_to_client", "Gbit/s", "the same, S to C1", _down(CUBIC)),
    Figure("cubic_client_to_client", "Gbit/s", "the same, C1 to C2", _across(CUBIC)),
    Figure(
        "small_bulk",
        "packets/s",
        "64-byte UDP packets that arrive from C1 at C2, 64 in a buffer (UDP_SEGMENT)",
        _small("bulk"),
    ),
    Figure(
        "small_batch",
        "packets/s",
        "the same, 64 in a call but a buffer each (sendmmsg)",
        _small("batch"),
    ),
    Figure("small_single", "packets/s", "the same, a call each", _small("single")),
    Figure("ping_server", "ms", "mean round trip, C1 to S, a ping every 10 ms", _rtt_server),
    Figure("ping_client", "ms", "mean round trip, C1 to C2", _rtt_client),
)

TARGETS = (
    Target("tcp_client_to_server", "bare", low=0.30),
    Target("tcp_client_to_server", "gost", low=10.0),
    Target("tcp_server_to_client", "bare", low=0.30),
    Target("tcp_server_to_client", "gost", low=10.0),
    Target("tcp_client_to_client", "bare", low=0.28),
    Target("cubic_client_to_server", "bare", low=0.30),
    Target("cubic_client_to_server", "gost", low=10.0),
    Target("cubic_server_to_client", "bare", low=0.30),
    Target("cubic_server_to_client", "gost", low=10.0),
    Target("cubic_client_to_client", "bare", low=0.28),
    Target("small_bulk", "gost", low=25.0),
    Target("small_single", "gost", low=1.5),
    Target("ping_server", "gost", high=1.0),
    Target("ping_client", "gost", high=1.0),
    *(Target(f"{kind}_{way}", "copies") for kind in ("tcp", "cubic") for way in _WAYS),
)


def summary(
    rounds: Sequence[Mapping[str, Mapping[str, float]]], of: Sequence[Figure] = FIGURES
) -> dict[str, Any]:
    """Per figure its unit, text, and per subject the rounds and their median.

    `rounds` holds, per round, subject -> figure -> number; what failed is missing.
    """
    figures: dict[str, Any] = {}
    for figure in of:
        entry: dict[str, Any] = {"unit": figure.unit, "text": figure.text}
        for subject in dict.fromkeys(name for one in rounds for name in one):
            values = [one[subject][figure.name] for one in rounds if figure.name in one[subject]]
            if values:
                entry[subject] = {
                    "median": short(statistics.median(values)),
                    "rounds": [short(value) for value in values],
                }
        figures[figure.name] = entry
    return figures


def verdicts(
    figures: Mapping[str, Any], targets: Sequence[Target] = TARGETS
) -> list[dict[str, Any]]:
    """Every target whose sides were measured, with its ratio."""
    answers = []
    for target in targets:
        entry = figures[target.figure]
        ours, other = entry.get(target.subject), entry.get(target.other, {"median": 1.0})
        if ours is None or (target.other and target.other not in entry) or not other["median"]:
            continue
        value = ours["median"] / other["median"]
        answers.append(
            {
                "figure": target.figure,
                "ratio" if target.other else "of": "/".join(filter(None, _sides(target))),
                "value": short(value),
                **_verdict(target, value),
            }
        )
    return answers


def _sides(target: Target) -> tuple[str, str]:
    return target.subject, target.other


def _verdict(target: Target, value: float) -> dict[str, Any]:
    bounds = {"at_least": target.low, "at_most": target.high}
    given = {word: bound for word, bound in bounds.items() if bound is not None}
    return {**given, "met": target.met(value)} if given else {}


def short(value: float) -> float:
    """Four significant digits: more would claim what was not measured."""
    return float(f"{value:.4g}")
