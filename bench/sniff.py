"""Prints the UDP datagrams of one port that pass a device. Run by path, imports nothing of ours.

    sniff.py DEVICE PORT

One JSON object a line: {"at": seconds, "source": "a:p", "target": "a:p", "hex": payload}.
The first line is {"ready": true}. Outer IPv4 without options and IPv6 without
extension headers only, unfragmented: what a tunnel's small packets are.
"""

import ipaddress
import json
import socket
import struct
import sys
import time

ETH_P_ALL = 3
UDP = 17


def datagram(packet: bytes) -> tuple[str, str, int, int, bytes] | None:
    """Source, target, their ports and the payload; None for what is no plain UDP packet."""
    version = packet[0] >> 4
    if version == 4 and packet[0] == 0x45 and packet[9] == UDP:
        source, target, rest = packet[12:16], packet[16:20], packet[20:]
    elif version == 6 and packet[6] == UDP:
        source, target, rest = packet[8:24], packet[24:40], packet[40:]
    else:
        return None
    ports = struct.unpack("!HHH", rest[:6])
    return _text(source), _text(target), ports[0], ports[1], rest[8 : ports[2]]


def _text(address: bytes) -> str:
    parsed = ipaddress.ip_address(address)
    return f"[{parsed}]" if parsed.version == 6 else str(parsed)


def main(device: str, port: int) -> None:
    """Sniff until ended."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    sock.bind((device, ETH_P_ALL))
    print(json.dumps({"ready": True}), flush=True)
    began = time.monotonic()
    while True:
        found = datagram(sock.recv(65535))
        if found is None or port not in found[2:4]:
            continue
        source, target, from_port, to_port, payload = found
        line = {
            "at": round(time.monotonic() - began, 3),
            "source": f"{source}:{from_port}",
            "target": f"{target}:{to_port}",
            "hex": payload.hex(),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
