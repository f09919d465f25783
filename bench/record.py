"""Record what stock GOST says on the wire, in both roles, as fixtures for the tests.

    record.py DIRECTORY

Writes one JSON file per exchange. All traffic is between a `gost` server on S and
`gost` clients on C1 and C2; the datagrams are those that passed the server's link.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import SERVER_IPV4, SERVER_IPV6, Lab, LabUnavailable
from programs import Managed, exit_on_signals, wait_for
from subjects import PORT
from traffic import ping

SNIFF = Path(__file__).with_name("sniff.py")
PACKETS = Path(__file__).with_name("packets.py")

Datagram = dict[str, Any]


@dataclass(frozen=True)
class Client:
    """A stock client: its tunnel addresses, and the other options of its `-L`."""

    nets: tuple[str, ...]
    passphrase: str = ""
    keepalive: bool = True
    target: str = SERVER_IPV4

    @property
    def url(self) -> str:
        """Its `-L`; heartbeats every second, so that a recording is short."""
        text = f"tun://:0/{self.target}:{PORT}?net={','.join(self.nets)}&ttl=1s"
        text += "&keepAlive=true" if self.keepalive else ""
        return text + (f"&passphrase={self.passphrase}" if self.passphrase else "")


@dataclass(frozen=True)
class Exchange:
    """One recording: who takes part, the pings (number of the client, address), its end."""

    name: str
    about: str
    clients: tuple[Client, ...]
    heartbeats: int
    """How many heartbeats are waited for before the pings."""
    auth: dict[str, str] = field(default_factory=dict)
    nets: tuple[str, ...] = ("192.168.123.1/24",)
    pings: tuple[tuple[int, str], ...] = ()
    odd: tuple[bytes, ...] = ()
    """Datagrams that a plain socket on C1 sends to the server."""

    @property
    def server_url(self) -> str:
        """The server's `-L`; one credential fits into it."""
        login = "".join(f"{user}:{password}@" for user, password in self.auth.items())
        return f"tun://{login}:{PORT}?net={','.join(self.nets)}"


ONE = Client(("192.168.123.2/24",))
OTHER = Client(("192.168.123.3/24",))
BOTH_NETS = ("192.168.123.1/24", "fd00:123::1/64")
SIXTEEN = bytes(10) + b"\xff\xff" + bytes((192, 168, 123, 9))

EXCHANGES = (
    Exchange("one-address", "Heartbeats are answered; a ping each way.", (ONE,), 3,
             pings=((1, "192.168.123.1"), (0, "192.168.123.2"))),
    Exchange("two-addresses", "IPv4 and IPv6 in one heartbeat, and a ping of each.",
             (Client(("192.168.123.2/24", "fd00:123::2/64")),), 2, nets=BOTH_NETS,
             pings=((1, "192.168.123.1"), (1, "fd00:123::1"), (0, "fd00:123::2"))),
    Exchange("passphrase", "A passphrase the server knows: answered.",
             (Client(ONE.nets, "userpass1"),), 2, {"192.168.123.2": "userpass1"},
             pings=((1, "192.168.123.1"),)),
    Exchange("passphrase-of-16", "The longest passphrase there is fills its field.",
             (Client(ONE.nets, "0123456789abcdef"),), 2, {"192.168.123.2": "0123456789abcdef"}),
    Exchange("wrong-passphrase", "No answer; after three periods a new source port.",
             (Client(ONE.nets, "wrong"),), 5, {"192.168.123.2": "userpass1"},
             pings=((1, "192.168.123.1"),)),
    Exchange("own-address", "A client that claims the server's address: no answer.",
             (Client(("192.168.123.1/24",)),), 2),
    Exchange("keepalive-off", "One heartbeat at the start and none after it.",
             (Client(ONE.nets, keepalive=False),), 1, pings=((1, "192.168.123.1"),)),
    Exchange("client-to-client", "The server sends a datagram on unchanged.", (ONE, OTHER), 4,
             pings=((1, "192.168.123.3"), (2, "192.168.123.2"))),
    Exchange("outer-ipv6", "Heartbeats and answers over IPv6: the ack holds 16 true bytes.",
             (Client(ONE.nets, target=f"[{SERVER_IPV6}]"),), 2, pings=((1, "192.168.123.1"),)),
    Exchange("odd-sizes", "What begins with the magic but has another size: no answer.", (), 0,
             odd=(b"GOST", b"GOST" + bytes(16), b"GOST" + bytes(17), b"GOST" + bytes(16) + SIXTEEN
                  + b"\0", b"GOST" + bytes(16) + SIXTEEN)),
)  # fmt: skip


def record(lab: Lab, exchange: Exchange) -> dict[str, Any]:
    """Play one exchange on the lab; what goes into its file."""
    server, sniffer = lab.server, lab.server.spawn(*lab.server.python(SNIFF, "wan0", PORT))
    started = [sniffer]
    try:
        wait_for(sniffer.output, 5.0, "the sniffer")
        started.append(server.spawn("gost", "-L", exchange.server_url))
        _until(started, lambda: ping(server, "192.168.123.1", wait=0.2).received == 1, "the server")
        for host, client in zip(lab.clients, exchange.clients, strict=False):
            started.append(host.spawn("gost", "-L", client.url))
        wish = f"{exchange.heartbeats} heartbeats"
        _until(started, lambda: _heartbeats(sniffer) >= exchange.heartbeats, wish)
        hosts = [server, *lab.clients]
        for number, address in exchange.pings:
            ping(hosts[number], address, count=2, size=24, interval=0.2)
        for odd in exchange.odd:
            command = lab.clients[0].python(PACKETS, "send", SERVER_IPV4, PORT, odd.hex())
            lab.clients[0].run(*command)
        if exchange.odd:
            _until(started, lambda: len(_datagrams(sniffer)) > len(exchange.odd), "the one ack")
    finally:
        for process in reversed(started):
            process.stop()
    return {
        "about": exchange.about,
        "recorded_with": _version(),
        "server": {"nets": exchange.nets, "auth": exchange.auth, "url": exchange.server_url},
        "clients": {
            host.name: {
                "nets": client.nets,
                "passphrase": client.passphrase,
                "url": client.url,
            }
            for host, client in zip(lab.clients, exchange.clients, strict=False)
        },
        "datagrams": [_described(lab, one) for one in _datagrams(sniffer)],
    }


def _until(started: list[Managed], state: Callable[[], bool], what: str) -> None:
    def running() -> bool:
        for process in started:
            process.expect_running()
        return state()

    wait_for(running, 20.0, what)


def _datagrams(sniffer: Managed) -> list[Datagram]:
    """The whole lines of the sniffer so far, without its first."""
    lines = sniffer.output().splitlines(keepends=True)[1:]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _heartbeats(sniffer: Managed) -> int:
    return sum(_kind(bytes.fromhex(one["hex"])) == "heartbeat" for one in _datagrams(sniffer))


def _kind(payload: bytes) -> str:
    """`control` begins with the magic but has no size that means anything."""
    if not payload.startswith(b"GOST"):
        return "data"
    if len(payload) == 20:
        return "ack"
    return "control" if (len(payload) - 20) % 16 or len(payload) < 36 else "heartbeat"


def _described(lab: Lab, one: Datagram) -> Datagram:
    names = {host.ipv4: host.name for host in (lab.server, *lab.clients)}
    names |= {f"[{host.ipv6}]": host.name for host in (lab.server, *lab.clients)}
    source, target = (one[end].rpartition(":")[0] for end in ("source", "target"))
    kind = _kind(bytes.fromhex(one["hex"]))
    if kind == "ack" and names[source] != "S":
        kind = "control"
    return {"from": names[source], "to": names[target], "kind": kind, **one}


def _version() -> str:
    return subprocess.run(["gost", "-V"], check=True, capture_output=True, text=True).stdout.strip()


def main() -> int:
    """Record everything; the exit status."""
    parser = argparse.ArgumentParser(description="Record stock GOST's exchanges as fixtures.")
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    exit_on_signals()
    if shutil.which("gost") is None:
        print("record: no gost on the PATH", file=sys.stderr)
        return 3
    arguments.directory.mkdir(parents=True, exist_ok=True)
    try:
        for exchange in EXCHANGES:
            with Lab(2) as lab:
                found = record(lab, exchange)
            path = arguments.directory / f"{exchange.name}.json"
            path.write_text(json.dumps(found, indent=1) + "\n")
            print(f"{path}: {len(found['datagrams'])} datagrams")
    except LabUnavailable as error:
        print(f"record: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
