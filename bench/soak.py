"""Minutes of pings while every program is restarted once, stock GOST's and ours.

    soak.py [--seconds 600] [--kill]

Two networks at once: a server of ours with a client of ours and, where `gost` is on the PATH,
a stock one; and a stock server with a client of ours. Every half second each host pings what
it can reach through its tunnel; in turn, evenly spread over the time, every program is stopped
(with --kill: killed) and started anew. Printed is, as one JSON document, how many pings each
way lost and when. Exit status: 0 every way worked at the end, 1 one did not, 3 no lab here.
"""

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import subjects
from hosts import Host
from lab import Lab, LabUnavailable
from programs import Managed, NotReachedError, exit_on_signals, wait_for
from traffic import ping

EVERY = 0.5
WAIT = 0.4


@dataclass
class Way:
    """From a host to an address: pings sent and lost, and when it broke and healed (seconds)."""

    name: str
    host: Host
    address: str
    sent: int = 0
    lost: int = 0
    up: bool = True
    changes: list[str] = field(default_factory=list)

    def try_once(self, at: float) -> bool:
        """One ping. Returns whether it was answered."""
        answered = ping(self.host, self.address, wait=WAIT).received == 1
        self.sent += 1
        self.lost += not answered
        if answered != self.up:
            self.changes.append(f"{at:.1f} s: {'up' if answered else 'down'}")
        self.up = answered
        return answered


@dataclass
class Member:
    """A program of the soak: how it is started, and what runs of it now."""

    name: str
    begin: Callable[[], Managed]
    process: Managed

    def restart(self, kill: bool) -> None:
        """End it, gently or not, and start it anew."""
        if kill:
            self.process.send(signal.SIGKILL)
            self.process.wait()
        else:
            self.process.stop()
        self.process = self.begin()


class Soak:
    """The two networks, what runs in them, and every way between their hosts."""

    def __init__(self, ours: Lab, stock: Lab | None) -> None:
        self.members: list[Member] = []
        self.ways: list[Way] = []
        self._network("gateway", ours, ["gateway", "gost"] if stock else ["gateway"])
        if stock:
            self._network("gost", stock, ["gateway"])

    def _network(self, server: str, lab: Lab, clients: list[str]) -> None:
        self._start(f"{server} server", server, lab, lab.server, subjects.server_url())
        ends = []
        for number, kind in enumerate(clients, 1):
            url = subjects.client_url(number, lab.near_address(number))
            host = lab.clients[number - 1]
            self._start(f"{kind} client of {server}", kind, lab, host, url)
            ends.append((kind, host, subjects.tunnel_address(number)))
        for kind, host, own in ends:
            self._way(f"{kind} client to {server} server", host, subjects.tunnel_address(0))
            for other, _, address in ends:
                if address != own:
                    self._way(f"{kind} client to {other} client", host, address)

    def _start(self, name: str, kind: str, lab: Lab, host: Host, url: str) -> None:
        def begin() -> Managed:
            return subjects.spawn(kind, lab, host, url)

        self.members.append(Member(name, begin, begin()))

    def _way(self, name: str, host: Host, address: str) -> None:
        self.ways.append(Way(name, host, address))

    def settle(self, deadline: float = 20.0) -> None:
        """Until every way works. Raises NotReachedError."""
        for way in self.ways:
            wait_for(
                lambda w=way: ping(w.host, w.address, wait=WAIT).received == 1,  # type: ignore[misc]
                deadline,
                f"{way.name} to work",
            )

    def run(self, seconds: float, kill: bool) -> list[dict[str, Any]]:
        """Ping for `seconds`, restart each program once. Returns the restarts, in order."""
        start = time.monotonic()
        restarts: list[dict[str, Any]] = []
        space = seconds / (len(self.members) + 1)
        while (at := time.monotonic() - start) < seconds:
            done = len(restarts)
            if done < len(self.members) and at >= (done + 1) * space:
                member = self.members[done]
                print(f"{at:.0f} s: {member.name} restarts", file=sys.stderr)
                member.restart(kill)
                restarts.append({"at": round(at, 1), "program": member.name})
            for way in self.ways:
                way.try_once(time.monotonic() - start)
            time.sleep(max(0.0, EVERY - (time.monotonic() - start - at)))
        return restarts


def main() -> int:
    """Parse the command line, soak, print. Returns the exit status."""
    parser = argparse.ArgumentParser(description="minutes of pings under restarts, as JSON")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (600)")
    parser.add_argument("--kill", action="store_true", help="SIGKILL instead of SIGTERM")
    arguments = parser.parse_args()
    exit_on_signals()
    try:
        with Lab(2, router=False) as ours, Lab(1, router=False) as stock:
            soak = Soak(ours, stock if shutil.which("gost") else None)
            soak.settle()
            restarts = soak.run(arguments.seconds, arguments.kill)
            try:
                soak.settle()
                well = True
            except NotReachedError as error:
                print(f"soak: {error}", file=sys.stderr)
                well = False
            for member in reversed(soak.members):
                member.process.stop()
    except LabUnavailable as error:
        print(f"soak: {error}", file=sys.stderr)
        return 3
    ways = [
        {"way": w.name, "sent": w.sent, "lost": w.lost, "changes": w.changes} for w in soak.ways
    ]
    report = {"schema": 1, "seconds": arguments.seconds, "kill": arguments.kill}
    print(json.dumps(report | {"restarts": restarts, "ways": ways}, indent=2))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
