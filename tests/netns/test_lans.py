"""Three sites and their LANs, joined by what the clients advertise.

The recipe's commands, with its iptables line or with `nat=true`; hosts H1 and H2 stand
behind C1 and C2 and know nothing but their default gateway.
"""

import pytest
from needs import need
from networks import misses, reaches
from programs import wait_for

H1, H2 = "192.168.100.10", "192.168.101.10"
LAN1, LAN2 = "192.168.100.0/24", "192.168.101.0/24"
TO1, TO2, TO_BOTH = f"&route={LAN1}", f"&route={LAN2}", f"&route={LAN1},{LAN2}"
TTL = "&ttl=1s"
NAT = "&nat=true"
MASQUERADE = "iptables -t nat -A POSTROUTING -s 192.168.123.0/24 ! -o tun0 -j MASQUERADE"
AUTH = """
services:
- name: hub
  addr: ":8421"
  handler: {{type: tun, auther: sites}}
  listener: {{type: tun, metadata: {{net: 192.168.123.1/24}}}}
authers:
- name: sites
  auths:
  - {{username: 192.168.123.2, password: one, networks: [{approved}]}}
  - {{username: 192.168.123.3, password: two, networks: [192.168.101.0/24]}}
  - {{username: 192.168.123.4, password: three}}
"""


@pytest.fixture
def net(network):
    return network(3, lans=(1, 2))


def by_hand(host) -> None:
    """What the recipe tells a site to do."""
    host.sysctl(ipv4__ip_forward=1)
    host.run(*MASQUERADE.split())


def expect_joined(net) -> None:
    """Each host reaches each."""
    one, two = net.lab.lan_hosts[1], net.lab.lan_hosts[2]
    reaches(one, H2)
    reaches(two, H1)
    reaches(net.lab.clients[2], H1)
    reaches(net.lab.clients[2], H2)


def standing(gateway, address: str = "") -> dict[str, str]:
    """What became of the networks, as a server's peer or a client has it."""
    holder = gateway.peer(address) if address else gateway.service()
    return {item["network"]: item["standing"] for item in holder.get("advertised", ())}


def test_the_three_commands_and_a_rule_by_hand(net):
    need("iptables")
    server = net.server()
    for client in net.lab.clients[:2]:
        by_hand(client)
    net.client(1, TO2)
    net.client(2, TO1)
    net.client(3, TO_BOTH)
    expect_joined(net)
    assert server.peer("192.168.123.2")["networks"] == [LAN1]
    assert server.peer("192.168.123.3")["networks"] == [LAN2]
    assert server.peer("192.168.123.4")["networks"] == []


def test_nat_true_in_place_of_the_rule(net):
    need("nft")
    server = net.server()
    net.client(1, TO2 + NAT + TTL)
    client = net.client(2, TO1 + NAT)
    net.client(3, TO_BOTH)
    expect_joined(net)
    wait_for(lambda: standing(client) == {LAN2: "accepted"}, 5.0, "the answer")
    wait_for(lambda: server.peer("192.168.123.2")["loss_percent"] == 0, 10.0, "the loss")
    assert 0 < server.peer("192.168.123.2")["rtt_ms"] < 1000
    assert server.peer("192.168.123.2")["software"].startswith("gateway ")


def test_a_rule_that_comes_later_is_seen_and_its_end_too(net):
    need("nft")
    server = net.server()
    client = net.client(1, TTL)
    reaches(client.host, "192.168.123.1")
    client.host.sysctl(ipv4__ip_forward=1)
    client.host.run(
        "nft", "add table ip t; add chain ip t c { type nat hook postrouting priority 100; };"
        " add rule ip t c ip saddr 192.168.123.0/24 oifname != tun0 masquerade",
    )  # fmt: skip
    wait_for(lambda: server.peer("192.168.123.2").get("networks") == [LAN1], 15.0, "the network")
    client.host.run("nft", "delete table ip t")
    wait_for(lambda: server.peer("192.168.123.2").get("networks") == [], 15.0, "its end")


@pytest.mark.parametrize("approved", [LAN1, ""])
def test_with_auth_a_network_needs_approval(net, approved):
    need("nft")
    file = net.lab.directory / "hub.yaml"
    file.write_text(AUTH.format(approved=approved))
    server = net.gateway(net.lab.server, "-C", str(file)).expect_ready()
    client = net.client(1, TO2 + NAT + "&passphrase=one")
    net.client(2, TO1 + NAT + "&passphrase=two")
    net.client(3, TO_BOTH + "&passphrase=three")
    reaches(net.lab.clients[2], H2)
    if approved:
        expect_joined(net)
        return
    expected = {LAN1: "waiting"}
    wait_for(lambda: standing(server, "192.168.123.2") == expected, 5.0, "the server to show it")
    wait_for(lambda: standing(client) == expected, 5.0, "the client to show it")
    misses(net.lab.clients[2], H1)
    for gateway in (server, client):
        done = gateway.ctl("status", gateway.instance).stdout
        assert LAN1 in done
        assert "waits for approval" in done


def test_a_client_that_says_nothing_and_a_server_that_was_told(net):
    need("nft")
    server = net.server(f"&routes={LAN1}%20192.168.123.2,{LAN2}%20192.168.123.3")
    net.client(1, TO2 + NAT + "&advertise=off")
    net.client(2, TO1 + NAT + "&advertise=off")
    net.client(3, TO_BOTH)
    expect_joined(net)
    reaches(server.host, H1)
    assert standing(server, "192.168.123.2") == {}
    assert server.peer("192.168.123.2")["networks"] == [LAN1]


def test_two_sites_with_one_prefix(net):
    need("nft")
    server = net.server()
    one = net.client(1, NAT + TTL)
    wait_for(lambda: standing(one) == {LAN1: "accepted"}, 5.0, "the first to have it")
    two = net.client(2, TTL + f"&advertise={LAN1}")
    wait_for(lambda: standing(two) == {LAN1: "refused"}, 5.0, "the second to be refused")
    (refused,) = server.peer("192.168.123.3")["advertised"]
    assert refused == two.service()["advertised"][0]
    assert refused["holder"] == "192.168.123.2"
    assert "two sites use the same" in refused["reason"]
    assert "event=network-refused" in server.process.output()
    assert "event=network-refused" in two.process.output()
    net.client(3, TO1)
    reaches(net.lab.clients[2], H1)
    assert one.stop() == 0
    wait_for(lambda: standing(two) == {LAN1: "accepted"}, 5.0, "the second to have it")


def test_ipv6(net):
    need("nft")
    for number, host in net.lab.lan_hosts.items():
        lan = f"fd00:{99 + number}"
        net.lab.clients[number - 1].ip(f"address add {lan}::1/64 dev lan0 nodad")
        host.ip(f"address add {lan}::10/64 dev wan0 nodad", f"route add default via {lan}::1")
    both = ["fd00:100::/64", "fd00:101::/64"]
    server = net.server(net="192.168.123.1/24,fd00:123::1/64")
    nets = [f"192.168.123.{n}/24,fd00:123::{n}/64" for n in (2, 3, 4)]
    net.client(1, f"{NAT}&route={LAN2},{both[1]}", net=nets[0])
    net.client(2, f"{NAT}&route={LAN1},{both[0]}", net=nets[1])
    net.client(3, f"&route={LAN1},{LAN2},{','.join(both)}", net=nets[2])
    expect_joined(net)
    reaches(net.lab.lan_hosts[1], "fd00:101::10")
    reaches(net.lab.lan_hosts[2], "fd00:100::10")
    reaches(net.lab.clients[2], "fd00:100::10")
    assert server.peer("192.168.123.2")["networks"] == [LAN1, both[0]]


def test_a_server_that_starts_again_knows_the_networks(net):
    need("nft")
    server = net.server()
    net.client(1, NAT, keepalive=False)
    net.client(3, TO1 + TTL)
    reaches(net.lab.clients[2], H1)
    assert server.stop() == 0
    server.restart()
    server.expect_ready()
    assert server.peer("192.168.123.2")["networks"] == [LAN1]
    reaches(net.lab.clients[2], H1)


def test_a_client_that_stops_takes_its_networks_back(net):
    need("nft")
    server = net.server()
    client = net.client(1, NAT)
    wait_for(lambda: server.peer("192.168.123.2").get("networks") == [LAN1], 5.0, "the network")
    assert client.stop() == 0
    wait_for(lambda: server.peer("192.168.123.2").get("networks") == [], 5.0, "its end")
