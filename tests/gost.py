"""Stock GOST beside our gateway on lab hosts: its lines, and what both must do together."""

from networks import PORT, reaches
from streams import exchange

SERVER, ONE, TWO = "192.168.123.1", "192.168.123.2", "192.168.123.3"
SERVER_6, ONE_6, TWO_6 = "fd12:3456::1", "fd12:3456::2", "fd12:3456::3"

QUICK = "&ttl=1s"
KEPT = "&keepAlive=true"


def nets(number: int, *, two: bool) -> str:
    """The `net` of the host with this number, the server's being 1."""
    first = f"192.168.123.{number}/24"
    return f"{first},fd12:3456::{number}/64" if two else first


def gost_server(net, options: str = "", *, two: bool = False, users: str = ""):
    """The stock server on S; ready when its own device answers."""
    url = f"tun://{users}:{PORT}?net={nets(1, two=two)}{options}"
    process = net.gost(net.lab.server, url)
    reaches(net.lab.server, SERVER)
    return process


def gost_client(net, number: int, options: str = KEPT, *, two: bool = False, server: str = ""):
    """The stock client on Cn, not waited for."""
    target = server or net.lab.near_address(number)
    url = f"tun://:0/{target}:{PORT}?net={nets(number + 1, two=two)}{options}"
    return net.gost(net.lab.clients[number - 1], url)


def linked(net, *addresses: str, size: int = 1 << 20) -> None:
    """The hosts S, C1, C2... ping each other at `addresses`, and TCP is whole both ways."""
    hosts = [net.lab.server, *net.lab.clients][: len(addresses)]
    pairs = list(zip(hosts, addresses, strict=True))
    for host, own in pairs:
        for address in addresses:
            if address != own:
                reaches(host, address, deadline=15.0)
    for number, (host, _) in enumerate(pairs):
        for far, address in pairs[number + 1 :]:
            exchange(host, far, address, flows=2, size=size)
