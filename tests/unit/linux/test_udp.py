import contextlib
import select
import socket
import struct
from collections.abc import Iterator

import pytest

from gateway.errors import HostError
from gateway.linux import offload, udp
from gateway.linux.udp import Group

SOURCES = [("", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("", "::1")]


@contextlib.contextmanager
def group(host: str, workers: int) -> Iterator[Group]:
    opened = udp.open_group(host, 0, workers, gro=True)
    try:
        yield opened
    finally:
        opened.close()


def waiting(sock: socket.socket) -> int:
    """Datagrams in the queue; each is taken out."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while sock.recv(65_535, socket.MSG_DONTWAIT):
            count += 1
    return count


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
@pytest.mark.parametrize(("host", "target"), SOURCES)
@pytest.mark.parametrize("segmented", [False, True])
def test_neighbouring_ports_reach_every_worker(
    host: str, target: str, workers: int, segmented: bool
) -> None:
    """64 ports in a row, singly or as GSO: every worker gets some, the ack socket none."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with group(host, workers) as opened:
        port = opened.workers[0].getsockname()[1]
        sent = 0
        for source in range(42_000, 42_064):
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                try:
                    sock.bind((target, source))
                except OSError:
                    continue  # somebody else's port
                size = [(udp.SOL_UDP, udp.UDP_SEGMENT, struct.pack("H", 500))] if segmented else []
                sock.sendmsg([bytes(1200)], size, 0, (target, port))
                sent += 1
        assert select.select([opened.workers[0]], [], [], 5)[0]
        received = [waiting(sock) for sock in opened.workers]

        assert all(received)
        assert sum(received) == sent
        assert waiting(opened.acks) == 0


def test_a_second_instance_does_not_join() -> None:
    """It is told who has the port."""
    with group("127.0.0.1", 2) as opened:
        port = opened.workers[0].getsockname()[1]
        with pytest.raises(HostError, match=rf":{port}: the UDP port is taken by .*pid \d+"):
            udp.open_group("127.0.0.1", port, 2, gro=False)


def test_foreign_address() -> None:
    """The remedy is in the message."""
    with pytest.raises(HostError, match="no such address"):
        udp.open_group("203.0.113.1", 0, 1, gro=False)


def test_renewal_changes_the_source_port() -> None:
    """The same socket, connected anew, comes from elsewhere; the family may change, too."""
    with udp.open_client(gro=False) as sock:
        ports = []
        for address in ("127.0.0.1", "127.0.0.1", "::1", "127.0.0.1"):
            if sock.family == socket.AF_INET and ":" in address:
                continue
            udp.connect(sock, address, 9)
            ports.append(sock.getsockname()[1])

        assert len(set(ports)) == len(ports)
        assert not udp.source_gone(sock)


def test_memory_shows_the_kernels_drops() -> None:
    """A full queue is visible to any holder of the socket."""
    with group("127.0.0.1", 1) as opened, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        receiver = opened.workers[0]
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(50):
            sock.sendto(bytes(1000), receiver.getsockname())

        assert udp.memory(receiver).dropped > 0
        assert udp.memory(receiver).queued_bytes > 0


def test_nobody_is_set_non_blocking() -> None:
    """O_NONBLOCK belongs to all holders of a socket; we use MSG_DONTWAIT instead."""
    with group("127.0.0.1", 2) as opened:
        assert all(sock.getblocking() for sock in (*opened.workers, opened.acks))


def test_probe_says_why_not() -> None:
    """Either both work, or there is a sentence."""
    found = offload.probe()

    assert (found.gso and found.gro) or found.note
