"""Measure every carrier, ours and stock GOST's at either end, and print one JSON document.

    carriers.py [--carriers tls,wss] [--rounds 3] [--seconds 2] [--cpus 2]
                [--pairs gateway,gost] [--loss 5] [--skip loss|link]

For each carrier, round by round, every pair of programs (see pairs.py) is started,
measured and stopped on the same lab. Then the links lose packets at random, and ours is
measured over tls and over the carriers that are made for that. Progress goes to standard
error. Exit status: 0 all measured, 1 something could not be (see "errors"), 3 no lab here.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from figures import GIGA, Figure, Target, short, summary, verdicts
from lab import Lab, LabUnavailable
from losing import WAYS, losing
from machine import describe
from pairs import CARRIERS, PAIRS, SERVER, Carried, possible, start
from programs import NotReachedError, exit_on_signals
from subjects import tunnel_address
from traffic import Pings, TrafficError, ping, tcp

TOOLS = ("iperf3", "ping")
LOSS_CARRIERS = ("tls", "quic", "kcp")
LEAST_SECONDS = 2.0
"""Of a flow that others are measured beside."""
_RAMP = 0.5
"""Seconds until a flow runs at its speed."""

Numbers = dict[str, float]


def _up(pair: Carried, seconds: float) -> float:
    return tcp(pair.lab.clients[0], pair.lab.server, SERVER, seconds=seconds) / GIGA


def _down(pair: Carried, seconds: float) -> float:
    client, server = pair.lab.clients[0], pair.lab.server
    return tcp(client, server, SERVER, seconds=seconds, reverse=True) / GIGA


def _across(pair: Carried, seconds: float) -> float:
    pair.move_second()
    one, two = pair.lab.clients
    return tcp(one, two, tunnel_address(2), seconds=seconds) / GIGA


def _rtt(pair: Carried, seconds: float) -> float:
    return _mean(ping(pair.lab.clients[0], SERVER, count=max(10, int(seconds * 50))))


def _beside(*, reverse: bool) -> Callable[[Carried, float], float]:
    """The ping of C2 while C1 moves all it can."""

    def measure(pair: Carried, seconds: float) -> float:
        seconds = max(seconds, LEAST_SECONDS)
        client, server = pair.lab.clients[0], pair.lab.server
        with ThreadPoolExecutor(1) as pool:
            flow = pool.submit(tcp, client, server, SERVER, seconds=seconds, reverse=reverse)
            time.sleep(_RAMP)
            count = int((seconds - 2 * _RAMP) * 100)
            pings = ping(pair.lab.clients[1], SERVER, count=count)
            flow.result()
        return _mean(pings)

    return measure


def _mean(pings: Pings) -> float:
    if pings.average is None:
        raise TrafficError("no answer to a ping")
    return pings.average


FIGURES = (
    Figure("tcp_up", "Gbit/s", "one TCP flow, C1 to S", _up),
    Figure("tcp_down", "Gbit/s", "one TCP flow, S to C1", _down),
    Figure("ping", "ms", "mean round trip, C1 to S, nothing else moves", _rtt),
    Figure(
        "ping_beside_up",
        "ms",
        "C2 to S on the same listener, beside tcp_up",
        _beside(reverse=False),
    ),
    Figure("ping_beside_down", "ms", "the same beside tcp_down", _beside(reverse=True)),
    Figure("tcp_across", "Gbit/s", "one TCP flow, C1 to C2, who came by another carrier", _across),
)
LOSS_FIGURES = FIGURES[:2]

RATIOS = {"quic": 1.0}
"""What ours at both ends must be, to a stock pair; 3 where nothing is said."""
ONE_END = ("tcp", "tls", "ws", "wss", "grpc")
"""Carriers that must be no slower than a stock pair with one end ours."""
MOST_PING = 10.0


def targets(carrier: str) -> list[Target]:
    """What the figures of a carrier shall be."""
    least = RATIOS.get(carrier, 3.0)
    wanted = [Target(name, "gost", low=least) for name in ("tcp_up", "tcp_down")]
    if carrier in ONE_END:
        wanted += [
            Target(name, "gost", low=1.0, subject=pair)
            for pair in ("gateway_to_gost", "gost_to_gateway")
            for name in ("tcp_up", "tcp_down")
        ]
    beside = ("ping_beside_up", "ping_beside_down")
    return wanted + [Target(name, "", high=MOST_PING) for name in beside]


class Bench:
    """One run: its lab, and what was learned so far."""

    def __init__(self, lab: Lab, pairs: Sequence[str], seconds: float) -> None:
        self.lab = lab
        self.pairs = pairs
        self.seconds = seconds
        self.rounds: dict[str, list[dict[str, Numbers]]] = {}
        self.lost: dict[str, list[dict[str, Numbers]]] = {}
        self.errors: list[str] = []

    def round(self, carrier: str) -> None:
        """Every pair once; the order turns with the round."""
        rounds = self.rounds.setdefault(carrier, [])
        turn = len(rounds) % len(self.pairs)
        numbers: dict[str, Numbers] = {}
        for pair in (*self.pairs[turn:], *self.pairs[:turn]):
            where = f"round {len(rounds) + 1}, {carrier}, {pair}"
            numbers[pair] = self._measure(where, pair, carrier, FIGURES)
        rounds.append({pair: numbers[pair] for pair in self.pairs})

    def loss_round(self, carriers: Sequence[str], percent: int) -> None:
        """Ours over each carrier, while the link loses packets in either way."""
        for way in WAYS:
            rounds = self.lost.setdefault(way, [])
            numbers = {}
            with losing(self.lab, percent, way):
                for carrier in carriers:
                    where = f"round {len(rounds) + 1}, {percent} % of {way} lost, {carrier}"
                    numbers[carrier] = self._measure(
                        where, "gateway", carrier, LOSS_FIGURES, clients=1
                    )
            rounds.append(numbers)

    def _measure(
        self, where: str, pair: str, carrier: str, figures: Sequence[Figure], clients: int = 2
    ) -> Numbers:
        _say(where)
        numbers: Numbers = {}
        try:
            running = start(self.lab, pair, carrier, clients=clients)
        except NotReachedError as error:
            self.errors.append(f"{where}: {error}")
            return numbers
        try:
            for figure in figures:
                try:
                    numbers[figure.name] = figure.measure(running, self.seconds)
                except (TrafficError, NotReachedError) as error:
                    self.errors.append(f"{where}, {figure.name}: {error}")
                else:
                    _say(f"    {figure.name:18} {numbers[figure.name]:10.4g} {figure.unit}")
        finally:
            running.stop()
        return numbers

    def carriers(self) -> dict[str, Any]:
        """Per carrier its figures and targets."""
        found = {}
        for carrier, rounds in self.rounds.items():
            figures = summary(rounds, FIGURES)
            found[carrier] = {"figures": figures, "targets": verdicts(figures, targets(carrier))}
        return found

    def losses(self) -> dict[str, Any]:
        """Per way of losing the figures of each carrier, and the ratios to tls."""
        found = {}
        wanted = [
            Target(figure.name, "tls", low=low, subject=carrier)
            for carrier, low in (("kcp", 3.0), ("quic", 1.0))
            for figure in LOSS_FIGURES
        ]
        for way, rounds in self.lost.items():
            figures = summary(rounds, LOSS_FIGURES)
            found[way] = {"figures": figures, "targets": verdicts(figures, wanted)}
        return found


def main() -> int:
    """Measure and print; the exit status."""
    arguments = _arguments()
    exit_on_signals()
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return _refuse(f"missing on the PATH: {', '.join(missing)}")
    if not possible("gateway"):
        return _refuse("the command gateway is not installed beside this Python: make setup")
    pairs = [pair for pair in arguments.pairs if possible(pair)]
    every_cpu = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(every_cpu)[: arguments.cpus])
    began = time.monotonic()
    try:
        with Lab(2, router=False) as lab:
            bench = Bench(lab, pairs, arguments.seconds)
            for _ in range(arguments.rounds if "link" not in arguments.skip else 0):
                for carrier in arguments.carriers:
                    bench.round(carrier)
            under_loss = [name for name in LOSS_CARRIERS if name in ("tls", *arguments.carriers)]
            for _ in range(arguments.rounds if "loss" not in arguments.skip else 0):
                bench.loss_round(under_loss, arguments.loss)
    except LabUnavailable as error:
        return _refuse(str(error))
    report = {
        "schema": 1,
        "host": describe(arguments.cpus, every_cpu, gost="gost" in pairs),
        "seconds_per_figure": arguments.seconds,
        "rounds": arguments.rounds,
        "took_seconds": short(time.monotonic() - began),
        "carriers": bench.carriers(),
        "loss": bench.losses(),
        "errors": bench.errors,
    }
    print(json.dumps(report, indent=2))
    return 1 if bench.errors else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Print every figure of the carriers as JSON.")
    parser.add_argument("--carriers", type=_list(CARRIERS), default=list(CARRIERS))
    parser.add_argument("--pairs", type=_list(tuple(PAIRS)), default=list(PAIRS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="per figure")
    parser.add_argument("--cpus", type=int, default=2, help="how many CPUs everything shares")
    parser.add_argument("--loss", type=int, default=5, help="percent of packets, each way")
    parser.add_argument("--skip", action="append", choices=("loss", "link"), default=[])
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.seconds <= 0 or arguments.cpus < 1:
        parser.error("the numbers must be positive")
    return arguments


def _list(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        given = text.split(",")
        if set(given) - set(known):
            raise argparse.ArgumentTypeError(f"one or more of {', '.join(known)}")
        return given

    return parse


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _refuse(sentence: str) -> int:
    _say(f"bench: {sentence}")
    return 3


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except subprocess.CalledProcessError as error:
        sys.exit(_refuse(str(error)))
