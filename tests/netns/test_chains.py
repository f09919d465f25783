"""The recipe's secure form: the tunnel inside a carrier, one port shown."""


import pytest
from gost import linked
from networks import PORT, Network

SERVER, ONE, TWO = "192.168.123.1", "192.168.123.2", "192.168.123.3"
CARRIERS = ["tcp", "tls", "ws", "wss", "mws", "mwss", "mtls", "grpc", "kcp"]
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
