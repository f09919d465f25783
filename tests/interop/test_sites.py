"""The recipe's three sites with stock GOST clients: our server is told their LANs."""

import shlex

import pytest
from gost import KEPT, ONE, QUICK, gost_client, nets
from needs import need
from networks import GATEWAY, misses, reaches
from programs import wait_for
from sites import (
    H1,
    H1_6,
    H2,
    H2_6,
    LANS,
    LANS_6,
    OUTER_6,
    by_hand,
    each_reaches_each,
    give_lans_ipv6,
    places,
    ways,
)

FAMILIES = pytest.mark.parametrize("two", [False, True], ids=["ipv4", "both-families"])
HUB = """
services:
- name: hub
  addr: ":8421"
  handler: {{type: tun, auther: sites}}
  listener: {{type: tun, metadata: {{net: "{net}", {told}}}}}
authers:
- name: sites
  auths:
{credentials}
routers:
- name: lans
  routes:
{routes}
"""


def behind(*, two: bool) -> list[tuple[str, str]]:
    """Each LAN, and the tunnel address of the client in front of it."""
    pairs = []
    for number, lans in enumerate(zip(LANS, LANS_6, strict=True), 1):
        addresses = [net.partition("/")[0] for net in nets(number + 1, two=True).split(",")]
        pairs += list(zip(lans, addresses, strict=True))[: 1 + two]
    return pairs


def start_server(net, told: str, *, two: bool):
    """The hub, with a credential for each address and the LANs in `routes` or in a router."""
    credentials = [
        f'  - {{username: "{address.partition("/")[0]}", password: pass{number}}}'
        for number in (1, 2, 3, 4)
        for address in nets(number + 1, two=two).split(",")
    ]
    routes = ", ".join(f'"{lan} {gateway}"' for lan, gateway in behind(two=two))
    text = HUB.format(
        net=nets(1, two=two),
        told="router: lans" if told == "router" else f"routes: [{routes}]",
        credentials="\n".join(credentials),
        routes="\n".join(
            f'  - {{dst: "{lan}", gateway: "{gateway}"}}' for lan, gateway in behind(two=two)
        ),
    )
    file = net.lab.directory / "hub.yaml"
    file.write_text(text)
    return net.gateway(net.lab.server, "-C", str(file)).expect_ready()


def prepare(net, *, two: bool = False) -> None:
    """The LANs, and the rule by hand on the hosts in front of them."""
    need("iptables")
    if two:
        give_lans_ipv6(net)
    for client in net.lab.clients[:2]:
        by_hand(client, two=two)


def start_stock(net, number: int, options: str = "", *, two: bool = False) -> None:
    outer = OUTER_6 if two else "1.2.3.4"
    gost_client(net, number, KEPT + ways(number, two=two) + options, two=two, server=outer)


@FAMILIES
@pytest.mark.parametrize("told", ["routes", "router"])
def test_each_reaches_each(stock, told, two):
    """S among them, which gets the same networks as routes of its own."""
    net = stock(3, lans=(1, 2))
    prepare(net, two=two)
    server = start_server(net, told, two=two)
    for number in (1, 2, 3):
        start_stock(net, number, f"&passphrase=pass{number}", two=two)
    each_reaches_each(net, two=two, server=True)
    assert server.peer(ONE)["networks"] == [lan for lan, _ in behind(two=two)[: 1 + two]]
    assert server.peer(ONE)["software"] == ""


def test_stock_clients_and_ours_in_one_network(stock):
    """The server is told the LAN of the stock site; ours advertises its own."""
    net = stock(3, lans=(1, 2))
    prepare(net)
    net.server(f"&route={LANS[0]}&gw={ONE}")
    start_stock(net, 1)
    net.client(2, ways(2))
    net.client(3, ways(3))
    each_reaches_each(net)


@pytest.mark.parametrize("two", [False, True], ids=["ipv4", "both-families"])
def test_what_gateway_ctl_prints_for_a_client_runs_as_it_stands(stock, two):
    """Both command lines and the file, by both programs: C3 reaches every LAN."""
    net = stock(3, lans=(1, 2))
    prepare(net, two=two)
    server = start_server(net, "routes", two=two)
    for number in (1, 2):
        start_stock(net, number, f"&passphrase=pass{number}", two=two)
    secret, file = net.lab.directory / "secret", net.lab.directory / "client.yaml"
    secret.write_text("pass3\n")
    addresses = [net.partition("/")[0] for net in nets(4, two=two).split(",")]
    told = ("--passphrase-file", str(secret), "--host", "1.2.3.4")
    done = server.ctl("client", *addresses, *told)
    assert (done.returncode, done.stderr) == (0, "")
    commands, _, document = done.stdout.partition("# the same as a file")
    file.write_text(document.partition("\n")[2])
    lines = [shlex.split(line) for line in commands.splitlines() if line and line[0] != "#"]
    assert [line[0] for line in lines] == ["gateway", "gost"]
    lines += [["gateway", "-C", str(file)], ["gost", "-C", str(file)]]
    host = net.lab.clients[2]
    for program, *arguments in lines:
        command = GATEWAY if program == "gateway" else program
        running = host.spawn(command, *arguments, environment=net.environment)
        for address in [H1, H2, *([H1_6, H2_6] if two else [])]:
            reaches(host, address, deadline=15.0)
        running.stop()
        wait_for(lambda: "tun0" not in host.devices(), 5.0, "the device to go")


@pytest.mark.parametrize("passphrase", ["&passphrase=wrong", ""], ids=["wrong", "none"])
def test_a_wrong_passphrase_reaches_nothing(stock, passphrase):
    net = stock(4, lans=(1, 2))
    prepare(net)
    server = start_server(net, "routes", two=False)
    for number in (1, 2, 3):
        start_stock(net, number, f"&passphrase=pass{number}")
    start_stock(net, 4, passphrase + QUICK)
    intruder = net.lab.clients[3]
    for _, address in places(net):
        reaches(net.lab.server, address, deadline=15.0)
    wait_for(lambda: server.service()["refusals"]["wrong_passphrase"] >= 2, 15.0, "refusals")
    for address in ["192.168.123.1", *(address for _, address in places(net))]:
        misses(intruder, address, count=2)
    for host in (net.lab.server, *net.lab.clients[:3]):
        misses(host, "192.168.123.5", count=1)
    assert server.peer("192.168.123.5") == {}
    assert server.service()["drops"]["unknown_endpoint"] > 0
