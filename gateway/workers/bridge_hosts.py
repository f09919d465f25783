"""What the host of a request is to this machine."""

import asyncio
import socket
from ipaddress import ip_address


async def look_up(host: str, port: int, seconds: float) -> str:
    """Its first address. Raises OSError, which a time-out is too, and UnicodeError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(seconds):
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    return str(found[0][4][0])


def is_literal(host: str) -> bool:
    """Whether it is an address, and no name."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_local(address: str) -> bool:
    """Whether this host has the address: it then can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
