"""Bytes and numbered packets that prove themselves. Run by path, imports nothing of ours.

    ends.py serve ADDRESS PORT FLOWS BYTES
    ends.py connect ADDRESS PORT FLOWS BYTES [SOURCE]
    ends.py echoed ADDRESS PORT SIZE...
    ends.py order SERVER PORT FLOWS COUNT

`serve` and `connect` are the ends of FLOWS TCP connections. On each, both ends send BYTES
random bytes at the same time, their SHA-256 behind them, and check what the other sent;
BYTES 0 goes on until SIGTERM. Each prints the sum of what it received as it grows, and
ends with 0 only if every flow was whole. `echoed` sends random datagrams to an echo (see
packets.py of the bench) and wants each back as it was. `order` speaks the tunnel's
protocol from FLOWS neighbouring source ports, each a peer that sends COUNT numbered packets
to the next, and prints {"received": packets, "disorder": packets}.
"""

import hashlib
import json
import select
import signal
import socket
import struct
import sys
import threading
from types import FrameType

CHUNK = 1 << 16
DIGEST = 32
PROGRESS = 1 << 20
FIRST_PORT = 40_000


class _Flow:
    """One end of a connection: a thread that sends, a thread that receives."""

    def __init__(self, sock: socket.socket, size: int, ending: threading.Event) -> None:
        self.whole = False
        self.received = 0
        self._sock = sock
        self._size = size
        self._ending = ending
        self._other_done = threading.Event()
        self._threads = [
            threading.Thread(target=job, daemon=True) for job in (self._send, self._receive)
        ]
        for thread in self._threads:
            thread.start()

    def running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _send(self) -> None:
        digest = hashlib.sha256()
        left = self._size or 1 << 60
        with open("/dev/urandom", "rb") as source:  # noqa: PTH123
            while left and not self._over():
                chunk = source.read(min(CHUNK, left))
                digest.update(chunk)
                self._sock.sendall(chunk)
                left -= len(chunk)
        self._sock.sendall(digest.digest())
        self._sock.shutdown(socket.SHUT_WR)

    def _over(self) -> bool:
        return not self._size and (self._ending.is_set() or self._other_done.is_set())

    def _receive(self) -> None:
        digest = hashlib.sha256()
        tail = b""
        while chunk := self._sock.recv(CHUNK):
            tail += chunk
            digest.update(tail[:-DIGEST])
            self.received += len(tail[:-DIGEST])
            tail = tail[-DIGEST:]
        self._other_done.set()
        complete = not self._size or self.received == self._size
        self.whole = complete and tail == digest.digest()


def _run(sockets: list[socket.socket], size: int, ending: threading.Event) -> int:
    flows = [_Flow(sock, size, ending) for sock in sockets]
    shown = -1
    never = threading.Event()
    while any(flow.running() for flow in flows):
        never.wait(0.02)
        total = sum(flow.received for flow in flows)
        if total // PROGRESS != shown // PROGRESS:
            shown = total
            print(total, flush=True)
    broken = [number for number, flow in enumerate(flows) if not flow.whole]
    if broken:
        print(f"broken flows: {broken}", file=sys.stderr)
    return 1 if broken else 0


def _ending() -> threading.Event:
    ending = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ending.set()

    signal.signal(signal.SIGTERM, end)
    return ending


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _serve(address: str, port: int, flows: int, size: int) -> int:
    listener = socket.create_server((address, port), family=_family(address), backlog=flows)
    sockets = [listener.accept()[0] for _ in range(flows)]
    listener.close()
    return _run(sockets, size, _ending())


def _connect(address: str, port: int, flows: int, size: int, source: str = "") -> int:
    ending = _ending()
    bound = (source, 0) if source else None
    made = [socket.create_connection((address, port), 10.0, bound) for _ in range(flows)]
    for sock in made:
        sock.settimeout(None)
    return _run(made, size, ending)


def _echoed(address: str, port: int, sizes: list[int]) -> int:
    sock = socket.socket(_family(address), socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.connect((address, port))
    sock.settimeout(3.0)
    with open("/dev/urandom", "rb") as source:  # noqa: PTH123
        for size in sizes:
            sent = source.read(size)
            sock.send(sent)
            try:
                got = sock.recv(CHUNK)
            except TimeoutError:
                print(f"{size} bytes did not come back", file=sys.stderr)
                return 1
            if got != sent:
                print(f"{size} bytes came back changed, as {len(got)}", file=sys.stderr)
                return 1
    return 0


def _numbered(flow: int, number: int) -> bytes:
    """A 64-byte inner packet from one peer to the next; only its length must be honest."""
    addresses = bytes((192, 168, 123, 100 + flow[0])), bytes((192, 168, 123, 100 + flow[1]))
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 64, 0, 0x4000, 64, 253, 0, *addresses)
    return head + struct.pack("!I", number) + bytes(40)


def _order(server: str, port: int, count: int, packets: int) -> int:
    sockets = []
    for flow in range(count):
        sock = socket.socket(_family(server), socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind(("", FIRST_PORT + flow))
        sock.connect((server, port))
        address = bytes((192, 168, 123, 100 + flow))
        sock.send(b"GOST" + bytes(16) + bytes(10) + b"\xff\xff" + address)
        sockets.append(sock)
    for sock in sockets:
        sock.settimeout(5.0)
        sock.recv(2048)
    last = dict.fromkeys(sockets, -1)
    received = disorder = 0
    for number in range(packets):
        for flow, sock in enumerate(sockets):
            sock.send(_numbered((flow, (flow + 1) % count), number))
    wanted = count * packets
    while ready := select.select(sockets, [], [], 2.0 if received < wanted else 0.1)[0]:
        for sock in ready:
            number = struct.unpack_from("!I", sock.recv(2048), 20)[0]
            received += 1
            disorder += number <= last[sock]
            last[sock] = number
    print(json.dumps({"received": received, "disorder": disorder}))
    return 0


def main(arguments: list[str]) -> int:
    """Do what the first argument says; the exit status."""
    what, address, port, *rest = arguments
    if what == "serve":
        return _serve(address, int(port), int(rest[0]), int(rest[1]))
    if what == "connect":
        return _connect(address, int(port), int(rest[0]), int(rest[1]), *rest[2:])
    if what == "order":
        return _order(address, int(port), int(rest[0]), int(rest[1]))
    return _echoed(address, int(port), [int(size) for size in rest])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
