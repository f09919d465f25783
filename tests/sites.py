"""The recipe's three sites on lab hosts, and that each host of them reaches each.

C1 and C2 have a LAN, with the hosts H1 and H2 behind them, who know nothing but their
default gateway; C3 is alone. S is at 1.2.3.4 and 2001:db8:1234::4.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import product

from gost import ONE, ONE_6, SERVER, SERVER_6, TWO, TWO_6
from hosts import Host
from networks import Network, reaches
from programs import Managed, listening, wait_for
from streams import ENDS, PORT

OUTER_6 = "[2001:db8:1234::4]"
H1, H2 = "192.168.100.10", "192.168.101.10"
H1_6, H2_6 = "fd00:100::10", "fd00:101::10"
THREE, THREE_6 = "192.168.123.4", "fd12:3456::4"
LANS = ("192.168.100.0/24", "192.168.101.0/24")
LANS_6 = ("fd00:100::/64", "fd00:101::/64")
FLOW = 1 << 17

Place = tuple[Host, str]
"""A host, and one address it has."""


def give_lans_ipv6(net: Network) -> None:
    """A second network on the links between C1 and H1, C2 and H2."""
    for number, host in net.lab.lan_hosts.items():
        lan = f"fd00:{99 + number}"
        net.lab.clients[number - 1].ip(f"address add {lan}::1/64 dev lan0 nodad")
        host.ip(f"address add {lan}::10/64 dev wan0 nodad", f"route add default via {lan}::1")


def by_hand(host: Host, *, two: bool = False) -> None:
    """What the recipe tells a site with a LAN to do; for IPv6 the same in its words."""
    host.sysctl(ipv4__ip_forward=1)
    rule = "-t nat -A POSTROUTING -s {} ! -o tun0 -j MASQUERADE"
    host.run("iptables", *rule.format("192.168.123.0/24").split())
    if two:
        host.sysctl(ipv6__conf__all__forwarding=1)
        host.run("ip6tables", *rule.format("fd12:3456::/64").split())


def ways(number: int, *, two: bool = False) -> str:
    """`route=` of Cn: the LANs of the other sites."""
    both = list(zip(LANS, LANS_6, strict=True))
    theirs = [lans for site, lans in enumerate(both, 1) if site != number]
    return "&route=" + ",".join(lan for lans in theirs for lan in (lans if two else lans[:1]))


def places(net: Network, *, six: bool = False) -> list[Place]:
    """C1, C2, C3, H1 and H2, each with its address in the tunnel, or on its LAN."""
    addresses = (ONE_6, TWO_6, THREE_6, H1_6, H2_6) if six else (ONE, TWO, THREE, H1, H2)
    hosts = [*net.lab.clients[:3], net.lab.lan_hosts[1], net.lab.lan_hosts[2]]
    return list(zip(hosts, addresses, strict=True))


def each_reaches_each(net: Network, *, two: bool = False, server: bool = False) -> None:
    """Pings and TCP among all, and between S and the clients; with `server`, S and H1, H2 too."""
    for six in (False, True) if two else (False,):
        sites = places(net, six=six)
        hub = (net.lab.server, SERVER_6 if six else SERVER)
        near = sites if server else sites[:3]
        meet([*product(sites, sites), *product([hub], near), *product(near, [hub])])


def meet(pairs: Iterable[tuple[Place, Place]]) -> None:
    """Each first host pings the second at its address; then TCP, whole both ways, all at once."""
    wanted = [(one, host, address) for (one, _), (host, address) in pairs if one is not host]
    for one, _, address in wanted:
        reaches(one, address, deadline=15.0)
    servers: dict[str, Managed] = {}
    with ExitStack() as stack:
        for host, address in {(host, address) for _, host, address in wanted}:
            flows = sum(address == other for _, _, other in wanted)
            command = host.python(ENDS, "serve", address, PORT, flows, FLOW)
            servers[address] = host.spawn(*command, name=f"serve {address}")
            stack.callback(servers[address].stop)
        for process in servers.values():
            wait_for(lambda process=process: listening(process, PORT), 5.0, "streams to listen")
        callers = [
            one.spawn(
                *one.python(ENDS, "connect", address, PORT, 1, FLOW), name=f"connect {address}"
            )
            for one, _, address in wanted
        ]
        for caller in callers:
            stack.callback(caller.stop)
        expect_whole(callers)
        expect_whole(list(servers.values()))


def expect_whole(processes: Sequence[Managed]) -> None:
    for process in processes:
        assert process.wait(40.0) == 0, f"{process.name}: {process.output()}"
