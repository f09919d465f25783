"""Super-packets: what `offload=` asks for, what is in effect, and what the status says of it."""

import pytest
from needs import need
from networks import reaches
from programs import wait_for
from streams import exchange

SERVER, ONE = "192.168.123.1", "192.168.123.2"

NOTHING: list[str] = []
TCP = ["csum", "tso4", "tso6"]
TCP_AND_UDP = [*TCP, "uso4", "uso6"]
"""Of a TUN since Linux 6.2."""


@pytest.mark.parametrize("mode", ["on", "auto", "off"])
def test_status_shows_what_is_in_effect(network, mode):
    net = network(1)
    gateways = [net.server(f"&offload={mode}"), net.client(1, f"&offload={mode}")]
    for gateway in gateways:
        offload = gateway.service()["offload"]
        assert offload["mode"] == mode
        assert offload["tun"][:3] == ([] if mode == "off" else ["csum", "tso4", "tso6"])
        assert offload["udp"] == ([] if mode == "off" else ["gso", "gro"])
        assert bool(offload["note"]) == (mode == "off")
        assert offload["fallbacks"] == 0


@pytest.mark.parametrize(("mode", "kernel"), [("on", "on"), ("off", "off")])
def test_device_has_the_features(network, mode, kernel):
    need("ethtool")
    net = network(1)
    net.server(f"&offload={mode}")
    text = net.lab.server.run("ethtool", "-k", "tun0").stdout
    features = dict(line.strip().split(": ", 1) for line in text.splitlines() if ": " in line)
    for name in ("tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-checksum-ip-generic"):
        assert features[name].split()[0] == kernel
    assert features["tx-tcp-ecn-segmentation"].split()[0] == "off"


def test_without_an_option_offload_is_automatic(network):
    net = network(1)
    assert net.server().service()["offload"]["mode"] == "auto"


@pytest.mark.parametrize("mode", ["on", "off"])
def test_packets_travel_in_bursts_only_when_asked(network, mode):
    """A read of the TUN brings one packet or many, and so does a write."""
    net = network(1)
    server = net.server(f"&offload={mode}&workers=1")
    net.client(1, f"&offload={mode}")
    client = net.lab.clients[0]
    reaches(client, SERVER)
    exchange(client, net.lab.server, SERVER, flows=1, size=16 << 20)

    def settled() -> dict[str, int]:
        counters = server.service()["counters"]
        same = counters["sent_packets"] == counters["tun_read_packets"]
        return counters if same else {}

    counters = wait_for(settled, 5.0, "the ring to be sent")
    read = counters["tun_read_packets"] / counters["tun_reads"]
    written = counters["delivered_packets"] / counters["tun_writes"]
    if mode == "off":
        assert (read, written) == (1.0, 1.0)
    else:
        assert read > 4
        assert written > 4


def test_one_end_without_offload_reads_what_the_other_sends(network):
    """Neither end can tell from what arrives how the other works."""
    net = network(1)
    server = net.server("&offload=on")
    client = net.client(1, "&offload=off")
    host = net.lab.clients[0]
    reaches(host, SERVER)
    exchange(host, net.lab.server, SERVER, flows=4)
    exchange(net.lab.server, host, ONE, flows=4)
    assert server.service()["offload"]["udp"] == ["gso", "gro"]
    assert client.service()["offload"]["udp"] == []
    assert client.service()["drops"]["bad_offload"] == 0
