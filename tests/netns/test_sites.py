"""The recipe's three sites: each host reaches each, a wrong passphrase nothing.

The recipe's commands, with its rule by hand or `nat=true`, with and without auth, over IPv4
and over both families; S is told nothing of the LANs.
"""

from pathlib import Path

import pytest
from gost import nets
from needs import need
from networks import misses, reaches
from programs import wait_for
from sites import (
    H1,
    H1_6,
    LANS,
    LANS_6,
    OUTER_6,
    SERVER,
    SERVER_6,
    by_hand,
    each_reaches_each,
    give_lans_ipv6,
    places,
    ways,
)  # fmt: skip

RECIPE = Path(__file__).parents[1] / "unit" / "config" / "recipe"
INTRUDER = "192.168.123.5"
FAMILIES = pytest.mark.parametrize("two", [False, True], ids=["ipv4", "both-families"])
HUB = """
services:
- name: hub
  addr: ":8421"
  handler: {{type: tun, auther: sites}}
  listener: {{type: tun, metadata: {{net: "{net}"}}}}
authers:
- name: sites
  auths:
{credentials}
"""


def start_server(net, *, two: bool, auth: bool):
    """The hub, plain or with a credential for each address; LANs are the first two sites'."""
    if not auth:
        return net.server(net=nets(1, two=two))
    lines = []
    for number in (1, 2, 3, 4):
        networks = [lan[number - 1] for lan in (LANS, LANS_6)] if number < 3 else []
        for address in nets(number + 1, two=two).split(","):
            approved = f", networks: {networks}".replace("'", "") if networks else ""
            user = address.partition("/")[0]
            lines.append(f'  - {{username: "{user}", password: pass{number}{approved}}}')
    file = net.lab.directory / "hub.yaml"
    file.write_text(HUB.format(net=nets(1, two=two), credentials="\n".join(lines)))
    return net.gateway(net.lab.server, "-C", str(file)).expect_ready()


def start_client(net, number: int, *, two: bool, auth: bool, options: str = ""):
    passphrase = f"&passphrase=pass{number}" if auth else ""
    outer = OUTER_6 if two else "1.2.3.4"
    options = ways(number, two=two) + passphrase + options
    return net.client(number, options, net=nets(number + 1, two=two), server=outer)


@FAMILIES
@pytest.mark.parametrize("auth", [False, True], ids=["plain", "auth"])
@pytest.mark.parametrize("nat", [False, True], ids=["by-hand", "nat"])
def test_each_reaches_each(network, nat, auth, two):
    need("nft" if nat else "iptables")
    net = network(3, lans=(1, 2))
    if two:
        give_lans_ipv6(net)
    if not nat:
        for client in net.lab.clients[:2]:
            by_hand(client, two=two)
    server = start_server(net, two=two, auth=auth)
    for number in (1, 2, 3):
        options = "&nat=true" if nat and number < 3 else ""
        start_client(net, number, two=two, auth=auth, options=options)
    each_reaches_each(net, two=two)
    for number in (1, 2):
        lans = [lan[number - 1] for lan in ((LANS, LANS_6) if two else (LANS,))]
        assert server.peer(f"192.168.123.{number + 1}")["networks"] == lans


def test_the_recipes_files(network):
    """Its YAML as it stands, tabs and all, and its rule."""
    need("iptables")
    net = network(3, lans=(1, 2))
    for client in net.lab.clients[:2]:
        by_hand(client)
    files = ["server.yaml", "client-2.yaml", "client-3.yaml", "client-4.yaml"]
    for number, (host, file) in enumerate(
        zip([net.lab.server, *net.lab.clients], files, strict=True), 1
    ):
        arguments = ("-C", str(RECIPE / file))
        net.gateway(host, *arguments, instance=f"192.168.123.{number}").expect_ready()
    each_reaches_each(net)


@FAMILIES
def test_the_servers_host_reaches_the_lans_when_it_has_a_route(network, two):
    """Its own routes are nobody's to change; with `route` it is one of the hosts."""
    need("nft")
    net = network(3, lans=(1, 2))
    if two:
        give_lans_ipv6(net)
    net.server(ways(0, two=two), net=nets(1, two=two))
    for number in (1, 2, 3):
        options = "&nat=true" if number < 3 else ""
        start_client(net, number, two=two, auth=False, options=options)
    each_reaches_each(net, two=two, server=True)


@FAMILIES
@pytest.mark.parametrize("passphrase", ["&passphrase=wrong", ""], ids=["wrong", "none"])
def test_a_wrong_passphrase_reaches_nothing(network, passphrase, two):
    """A fourth host, with a LAN and a place in the configuration, but not its passphrase."""
    need("nft")
    net = network(4, lans=(1, 2, 4))
    if two:
        give_lans_ipv6(net)
    server = start_server(net, two=two, auth=True)
    for number in (1, 2, 3):
        options = "&nat=true" if number < 3 else ""
        start_client(net, number, two=two, auth=True, options=options)
    intruder = start_client(net, 4, two=two, auth=False, options=passphrase + "&nat=true&ttl=1s")
    reaches(net.lab.clients[2], H1)
    if two:
        reaches(net.lab.clients[2], H1_6)
    wait_for(lambda: server.service()["refusals"]["wrong_passphrase"] >= 2, 10.0, "refusals")
    for six in (False, True) if two else (False,):
        sites = [address for _, address in places(net, six=six)]
        for address in [SERVER_6 if six else SERVER, *sites]:
            misses(intruder.host, address, count=2)
            misses(net.lab.lan_hosts[4], address, count=2)
    own = [address.partition("/")[0] for address in nets(5, two=two).split(",")]
    lan = ["192.168.103.10", "fd00:103::10"][: 1 + two]
    for address in [*own, *lan]:
        for host in (net.lab.server, *net.lab.clients[:3]):
            misses(host, address, count=1)
    assert server.peer(INTRUDER) == {}
    assert server.service()["drops"]["unknown_endpoint"] > 0
    assert server.service()["drops"]["spoofed_source"] == 0
    assert intruder.service()["uplink"]["state"] != "up"


@FAMILIES
def test_two_sites_with_one_prefix(network, two):
    """C1 and C2 say the same; the first has it, the second is refused, counted and shown."""
    need("nft")
    net = network(3, lans=(1,))
    server = net.server(net=nets(1, two=two))
    lan = LANS_6[0] if two else LANS[0]
    named = f"&ttl=1s&advertise={lan}"
    one = start_client(net, 1, two=two, auth=False, options=named)
    wait_for(lambda: standings(one) == {lan: "accepted"}, 8.0, "the first to have it")
    other = start_client(net, 2, two=two, auth=False, options=named)
    wait_for(lambda: standings(other) == {lan: "refused"}, 8.0, "the second to be refused")
    wait_for(lambda: other.service()["uplink"]["acks"] >= 3, 8.0, "it to be said again")
    for gateway in (server, other):
        assert gateway.service()["advertisements"]["networks_refused"] == 1
        done = gateway.ctl("status", gateway.instance)
        assert done.returncode == 0, done.stdout
        assert "advertised networks: 1 refused" in done.stdout
        assert "two sites use the same addresses" in done.stdout
        assert "(192.168.123.2 has it)" in done.stdout
        assert gateway.process.output().count("event=network-refused") == 1
    assert one.service()["advertisements"]["networks_refused"] == 0
    assert server.peer("192.168.123.2")["networks"] == [lan]
    assert server.peer("192.168.123.3")["networks"] == []


def standings(gateway) -> dict[str, str]:
    """What became of the networks of a client."""
    found = gateway.service().get("advertised", ())
    return {item["network"]: item["standing"] for item in found}
