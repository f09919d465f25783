"""What is known of a host's LANs: which there are, and whose NAT makes them reachable."""

import pytest
from needs import need
from netns.inside import inside
from netns.nat_lab import LAN4, LAN6, NETWORKS, nat_lab

from gateway.linux import lan
from gateway.linux.ruleset import Query, read


@pytest.fixture
def client():
    with nat_lab() as lab:
        yield lab.clients[0]


def test_connected_networks(client):
    """Private LANs only: no engine's bridge, no tunnel, no loopback, no link-local."""
    for device, net in (
        ("docker0", "172.17.0.1/16"),
        ("br-0123456789ab", "172.18.0.1/16"),
        ("br-lan", "192.168.55.1/24"),
        ("down0", "192.168.66.1/24"),
    ):
        client.ip(f"link add {device} type bridge", f"address add {net} dev {device}")
        if device != "down0":
            client.ip(f"link set {device} up")
    found = inside(client, lan.connected)

    names = {(str(item.network), item.device): item.is_lan for item in found}
    assert names == {
        ("172.17.0.0/16", "docker0"): False,
        ("172.18.0.0/16", "br-0123456789ab"): False,
        ("192.168.55.0/24", "br-lan"): True,
        ("192.168.100.0/24", "lan0"): True,
        ("192.168.123.0/24", "tun0"): True,
        ("198.18.1.0/24", "wan0"): True,
        ("2001:db8:1::/64", "wan0"): True,
        ("fd00:100::/64", "lan0"): True,
        ("fd00:123::/64", "tun0"): True,
    }
    behind = [str(item.network) for item in lan.private_lans(found, {"tun0"})]
    assert behind == ["192.168.55.0/24", "192.168.100.0/24", "fd00:100::/64"]


def reachable(client, **options):
    lans = lan.private_lans(inside(client, lan.connected), {"tun0"})
    options = {"own_nat": False, **options}
    return inside(client, lan.reachable, lans, "tun0", NETWORKS, **options)


def test_own_nat_makes_lans_reachable_where_the_host_forwards(client):
    assert reachable(client, own_nat=True) == ()
    client.sysctl(ipv4__ip_forward=1)
    assert reachable(client) == ()
    assert reachable(client, own_nat=True) == (LAN4,)
    client.sysctl(ipv6__conf__all__forwarding=1)
    assert reachable(client, own_nat=True) == (LAN4, LAN6)


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
def test_the_recipes_rule_is_seen(client, program):
    """`-s NET ! -o tun0 -j MASQUERADE`, whichever iptables wrote it."""
    need(program, program.replace("ip", "ip6", 1))
    client.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
    assert reachable(client, legacy=inside(client, lan.read_legacy)) == ()
    if client.run(program, "-t", "nat", "-S", check=False).returncode:
        pytest.skip(f"this kernel has no tables for {program}")

    rule = "-t nat -A POSTROUTING -s {} ! -o tun0 -j MASQUERADE"
    client.run(program, *rule.format("192.168.123.0/24").split())
    assert reachable(client, legacy=inside(client, lan.read_legacy)) == (LAN4,)
    client.run(program.replace("ip", "ip6", 1), *rule.format("fd00:123::/64").split())
    assert reachable(client, legacy=inside(client, lan.read_legacy)) == (LAN4, LAN6)


@pytest.mark.parametrize(
    ("rules", "seen"),
    [
        ("masquerade", True),
        ("ip saddr 192.168.123.0/24 masquerade", True),
        ("ip saddr 192.168.0.0/16 masquerade", True),
        ("ip saddr 192.168.123.0/25 masquerade", False),
        ("ip saddr 192.168.124.0/24 masquerade", False),
        ("ip saddr != 192.168.124.0/24 masquerade", True),
        ("ip saddr { 10.0.0.0/8, 192.168.123.0/24 } masquerade", True),
        ("ip saddr { 10.0.0.0/8, 192.168.120.0/23, 192.168.122.0/23 } masquerade", True),
        ("ip saddr { 10.0.0.0/8, 192.168.123.5 } masquerade", False),
        ("ip saddr != { 10.0.0.0/8 } masquerade", True),
        ("ip saddr @mine masquerade", True),
        ("ip6 saddr fd00:123::/64 masquerade", False),
        ('oifname "lan0" masquerade', True),
        ('oifname "lan*" counter masquerade', True),
        ('oifname { "eth0", "lan0" } masquerade', True),
        ('oifname { "eth*", "lan*" } masquerade', True),
        ('oifname "wan0" masquerade', False),
        ('oifname != "tun0" masquerade', True),
        ('oifname != { "tun0", "lo" } masquerade', True),
        ('iifname "tun0" oifname "lan0" snat ip to 192.168.100.1', True),
        ('iifname "wan0" masquerade', False),
        ("oifname vmap { lan0 : jump more }", False),
        ("meta nfproto ipv4 masquerade", True),
        ("meta nfproto ipv6 masquerade", False),
        ("ip daddr 192.168.100.0/24 masquerade", True),
        ("ip daddr 192.168.0.0/16 return; masquerade", False),
        ("ip daddr 10.0.0.0/8 return; masquerade", True),
        ("ip saddr 192.168.123.7 return; masquerade", True),
        ("ip protocol tcp masquerade", False),
        ("tcp dport 80 masquerade", False),
        ("ct state new masquerade", False),
        ("jump more; masquerade", True),
        ("jump more", True),
        ("ip saddr 10.0.0.0/8 jump more", False),
        ("goto more; drop", True),
        ("jump stops; masquerade", False),
        ("accept; masquerade", False),
        ("meta mark and 0x4000 != 0x4000 return; masquerade", False),
        ("meta mark and 0x4000 == 0 masquerade", True),
        ("counter; log; limit rate 1/second masquerade", False),
        ("dnat ip to 1.1.1.1", None),
    ],
)
def test_rules_of_nft(client, rules, seen):
    text = (
        "table inet t { set mine { type ipv4_addr; flags interval; elements = "
        "{ 192.168.122.0/23 }; }\n"
        "chain more { oifname lan0 masquerade; }\n chain stops { accept; }\n"
        "chain c { type nat hook postrouting priority srcnat;\n"
        + rules.replace("; ", "\n")
        + "\n}\n}\n"
    )
    done = client.run("nft", "-f", "-", stdin=text, check=False)
    if seen is None:
        assert done.returncode, "no such rule can be"
        return
    if '{ "eth*"' in rules and "Byteorder mismatch" in done.stderr:
        pytest.skip("needs an nft that takes patterns in a set of names (1.0.2 does not)")
    assert done.returncode == 0, done.stderr
    query = Query(NETWORKS[0], LAN4, "tun0", "lan0")
    assert inside(client, read).masquerades(query) is seen


def test_iptables_rules_of_others(client):
    """Docker's, kube-proxy's and a commented one."""
    need("iptables")
    query = Query(NETWORKS[0], LAN4, "tun0", "lan0")

    def add(rule: str) -> None:
        client.run("iptables", "-t", "nat", *rule.split())

    add("-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE")
    add("-N KUBE")
    add("-A POSTROUTING -m comment --comment kube -j KUBE")
    add("-A KUBE -m mark ! --mark 0x4000/0x4000 -j RETURN")
    add("-A KUBE -j MASQUERADE")
    add("-A POSTROUTING -p tcp --dport 80 -j MASQUERADE")
    add("-A POSTROUTING -m conntrack --ctstate NEW -j MASQUERADE")
    assert not inside(client, read).masquerades(query)
    add("-A POSTROUTING -o lan0 -m comment --comment mine -j SNAT --to 192.168.100.1")
    assert inside(client, read).masquerades(query)


def test_a_container_engine_does_not_count(client):
    client.sysctl(ipv4__ip_forward=1)
    rule = 'ip saddr 172.17.0.0/16 oifname != "docker0" counter masquerade'
    chain = f"chain POSTROUTING {{ type nat hook postrouting priority srcnat;\n{rule}\n}}"
    client.run("nft", "-f", "-", stdin=f"table ip nat {{ {chain}\n}}\n")
    assert reachable(client) == ()
