"""The recipe: three sites and a hub. Each of its commands and files means what it says.

The files are indented with tabs where the recipe's are.
"""

from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from gateway.config.model import Route, Target
from gateway.protocol.forwarding import Role

FILES = Path(__file__).with_name("recipe")
CLIENT = "tun://:0/1.2.3.4:8421?net=192.168.123.{}/24&keepAlive=true&route={}"
LAN_1, LAN_2 = "192.168.100.0/24", "192.168.101.0/24"
TAB = "a tab in the indentation was read as 4 columns: use spaces"


def read(name):
    return (FILES / name).read_text()


@pytest.mark.parametrize(
    "given",
    [
        {"listens": ["tun://:8421?net=192.168.123.1/24"]},
        {"yaml": read("server.yaml")},
    ],
)
def test_server(load, given):
    config = load(*given.get("listens", ()), yaml=given.get("yaml", ""))
    (service,) = config.services
    assert (service.role, service.host, service.port) == (Role.SERVER, "", 8421)
    assert service.nets == (ip_interface("192.168.123.1/24"),)
    assert (service.targets, service.routes, service.credentials) == ((), (), None)
    assert (service.mtu, service.device, service.workers) == (1420, None, None)
    assert (service.offload, service.source_check) == ("auto", True)
    assert (config.instance, config.user, config.log_level) == ("192.168.123.1", None, "info")
    assert config.warnings == ()


@pytest.mark.parametrize(("host", "route"), [("2", LAN_2), ("3", LAN_1), ("4", f"{LAN_1},{LAN_2}")])
def test_clients(load, host, route):
    by_url = load(CLIENT.format(host, route))
    by_file = load(yaml=read(f"client-{host}.yaml"))
    for config, name, target in ((by_url, "service-0", "target-0"), (by_file, "site", "hub")):
        (service,) = config.services
        assert service.name == name
        assert (service.role, service.targets) == (
            Role.CLIENT,
            (Target("1.2.3.4", 8421, target),),
        )
        assert service.nets == (ip_interface(f"192.168.123.{host}/24"),)
        assert service.routes == tuple(Route(ip_network(r)) for r in route.split(","))
        assert (service.keepalive, service.ttl, service.passphrase) == (True, 10.0, b"")
        assert config.instance == f"192.168.123.{host}"
    assert by_url.warnings == ()
    assert by_file.warnings == (f"g.yaml:13:1: {TAB}",)


def test_server_with_auth(load):
    config = load(yaml=read("server-auth.yaml"))
    credentials = config.services[0].credentials
    assert credentials is not None
    assert [(c.username, bytes(c.password)) for c in credentials] == [
        ("192.168.123.2", b"userpass1"),
        ("192.168.123.3", b"userpass2"),
        ("192.168.123.4", b"userpass3"),
    ]
    assert config.warnings == ()


def test_client_with_passphrase(load):
    by_url = load(CLIENT.format("2", LAN_2) + "&passphrase=userpass1")
    by_file = load(yaml=read("client-2-auth.yaml"))
    assert by_url.services[0].passphrase == by_file.services[0].passphrase == b"userpass1"
    assert by_file.warnings == (f"g.yaml:19:1: {TAB}",)


def test_the_chain(load):
    """By command line and by file, whose tab stands for four columns."""
    by_file = load(yaml=read("client-2-chain.yaml"))
    assert len(by_file.warnings) == 1
    (service,) = by_file.services
    assert [(target.host, target.port) for target in service.targets] == [("", 8421)]
    (hop,) = service.chain.hops
    (node,) = hop.nodes
    assert (node.carrier, node.host, node.port) == ("wss", "1.2.3.4", 443)
    assert not node.tls.verifies


def test_a_tab_that_stands_for_four_spaces_that_were_cut_off(problems):
    """The page's margin was removed from the lines that have it as spaces, and only there."""
    text = read("client-2.yaml")
    cut = "".join(line.removeprefix("    ") for line in text.splitlines(keepends=True))
    assert problems(yaml=cut) == [
        (
            "g.yaml:13:1: a tab in the indentation counts as 4 columns, and column 11 is no "
            "indentation that is open here: use spaces"
        )
    ]
