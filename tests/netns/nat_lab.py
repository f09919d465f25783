"""A lab for NAT: a client with a LAN and its host; a veth stands for the TUN."""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_interface, ip_network

from lab import Lab
from needs import need

NETS = (ip_interface("192.168.123.2/24"), ip_interface("fd00:123::2/64"))
NETWORKS = tuple(net.network for net in NETS)
LAN4, LAN6 = ip_network("192.168.100.0/24"), ip_network("fd00:100::/64")


@contextmanager
def nat_lab() -> Iterator[Lab]:
    need("root", "netns", "ip", "nft")
    with Lab(1, lans=[1], tun=False) as made:
        client, behind = made.clients[0], made.lan_hosts[1]
        client.ip(
            "link add tun0 type veth peer name far",
            "address add 192.168.123.2/24 dev tun0",
            "address add fd00:123::2/64 dev tun0 nodad",
            "address add fd00:100::1/64 dev lan0 nodad",
            "link set far up",
            "link set tun0 up",
        )
        behind.ip("address add fd00:100::10/64 dev wan0 nodad", "route add default via fd00:100::1")
        yield made
