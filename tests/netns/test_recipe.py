"""The recipe, as it stands: its commands with our name, and its YAML, tabs and all."""

import shlex
from pathlib import Path

import pytest
from networks import misses, reaches

FILES = Path(__file__).parents[1] / "unit/config/recipe"

SERVER = 'gateway -L "tun://:8421?net=192.168.123.1/24"'
CHAINED = (
    'gateway -L "tun://:0/:8421?net=192.168.123.2/24&keepAlive=true&route=192.168.101.0/24"'
    " -F relay+wss://1.2.3.4:443"
)
ROUTES = [["192.168.101.0/24"], ["192.168.100.0/24"], ["192.168.100.0/24", "192.168.101.0/24"]]
ADDRESSES = ["192.168.123.2", "192.168.123.3", "192.168.123.4"]
CLIENTS = [
    f'gateway -L "tun://:0/1.2.3.4:8421?net={address}/24&keepAlive=true&route={",".join(routes)}"'
    for address, routes in zip(ADDRESSES, ROUTES, strict=True)
]


def start(net, host, command: str, address: str):
    """Run a command line; nobody names the instance, so its net address does."""
    return net.gateway(host, *shlex.split(command)[1:], instance=address)


def start_file(net, host, path: Path, address: str):
    return net.gateway(host, "-C", str(path), instance=address)


def expect_all_linked(net) -> None:
    """Every client has its routes, and reaches the server and every other client."""
    for host, own, routes in zip(net.lab.clients, ADDRESSES, ROUTES, strict=True):
        for address in ["192.168.123.1", *ADDRESSES]:
            if address != own:
                reaches(host, address)
        table = host.run("ip", "-4", "route", "show", "dev", "tun0").stdout
        assert [line.split()[0] for line in table.splitlines() if "/24" in line] == sorted(
            [*routes, "192.168.123.0/24"]
        )
    for address in ADDRESSES:
        reaches(net.lab.server, address)


def test_commands(network):
    net = network(3)
    start(net, net.lab.server, SERVER, "192.168.123.1").expect_ready()
    for host, command, address in zip(net.lab.clients, CLIENTS, ADDRESSES, strict=True):
        start(net, host, command, address).expect_ready()
    expect_all_linked(net)
    assert net.gateways[0].ctl("status", "192.168.123.1").returncode == 0


def test_files(network):
    net = network(3)
    start_file(net, net.lab.server, FILES / "server.yaml", "192.168.123.1").expect_ready()
    for number, (host, address) in enumerate(zip(net.lab.clients, ADDRESSES, strict=True), 2):
        path = FILES / f"client-{number}.yaml"
        assert "\n\t\t" in path.read_text()
        client = start_file(net, host, path, address).expect_ready()
        assert "tab" in client.process.output()
    expect_all_linked(net)


def test_auth_commands(network):
    net = network(3)
    start_file(net, net.lab.server, FILES / "server-auth.yaml", "192.168.123.1").expect_ready()
    for number, host in enumerate(net.lab.clients):
        command = CLIENTS[number][:-1] + f'&passphrase=userpass{number + 1}"'
        start(net, host, command, ADDRESSES[number]).expect_ready()
    expect_all_linked(net)
    assert net.gateways[0].service()["auth"] is True


def test_auth_files(network):
    net = network(3)
    start_file(net, net.lab.server, FILES / "server-auth.yaml", "192.168.123.1").expect_ready()
    for number, (host, address) in enumerate(zip(net.lab.clients, ADDRESSES, strict=True), 1):
        path = client_with_passphrase(net.lab.directory, address, number)
        start_file(net, host, path, address).expect_ready()
    expect_all_linked(net)


def client_with_passphrase(directory: Path, address: str, number: int) -> Path:
    """The recipe shows the first client's file; the others' differ in three values."""
    text = (FILES / "client-2-auth.yaml").read_text()
    text = text.replace("192.168.123.2", address).replace("userpass1", f"userpass{number}")
    path = directory / f"client-{number}.yaml"
    path.write_text(text.replace("192.168.101.0/24", ",".join(ROUTES[number - 1])))
    return path


def test_a_client_that_was_not_given_its_passphrase_stays_out(network):
    net = network(3)
    server = start_file(net, net.lab.server, FILES / "server-auth.yaml", "192.168.123.1")
    server.expect_ready()
    for number, extra in enumerate(("&passphrase=userpass1", "&passphrase=userpass1", "")):
        command = CLIENTS[number][:-1] + f'{extra}"'
        start(net, net.lab.clients[number], command, ADDRESSES[number]).expect_ready()
    reaches(net.lab.clients[0], "192.168.123.1")
    for host in net.lab.clients[1:]:
        misses(host, "192.168.123.1")
        misses(host, "192.168.123.2")
    assert [peer["addresses"] for peer in server.service()["peers"]] == [["192.168.123.2"]]
    assert server.service()["refusals"]["wrong_passphrase"] >= 2
    assert "userpass" not in server.ctl("status", "192.168.123.1", "--json").stdout


@pytest.mark.parametrize("form", ["command", "file"])
def test_the_secure_form(network, form):
    """Its client as it stands; its server, which the page leaves to the reader."""
    net = network(2)
    server = [*shlex.split(SERVER)[1:], "-L", "relay+wss://:443"]
    net.gateway(net.lab.server, *server, instance="192.168.123.1").expect_ready()
    host = net.lab.clients[0]
    if form == "command":
        start(net, host, CHAINED, "192.168.123.2").expect_ready()
    else:
        start_file(net, host, FILES / "client-2-chain.yaml", "192.168.123.2").expect_ready()
    reaches(host, "192.168.123.1")
    reaches(net.lab.server, "192.168.123.2")
