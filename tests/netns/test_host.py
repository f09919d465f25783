"""What a gateway changes on its host: there while it runs, gone afterwards, kill -9 included."""

import signal

import pytest
from lab import SERVER_IPV4
from needs import need
from networks import reaches
from programs import wait_for

SERVER = "192.168.123.1"
EVERYTHING = "&nat=true&route=0.0.0.0/0,::/0,192.168.200.0/24"


def state(host) -> dict[str, object]:
    """Routes, rules and settings of a host, without counters and ages."""
    routes = [
        line.strip()
        for family in ("-4", "-6")
        for line in host.run("ip", family, "route", "show").stdout.splitlines()
    ]
    settings = host.run("sysctl", "-a", "-r", r"^net\.ipv[46].*(forward|accept_ra)").stdout
    return {
        "routes": sorted(routes),
        "rules": host.run("nft", "list", "ruleset").stdout,
        "settings": [line for line in settings.splitlines() if "tun0" not in line],
    }


def way(host, address: str) -> str:
    words = host.run("ip", "route", "get", address, check=False).stdout.split()
    return words[words.index("dev") + 1] if "dev" in words else "unreachable"


@pytest.fixture
def pair(network):
    need("nft")
    net = network(1, lans=(1,))
    server = net.server(net="192.168.123.1/24,fd00:123::1/64")
    before = state(net.lab.clients[0])
    client = net.client(1, f"&ttl=1s{EVERYTHING}", net="192.168.123.2/24,fd00:123::2/64")
    reaches(client.host, SERVER)
    return server, client, before


def test_a_default_route_leaves_the_server_reachable(pair):
    _, client, before = pair
    host = client.host
    for address in ("8.8.8.8", "200.1.1.1", "2600::1", "192.168.200.7"):
        assert way(host, address) == "tun0"
    assert way(host, SERVER_IPV4) == "wan0"
    assert host.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout.strip() == "1"
    assert "masquerade" in host.run("nft", "list", "ruleset").stdout
    assert client.service()["host"] == {"nat": "on", "problems": [], "dns": "off"}
    assert client.status()["health"] == "healthy"
    reaches(host, SERVER)
    assert client.stop() == 0
    assert state(host) == before


def test_after_a_kill_the_next_start_puts_everything_back(pair):
    _, client, before = pair
    client.process.send(signal.SIGKILL)
    client.process.wait()
    assert state(client.host) != before, "nobody was there to put it back"
    client.restart()
    client.expect_ready()
    assert "event=put-back" in client.process.output()
    reaches(client.host, SERVER)
    assert way(client.host, SERVER_IPV4) == "wan0"
    assert client.stop() == 0
    assert state(client.host) == before


def test_what_others_delete_comes_back(pair):
    _, client, _ = pair
    client.host.ip("route del 0.0.0.0/1 dev tun0", "route del 192.168.200.0/24 dev tun0")
    client.host.ip(f"route del {SERVER_IPV4}")
    wait_for(
        lambda: (
            way(client.host, "8.8.8.8") == "tun0"
            and way(client.host, "192.168.200.7") == "tun0"
            and way(client.host, SERVER_IPV4) == "wan0"
        ),
        5.0,
        "the routes to be back",
    )
    reaches(client.host, SERVER)


def test_a_device_made_again_has_its_routes_and_nat(pair):
    _, client, before = pair
    client.host.ip("link delete tun0")
    wait_for(lambda: way(client.host, "8.8.8.8") == "tun0", 5.0, "the routes to be back")
    reaches(client.host, SERVER)
    assert way(client.host, SERVER_IPV4) == "wan0"
    assert client.stop() == 0
    assert state(client.host) == before


def test_a_route_that_cannot_be_is_a_problem_not_an_end(network):
    net = network(1, lans=(1,))
    net.server()
    client = net.client(1, "&route=192.168.100.0/24")
    problems = client.service()["host"]["problems"]
    assert len(problems) == 1
    assert "a device of this host has that network" in problems[0]
    assert client.ctl("status", client.instance).returncode == 1
    reaches(client.host, SERVER)


def test_a_default_route_alone_is_entered(network):
    net = network(1)
    net.server()
    client = net.client(1, "&ttl=1s&route=0.0.0.0/0")
    wait_for(lambda: way(client.host, "8.8.8.8") == "tun0", 5.0, "the route")
    assert way(client.host, SERVER_IPV4) == "wan0"
    reaches(client.host, SERVER)
    assert client.stop() == 0
    assert way(client.host, "8.8.8.8") != "tun0"


def test_a_server_enters_no_default_route(network):
    net = network(1)
    routes = "&routes=0.0.0.0/0 192.168.123.2,::/0 fd00:123::2,192.168.200.0/24 192.168.123.2"
    server = net.server(routes, net="192.168.123.1/24,fd00:123::1/64")
    assert way(server.host, "192.168.200.7") == "tun0"
    net.client(1, "&ttl=1s")
    reaches(net.lab.clients[0], SERVER)
    for address in ("8.8.8.8", "2600::1"):
        assert way(server.host, address) != "tun0"
