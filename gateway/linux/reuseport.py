"""The program that spreads datagrams over the sockets of one port.

The kernel's own choice hashes over *all* sockets of a reuseport group. Ours names
the socket by index, and an index is given in the order in which sockets joined, so a
socket that joins last, after the program names fewer, never receives: it is the
supervisor's, for acks. The hash is over source address and port alone, so a flow
stays where it is. It is Fibonacci hashing: multiples of the golden ratio fall evenly
into any partition of the circle, so even neighbouring ports reach every worker, which
no random-looking mix could promise; the high bits of the sum choose the part.

Classic BPF (linux/filter.h). For reuseport the kernel hands over the UDP payload;
`SKF_NET_OFF` reaches back to the IP header.
"""

import ctypes
import socket
import struct
from typing import Final

SO_ATTACH_REUSEPORT_CBPF: Final = 51
SKF_NET_OFF: Final = -0x100000 & 0xFFFFFFFF

LD_W_ABS: Final = 0x20
LD_H_ABS: Final = 0x28
LD_B_ABS: Final = 0x30
LD_H_IND: Final = 0x48
LDX_B_MSH: Final = 0xB1
ST: Final = 0x02
LDX_MEM: Final = 0x61
ADD_X: Final = 0x0C
MUL_K: Final = 0x24
XOR_X: Final = 0xAC
RSH_K: Final = 0x74
AND_K: Final = 0x54
TAX: Final = 0x07
JA: Final = 0x05
JEQ_K: Final = 0x15
RET_A: Final = 0x16

GOLDEN: Final = 0x9E3779B1
SILVER: Final = 0x6A09E667
UDP: Final = 17

_Instruction = tuple[int, int, int, int]


def spread(group_member: socket.socket, workers: int) -> None:
    """Make the group choose among its first `workers` sockets only.

    `group_member` must have joined the group; one attachment serves all of it.
    """
    program = b"".join(struct.pack("=HBBI", *step) for step in _program(workers))
    buffer = ctypes.create_string_buffer(program)
    fprog = struct.pack("HP", len(program) // 8, ctypes.addressof(buffer))
    group_member.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, fprog)


def _program(workers: int) -> list[_Instruction]:
    ipv4 = [
        _do(LD_W_ABS, SKF_NET_OFF + 12),
        _do(MUL_K, SILVER),
        _do(ST, 0),
        _do(LDX_B_MSH, SKF_NET_OFF),
        _do(LD_H_IND, SKF_NET_OFF),
    ]
    ipv6 = [
        *_fold_ipv6_source(),
        _do(MUL_K, SILVER),
        _do(ST, 0),
        _do(LD_B_ABS, SKF_NET_OFF + 6),
        (JEQ_K, 0, 1, UDP),  # extension headers: the port is elsewhere, any constant does
        _do(LD_H_ABS, SKF_NET_OFF + 40),
    ]
    finish = [
        _do(MUL_K, GOLDEN),
        _do(LDX_MEM, 0),
        _do(ADD_X, 0),
        _do(RSH_K, 16),
        _do(MUL_K, workers),
        _do(RSH_K, 16),
        _do(RET_A, 0),
    ]
    version = [_do(LD_B_ABS, SKF_NET_OFF), _do(AND_K, 0xF0)]
    return [
        *version,
        (JEQ_K, 0, len(ipv4) + 1, 0x40),
        *ipv4,
        (JA, 0, 0, len(ipv6)),
        *ipv6,
        *finish,
    ]


def _fold_ipv6_source() -> list[_Instruction]:
    steps = [_do(LD_W_ABS, SKF_NET_OFF + 8)]
    for offset in (12, 16, 20):
        steps += [
            _do(MUL_K, SILVER),
            _do(TAX, 0),
            _do(LD_W_ABS, SKF_NET_OFF + offset),
            _do(XOR_X, 0),
        ]
    return steps


def _do(code: int, k: int) -> _Instruction:
    return (code, 0, 0, k & 0xFFFFFFFF)
