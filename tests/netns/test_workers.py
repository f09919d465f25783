"""Several workers on one port: each has its share, any can serve any peer (I10, I12)."""

import os

import pytest
from networks import PORT, reaches
from programs import wait_for
from streams import exchange, order
from traffic import flows

FLOWS = 64
PACKETS = 50
SERVER = "192.168.123.1"

CPUS = len(os.sched_getaffinity(0))


def workers_of(gateway) -> list[dict]:
    processes = gateway.service()["processes"]
    return [process for process in processes if process["kind"] == "udp-worker"]


@pytest.mark.parametrize(
    ("count", "address"),
    [(1, "1.2.3.4"), (2, "1.2.3.4"), (4, "1.2.3.4"), (8, "1.2.3.4"), (4, "2001:db8:1234::4")],
)
def test_every_worker_has_its_share_of_64_ports(network, count, address):
    """Neighbouring ports, so that chance has no say; each peer sends to the next one."""
    net = network(1)
    server = net.server(f"&workers={count}")
    report = order(net.lab.clients[0], address, PORT, flows=FLOWS, count=PACKETS)
    assert report == {"received": FLOWS * PACKETS, "disorder": 0}
    received = settled(server, "udp_received_packets", FLOWS * (PACKETS + 1))
    forwarded = settled(server, "forwarded_packets", FLOWS * PACKETS)
    assert len(received) == len(forwarded) == count
    assert min(received) >= FLOWS * PACKETS / count / 2, received
    assert min(forwarded) >= FLOWS * PACKETS / count / 2, forwarded
    assert len(server.service()["peers"]) == FLOWS


@pytest.mark.parametrize("count", [2, 4])
def test_random_ports_reach_every_worker(network, count):
    net = network(1)
    server = net.server(f"&workers={count}")
    report = flows(net.lab.clients[0], "1.2.3.4", PORT, count=FLOWS, packets=PACKETS)
    assert report == {"acks": FLOWS, "sent": FLOWS * PACKETS, "received": FLOWS * PACKETS}
    assert min(settled(server, "udp_received_packets", FLOWS * (PACKETS + 1))) > 0


def settled(server, counter: str, total: int) -> list[int]:
    """What each worker counted, once they have counted `total` together."""

    def counted() -> list[int]:
        found = [worker["counters"][counter] for worker in workers_of(server)]
        return found if sum(found) == total else []

    return wait_for(counted, 5.0, f"{total} {counter} of all workers")


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_a_socket_and_a_cpu_for_each_worker(network, count):
    """`ss` shows the sockets, and one more of the supervisor's own, which receives nothing."""
    net = network(1)
    server = net.server(f"&workers={count}")
    lines = net.lab.server.run("ss", "-Huanp", "sport", f"= :{PORT}").stdout.splitlines()
    assert len([line for line in lines if '"udp-worker' in line]) == count
    assert len(lines) == count + 1
    sockets = [socket["name"] for socket in server.service()["sockets"]]
    assert sockets == [f"udp-worker {number}" for number in range(count)] + ["acks"]

    workers = workers_of(server)
    for worker in workers:
        assert sorted(os.sched_getaffinity(worker["pid"])) == worker["cpus"]
    if count > 1:  # a lone one may be anywhere
        assert [len(worker["cpus"]) for worker in workers] == [1] * count
        assert len({worker["cpus"][0] for worker in workers}) == min(count, CPUS)


def test_as_many_workers_as_cpus(network):
    net = network(1)
    assert len(workers_of(net.server())) == CPUS


@pytest.mark.parametrize("offload", ["on", "off"])
def test_order_is_kept_within_a_flow(network, offload):
    """Each of 16 peers sends numbered packets to the next, through four workers."""
    net = network(1)
    net.server(f"&workers=4&offload={offload}")
    report = order(net.lab.clients[0], net.lab.server.ipv4, PORT, flows=16, count=300)
    assert report == {"received": 16 * 300, "disorder": 0}


def test_tcp_sees_no_disorder_behind_four_workers(network):
    """The kernel's own judgement: no segment was early, none was sent twice for it."""
    net = network(2)
    net.server("&workers=4")
    net.client(1)
    net.client(2)
    one, two = net.lab.clients
    reaches(one, "192.168.123.3")
    reaches(two, SERVER)
    exchange(one, two, "192.168.123.3", flows=4, size=8 << 20)
    exchange(two, net.lab.server, SERVER, flows=4, size=8 << 20)
    for host in (one, two, net.lab.server):
        assert reordered(host) == 0


def reordered(host) -> int:
    """How often TCP on a host found that its segments had overtaken each other."""
    rows = host.run("cat", "/proc/net/netstat").stdout.splitlines()
    names, values = (row.split() for row in rows if row.startswith("TcpExt:"))
    counters = dict(zip(names, values, strict=True))
    return sum(int(counters[name]) for name in ("TCPSACKReorder", "TCPRenoReorder", "TCPTSReorder"))


def test_clients_of_different_workers_meet(network):
    """Whatever worker got a packet sends it on; nobody hands it over."""
    net = network(4)
    server = net.server("&workers=4")
    for number in range(1, 5):
        net.client(number)
    hosts = net.lab.clients
    for host in hosts:
        reaches(host, SERVER)
    for number, host in enumerate(hosts, 1):
        following = number % 4 + 1
        exchange(host, hosts[following - 1], f"192.168.123.{following + 1}", flows=2)
    assert server.service()["drops"]["no_peer"] == 0
    assert server.status()["health"] == "healthy"
