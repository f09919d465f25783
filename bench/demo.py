"""The recipe on one screen: a server, three clients, and what they can do.

    demo.py [--seconds 3]

Builds the recipe's network out of namespaces, so that nothing outside them is
touched, starts `gateway` on each host with the recipe's command, and shows pings, a
TCP figure and the status table. Everything is removed at the end, after Ctrl-C too.
Exit status: 0 all went well, 1 something did not work, 3 this host lacks something.
"""

import argparse
import io
import shlex
import shutil
import sys
import time

from hosts import Host
from lab import SERVER_IPV4, Lab, LabUnavailable
from programs import NotReachedError, exit_on_signals, wait_for
from subjects import PORT, beside_python, instance, tunnel_address
from traffic import Pings, TrafficError, ping, tcp

PICTURE = f"""
    C1 198.18.1.2 ---+
                     |
    C2 198.18.2.2 ---+--- R --- S {SERVER_IPV4}
                     |
    C3 198.18.3.2 ---+

    R is a router, S has the public address. There is no 192.168.123.0/24 yet.
"""

ROUTES = {1: "192.168.101.0/24", 2: "192.168.100.0/24", 3: "192.168.100.0/24,192.168.101.0/24"}
"""The LANs each client reaches through the others, as the recipe has them."""

NEEDS = {"ip": "iproute2", "ping": "iputils-ping", "iperf3": "iperf3"}
"""Command to Debian package."""


class Demo:
    """One showing on one lab."""

    def __init__(self, lab: Lab, seconds: float) -> None:
        self.lab = lab
        self.seconds = seconds
        self.hosts = [lab.server, *lab.clients]

    def run(self) -> None:
        """Every step. Raises NotReachedError or TrafficError where one does not work."""
        _title("1. The network: five hosts, each a network namespace of this machine")
        print(PICTURE)
        _title("2. The server and three clients start, with the recipe's own commands")
        for number, host in enumerate(self.hosts):
            self._start(number, host)
        self._wait()
        _title("3. Pings, from the host on the left to the host above (mean of 5, in ms)")
        self._pings()
        _title(f"4. One TCP flow through the tunnel, {self.seconds:g} s each (iperf3)")
        self._speed("C1 to the server", self.lab.clients[0], 0)
        self._speed("C1 to C2, through the server", self.lab.clients[0], 2)
        _title("5. What the server knows: gateway-ctl status")
        self._status()

    def _start(self, number: int, host: Host) -> None:
        net = tunnel_address(number)
        url = f"tun://:{PORT}?net={net}/24"
        if number:
            target = f"{SERVER_IPV4}:{PORT}"
            url = f"tun://:0/{target}?net={net}/24&keepAlive=true&route={ROUTES[number]}"
        print(f'    {host.name}$ gateway -L "{url}"')
        name = instance(self.lab, host)
        host.spawn(beside_python("gateway"), "--instance", name, "-L", url, name="gateway")

    def _wait(self) -> None:
        began = time.monotonic()
        for host in self.hosts:
            for number in range(len(self.hosts)):
                wait_for(
                    lambda h=host, n=number: self._answers(h, n),  # type: ignore[misc]
                    10.0,
                    f"{host.name} to reach {tunnel_address(number)}",
                )
        print(f"\n    All of them reach each other after {time.monotonic() - began:.1f} s.")

    def _answers(self, host: Host, number: int) -> bool:
        for process in self.lab.processes:
            process.expect_running()
        return ping(host, tunnel_address(number), wait=0.3).received == 1

    def _pings(self) -> None:
        print("          " + "".join(f"{host.name:>12}" for host in self.hosts))
        for host in self.hosts:
            cells = []
            for number, other in enumerate(self.hosts):
                own = other is host
                cells.append("-" if own else _cell(ping(host, tunnel_address(number), count=5)))
            print(f"    {host.name:<6}" + "".join(f"{cell:>12}" for cell in cells))

    def _speed(self, text: str, client: Host, number: int) -> None:
        address = tunnel_address(number)
        rate = tcp(client, self.hosts[number], address, seconds=self.seconds)
        print(f"    {text:30} {rate / 1e9:6.2f} Gbit/s")

    def _status(self) -> None:
        command = [beside_python("gateway-ctl"), "status", instance(self.lab, self.lab.server)]
        print(f"    S$ {shlex.join(['gateway-ctl', *command[1:]])}\n")
        done = self.lab.server.run(*command, check=False)
        print(done.stdout)
        if done.returncode:
            raise TrafficError(f"gateway-ctl: exit {done.returncode}: {done.stderr.strip()}")


def main() -> int:
    """Show it; the exit status."""
    parser = argparse.ArgumentParser(description="Show the recipe's network at work.")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each TCP flow")
    arguments = parser.parse_args()
    exit_on_signals()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # the status table may hold more than ASCII
    lacks = [f"{name} (package {package})" for name, package in NEEDS.items() if not _has(name)]
    lacks += [f"{name} beside this Python" for name in _OURS if not beside_python(name)]
    if lacks:
        return _refuse(f"missing: {', '.join(lacks)}. `make setup` installs them.")
    began = time.monotonic()
    try:
        with Lab(3) as lab:
            Demo(lab, arguments.seconds).run()
            _title("6. Everything is stopped and removed")
    except LabUnavailable as error:
        return _refuse(str(error))
    except (NotReachedError, TrafficError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    print(f"    Done after {time.monotonic() - began:.0f} s. Nothing is left behind.")
    return 0


_OURS = ("gateway", "gateway-ctl")


def _has(command: str) -> bool:
    return shutil.which(command) is not None


def _cell(pings: Pings) -> str:
    if pings.lost or pings.average is None:
        return f"{pings.received} of {pings.sent}"
    return f"{pings.average:.2f}"


def _title(text: str) -> None:
    print(f"\n{text}\n", flush=True)


def _refuse(sentence: str) -> int:
    print(f"demo: {sentence}", file=sys.stderr)
    return 3


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\ndemo: interrupted; everything was removed", file=sys.stderr)
        sys.exit(130)
