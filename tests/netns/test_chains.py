"""The recipe's secure form: the tunnel inside a carrier, one port shown."""

import pytest
from gost import linked
from networks import PORT, Network, misses, reaches
from programs import wait_for
from streams import exchange, transfer
from traffic import ping

SERVER, ONE, TWO = "192.168.123.1", "192.168.123.2", "192.168.123.3"
CARRIERS = ["tcp", "tls", "ws", "wss", "mws", "mwss", "mtls", "grpc", "quic", "kcp"]
QUICK = "&ttl=1s"


def relay_server(net: Network, *relays: str, options: str = "", extra: tuple[str, ...] = ()):
    """The TUN server on S behind relay listeners; its UDP port is for loopback alone."""
    listens = [word for relay in relays for word in ("-L", relay)]
    url = f"tun://127.0.0.1:{PORT}?net=192.168.123.1/24{options}"
    return net.gateway(net.lab.server, "-L", url, *listens, *extra).expect_ready()


def chain_client(net: Network, number: int, *hops: str, options: str = QUICK):
    """Cn, its target the TUN server behind these hops."""
    url = f"tun://:0/:{PORT}?net=192.168.123.{number + 1}/24&keepAlive=true{options}"
    forwards = [word for hop in hops for word in ("-F", hop)]
    return net.gateway(net.lab.clients[number - 1], "-L", url, *forwards).expect_ready()


@pytest.mark.parametrize("carrier", CARRIERS)
def test_ours_with_ours(network, carrier):
    net = network(2)
    relay_server(net, f"relay+{carrier}://:443")
    for number in (1, 2):
        chain_client(net, number, f"relay+{carrier}://1.2.3.4:443")
    linked(net, SERVER, ONE, TWO)


def test_two_carriers_and_what_the_status_says(network):
    """Client to client across two carriers; peers are shown by carrier and true address."""
    net = network(2)
    server = relay_server(net, "relay+wss://:443", "relay+tcp://:444")
    one = chain_client(net, 1, "relay+wss://1.2.3.4:443")
    chain_client(net, 2, "relay+tcp://1.2.3.4:444")
    linked(net, SERVER, ONE, TWO)
    for address, carrier, outer in ((ONE, "wss", "198.18.1.2"), (TWO, "tcp", "198.18.2.2")):
        wait_for(lambda a=address: server.peer(a).get("carrier"), 5.0, "the carrier to be shown")
        peer = server.peer(address)
        assert peer["carrier"] == carrier
        assert peer["remote"].rpartition(":")[0] == outer
        assert peer["endpoint"].startswith("127.0.0.1:")
        line = f"event=peer-up service=service-0 peer={address} endpoint={peer['remote']} "
        assert f"{line}carrier={carrier}\n" in server.process.output()
    first, second = server.status()["relays"]
    wait_for(lambda: server.status()["relays"][0]["streams"] == 1, 5.0, "the stream's count")
    assert (first["carrier"], second["carrier"]) == ("wss", "tcp")
    assert first["pin"].startswith("sha256:")
    assert second["pin"] == ""
    assert "NOTHING IS VERIFIED" in one.process.output()
    assert "uplink-lost" not in one.process.output(), "nothing was lost: it had never been up"
    assert one.service()["uplink"]["reconnects"] == 0
    chain = one.service()["chain"]
    wait_for(lambda: one.service()["chain"]["legs"][0]["rtt_ms"], 5.0, "the round trip")
    (leg,) = one.service()["chain"]["legs"]
    assert chain["hops"] == [["wss 1.2.3.4:443"]]
    assert (leg["state"], leg["remote"], leg["verified"]) == ("up", "1.2.3.4:443", False)


def test_the_screens_of_both_ends(network):
    """True addresses, hops and legs; a chain that is down is a problem, and exit status 1."""
    net = network(1)
    server = relay_server(net, "relay+tls://alice:secret@:443")
    client = chain_client(net, 1, "relay+tls://alice:secret@1.2.3.4:443")
    reaches(net.lab.clients[0], SERVER)
    wait_for(lambda: server.peer(ONE).get("carrier"), 5.0, "the carrier to be shown")
    remote = server.peer(ONE)["remote"]
    shown = server.ctl("status", server.instance)
    assert shown.returncode == 0
    assert f"tls {remote}" in shown.stdout
    assert "user alice" in shown.stdout
    assert "tls [::]:443" in shown.stdout
    shown = client.ctl("status", client.instance)
    assert shown.returncode == 0
    assert f":{PORT} through chain" in shown.stdout
    assert "NOT VERIFIED" in shown.stdout
    assert server.stop() == 0
    wait_for(lambda: client.status()["health"] == "degraded", 10.0, "the chain to be down")
    shown = client.ctl("status", client.instance)
    assert shown.returncode == 1
    assert f"the chain to :{PORT} is down: " in shown.stdout
    assert "DOWN" in shown.stdout
    assert "secret" not in shown.stdout


def test_a_stream_that_ends_takes_its_peer_along(network):
    net = network(1)
    server = relay_server(net, "relay+tls://:443")
    client = chain_client(net, 1, "relay+tls://1.2.3.4:443")
    reaches(net.lab.server, ONE)
    assert client.stop() == 0
    wait_for(lambda: server.service()["peers"] == [], 5.0, "the peer to be withdrawn")


def test_the_servers_restart(network):
    net = network(1)
    server = relay_server(net, "relay+wss://:443")
    chain_client(net, 1, "relay+wss://1.2.3.4:443")
    reaches(net.lab.clients[0], SERVER)
    assert server.stop() == 0
    server.restart()
    server.expect_ready()
    reaches(net.lab.clients[0], SERVER)


def test_a_bridge_that_dies_comes_back_alone(network):
    net = network(1)
    server = relay_server(net, "relay+tls://:443?bridges=1")
    client = chain_client(net, 1, "relay+tls://1.2.3.4:443")
    reaches(net.lab.clients[0], SERVER)
    for gateway, processes in (
        (server, lambda: server.status()["relays"][0]["processes"]),
        (client, lambda: client.service()["chain"]["processes"]),
    ):
        (bridge,) = processes()
        net.lab.server.run("kill", "-KILL", str(bridge["pid"]))
        wait_for(lambda p=processes: p()[0]["restarts"] == 1, 5.0, "the bridge to be replaced")
        reaches(net.lab.clients[0], SERVER)
        reaches(net.lab.server, ONE)
        assert gateway.process.status is None


def test_a_carrier_that_is_cut_and_back(network):
    """The link eats everything for longer than the kernel tries; then it is there again."""
    net = network(1)
    relay_server(net, "relay+wss://:443?keepalive.idle=1s&ttl=1s")
    options = "?keepalive.idle=1s&keepalive.count=2&ttl=1s"
    client = chain_client(net, 1, f"relay+wss://1.2.3.4:443{options}")
    host = net.lab.clients[0]
    reaches(host, SERVER)
    host.run("nft", "add", "table", "inet", "cut")
    host.run("nft", "add chain inet cut out { type filter hook output priority 0 ; }")
    host.run("nft", "add rule inet cut out tcp dport 443 drop")
    wait_for(
        lambda: client.service()["chain"]["legs"][0]["state"] not in ("open", "up"),
        15.0,
        "the chain to notice",
    )
    misses(host, SERVER)
    assert client.status()["health"] == "degraded"
    host.run("nft", "delete", "table", "inet", "cut")
    reaches(host, SERVER, deadline=40.0)


def test_a_flow_that_died_within_the_chain(network):
    """No hop's carrier misses it yet; the heartbeats do."""
    net = network(1)
    relay_server(net, "relay+tls://:443")
    client = chain_client(net, 1, "relay+tls://1.2.3.4:443")
    host = net.lab.clients[0]
    reaches(host, SERVER)
    (flow,) = host.run("ss", "-tnH", "dst", "1.2.3.4:443").stdout.splitlines()
    port = flow.split()[3].rpartition(":")[2]
    host.run("nft", "add", "table", "inet", "cut")
    host.run("nft", "add chain inet cut out { type filter hook output priority 0 ; }")
    host.run("nft", f"add rule inet cut out tcp sport {port} drop")
    wait_for(
        lambda: "no answer through the chain" in client.process.output(),
        20.0,
        "the stream to be given up",
    )
    reaches(host, SERVER)


def test_two_hops(network):
    """The first hop leads to the second alone, which is listed."""
    net = network(2)
    server = relay_server(net, "relay+tls://:443")
    hop = net.lab.clients[1]
    outer = "198.18.2.2"
    net.gateway(hop, "-L", "relay+ws://:8443?allow=1.2.3.4:443", instance="hop")
    client = chain_client(net, 1, f"relay+ws://{outer}:8443", "relay+tls://1.2.3.4:443")
    reaches(net.lab.clients[0], SERVER)
    exchange(net.lab.clients[0], net.lab.server, SERVER, flows=2)
    assert server.peer(ONE)["remote"].startswith(outer)
    (leg,) = client.service()["chain"]["legs"]
    assert leg["hops"] == [f"ws {outer}:8443", "tls 1.2.3.4:443"]


def test_a_node_that_is_gone_is_passed_over(network):
    net = network(1)
    relay_server(net, "relay+tls://:443", "relay+tls://:444")
    client = chain_client(net, 1, "relay+tls://1.2.3.4:9,1.2.3.4:444?strategy=fifo")
    reaches(net.lab.clients[0], SERVER)
    assert client.service()["chain"]["legs"][0]["hops"] == ["tls 1.2.3.4:444"]


def test_a_pin_and_a_wrong_one(network):
    net = network(2)
    server = relay_server(net, "relay+wss://:443")
    pin = server.status()["relays"][0]["pin"]
    right = chain_client(net, 1, f"relay+wss://1.2.3.4:443?pin={pin}")
    wrong = chain_client(net, 2, f"relay+wss://1.2.3.4:443?pin=sha256:{'00' * 32}")
    reaches(net.lab.clients[0], SERVER)
    assert right.service()["chain"]["legs"][0]["verified"]
    assert "NOTHING IS VERIFIED" not in right.process.output()
    wait_for(lambda: wrong.service()["chain"]["legs"][0]["error"], 5.0, "the refusal")
    misses(net.lab.clients[1], SERVER)


def test_the_relay_is_no_open_proxy(network):
    """Its own other ports, other hosts: nothing but status 3, and that is counted."""
    net = network(1)
    server = relay_server(net, "relay+tcp://:443")
    for target in (f":{PORT + 1}", "127.0.0.1:22", "198.18.1.2:53"):
        url = f"tun://:0/{target}?net=192.168.123.2/24&keepAlive=true{QUICK}"
        client = net.gateway(net.lab.clients[0], "-L", url, "-F", "relay+tcp://1.2.3.4:443")
        client.expect_ready()
        wait_for(lambda c=client: "forbidden (3)" in c.process.output(), 10.0, "the refusal")
        assert client.stop() == 0
    counters = lambda: server.status()["relays"][0]["counters"]  # noqa: E731
    wait_for(lambda: counters().get("forbidden", 0) >= 3, 5.0, "the refusals to be counted")


def test_a_default_route_through_the_chain(network):
    """The way to the relay stays outside the tunnel."""
    net = network(1)
    relay_server(net, "relay+wss://:443")
    chain_client(net, 1, "relay+wss://1.2.3.4:443", options=f"{QUICK}&route=0.0.0.0/0")
    host = net.lab.clients[0]
    reaches(host, SERVER)
    wait_for(
        lambda: "tun0" in host.run("ip", "route", "get", "8.8.8.8").stdout, 5.0, "the default route"
    )
    assert "tun0" not in host.run("ip", "route", "get", "1.2.3.4").stdout
    exchange(host, net.lab.server, SERVER, flows=2)


def test_a_bulk_flow_does_not_hold_up_another_client(network):
    net = network(2)
    relay_server(net, "relay+wss://:443?bridges=1")
    for number in (1, 2):
        chain_client(net, number, "relay+wss://1.2.3.4:443")
    linked(net, SERVER, ONE, TWO)
    bulk = transfer(net.lab.clients[0], net.lab.server, SERVER)
    try:
        wait_for(lambda: bulk.received() > 1 << 24, 20.0, "the bulk flow")
        assert ping(net.lab.clients[1], SERVER, count=20, interval=0.2).received == 20
    finally:
        bulk.near.stop()
        bulk.far.stop()
