"""Measure us, the bare link and stock GOST in turn, and print one JSON document.

    run.py [--rounds 5] [--seconds 3] [--cpus 2] [--subjects bare,gost,copies,gateway] [--smoke]

Round by round every subject is started, measured and stopped on the same lab, so
that a slow minute of the machine hits all of them. `gost` is whatever is on the
PATH and is left out where there is none. Progress goes to standard error.
Exit status: 0 all measured, 1 something could not be (see "errors"), 3 no lab here.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

from figures import FIGURES, summary, verdicts
from lab import Lab, LabUnavailable
from machine import describe
from programs import NotReachedError, exit_on_signals
from spread import spread
from subjects import available, start
from traffic import TrafficError

SUBJECTS = ("bare", "gost", "copies", "gateway")
WORKERS = (1, 2, 4, 8)
TOOLS = ("iperf3", "ping", "ss")

Numbers = dict[str, dict[str, float]]


class Bench:
    """One run: its lab, and what was learned so far."""

    def __init__(self, lab: Lab, subjects: Sequence[str], seconds: float) -> None:
        self.lab = lab
        self.subjects = subjects
        self.seconds = seconds
        self.rounds: list[Numbers] = []
        self.errors: list[str] = []

    def round(self) -> None:
        """Every subject once; the order turns with the round."""
        number = len(self.rounds)
        turn = number % len(self.subjects)
        numbers: Numbers = {}
        for name in (*self.subjects[turn:], *self.subjects[:turn]):
            _say(f"round {number + 1}: {name}")
            try:
                numbers[name] = self._measure(name)
            except NotReachedError as error:
                self.errors.append(f"round {number + 1}, {name}: {error}")
        self.rounds.append({name: numbers[name] for name in self.subjects if name in numbers})

    def _measure(self, name: str) -> dict[str, float]:
        subject = start(name, self.lab)
        numbers: dict[str, float] = {}
        try:
            for figure in FIGURES:
                try:
                    numbers[figure.name] = figure.measure(self.lab, subject, self.seconds)
                except (TrafficError, NotReachedError) as error:
                    self.errors.append(f"{name}, {figure.name}: {error}")
                else:
                    _say(f"    {figure.name:22} {numbers[figure.name]:12.4g} {figure.unit}")
        finally:
            subject.stop()
        return numbers

    def spread(self, workers: Sequence[int]) -> list[dict[str, Any]]:
        """The 64 source ports, per number of workers."""
        answers = []
        for number in workers:
            _say(f"64 source ports, workers={number}")
            try:
                answers.append(spread(self.lab, number, len(os.sched_getaffinity(0))))
            except (TrafficError, NotReachedError, KeyError, IndexError, ValueError) as error:
                self.errors.append(f"workers={number}: {type(error).__name__}: {error}")
        return answers


def main() -> int:
    """Measure and print; the exit status."""
    arguments = _arguments()
    exit_on_signals()
    subjects = [name for name in arguments.subjects.split(",") if available(name)]
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return _refuse(f"missing on the PATH: {', '.join(missing)}")
    if "gateway" in arguments.subjects.split(",") and "gateway" not in subjects:
        return _refuse("the command gateway is not installed beside this Python: make setup")
    every_cpu = os.sched_getaffinity(0)
    began = time.monotonic()
    try:
        with Lab(2, router=False) as lab:
            bench = Bench(lab, subjects, arguments.seconds)
            os.sched_setaffinity(0, sorted(every_cpu)[: arguments.cpus])
            for _ in range(arguments.rounds):
                bench.round()
            os.sched_setaffinity(0, every_cpu)
            workers = bench.spread(arguments.workers) if "gateway" in subjects else []
    except LabUnavailable as error:
        return _refuse(str(error))
    figures = summary(bench.rounds)
    report = {
        "schema": 1,
        "host": describe(arguments.cpus, every_cpu, gost="gost" in subjects),
        "seconds_per_figure": arguments.seconds,
        "rounds": arguments.rounds,
        "took_seconds": round(time.monotonic() - began, 1),
        "figures": figures,
        "targets": verdicts(figures),
        "source_ports": workers,
        "errors": bench.errors,
    }
    print(json.dumps(report, indent=2))
    return 1 if bench.errors else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Print every figure as JSON.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="per figure")
    parser.add_argument("--cpus", type=int, default=2, help="how many CPUs everything shares")
    parser.add_argument("--subjects", default=",".join(SUBJECTS))
    parser.add_argument(
        "--smoke", action="store_true", help="one short round without gost: does it run at all?"
    )
    arguments = parser.parse_args()
    arguments.workers = WORKERS
    if arguments.smoke:
        arguments.rounds, arguments.seconds, arguments.workers = 1, 0.5, (2,)
        arguments.subjects = "bare,copies,gateway"
    unknown = set(arguments.subjects.split(",")) - set(SUBJECTS)
    if unknown or arguments.rounds < 1 or arguments.seconds <= 0 or arguments.cpus < 1:
        parser.error(f"subjects are {', '.join(SUBJECTS)}; the numbers must be positive")
    return arguments


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
