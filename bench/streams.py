"""Many streams on one relay listener, coming and going: memory and descriptors, cycle by cycle.

    python bench/streams.py --carrier wss --streams 1000 --cycles 20
    python bench/streams.py --carrier wss --streams 1000 --seconds 3600 --lines 60

Each cycle opens all streams at once, has a peer register on each, and ends them all. Printed
are, as lines of JSON, what the server's processes hold while all are there and when none is
left, then one line that sums it up. What grows from cycle to cycle, after the first ones, is a
leak. Memory is what a process has for itself (USS): where a process writes for the first time
what it has in common with its parent or its children, it grows without anything being kept.
Needs what the lab needs.
"""

import argparse
import asyncio
import ctypes
import json
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Coroutine
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from hosts import Host
from lab import Lab
from programs import exit_on_signals, wait_for

from gateway.carriers.hop import RelayStream
from gateway.carriers.trust import client_tls
from gateway.ctl.ask import ask_status
from gateway.errors import GatewayError
from gateway.fastpath.frames import pack
from gateway.protocol.packet import pack_address
from gateway.protocol.relay import Address, Request

PORT, RELAY_PORT = 8421, 443
FIRST = int(ip_address("10.123.1.0"))
CARRIERS = ("tcp", "tls", "ws", "wss", "mws", "mwss", "mtls", "grpc", "quic", "kcp")
AT_ONCE = 50
PATIENCE = 60.0
"""Seconds for anything that is waited for: the machine may have other work."""
_TLS = frozenset({"tls", "wss", "mwss", "mtls", "grpc", "quic"})
_MODULES = {
    "wss": "ws", "mws": "mux", "mwss": "mux", "mtls": "mux",
}  # fmt: skip
_NEW_NETWORK = 0x40000000


class Visitor:
    """One stream, and its peer: registered once `acked` is set."""

    def __init__(self, number: int) -> None:
        self.acked = asyncio.Event()
        self.ended = asyncio.Event()
        self.reason = ""
        claim = pack_address(ip_address(FIRST + number))
        self._heartbeat = pack(b"GOST" + bytes(16) + claim, 0)

    async def enter(self, carrier: str, host: str) -> None:
        """Raises CarrierError, TimeoutError."""
        module = import_module(f"gateway.carriers.{_MODULES.get(carrier, carrier)}")
        options: dict[str, Any] = {"under": "tcp"} if carrier == "mtls" else {}
        if carrier in _TLS:
            make = getattr(module, "client_tls", client_tls)
            options["tls"] = make(alpn=getattr(module, "ALPN", ()))
        lower = await module.dial(host, RELAY_PORT, **options)
        self.stream = RelayStream(lower, Request(Address("", PORT)))
        self.stream.start(self)
        self.stream.write(self._heartbeat)
        async with asyncio.timeout(PATIENCE):
            await self.acked.wait()

    async def leave(self) -> None:
        """End it, and wait until it has ended."""
        self.stream.close()
        async with asyncio.timeout(PATIENCE):
            await self.ended.wait()

    def on_data(self, _data: bytes | bytearray | memoryview) -> None:
        """The ack."""
        self.acked.set()

    def on_room(self) -> None:
        """Little is sent."""

    def on_end(self, reason: str) -> None:
        """Over."""
        self.reason = reason
        self.ended.set()


class Server:
    """Ours on S, behind a relay listener."""

    def __init__(self, lab: Lab, carrier: str, directory: Path) -> None:
        self._run = directory / "run"
        environment = {
            **os.environ,
            "GATEWAY_RUN_DIR": str(self._run),
            "GATEWAY_STATE_DIR": str(directory / "state"),
        }
        command = str(Path(sys.executable).with_name("gateway"))
        self.process = lab.server.spawn(
            command, "--instance", "streams",
            "-L", f"tun://127.0.0.1:{PORT}?net=10.123.0.1/16&workers=1",
            "-L", f"relay+{carrier}://:{RELAY_PORT}?bridges=1",
            environment=environment,
        )  # fmt: skip
        wait_for(self.status, 10.0, "the server")

    def status(self) -> dict[str, Any]:
        """The report; {} while there is none."""
        self.process.expect_running()
        try:
            found: dict[str, Any] = json.loads(ask_status(str(self._run), "streams").raw)
        except GatewayError:
            return {}
        return found

    def peers(self) -> int:
        """How many are registered."""
        return len(self.status()["services"][0]["peers"])

    def figures(self) -> dict[str, float]:
        """Own memory (MB) and descriptors of each process."""
        status = self.status()
        bridges = [each["pid"] for each in status["relays"][0]["processes"]]
        chief = psutil.Process(bridges[0]).parent()
        groups = {"supervisor": [chief], "bridge": [psutil.Process(pid) for pid in bridges]}
        for child in chief.children():
            if child.pid not in bridges:
                groups[child.name().replace(" ", "-")] = [child]
        found: dict[str, float] = {}
        for name, processes in groups.items():
            own = sum(process.memory_full_info().uss for process in processes)
            found[f"{name}_mb"] = round(own / 2**20, 1)
            found[f"{name}_fds"] = sum(process.num_fds() for process in processes)
        found["restarts"] = sum(each["restarts"] for each in status["relays"][0]["processes"])
        return found


async def cycle(server: Server, carrier: str, host: str, count: int) -> dict[str, Any]:
    """All in, all out; what was measured."""
    began = time.monotonic()
    visitors = [Visitor(number) for number in range(count)]
    gate = asyncio.Semaphore(AT_ONCE)

    async def enter(visitor: Visitor) -> None:
        async with gate:
            await visitor.enter(carrier, host)

    await asyncio.gather(*(enter(visitor) for visitor in visitors))
    entered = time.monotonic() - began
    await until(lambda: server.peers() == count)
    full = {f"full_{name}": value for name, value in server.figures().items()}
    peers = server.peers()
    began = time.monotonic()
    await asyncio.gather(*(visitor.leave() for visitor in visitors))
    await until(lambda: server.peers() == 0)
    left = time.monotonic() - began
    await until(lambda: server.status()["relays"][0]["streams"] == 0)
    await asyncio.sleep(3.0)  # ports rest for some seconds
    empty = {f"empty_{name}": value for name, value in server.figures().items()}
    return {"peers": peers, "in_s": round(entered, 2), "out_s": round(left, 2), **full, **empty}


async def until(state: Any, seconds: float = PATIENCE) -> None:
    """Look now and then until it is so."""
    async with asyncio.timeout(seconds):
        while not state():  # noqa: ASYNC110 - another process tells nobody
            await asyncio.sleep(0.1)


def summary(carrier: str, cycles: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """The whole run in one line: each figure at the tenth of the way, at the end, and between."""
    first = cycles[len(cycles) // 10]
    last = cycles[-1]
    found: dict[str, Any] = {
        "carrier": carrier,
        "cycles": len(cycles),
        "streams": sum(each["peers"] for each in cycles),
        "seconds": round(seconds),
        "restarts": last["empty_restarts"],
        "in_s_median": median(each["in_s"] for each in cycles),
        "out_s_median": median(each["out_s"] for each in cycles),
    }
    for name in first:
        if name.endswith(("_mb", "_fds")):
            values = [each[name] for each in cycles if name in each]
            found[name] = {
                "at_first": cycles[0].get(name),
                "at_tenth": first[name],
                "median": median(values),
                "most": max(values),
                "at_last": last.get(name),
            }
    return found


def inside(host: Host, body: Coroutine[Any, Any, None]) -> None:
    """Run it in a thread of this host's namespace."""
    failures: list[BaseException] = []

    def run() -> None:
        with Path("/run/netns", host.netns).open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _NEW_NETWORK):
                failures.append(OSError(ctypes.get_errno(), "setns"))
                return
        try:
            asyncio.run(body)
        except BaseException as error:  # noqa: BLE001 - it is raised again below
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--carrier", choices=CARRIERS, default="wss")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--cycles", type=int, default=10)
    parser.add_argument("--seconds", type=float, help="go on for so long, instead of --cycles")
    parser.add_argument("--lines", type=int, help="print about so many cycles, instead of all")
    given = parser.parse_args()
    exit_on_signals()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with Lab(1) as lab, tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        server = Server(lab, given.carrier, Path(directory))

        async def body() -> None:
            began = time.monotonic()
            told = 0
            cycles: list[dict[str, Any]] = []
            try:
                while True:
                    found = await cycle(server, given.carrier, "1.2.3.4", given.streams)
                    cycles.append(found)
                    passed = time.monotonic() - began
                    share = len(cycles) / given.cycles
                    if given.seconds:
                        share = passed / given.seconds
                    if not given.lines or share >= 1 or share * given.lines >= told:
                        told += 1
                        at = {"cycle": len(cycles) - 1, "at_s": round(passed)}
                        print(json.dumps({"carrier": given.carrier, **at, **found}), flush=True)
                    if share >= 1:
                        return
            finally:
                if cycles:
                    seconds = time.monotonic() - began
                    print(json.dumps(summary(given.carrier, cycles, seconds)), flush=True)

        inside(lab.clients[0], body())
        server.process.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
