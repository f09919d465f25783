"""A running gateway for a test, its inside (a socketpair) and its outside (loopback UDP).

test ── inside ──> [socketpair] tun-reader ─> ring ─> udp-worker ── outside ──> test
"""

import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from gateway.ctl.ask import ask_status
from gateway.errors import GatewayError
from gateway.protocol.status import ProcessStatus, ServiceStatus, Status

PROGRAM = Path(__file__).parent / "processes" / "program.py"
DEADLINE = 10.0
VNET = bytes(10)


def wait_for(state: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    """Look until it is so. The pause is the resolution of looking, not a guess."""
    end = time.monotonic() + seconds
    while not state():
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds} s: {what}")
        select.select([], [], [], 0.01)


def ipv4(source: str, destination: str, payload: bytes = b"") -> bytes:
    """A UDP-less IPv4 packet (protocol 253, for experiments) with an honest length."""
    return struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, 253, 0,
        socket.inet_aton(source), socket.inet_aton(destination),
    ) + payload  # fmt: skip


class Gateway:
    """The program in a process of its own."""

    def __init__(self, room: Path, **options: object) -> None:
        self.room = room
        self.inside, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        theirs.setblocking(False)
        self.inside.settimeout(DEADLINE)
        self.log = (room / "log").open("w+")
        environment = {
            **os.environ,
            "GATEWAY_RUN_DIR": str(room / "run"),
            "GATEWAY_STATE_DIR": str(room / "state"),
        }
        spec = {"role": "SERVER", "nets": ["192.168.123.1/24"], "workers": 2, **options}
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps(spec), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=environment,
            stderr=self.log,
        )
        theirs.close()

    def status(self) -> Status:
        return ask_status(str(self.room / "run"), "test").status

    def service(self) -> ServiceStatus:
        return self.status().services[0]

    def child(self, name: str) -> ProcessStatus:
        return next(child for child in self.service().processes if child.name == name)

    def running(self) -> bool:
        with contextlib.suppress(GatewayError):
            return all(child.state == "running" for child in self.service().processes)
        return False

    def wait_running(self) -> "Gateway":
        wait_for(lambda: self.running() or self.process.poll() is not None, "children run")
        assert self.process.poll() is None, self.text()
        return self

    @property
    def port(self) -> int:
        return int(self.service().listen.rpartition(":")[2])

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def text(self) -> str:
        return (self.room / "log").read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.inside.close()
        self.log.close()


class Peer:
    """A client on the outside."""

    def __init__(self, address: str, port: int, passphrase: bytes = b"") -> None:
        self.address = address
        self.passphrase = passphrase
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(("127.0.0.1", port))

    def heartbeat(self) -> None:
        claim = bytes(10) + b"\xff\xff" + socket.inet_aton(self.address)
        self.sock.send(b"GOST" + self.passphrase.ljust(16, b"\0") + claim)

    def register(self) -> "Peer":
        self.heartbeat()
        assert self.sock.recv(2000) == b"GOST" + bytes(10) + b"\xff\xff\x7f\0\0\1"
        return self

    def close(self) -> None:
        self.sock.close()
