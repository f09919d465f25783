"""One reader and one worker in this process, with everything around them real but the TUN.

         from_host ──> tun ── Reader ──> ring ──> Worker ── udp ──> peers (loopback)
          to_host  <── tun <────────────────────── Worker <─ udp ─── peers

The TUN is a socketpair that carries a virtio header and a packet per message.
"""

import mmap
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

from hypothesis import settings
from needs import need
from strategies import a16

from gateway.fastpath.counters import Page
from gateway.fastpath.fib import Fib
from gateway.fastpath.pump import Reader, Worker
from gateway.fastpath.ring import Ring
from gateway.protocol.forwarding import LOCAL, VOID, DropReason, Role
from gateway.protocol.packet import ANY

SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
DEADLINE = 20.0
BUFFER = 4 << 20

HOST = a16("10.0.0.1"), a16("fd00::1")


def examples(count: int, **more: int) -> settings:
    """The same examples in every run; no deadline, as machines differ."""
    return settings(max_examples=count, deadline=None, derandomize=True, **more)


def memory(size: int) -> memoryview:
    """Shared and aligned, as the supervisor hands it out."""
    return memoryview(mmap.mmap(-1, size))[:size]


def new_ring(capacity: int = 1 << 20) -> Ring:
    return Ring(memory(Ring.bytes_for(capacity)), create=True)


def new_page(peers: int = 1) -> Page:
    return Page(memory(Page.bytes_for(peers)), peers)


def ends_in_time(work: Callable[[], bool]) -> bool:
    """Whether `work` comes back from compiled code at all, and says yes.

    In a child that the alarm kills: no signal handler runs inside such a loop.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(DEADLINE))
            status = 0 if work() else 1
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


def tunnel_address(slot: int, version: int = 4) -> bytes:
    """The inner address of the peer in `slot`."""
    return a16(f"10.0.0.{slot + 2}" if version == 4 else f"fd00::{slot + 2:x}")


def loopback(family: int) -> socket.socket:
    """A UDP socket with a port of its own."""
    if family == socket.AF_INET6:
        need("ipv6")
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
    return sock


class Peer:
    """The far end: what a client's socket sends and gets."""

    def __init__(self, family: int, *, gro: bool = True) -> None:
        self.sock = loopback(family)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self.sock.setsockopt(SOL_UDP, UDP_GRO, gro)
        self.port = self.sock.getsockname()[1]
        self.address = a16("127.0.0.1" if family == socket.AF_INET else "::1")
        self.arrivals: list[int] = []  # datagrams in each message that came
        self.came_from: tuple = ()

    def receive(self, count: int) -> list[bytes]:
        """`count` datagrams, or the test fails."""
        got: list[bytes] = []
        end = time.monotonic() + DEADLINE
        while len(got) < count:
            readable, _, _ = select.select([self.sock], [], [], max(0, end - time.monotonic()))
            assert readable, f"{len(got)} of {count} datagrams came"
            got += self._receive_message()
        assert len(got) == count
        return got

    def nothing_came(self) -> bool:
        try:
            self.sock.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        except BlockingIOError:
            return True
        return False

    def _receive_message(self) -> list[bytes]:
        data, control, _, self.came_from = self.sock.recvmsg(1 << 16, 256)
        size = next(
            (struct.unpack("i", raw)[0] for level, kind, raw in control if level == SOL_UDP),
            len(data),
        )
        datagrams = [data[at : at + size] for at in range(0, len(data), size or 1)] or [b""]
        self.arrivals.append(len(datagrams))
        return datagrams


class Rig:
    """See the picture above. `sent` to the worker are counted, so that `work` can wait."""

    def __init__(
        self,
        *,
        role: Role = Role.SERVER,
        family: int = socket.AF_INET6,
        gso: bool = True,
        gro: bool = True,
        merge: bool = True,
        merge_udp: bool = True,
        source_check: bool = True,
        rings: int = 1,
        capacity: int = 1 << 20,
        udp: socket.socket | None = None,
        tun: int | None = None,
    ) -> None:
        self.closing = ExitStack()
        self.fib, self.peers = Fib(8), {}
        self.reader_page, self.page = new_page(8), new_page(8)
        self.host, device = self._pair(socket.SOCK_SEQPACKET)
        self.channel, channel = self._pair(socket.SOCK_SEQPACKET)
        self.udp = self._keep(udp or self._server(family))
        if udp is None:
            self.udp.setsockopt(SOL_UDP, UDP_GRO, gro)
        self.ring_memory = [memory(Ring.bytes_for(capacity)) for _ in range(rings)]
        self.rings = [Ring(place, create=True) for place in self.ring_memory]
        self.bells = [self._bell() for _ in range(rings)]
        for address in HOST:
            self.fib.set_route(address, 128, LOCAL)
        self.fib.set_route(a16("10.0.0.0"), 120, VOID)
        self.fib.set_route(a16("fd00::"), 64, VOID)
        self.tun = device.fileno() if tun is None else tun
        self.reader_parts = {"tun": self.tun, "channel": channel.fileno(), "fib": self.fib}
        self.worker_parts = {
            "udp": self.udp.fileno(),
            "tun": self.tun,
            "channel": channel.fileno(),
            "doorbell": self.bells[0],
            "fib": self.fib,
            "page": self.page,
            "role": role,
            "connected": role is Role.CLIENT,
            "family": family,
            "source_check": source_check,
            "gso": gso,
            "merge_tcp": merge,
            "merge_udp": merge and merge_udp,
        }
        self.sent = 0
        self.punts: list[tuple[bytes, int, int, bytes, bytes]] = []
        self.succeed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.closing.close()

    def succeed(self) -> None:
        """A new reader and a new worker take over rings, pages and sockets."""
        rings = [Ring(place, create=False) for place in self.ring_memory]
        self.reader = Reader(
            rings=rings, doorbells=self.bells, page=self.reader_page, **self.reader_parts
        )
        self.worker = Worker(ring=rings[0], **self.worker_parts)

    def peer(self, slot: int, family: int = socket.AF_INET, *, gro: bool = True) -> Peer:
        """A new peer in `slot`, with an inner address of each family."""
        peer = self.peers[slot] = Peer(family, gro=gro)
        self._keep(peer.sock)
        self.admit(slot)
        for version in (4, 6):
            self.fib.set_route(tunnel_address(slot, version), 128, slot)
        return peer

    def admit(self, slot: int, incarnation: int = 1, local: bytes = ANY) -> None:
        peer = self.peers[slot]
        self.fib.set_peer(slot, incarnation, peer.address, peer.port, 0, local)

    def send(self, slot: int, *datagrams: bytes, grouped: bool = False) -> None:
        """From the peer in `slot` to the worker's socket, one by one or as groups of equals."""
        sock, name = self.peers[slot].sock, self._name(slot)
        if not grouped:
            for data in datagrams:
                sock.sendto(data, name)
        for group in _groups(datagrams) if grouped else ():
            size = struct.pack("H", len(group[0]))
            control = [(SOL_UDP, UDP_SEGMENT, size)] if len(group) > 1 else []
            sock.sendmsg([b"".join(group)], control, 0, name)
        self.sent += len(datagrams)

    def from_host(self, *records: bytes) -> None:
        """The host's packets go as far as the ring."""
        for record in records:
            self.host.send(record)
            assert self.reader.run(0) == 0

    def to_host(self) -> list[bytes]:
        """The records that the worker wrote to the TUN."""
        got = []
        while select.select([self.host], [], [], 0)[0]:
            got.append(self.host.recv(1 << 17))
        return got

    def work(self) -> int:
        """Turns of the worker until it has all that was sent; the bits it came back with."""
        bits, end = self._turns(0), time.monotonic() + DEADLINE
        while self.counted("udp_received_packets") < self.sent:
            assert time.monotonic() < end, f"{self.page.read()}"
            bits |= self._turns(0.05)
        return bits | self._turns(0)

    def _turns(self, timeout: float) -> int:
        bits = self.worker.run(timeout)
        self.punts += self.worker.punts()
        return bits

    def counted(self, *names: str) -> int:
        counters = self.page.read()
        return sum(counters[name] for name in names)

    def drops(self, page: Page | None = None, prefix: str = "drop_") -> dict[str, int]:
        """The reasons that were counted, by name."""
        counters = (page or self.page).read()
        names = [reason.name.lower() for reason in DropReason]
        return {name: counters[prefix + name] for name in names if counters[prefix + name]}

    def check_sums(self) -> None:
        """Every packet is in exactly one counter (I14)."""
        reader, worker = self.reader_page.read(), self.page.read()
        of_reader = sum(self.drops(self.reader_page).values())
        assert reader["tun_read_packets"] == reader["queued_packets"] + of_reader
        from_ring = sum(self.drops(prefix="ring_drop_").values())
        assert worker["ring_packets"] == worker["sent_packets"] + from_ring
        placed = ("delivered_packets", "forwarded_packets", "punted_packets")
        received = self.counted(*placed) + sum(self.drops().values())
        assert worker["udp_received_packets"] == received

    def _server(self, family: int) -> socket.socket:
        if family == socket.AF_INET:
            sock = loopback(family)
            sock.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
        else:
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            sock.bind(("::", 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        return sock

    def _name(self, slot: int) -> tuple[str, int]:
        v4 = self.peers[slot].sock.family == socket.AF_INET
        return ("127.0.0.1" if v4 else "::1", self.udp.getsockname()[1])

    def _pair(self, kind: int) -> tuple[socket.socket, socket.socket]:
        ends = socket.socketpair(socket.AF_UNIX, kind)
        for end in ends:
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            self._keep(end)
        return ends

    def _bell(self) -> int:
        bell = os.eventfd(0, os.EFD_NONBLOCK)
        self.closing.callback(os.close, bell)
        return bell

    def _keep(self, sock: socket.socket) -> socket.socket:
        return self.closing.enter_context(sock)


def _groups(datagrams: tuple[bytes, ...]) -> list[list[bytes]]:
    """Runs the kernel takes as one send: 64 of one size, the last perhaps shorter."""
    groups: list[list[bytes]] = []
    for data in datagrams:
        last = groups[-1] if groups else []
        fits = last and 0 < len(data) <= len(last[0]) == len(last[-1]) and len(last) < 64
        if fits and sum(map(len, last)) + len(data) <= 65_507:
            last.append(data)
        else:
            groups.append([data])
    return groups
