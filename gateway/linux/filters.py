"""Programs that let a socket see only what it is for; the rest costs no wake-up and no room.

Classic BPF (linux/filter.h, Documentation/networking/filter.rst). A UDP socket's program
sees the UDP header, a raw IPv4 socket's the IP header, a raw ICMPv6 socket's the ICMPv6
header. Loads beyond the end reject the packet.
"""

import ctypes
import socket
import struct
from collections.abc import Sequence

SO_ATTACH_FILTER = 26
LD_W_ABS, LD_H_ABS, LD_B_ABS, LD_LEN = 0x20, 0x28, 0x30, 0x80
LD_H_IND, LD_B_IND, LDX_B_MSH = 0x48, 0x50, 0xB1
JEQ_K, RET_K = 0x15, 0x06
WHOLE = 0xFFFFFFFF

ACK = struct.unpack("!I", b"GOST")[0]
ACK_BYTES = 8 + 20
ECHO_REPLY, UNREACHABLE, FRAGMENTATION_NEEDED = 0, 3, 4
ECHO_REPLY6, TOO_BIG6, ICMPV6 = 129, 2, 58

Test = tuple[int, int, int]
"""How to load, from where, and what must be there."""


def only_acks(sock: socket.socket) -> None:
    """A UDP socket takes 20 bytes that begin with the magic, and nothing else."""
    _attach(sock, [[(LD_LEN, 0, ACK_BYTES), (LD_W_ABS, 8, ACK)]])


def only_echoes(sock: socket.socket, ident: int) -> None:
    """A raw ICMP socket takes answers to its own echo requests, and errors about their size.

    `ident` is the identifier in the requests.
    """
    if sock.family == socket.AF_INET6:
        reply = [(LD_B_ABS, 0, ECHO_REPLY6), (LD_H_ABS, 4, ident)]
        about = [(LD_B_ABS, 0, TOO_BIG6), (LD_B_ABS, 14, ICMPV6), (LD_H_ABS, 52, ident)]
    else:
        reply = [(LD_B_IND, 0, ECHO_REPLY), (LD_H_IND, 4, ident)]
        about = [
            (LD_B_IND, 0, UNREACHABLE),
            (LD_B_IND, 1, FRAGMENTATION_NEEDED),
            (LD_B_IND, 17, socket.IPPROTO_ICMP),
            (LD_H_IND, 32, ident),  # behind a header of 20 bytes: that is what we send
        ]
    _attach(sock, [reply, about], before=[(LDX_B_MSH, 0, 0, 0)])


def _attach(
    sock: socket.socket,
    alternatives: Sequence[Sequence[Test]],
    before: Sequence[tuple[int, int, int, int]] = (),
) -> None:
    """Let pass what meets every test of one of the alternatives."""
    steps = list(before)
    for tests in alternatives:
        for number, (load, place, wanted) in enumerate(tests):
            failing = 2 * (len(tests) - number) - 1
            steps += [(load, 0, 0, place), (JEQ_K, 0, failing, wanted)]
        steps.append((RET_K, 0, 0, WHOLE))
    steps.append((RET_K, 0, 0, 0))
    program = b"".join(struct.pack("=HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(program)
    fprog = struct.pack("HP", len(steps), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)
