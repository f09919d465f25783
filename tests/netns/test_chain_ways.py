"""By which device, with which mark the sockets of a chain's first hop leave."""

import pytest
from lab import SERVER_IPV4
from netns.test_chains import CARRIERS, QUICK, chain_client, relay_server
from networks import PORT, Network, misses, reaches
from programs import wait_for

SERVER = "192.168.123.1"
MARK = 77


def only_by_mark(net: Network) -> None:
    """C1 has a way out for what is marked, and none for anything else."""
    net.lab.clients[0].ip(
        f"route add default via 198.18.1.1 table {MARK}",
        f"rule add fwmark {MARK} lookup {MARK} priority 70",
        "route del default",
    )


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_mark_leads_every_carrier(network, carrier):
    """Made by the supervisor, as a bridge may not; again for each connection."""
    net = network(1)
    only_by_mark(net)
    server = relay_server(net, f"relay+{carrier}://:443")
    client = chain_client(net, 1, f"relay+{carrier}://{SERVER_IPV4}:443?so_mark={MARK}")
    host = net.lab.clients[0]
    reaches(host, SERVER)
    assert server.stop() == 0
    server.restart()
    server.expect_ready()
    reaches(host, SERVER, deadline=30.0)
    assert client.stop() == 0


def test_another_mark_leads_nowhere(network):
    net = network(1)
    only_by_mark(net)
    relay_server(net, "relay+tls://:443")
    client = chain_client(net, 1, f"relay+tls://{SERVER_IPV4}:443?so_mark={MARK + 1}")
    leg = client.service()["chain"]["legs"][0]
    wait_for(lambda: client.service()["chain"]["legs"][0]["fails"] > 0, 5.0, "a failure")
    misses(net.lab.clients[0], SERVER)
    assert leg["state"] in ("idle", "dialling", "waiting")


def test_a_device_of_a_hop(network):
    """With a mark the supervisor binds it, without one the bridge; to another one nothing gets."""
    net = network(1, lans=(1,))
    relay_server(net, "relay+tls://:443", "relay+kcp://:444")
    host = net.lab.clients[0]
    for number, (carrier, port, mark) in enumerate(
        (("tls", 443, 0), ("tls", 443, 5), ("kcp", 444, 0), ("kcp", 444, 5))
    ):
        for device, works in (("lan0", False), ("wan0", True)):
            file = net.lab.directory / f"client{number}{device}.yaml"
            file.write_text(document(carrier, port, device, mark))
            client = net.gateway(host, "-C", str(file)).expect_ready()
            (reaches if works else misses)(host, SERVER)
            assert client.stop() == 0


def document(carrier: str, port: int, device: str, mark: int) -> str:
    """The hop says it for its nodes."""
    return f"""
services:
- name: site
  addr: ":0"
  handler: {{type: tun, chain: out, metadata: {{keepAlive: true, ttl: 1s}}}}
  listener: {{type: tun, metadata: {{net: 192.168.123.2/24}}}}
  forwarder: {{nodes: [{{addr: ":{PORT}"}}]}}
chains:
- name: out
  hops:
  - name: first
    interface: {device}
    sockopts: {{mark: {mark}}}
    nodes:
    - addr: "{SERVER_IPV4}:{port}"
      connector: {{type: relay}}
      dialer: {{type: {carrier}}}
"""


def test_in_the_namespace_of_the_sockets(network):
    """Started where there is no way at all."""
    net = network(1, lans=(1,))
    only_by_mark(net)
    relay_server(net, "relay+wss://:443")
    near, outer = net.lab.lan_hosts[1], net.lab.clients[0]
    options = f"{QUICK}&netns.out={outer.netns}"
    url = f"tun://:0/:{PORT}?net=192.168.123.2/24&keepAlive=true{options}"
    forward = f"relay+wss://{SERVER_IPV4}:443?so_mark={MARK}"
    near.ip("route del default")
    net.gateway(near, "-L", url, "-F", forward).expect_ready()
    reaches(near, SERVER)
