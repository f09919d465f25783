"""Clients that move under load, and servers that go away and come back."""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from needs import need
from networks import PORT, reaches
from programs import wait_for
from streams import transfer

SERVER, ONE, TWO = "192.168.123.1", "192.168.123.2", "192.168.123.3"

QUICK = "&ttl=1s"
"""Heartbeats every second, so that a move is noticed within one."""
MOVED_WITHIN = 6.0
"""A heartbeat, and what TCP waits meanwhile before it sends again."""
BACK_WITHIN = 1.5
"""The promise is a second; the rest is for a busy machine."""
LOST_AFTER = 3.0
"""Periods of a second without an ack."""


def rebind(net, own: int, port: int) -> None:
    """Let R show client C1's port as `port` from now on, as a NAT that forgot it would."""
    net.lab.hub.run(
        "nft", "-f", "-",
        stdin=f"""
            add table ip rebind
            flush table ip rebind
            table ip rebind {{
                chain out {{
                    type filter hook postrouting priority 0
                    oifname "S" udp sport {own} udp dport {PORT} udp sport set {port}
                }}
                chain in {{
                    type filter hook prerouting priority 0
                    iifname "S" udp sport {PORT} udp dport {port} udp dport set {own}
                }}
            }}
            """,
    )  # fmt: skip


def port_of(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])


def expect_progress(running, megabytes: int = 4) -> None:
    """Wait until more came through than can have been on its way."""
    wanted = running.received() + (megabytes << 20)
    wait_for(lambda: running.received() >= wanted, MOVED_WITHIN, "the transfer to go on")


def pinging(host, address: str):
    """A ping in the background; `answers` of it are counted."""
    return host.spawn("ping", "-n", "-i", "0.05", address)


def answers(process) -> int:
    return len(re.findall(r"icmp_seq=\d+ ttl", process.output()))


@pytest.mark.parametrize("far", ["server", "client"])
def test_client_changes_its_address_under_load(network, far):
    net = network(2)
    server = net.server()
    net.client(1, QUICK)
    net.client(2)
    one, two = net.lab.clients
    host, address = (net.lab.server, SERVER) if far == "server" else (two, TWO)
    reaches(one, address)
    former = server.peer(ONE)["endpoint"]
    assert former.startswith("198.18.1.2:")
    ping = pinging(one, address)
    running = transfer(one, host, address, flows=2)
    expect_progress(running)

    one.ip(
        "address delete 198.18.1.2/24 dev wan0",
        "address add 198.18.1.77/24 dev wan0",
        "route replace default via 198.18.1.1",
    )
    wait_for(
        lambda: server.peer(ONE)["endpoint"].startswith("198.18.1.77:"),
        MOVED_WITHIN,
        "the peer to move",
    )
    expect_progress(running)
    seen = answers(ping)
    wait_for(lambda: answers(ping) > seen + 5, 3.0, "pings to be answered")
    running.expect_whole()
    peer = server.peer(ONE)
    assert peer["moves"] >= 1
    assert not peer["conflict"]
    assert len(server.service()["peers"]) == 2


@pytest.mark.parametrize("far", ["server", "client"])
def test_a_nat_changes_the_port_under_load(network, far):
    """The client cannot notice; its next heartbeat tells the server."""
    need("nft")
    net = network(2)
    server = net.server()
    net.client(1, QUICK)
    net.client(2)
    one, two = net.lab.clients
    host, address = (net.lab.server, SERVER) if far == "server" else (two, TWO)
    reaches(one, address)
    own = port_of(server.peer(ONE)["endpoint"])
    running = transfer(one, host, address, flows=2)
    expect_progress(running)
    for moves, port in enumerate((20_000, 30_000), 1):
        rebind(net, own, port)
        wait_for(
            lambda p=port: server.peer(ONE)["endpoint"] == f"198.18.1.2:{p}",
            MOVED_WITHIN,
            "the peer to move",
        )
        assert server.peer(ONE)["moves"] == moves
        expect_progress(running)
    running.expect_whole()
    assert server.service()["drops"]["unknown_endpoint"] > 0


def test_client_changes_the_family_of_its_server(network):
    """From IPv4 to IPv6: the same tunnel address from another kind of endpoint."""
    net = network(2)
    server = net.server()
    first = net.client(1)
    net.client(2)
    one, two = net.lab.clients
    reaches(two, ONE)
    first.stop()
    net.client(1, server="[2001:db8:1234::4]")
    reaches(one, TWO)
    reaches(two, ONE)
    assert server.peer(ONE)["endpoint"].startswith("[2001:db8:1::2]:")


def state(gateway) -> str:
    return gateway.service().get("uplink", {}).get("state", "")


def expect_lost(client, deadline: float) -> None:
    """It says that the server is lost, to people and to scripts."""
    wait_for(lambda: state(client) == "lost", deadline, "the client to miss its server")
    shown = client.ctl("status", client.instance)
    assert shown.returncode == 1
    assert "lost" in shown.stdout
    assert "server" in client.status()["problems"][0]


def expect_back(client, deadline: float = BACK_WITHIN) -> None:
    wait_for(lambda: state(client) == "up", deadline, "the client to find its server again")
    assert client.ctl("status", client.instance).returncode == 0
    assert client.service()["uplink"]["reconnects"] == 1


@pytest.mark.parametrize("server", ["1.2.3.4", "[2001:db8:1234::4]"], ids=["ipv4", "ipv6"])
def test_a_refusing_server_is_noticed_and_found_again(network, server):
    net = network(1)
    hub = net.server()
    client = net.client(1, QUICK, server=server)
    host = net.lab.clients[0]
    reaches(host, SERVER)
    hub.stop()
    expect_lost(client, 2.5)
    hub.restart()
    hub.expect_ready()
    expect_back(client)
    reaches(host, SERVER, deadline=1.0)


@pytest.mark.parametrize("why", ["refused", "no-way", "silence"])
def test_a_lost_server_has_a_reason(network, why):
    """What the kernel says of the way; where it says nothing, it may be a wrong passphrase."""
    net = network(1)
    host = net.lab.clients[0]
    if why == "no-way":
        host.ip("route add unreachable 1.2.3.4/32")
    elif why == "silence":
        net.lab.hub.ip("route add blackhole 1.2.3.4/32")
    client = net.client(1, QUICK)
    wait_for(lambda: state(client) == "lost", 6.0, "the client to miss its server")
    said = {
        "refused": "nobody listens on that UDP port there",
        "no-way": "cannot be reached: No route to host",
        "silence": "to a wrong address or passphrase it says nothing",
    }[why]
    assert said in client.status()["problems"][0]
    (line,) = (x for x in client.process.output().splitlines() if "event=uplink-lost" in x)
    assert said in line
    shown = client.service()["uplink"]
    assert said in shown["reason"]
    assert shown["loss_percent"] is None
    assert (shown["heartbeats"] == 0) is (why == "no-way")


def test_refusals_do_not_spin(network):
    """Nobody listens, and every probe is refused: still no more than about two a second."""
    net = network(1)
    client = net.client(1, QUICK)
    wait_for(lambda: state(client) == "lost", 2.5, "the client to be refused")
    begun, before = time.monotonic(), client.service()["uplink"]["heartbeats"]
    wait_for(lambda: client.service()["uplink"]["heartbeats"] >= before + 6, 6.0, "six more probes")
    assert time.monotonic() - begun > 2.0
    assert client.process.output().count("uplink-error") <= 4


def test_a_silent_server_is_noticed_and_found_again(network):
    net = network(1)
    server = net.server()
    client = net.client(1, QUICK)
    host = net.lab.clients[0]
    reaches(host, SERVER)
    former = server.peer(ONE)["endpoint"]
    net.lab.hub.ip("route add blackhole 1.2.3.4/32")
    begun = time.monotonic()
    expect_lost(client, LOST_AFTER + 2.5)
    assert time.monotonic() - begun > LOST_AFTER - 1.0
    net.lab.hub.ip("route delete blackhole 1.2.3.4/32")
    expect_back(client)
    reaches(host, SERVER, deadline=1.0)
    assert port_of(server.peer(ONE)["endpoint"]) != port_of(former)


def test_traffic_alone_does_not_keep_a_server_up(network):
    """Data may flow one way only; it is the acks that count."""
    need("nft")
    net = network(1)
    net.server()
    client = net.client(1, QUICK)
    host = net.lab.clients[0]
    reaches(host, SERVER)
    ping = pinging(host, SERVER)
    net.lab.hub.run(
        "nft", "-f", "-",
        stdin=f"""
            table ip mute {{
                chain out {{
                    type filter hook forward priority 0
                    iifname "S" udp sport {PORT} udp length 28 drop
                }}
            }}
            """,
    )  # fmt: skip
    seen = answers(ping)
    wait_for(lambda: answers(ping) > seen + 10, 3.0, "pings to be answered without acks")
    assert state(client) == "up"
    expect_lost(client, LOST_AFTER + 2.5)


def test_the_link_of_the_client_goes_down_and_up(network):
    """Its address and routes go with it: a suspended laptop in another café."""
    net = network(1)
    net.server()
    client = net.client(1, QUICK)
    host = net.lab.clients[0]
    reaches(host, SERVER)
    host.ip("address flush dev wan0", "link set dev wan0 down")
    expect_lost(client, LOST_AFTER + 2.5)
    host.ip(
        "link set dev wan0 up",
        "address add 198.18.1.3/24 dev wan0",
        "route add default via 198.18.1.1",
    )
    expect_back(client, BACK_WITHIN + 0.5)
    reaches(host, SERVER, deadline=1.0)


@pytest.fixture
def hosts_file() -> Iterator:
    """Give a host a /etc/hosts of its own, as `ip netns exec` mounts it; a text to write."""
    made: list[Path] = []

    def write(host, text: str) -> None:
        folder = Path("/etc/netns", host.netns)
        if folder not in made:
            folder.mkdir(parents=True)
            made.append(folder)
            (folder / "nsswitch.conf").write_text("hosts: files\n")
        (folder / "hosts").write_text(text)  # in place: a mounted file stays the same file

    yield write
    for folder in made:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        with suppress(OSError):  # the host's own
            folder.parent.rmdir()


def test_the_name_of_the_server_is_resolved_again(network, hosts_file):
    net = network(1, server_addresses=("1.2.3.4", "1.2.3.5"))
    host = net.lab.clients[0]
    hosts_file(host, "1.2.3.4 hub.example\n")
    line = "tun://{}:8421?net=192.168.123.1/24"
    first = net.gateway(net.lab.server, "-L", line.format("1.2.3.4")).expect_ready()
    client = net.client(1, QUICK, server="hub.example")
    reaches(host, SERVER)
    assert client.service()["uplink"]["target"] == "hub.example:8421"
    assert client.service()["uplink"]["endpoint"] == "1.2.3.4:8421"

    first.stop()
    expect_lost(client, 2.5)
    hosts_file(host, "1.2.3.5 hub.example\n")
    net.gateway(net.lab.server, "-L", line.format("1.2.3.5")).expect_ready()
    expect_back(client, BACK_WITHIN + 1.0)  # it asks once a second, and tries in turns
    assert client.service()["uplink"]["endpoint"] == "1.2.3.5:8421"
    reaches(host, SERVER, deadline=1.0)


def test_a_name_that_means_nothing_yet(network, hosts_file):
    """The client starts before its name server answers, and says so meanwhile."""
    net = network(1)
    host = net.lab.clients[0]
    hosts_file(host, "127.0.0.1 localhost\n")
    net.server()
    client = net.client(1, QUICK, server="hub.example")
    wait_for(lambda: "name-unresolved" in client.process.output(), 5.0, "the name to be missed")
    assert state(client) == "resolving"
    assert client.ctl("status", client.instance).returncode == 1
    hosts_file(host, "1.2.3.4 hub.example\n")
    wait_for(lambda: state(client) == "up", 4.0, "the client to find its server")
    reaches(host, SERVER, deadline=1.0)


def test_default_routes_wait_for_the_name_of_the_server(network, hosts_file):
    """Until then the query for the name would enter the tunnel; other routes are there."""
    net = network(1)
    host = net.lab.clients[0]
    hosts_file(host, "127.0.0.1 localhost\n")
    net.server(net="192.168.123.1/24,fd00:123::1/64")

    def ways() -> list[bool]:
        far = ("192.168.200.7", "8.8.8.8", "2600::1")
        found = (host.run("ip", "route", "get", each, check=False).stdout for each in far)
        return ["dev tun0" in text for text in found]

    routes = f"{QUICK}&route=0.0.0.0/0,::/0,192.168.200.0/24"
    client = net.client(1, routes, net=f"{ONE}/24,fd00:123::2/64", server="hub.example")
    wait_for(lambda: "name-unresolved" in client.process.output(), 5.0, "the name to be missed")
    assert ways() == [True, False, False]
    hosts_file(host, "1.2.3.4 hub.example\n")
    wait_for(lambda: ways() == [True, True, True], 4.0, "the default routes")
    reaches(host, SERVER)


def test_another_target_takes_over(network):
    """Two servers in one path; the first goes, the second has the same tunnel network."""
    net = network(1, server_addresses=("1.2.3.4", "1.2.3.5"))
    line = "tun://{}:8421?net=192.168.123.1/24"
    first = net.gateway(net.lab.server, "-L", line.format("1.2.3.4")).expect_ready()
    url = f"tun://:0/1.2.3.4:8421,1.2.3.5:8421?net={ONE}/24&keepAlive=true{QUICK}"
    host = net.lab.clients[0]
    client = net.gateway(host, "-L", url).expect_ready()
    reaches(host, SERVER)
    first.stop()
    expect_lost(client, 2.5)
    net.gateway(net.lab.server, "-L", line.format("1.2.3.5")).expect_ready()
    expect_back(client, BACK_WITHIN + 1.0)
    assert client.service()["uplink"]["endpoint"] == "1.2.3.5:8421"
    reaches(host, SERVER, deadline=1.0)


def test_server_restarts_under_load(network):
    """It remembers its peers: even a client without keepalive goes on."""
    net = network(2)
    server = net.server()
    net.client(1, keepalive=False)
    net.client(2, QUICK)
    one, two = net.lab.clients
    reaches(one, TWO)
    running = transfer(one, two, TWO, flows=2)
    expect_progress(running)
    assert server.stop() == 0
    server.restart()
    server.expect_ready()
    expect_progress(running)
    running.expect_whole()
