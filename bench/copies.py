"""A stand-in for the least any tunnel of user-space processes can cost: `copies.c`.

    C1 fl0 192.168.123.2 ──────── fl0 192.168.123.1 S
    C1 fl1 192.168.124.2 ──── S, UDP to UDP ──── fl1 192.168.124.3 C2

It shows what share of a figure is copies and wake-ups that nobody gets rid of, on the very
machine and in the very run. It is no tunnel: it checks nothing and works for one pair.
"""

import shutil
import subprocess
from pathlib import Path

from hosts import Host
from lab import Lab
from programs import Managed, NotReachedError, wait_for

SERVER = "192.168.123.1"
CLIENTS = ("192.168.124.2", "192.168.124.3")
_SOURCE = Path(__file__).with_name("copies.c")
_MTU = 1420
_TO_SERVER, _ACROSS = 9001, 9002


def available() -> bool:
    """Whether there is a compiler for it."""
    return shutil.which("cc") is not None


def spawn(lab: Lab) -> list[Managed]:
    """Start it on S, C1 and C2, and set its devices up. Raises NotReachedError."""
    program = str(_built(lab.directory / "copies"))
    one, other = lab.clients[:2]
    near = [lab.near_address(number) for number in (1, 2)]
    started: list[Managed] = []
    for host, first, second in (
        (lab.server, "tun:fl0", _udp(_TO_SERVER, one.ipv4)),
        (lab.server, _udp(_ACROSS, one.ipv4), _udp(_ACROSS + 1, other.ipv4)),
        (one, "tun:fl0", _udp(_TO_SERVER, near[0])),
        (one, "tun:fl1", _udp(_ACROSS, near[0])),
        (other, "tun:fl1", _udp(_ACROSS + 1, near[1])),
    ):
        started.append(host.spawn(program, first, second, name="copies"))
    try:
        _set_up(lab.server, "fl0", SERVER)
        _set_up(one, "fl0", "192.168.123.2")
        _set_up(one, "fl1", CLIENTS[0])
        _set_up(other, "fl1", CLIENTS[1])
    except NotReachedError as error:
        words = "".join(process.output() for process in started)
        for process in started:
            process.stop()
        raise NotReachedError(f"{error}\n{words}") from None
    return started


def _built(program: Path) -> Path:
    if program.exists():
        return program
    command = ["cc", "-std=gnu11", "-O2", "-pthread", str(_SOURCE), "-o", str(program)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotReachedError(f"{' '.join(command)}: {done.stderr}")
    return program


def _udp(port: int, peer: str) -> str:
    return f"udp:{port}:{peer}:{port}"


def _set_up(host: Host, device: str, address: str) -> None:
    wait_for(lambda: device in host.devices(), 10.0, f"{device} on {host.name}")
    host.ip(f"addr add {address}/24 dev {device}", f"link set dev {device} mtu {_MTU} up")
