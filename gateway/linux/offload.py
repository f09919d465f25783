"""Finding out whether UDP segmentation offload works here, and keeps the bytes.

Some kernels accept `UDP_SEGMENT` and mangle what they send. The probe sends batches
over loopback, equal sizes and a shorter last one, and compares every byte that comes
back, merged by `UDP_GRO` or not.
"""

import errno
import random
import select
import socket
import struct
from dataclasses import dataclass

from gateway.linux.udp import SOL_UDP, UDP_GRO, UDP_SEGMENT

PROBE_SECONDS = 0.5
BATCHES = ((1000, 10_000), (1000, 9_300), (1400, 44_800), (100, 6_400))
"""(segment, total) in bytes: equal batches, a shorter last one, many small ones."""


@dataclass(frozen=True)
class Probe:
    """What may be used; `note` says why something may not."""

    gso: bool
    gro: bool
    note: str = ""


OFF = Probe(gso=False, gro=False, note="switched off by offload=off")


def probe() -> Probe:
    """Try it. Never raises: what cannot be tried is not used, or noted."""
    try:
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    except OSError as error:
        return Probe(gso=False, gro=False, note=f"no socket to probe with: {error.strerror}")
    with receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            receiver.setsockopt(SOL_UDP, UDP_GRO, 1)
            sender.setsockopt(SOL_UDP, UDP_SEGMENT, 0)
        except OSError:
            return Probe(gso=False, gro=False, note="this kernel has no UDP_SEGMENT or UDP_GRO")
        try:
            receiver.bind(("127.0.0.1", 0))
            sender.connect(receiver.getsockname())
            mangled = _first_mangled(sender, receiver)
        except OSError as error:
            if error.errno in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN):
                return Probe(gso=True, gro=True, note="not self-tested: loopback is down")
            return Probe(gso=False, gro=False, note=f"the self-test failed: {error.strerror}")
    if mangled:
        return Probe(gso=False, gro=False, note=f"this kernel mangles UDP segments: {mangled}")
    return Probe(gso=True, gro=True)


def _first_mangled(sender: socket.socket, receiver: socket.socket) -> str:
    generator = random.Random(8421)  # noqa: S311  (test bytes, the same every time)
    for segment, total in BATCHES:
        sent = generator.randbytes(total)
        size = struct.pack("H", segment)
        sender.sendmsg([sent], [(SOL_UDP, UDP_SEGMENT, size)], socket.MSG_DONTWAIT)
        got = _receive(receiver, total)
        if got != sent:
            return f"{total} bytes in segments of {segment} came back as {len(got)}"
    return ""


def _receive(receiver: socket.socket, total: int) -> bytes:
    poll = select.poll()
    poll.register(receiver, select.POLLIN)
    parts: list[bytes] = []
    while sum(map(len, parts)) < total and poll.poll(int(PROBE_SECONDS * 1000)):
        parts.append(receiver.recv(65_535, socket.MSG_DONTWAIT))
    return b"".join(parts)
