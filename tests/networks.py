"""Real gateways on the hosts of a lab (bench/lab.py), stock ones too, and words for them.

Every test gets its own namespaces, its own run and state directory and its own
instances, so that tests do not meet. What a gateway wrote is shown when one fails.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hosts import Host
from lab import Lab
from needs import need
from programs import Managed, wait_for
from traffic import ping

from gateway.ctl.ask import ask_status
from gateway.errors import GatewayError

PORT = 8421
GATEWAY = str(Path(sys.executable).with_name("gateway"))
GATEWAY_CTL = str(Path(sys.executable).with_name("gateway-ctl"))

Status = dict[str, Any]


class Gateway:
    """One running `gateway` on a host."""

    def __init__(
        self, network: "Network", host: Host, arguments: tuple[str, ...], instance: str = ""
    ) -> None:
        self.host = host
        self.instance = instance or f"{network.lab.mark}-{host.name}".lower()
        self.arguments = arguments if instance else ("--instance", self.instance, *arguments)
        self._network = network
        self.process = self._start()

    def _start(self) -> Managed:
        return self.host.spawn(GATEWAY, *self.arguments, environment=self._network.environment)

    def restart(self) -> None:
        """Start it again, after `stop`, `kill` or its own end."""
        self.process.wait()
        self.process = self._start()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        return self.process.stop()

    def ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `gateway-ctl`; on any namespace it finds the socket."""
        return subprocess.run(
            [GATEWAY_CTL, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=10,
            env=self._network.environment,
        )

    def status(self) -> Status:
        """The report; {} while there is none to be had."""
        try:
            return json.loads(ask_status(str(self._network.run_directory), self.instance).raw)
        except GatewayError:
            return {}

    def service(self) -> Status:
        """The report of the only service; {} while there is none to be had."""
        services = self.status().get("services") or [{}]
        return services[0]

    def peer(self, address: str) -> Status:
        """What the server reports of the peer with this tunnel address; {} if there is none."""
        for peer in self.service().get("peers", ()):
            if address in peer["addresses"]:
                return peer
        return {}

    def child(self, name: str) -> int:
        """The pid of a child, by its name in the report."""
        processes = {item["name"]: item["pid"] for item in self.service()["processes"]}
        return processes[name]

    def expect_ready(self) -> "Gateway":
        """Wait until it answers that all its children run."""

        def ready() -> bool:
            self.process.expect_running()
            service = self.service()
            return bool(service) and all(p["state"] == "running" for p in service["processes"])

        wait_for(ready, 10.0, f"the gateway on {self.host.name} to be ready")
        return self


class Network:
    """A lab with the gateways that a test starts on it."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.gateways: list[Gateway] = []
        self.stock: list[Managed] = []
        self.run_directory = directory / "run"
        self.state_directory = directory / "state"
        self.environment = {
            **os.environ,
            "GATEWAY_RUN_DIR": str(self.run_directory),
            "GATEWAY_STATE_DIR": str(self.state_directory),
        }

    def gateway(self, host: Host, *arguments: str, instance: str = "") -> Gateway:
        """Start `gateway` with these arguments on a host, without waiting for anything.

        It is given an `--instance` of its own, unless the caller says which one it will be.
        """
        started = Gateway(self, host, arguments, instance)
        self.gateways.append(started)
        return started

    def server(self, options: str = "", *, net: str = "192.168.123.1/24") -> Gateway:
        """The recipe's server on S, ready. `options` begins with an ampersand."""
        url = f"tun://:{PORT}?net={net}{options}"
        return self.gateway(self.lab.server, "-L", url).expect_ready()

    def client(
        self,
        number: int,
        options: str = "",
        *,
        net: str = "",
        server: str = "1.2.3.4",
        keepalive: bool = True,
    ) -> Gateway:
        """The recipe's client on Cn at 192.168.123.<n+1>, ready; perhaps not yet let in."""
        net = net or f"192.168.123.{number + 1}/24"
        alive = "&keepAlive=true" if keepalive else ""
        url = f"tun://:0/{server}:{PORT}?net={net}{alive}{options}"
        return self.gateway(self.lab.clients[number - 1], "-L", url).expect_ready()

    def gost(self, host: Host, url: str) -> Managed:
        """Start one `-L` of the stock program on a host, without waiting for anything."""
        self.stock.append(host.spawn("gost", "-L", url))
        return self.stock[-1]


def reaches(host: Host, address: str, *, deadline: float = 10.0, **options: Any) -> None:
    """Wait until `host` gets a ping answered from `address`."""
    wait_for(
        lambda: ping(host, address, wait=0.5, **options).received == 1,
        deadline,
        f"{host.name} to reach {address}",
    )


def misses(host: Host, address: str, *, count: int = 3, **options: Any) -> None:
    """See that none of some pings is answered."""
    assert ping(host, address, count=count, wait=0.3, **options).received == 0


@pytest.fixture
def network(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Network]]:
    """Make a `Network`; the keywords are those of `Lab`."""
    need("root", "tun", "netns", "ip", "ping")
    with ExitStack() as stack:
        made: list[Network] = []

        def make(clients: int = 2, **options: Any) -> Network:
            lab = stack.enter_context(Lab(clients, **options))
            lab.directory.chmod(0o755)  # the gateway leaves root and writes below it
            made.append(Network(lab, lab.directory))
            return made[-1]

        yield make
        if getattr(request.node, "failed", False):
            show(made)


def show(networks: list[Network]) -> None:
    """Print what every gateway of a failed test wrote."""
    for network in networks:
        for process in (*(gateway.process for gateway in network.gateways), *network.stock):
            print(f"--- {process.name}: status {process.status}")
            print(process.output())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Let the fixture know that the test failed."""
    report: Any = yield
    if report.when == "call" and report.failed:
        item.failed = True  # type: ignore[attr-defined]
    return report
