"""Where a service lives: its device and its sockets in namespaces, on devices, with marks."""

import signal

import pytest
from lab import SERVER_IPV4
from needs import need
from netns.test_surroundings import changed, everything
from networks import GATEWAY, misses, reaches
from programs import wait_for

SERVER, CLIENT = "192.168.123.1", "192.168.123.2"
URL = f"tun://:0/{SERVER_IPV4}:8421?net={CLIENT}/24&keepAlive=true&ttl=1s&name=tun0"


@pytest.fixture
def net(network):
    need("nft")
    return network(1, lans=(1,))


def test_the_device_lives_in_another_namespace(net):
    """With all that is changed for it: addresses, routes, NAT, settings; nothing of it here."""
    near, inner = net.lab.clients[0], net.lab.lan_hosts[1]
    server = net.server()
    before, before_inner = everything(near), everything(inner)
    url = f"{URL}&netns={inner.netns}&nat=true&route=0.0.0.0/0,192.168.200.0/24"
    client = net.gateway(near, "-L", url).expect_ready()
    reaches(inner, SERVER)
    reaches(server.host, CLIENT)
    assert "tun0" in inner.devices()
    assert changed(near, before) == []
    assert changed(inner, before_inner) == ["routes", "addresses", "settings", "nftables"]
    assert client.service()["host"]["problems"] == []
    assert client.status()["capabilities"] == ["net_admin", "sys_admin"]
    assert client.service()["device"]["up"]
    assert client.service()["advertised"][0]["network"] == "192.168.100.0/24"

    inner.ip("route del 192.168.200.0/24")
    wait_for(
        lambda: "dev tun0" in inner.run("ip", "route", "show", "192.168.200.0/24").stdout,
        5.0, "the route to be back",
    )  # fmt: skip
    inner.ip("link del tun0")
    wait_for(lambda: "tun0" in inner.devices(), 5.0, "the device to be made again, there")
    reaches(inner, SERVER)
    assert client.stop() == 0
    assert changed(inner, before_inner) == []

    client.restart()
    client.expect_ready()
    reaches(inner, SERVER)
    client.process.send(signal.SIGKILL)
    client.process.wait()
    wait_for(lambda: near.pids() == [], 5.0, "the children to be gone")
    assert "settings" in changed(inner, before_inner)
    client.restart()
    client.expect_ready()
    assert client.stop() == 0
    assert changed(inner, before_inner) == []


def test_the_sockets_live_in_another_namespace(net):
    """Started where there is no way to the server. A source address that goes is noticed there."""
    near, outer = net.lab.lan_hosts[1], net.lab.clients[0]
    near.ip("route del default")
    net.server()
    client = net.gateway(near, "-L", f"{URL}&netns.out={outer.netns}").expect_ready()
    reaches(near, SERVER)
    wait_for(lambda: client.service()["uplink"]["acks"] > 3, 10.0, "some heartbeats")
    assert client.service()["uplink"]["reconnects"] == 0
    outer.ip(
        "address del 198.18.1.2/24 dev wan0",
        "address add 198.18.1.77/24 dev wan0",
        "route replace default via 198.18.1.1",
    )
    wait_for(lambda: client.service()["uplink"]["reconnects"] > 0, 5.0, "it to be noticed")
    reaches(near, SERVER)


def test_a_servers_device_and_sockets_apart(net):
    server, inner, client = net.lab.server, net.lab.lan_hosts[1], net.lab.clients[0]
    url = f"tun://:8421?net={SERVER}/24&netns={inner.netns}"
    net.gateway(server, "-L", url).expect_ready()
    net.client(1)
    reaches(client, SERVER)
    reaches(inner, CLIENT)
    misses(server, CLIENT)


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("netns=nowhere", "netns=nowhere: there is no network namespace /run/netns/nowhere"),
        ("netns.out=/proc/none", "netns.out=/proc/none: there is no network namespace /proc/none"),
        ("netns=/etc/hostname", "netns=/etc/hostname: /etc/hostname is no network namespace"),
        ("interface=eth9", "interface=eth9: this host has no such device"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(net, option, reason):
    host = net.lab.clients[0]
    gateway = net.gateway(host, "-L", f"{URL}&{option}")
    assert gateway.process.wait() == 3
    last = gateway.process.output().splitlines()[-1]
    assert reason in last
    assert "Traceback" not in gateway.process.output()
    assert "tun0" not in host.devices()


def test_a_client_on_a_device(net):
    """With a default route: no host route is needed, as the socket cannot enter the tunnel."""
    host = net.lab.clients[0]
    net.server()
    client = net.gateway(host, "-L", f"{URL}&interface=wan0&route=0.0.0.0/0").expect_ready()
    reaches(host, SERVER)
    assert host.run("ip", "route", "show", SERVER_IPV4).stdout == ""
    assert client.service()["host"]["problems"] == []
    host.ip("link set wan0 down", "link set wan0 up", "route replace default via 198.18.1.1")
    reaches(host, SERVER)
    assert client.stop() == 0
    elsewhere = net.gateway(host, "-L", f"{URL}&interface=lan0").expect_ready()
    wait_for(
        lambda: elsewhere.service()["uplink"]["state"] in ("lost", "registering"), 5.0, "no server"
    )
    misses(host, SERVER)


def test_a_server_on_a_device(net):
    client = net.client(1)
    host = net.lab.server
    there = net.gateway(host, "-L", f"tun://:8421?net={SERVER}/24&interface=wan0").expect_ready()
    reaches(client.host, SERVER)
    assert there.stop() == 0
    net.gateway(host, "-L", f"tun://:8421?net={SERVER}/24&interface=lo").expect_ready()
    misses(client.host, SERVER)


def test_marks_lead_datagrams_and_acks(net):
    """Only what is marked has a way at all, on both ends: heartbeats, data, acks."""
    server, client = net.lab.server, net.lab.clients[0]
    for host, gateway in ((server, "1.2.3.1"), (client, "198.18.1.1")):
        host.ip(
            f"route add default via {gateway} table 77",
            "rule add fwmark 77 lookup 77 priority 70",
            "route del default",
        )
    net.gateway(server, "-L", f"tun://:8421?net={SERVER}/24&so_mark=77").expect_ready()
    gateway = net.gateway(client, "-L", f"{URL}&so_mark=77&route=0.0.0.0/0").expect_ready()
    reaches(client, SERVER)
    reaches(server, CLIENT)
    assert gateway.service()["uplink"]["acks"] > 0
    assert gateway.stop() == 0
    net.gateway(client, "-L", f"{URL}&so_mark=78").expect_ready()
    misses(client, SERVER)


def test_a_renamed_device_is_followed(net):
    """Its name, its addresses, its routes, its NAT."""
    host = net.lab.clients[0]
    net.server(net="192.168.123.1/24,fd00:123::1/64")
    options = "&ttl=1s&name=tun0&nat=true&route=192.168.200.0/24"
    client = net.client(1, options, net="192.168.123.2/24,fd00:123::2/64")
    reaches(host, SERVER)
    host.ip("link set tun0 down", "link set tun0 name site0", "link set site0 up")
    reaches(host, SERVER)
    reaches(host, "fd00:123::1")
    assert client.service()["device"]["name"] == "site0"
    wait_for(lambda: "gateway-site0" in host.run("nft", "list", "tables").stdout, 10.0, "its NAT")
    assert "gateway-tun0" not in host.run("nft", "list", "tables").stdout
    assert "dev site0" in host.run("ip", "route", "show", "192.168.200.0/24").stdout
    assert client.status()["health"] == "healthy"
    host.ip("link del site0")
    wait_for(lambda: "site0" in host.devices(), 5.0, "it to be made again")
    reaches(host, SERVER)
    assert client.stop() == 0
    assert "site0" not in host.devices()


def test_down_and_up_in_one_moment(net):
    """Nobody who only looks now and then sees it; the kernel forgot addresses and routes."""
    host = net.lab.server
    net.server("&route=192.168.100.0/24&gw=192.168.123.2", net="192.168.123.1/24,fd00:123::1/64")
    net.client(1, "&ttl=1s", net="192.168.123.2/24,fd00:123::2/64")
    reaches(host, "fd00:123::2")
    for _ in range(3):
        host.ip("link set tun0 down", "link set tun0 up")
        wait_for(
            lambda: "dev tun0" in host.run("ip", "route", "show", "192.168.100.0/24").stdout,
            3.0, "the route to be back",
        )  # fmt: skip
        reaches(host, "fd00:123::2")


def test_a_default_route_with_a_server_by_name(net):
    """The name is looked up before there is a default route, and after it by the hosts file."""
    host = net.lab.clients[0]
    hosts = net.lab.directory / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{SERVER_IPV4} hub.example\n")
    net.server()
    command = f'mount --bind {hosts} /etc/hosts && exec "$@"'
    url = f"tun://:0/hub.example:8421?net={CLIENT}/24&keepAlive=true&ttl=1s&route=0.0.0.0/0"
    gateway = host.spawn(
        "unshare", "--mount", "--propagation", "slave", "sh", "-c", command, "sh",
        GATEWAY, "--instance", f"named-{net.lab.mark}", "-L", url,
        environment=net.environment,
    )  # fmt: skip
    reaches(host, SERVER)
    assert "wan0" in host.run("ip", "route", "get", SERVER_IPV4).stdout
    assert "tun0" in host.run("ip", "route", "get", "8.8.8.8").stdout
    assert gateway.stop() == 0
    assert host.run("ip", "route", "show", SERVER_IPV4).stdout == ""


def test_two_services_in_one_process_keep_apart(network):
    """Each with its own port, device, peers; one cannot be reached through the other."""
    net = network(2)
    server = net.gateway(
        net.lab.server,
        "-L", "tun://:8421?net=192.168.123.1/24,10.9.0.1/24",
        "-L", "tun://:8422?net=192.168.124.1/24",
    ).expect_ready()  # fmt: skip
    one = net.client(1, "&route=192.168.124.0/24", net="192.168.123.2/24,10.9.0.2/24")
    url = "tun://:0/1.2.3.4:8422?net=192.168.124.2/24&keepAlive=true&route=192.168.123.0/24"
    two = net.gateway(net.lab.clients[1], "-L", url).expect_ready()
    reaches(one.host, SERVER)
    reaches(one.host, "10.9.0.1")
    reaches(two.host, "192.168.124.1")
    misses(one.host, "192.168.124.2")
    misses(two.host, "192.168.123.2")
    services = server.status()["services"]
    assert [len(service["peers"]) for service in services] == [1, 1]
    assert services[0]["device"]["name"] != services[1]["device"]["name"]
    assert services[0]["peers"][0]["addresses"] == ["192.168.123.2", "10.9.0.2"]
    assert services[1]["peers"][0]["addresses"] == ["192.168.124.2"]
    assert sum("10.9.0.1/24" in service["device"]["addresses"] for service in services) == 1
    assert server.status()["health"] == "healthy"


def test_server_and_client_in_one_process(network):
    """C1 is a client of S and a server for C2, who reaches S through it by forwarding."""
    net = network(2)
    net.server("&route=192.168.150.0/24&gw=192.168.123.2")
    middle = net.gateway(
        net.lab.clients[0],
        "-L", f"tun://:0/{SERVER_IPV4}:8421?net=192.168.123.2/24&keepAlive=true",
        "-L", "tun://:8421?net=192.168.150.1/24",
    ).expect_ready()  # fmt: skip
    net.lab.clients[0].sysctl(ipv4__ip_forward=1)
    url = "tun://:0/198.18.1.2:8421?net=192.168.150.2/24&keepAlive=true&route=192.168.123.0/24"
    net.gateway(net.lab.clients[1], "-L", url).expect_ready()
    reaches(net.lab.clients[1], "192.168.150.1")
    reaches(net.lab.clients[1], SERVER)
    roles = [service["role"] for service in middle.status()["services"]]
    assert roles == ["client", "server"]
