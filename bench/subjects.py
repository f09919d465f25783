"""The systems that are compared, and how each is started on a lab.

    bare      nothing: the links themselves
    gost      whatever `gost` is on the PATH, server and clients
    copies    a program that only copies (copies.py), which bounds what a tunnel can do
    gateway   ours, the command beside this interpreter

All of them answer the same question: at which addresses do server and clients
reach each other. The tunnel network is the recipe's, 192.168.123.0/24.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import copies
from hosts import Host
from lab import Lab
from programs import Managed, NotReachedError, wait_for
from traffic import ping

PORT = 8421


@dataclass
class Running:
    """A started system: the addresses traffic goes to, and its processes, server first."""

    name: str
    server: str
    clients: list[str]
    processes: list[Managed] = field(default_factory=list)

    def stop(self) -> None:
        """End it, clients first."""
        for process in reversed(self.processes):
            process.stop()


def beside_python(name: str) -> str:
    """The path of a command installed with this interpreter; "" where it is not."""
    path = Path(sys.executable).with_name(name)
    return str(path) if path.exists() else ""


def available(name: str) -> bool:
    """Whether the system called `name` can be started here."""
    if name == "copies":
        return copies.available()
    return name == "bare" or bool(_program(name))


def _program(name: str) -> str:
    return beside_python("gateway") if name == "gateway" else shutil.which(name) or ""


def tunnel_address(number: int) -> str:
    """The server is number 0, client Cn number n."""
    return f"192.168.123.{number + 1}"


def server_url(options: str = "") -> str:
    """The recipe's server line; `options` begins with an ampersand."""
    return f"tun://:{PORT}?net={tunnel_address(0)}/24{options}"


def client_url(number: int, target: str, options: str = "") -> str:
    """The recipe's client line for Cn, without its routes."""
    return f"tun://:0/{target}:{PORT}?net={tunnel_address(number)}/24&keepAlive=true{options}"


def instance(lab: Lab, host: Host) -> str:
    """A name for `gateway --instance` that no other lab uses."""
    return f"lab-{lab.mark}-{host.name}".lower()


def start(name: str, lab: Lab, *, server_options: str = "", client_options: str = "") -> Running:
    """Start server and clients, and wait until everyone reaches everyone.

    Raises NotReachedError, with what the programs wrote, where they do not.
    """
    if name == "bare":
        return Running(name, lab.server.ipv4, [client.ipv4 for client in lab.clients])
    if name == "copies":
        return _start_copies(lab)
    addresses = [tunnel_address(n) for n in range(1, len(lab.clients) + 1)]
    running = Running(name, tunnel_address(0), addresses)
    try:
        running.processes.append(spawn(name, lab, lab.server, server_url(server_options)))
        wait_for(lambda: _answers(lab.server, running.server), 10.0, f"the {name} server's device")
        for number, client in enumerate(lab.clients, 1):
            url = client_url(number, lab.near_address(number), client_options)
            running.processes.append(spawn(name, lab, client, url))
        for client in lab.clients:
            for address in [running.server, *addresses]:
                wait_for(
                    lambda c=client, a=address: _answers(c, a),  # type: ignore[misc]
                    10.0,
                    f"{client.name} to reach {address} through {name}",
                )
    except NotReachedError as error:
        running.stop()
        words = "\n".join(f"--- {p.name}\n{p.output()}" for p in running.processes)
        raise NotReachedError(f"{error}\n{words}") from None
    return running


def _start_copies(lab: Lab) -> Running:
    running = Running("copies", copies.SERVER, list(copies.CLIENTS), copies.spawn(lab))
    try:
        for address in (running.server, running.clients[1]):
            wait_for(lambda a=address: _answers(lab.clients[0], a), 10.0, f"{address} by copies")  # type: ignore[misc]
    except NotReachedError:
        running.stop()
        raise
    return running


def spawn(name: str, lab: Lab, host: Host, url: str) -> Managed:
    """Start one `-L` of the system `name` on `host`, without waiting for anything."""
    options = ["--instance", instance(lab, host)] if name == "gateway" else []
    return host.spawn(_program(name), *options, "-L", url, name=name)


def _answers(host: Host, address: str) -> bool:
    return ping(host, address, wait=0.3).received == 1


def status(lab: Lab, host: Host) -> dict[str, Any]:
    """The report of `gateway-ctl status --json` about the gateway on `host`."""
    report: dict[str, Any] = json.loads(_ask(lab, host).stdout)
    return report


def healthy(lab: Lab, host: Host) -> bool:
    """Whether the gateway on `host` runs and lacks nothing."""
    return _ask(lab, host).returncode == 0


def _ask(lab: Lab, host: Host) -> subprocess.CompletedProcess[str]:
    command = [beside_python("gateway-ctl"), "status", instance(lab, host), "--json"]
    return host.run(*command, check=False)
