"""What keeps a gateway from starting: one line that names the remedy, and nothing left."""

import pytest
from needs import need
from networks import GATEWAY, reaches
from programs import listening, wait_for
from traffic import PACKETS

SERVER = "192.168.123.1"
URL = f"tun://:8421?net={SERVER}/24"


@pytest.fixture
def lonely(network):
    """Make a network of one host, S."""
    return network(0)


def refused(network, *command: str, status: int = 3) -> str:
    """Run a command on S that ends with `status` and one line; that line."""
    host = network.lab.server
    before = host.devices(), host.run("ip", "address").stdout
    process = host.spawn(*command, environment=network.environment)
    assert process.wait(5.0) == status, process.output()
    assert (host.devices(), host.run("ip", "address").stdout) == before
    lines = process.output().splitlines()
    assert len(lines) == 1, process.output()
    assert lines[0].startswith("gateway: error: ")
    assert len(lines[0]) < 300
    return lines[0]


def test_a_server_without_auth_says_so_loudly_once(lonely):
    server = lonely.server()
    assert server.process.output().count("NO AUTHENTICATION") == 1
    assert server.stop() == 0
    url = f"tun://192.168.123.2:secret@:8421?net={SERVER}/24"
    closed = lonely.gateway(lonely.lab.server, "-L", url).expect_ready()
    assert "NO AUTHENTICATION" not in closed.process.output()
    assert closed.service()["auth"]


@pytest.mark.parametrize(
    ("option", "remedy"), [("nett=1", "net"), ("workers=lots", "workers"), ("mtu=9", "mtu")]
)
def test_a_bad_option(lonely, option, remedy):
    line = refused(lonely, GATEWAY, "-L", f"{URL}&{option}", status=2)
    assert remedy in line


def test_a_missing_device_file(lonely):
    need("unshare")
    script = 'mount -t tmpfs none /dev/net; exec "$@"'
    hide = ("unshare", "--mount", "sh", "-ec", script, "sh")
    line = refused(lonely, *hide, GATEWAY, "-L", URL)
    assert "/dev/net/tun" in line
    assert "modprobe tun" in line


def test_a_missing_privilege(lonely):
    need("setpriv")
    drop = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    line = refused(lonely, *drop, GATEWAY, "-L", URL)
    assert "CAP_NET_ADMIN" in line
    assert "root" in line


def test_a_device_name_that_another_gateway_uses(lonely):
    first = lonely.server("&name=hub0")
    second = "tun://:8422?net=192.168.124.1/24&name=hub0"
    line = refused(lonely, GATEWAY, "-L", second)
    assert "hub0" in line
    assert f"pid {first.process.pid}" in line or "gateway" in line
    assert first.service()["device"]["up"]


def test_a_device_name_that_is_no_tun(lonely):
    lonely.lab.server.ip("link add hub0 type veth peer name hub1")
    line = refused(lonely, GATEWAY, "-L", f"{URL}&name=hub0")
    assert "hub0" in line
    assert "another name" in line


def test_a_port_that_another_program_has(lonely):
    host = lonely.lab.server
    holder = host.spawn(*host.python(PACKETS, "hold", "0.0.0.0", 8421), name="holder")
    wait_for(lambda: listening(holder, 8421, "udp"), 3.0, "the port to be taken")
    line = refused(lonely, GATEWAY, "-L", URL)
    assert "8421" in line
    assert f"pid {holder.pid}" in line


def test_a_second_instance_never_joins_the_port(network):
    made = network(1)
    first = made.server("&workers=2")
    second = "tun://:8421?net=192.168.124.1/24"
    line = refused(made, GATEWAY, "-L", second)
    assert "8421" in line
    assert f"pid {first.process.pid}" in line
    assert len(first.service()["sockets"]) == 3
    made.client(1)
    reaches(made.lab.clients[0], SERVER)


@pytest.mark.parametrize("net", [f"{SERVER}/24", "192.168.0.1/16", "192.168.123.129/25"])
def test_a_net_that_another_device_has(lonely, net):
    lonely.lab.server.ip("address add 192.168.123.130/24 dev wan0")
    line = refused(lonely, GATEWAY, "-L", f"tun://:8421?net={net}")
    assert "wan0" in line
    assert "192.168.123.130/24" in line
    assert "choose another" in line


def test_one_instance_twice(lonely):
    """The second one is told; the first one's socket stays."""
    first = lonely.server()
    second = "tun://:8422?net=192.168.124.1/24"
    line = refused(lonely, GATEWAY, "--instance", first.instance, "-L", second)
    assert "--instance" in line
    assert first.ctl("status", first.instance).returncode == 0


def test_instances_of_one_host_are_told_apart(lonely):
    first = lonely.server()
    second = lonely.gateway(
        lonely.lab.server, "-L", "tun://:8422?net=192.168.124.1/24", instance="192.168.124.1"
    ).expect_ready()
    listed = first.ctl("list").stdout
    assert first.instance in listed
    assert second.instance in listed
    assert second.stop() == 0
    assert first.ctl("status").returncode == 0
