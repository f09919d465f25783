"""Makes and takes small packets on a lab host. Run by path, imports nothing of ours.

    packets.py blast FROM TO PORT SECONDS SIZE bulk|batch|single
    packets.py hold ADDRESS PORT
    packets.py echo ADDRESS PORT
    packets.py send ADDRESS PORT HEX
    packets.py flows SERVER PORT FLOWS COUNT

`blast` sends UDP payloads of SIZE bytes as fast as one process can: `bulk` gives
the kernel 64 in one call and one buffer (UDP_SEGMENT), `batch` 64 in one call and
64 buffers (sendmmsg), `single` one in one call. It prints {"sent": packets}.
`hold` binds and never reads: the kernel counts what came (traffic.arrived()).
`echo` answers. `send` sends one datagram, its payload in hexadecimal. `flows`
speaks the tunnel's own protocol from FLOWS source ports, each a peer of its own;
each sends COUNT packets to the next one.
"""

import ctypes
import json
import select
import socket
import struct
import sys
import time
from collections.abc import Callable

UDP_SEGMENT = 103
BATCH = 64


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct mmsghdr of <sys/socket.h>."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint),
    )


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _batch_sender(sock: socket.socket, payload: bytes) -> Callable[[], int]:
    """One sendmmsg call of BATCH packets, prepared once."""
    buffer = ctypes.create_string_buffer(payload, len(payload))
    part = _Iovec(ctypes.addressof(buffer), len(payload))
    messages = (_Message * BATCH)()
    for message in messages:
        message.iov = ctypes.addressof(part)
        message.iov_length = 1
    sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
    number = sock.fileno()

    def send() -> int:
        sent: int = sendmmsg(number, messages, BATCH, 0)
        if sent < 0:
            raise OSError(ctypes.get_errno(), "sendmmsg")
        return sent

    send.keep = (buffer, part)  # type: ignore[attr-defined]
    return send


def _sender(sock: socket.socket, size: int, mode: str) -> Callable[[], int]:
    payload = bytes(size)
    if mode == "single":
        return lambda: bool(sock.send(payload))
    if mode == "batch":
        return _batch_sender(sock, payload)
    burst = [payload * BATCH]
    control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))]
    return lambda: sock.sendmsg(burst, control) // size


def blast(way: tuple[str, str, int], seconds: float, size: int, mode: str) -> None:
    """Send for `seconds` along `way`: from, to, port. A full queue or a refusal ends nothing."""
    source, target, port = way
    sock = socket.socket(_family(target), socket.SOCK_DGRAM)
    sock.bind((source, 0))
    sock.connect((target, port))
    send = _sender(sock, size, mode)
    sent = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            for _ in range(16):
                sent += send()
        except (ConnectionRefusedError, BlockingIOError):
            continue
    print(json.dumps({"sent": sent}))


def hold(address: str, port: int) -> None:
    """Bind with the smallest buffer and wait to be ended."""
    sock = socket.socket(_family(address), socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    sock.bind((address, port))
    select.select([], [], [])


def echo(address: str, port: int) -> None:
    """Send every datagram back to where it came from."""
    sock = socket.socket(_family(address), socket.SOCK_DGRAM)
    sock.bind((address, port))
    while True:
        data, sender = sock.recvfrom(65535)
        sock.sendto(data, sender)


def send(address: str, port: int, payload: str) -> None:
    """Send one datagram, an empty one too."""
    sock = socket.socket(_family(address), socket.SOCK_DGRAM)
    sock.sendto(bytes.fromhex(payload), (address, port))


def _tunnel_address(flow: int) -> bytes:
    return bytes((192, 168, 123, 100 + flow))


def _inner_packet(source: bytes, target: bytes) -> bytes:
    """An IPv4 UDP packet of 64 bytes; a UDP checksum of zero means none (RFC 768)."""
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 64, 0, 0x4000, 64, 17, 0, source, target)
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return (
        head[:10]
        + struct.pack("!H", checksum)
        + head[12:]
        + struct.pack("!HHHH", 9, 9, 44, 0)
        + bytes(36)
    )


def _drain(sockets: list[socket.socket], wanted: int, seconds: float) -> list[int]:
    """Read until every socket has `wanted` datagrams or the time is over; how many each got."""
    got = dict.fromkeys(sockets, 0)
    end = time.monotonic() + seconds
    while min(got.values()) < wanted and (left := end - time.monotonic()) > 0:
        for sock in select.select(sockets, [], [], left)[0]:
            sock.recv(65535)
            got[sock] += 1
    return list(got.values())


def flows(server: str, port: int, count: int, packets: int) -> None:
    """Prints {"acks": peers answered, "sent": packets, "received": packets}."""
    sockets = []
    for flow in range(count):
        sock = socket.socket(_family(server), socket.SOCK_DGRAM)
        sock.connect((server, port))
        sock.send(b"GOST" + bytes(16) + bytes(10) + b"\xff\xff" + _tunnel_address(flow))
        sockets.append(sock)
    acks = sum(min(1, got) for got in _drain(sockets, 1, 5.0))
    for _ in range(packets):
        for flow, sock in enumerate(sockets):
            following = _tunnel_address((flow + 1) % count)
            sock.send(_inner_packet(_tunnel_address(flow), following))
    received = sum(_drain(sockets, packets, 5.0))
    print(json.dumps({"acks": acks, "sent": count * packets, "received": received}))


def main(arguments: list[str]) -> None:
    """Do what the first argument says; the others are as in the module's text."""
    what, *rest = arguments
    if what == "blast":
        source, target, port, seconds, size, mode = rest
        blast((source, target, int(port)), float(seconds), int(size), mode)
    elif what == "send":
        send(rest[0], int(rest[1]), rest[2])
    elif what == "flows":
        server, port, count, packets = rest
        flows(server, int(port), int(count), int(packets))
    else:
        {"hold": hold, "echo": echo}[what](rest[0], int(rest[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
