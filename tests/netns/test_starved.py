"""A gateway without descriptors goes on, leaves nothing, and mends all of it afterwards."""

import resource
import subprocess

import psutil
import pytest
from lab import SERVER_IPV4
from needs import need
from networks import GATEWAY, reaches
from programs import wait_for
from starving import feed, starve

SERVER, CLIENT = "192.168.123.1", "192.168.123.2"
FAR = "192.168.200.0/24"
FORWARDING = "/proc/sys/net/ipv4/ip_forward"
NOTHING_LEFT = "Too many open files"


@pytest.fixture
def net(network):
    need("nft")
    return network(1, lans=(1,))


def client_of(net, options: str):
    """A client with NAT, which reaches the server."""
    url = f"tun://:0/{SERVER_IPV4}:8421?net={CLIENT}/24&keepAlive=true&ttl=1s&name=tun0&nat=true"
    return net.gateway(net.lab.clients[0], "-L", f"{url}{options}").expect_ready()


def forwards(host) -> bool:
    return host.run("cat", FORWARDING).stdout.strip() == "1"


def leads(host) -> bool:
    return "dev tun0" in host.run("ip", "route", "show", FAR).stdout


def says(gateway, text: str) -> None:
    def said() -> bool:
        gateway.process.expect_running()
        return text in gateway.process.output()

    wait_for(said, 15.0, f"{text!r} in the log")


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "netns"])
def test_nat_and_a_deleted_device_wait_for_descriptors(net, elsewhere):
    """Every timer of it has run meanwhile; the namespace is entered without one more."""
    server = net.server()
    inner = net.lab.lan_hosts[1] if elsewhere else net.lab.clients[0]
    client = client_of(net, f"&route={FAR}" + (f"&netns={inner.netns}" if elsewhere else ""))
    reaches(inner, SERVER)
    pid = client.process.pid
    descriptors = psutil.Process(pid).num_fds()

    starve(pid)
    says(client, "ip_forward cannot be read: " + NOTHING_LEFT)
    reaches(inner, SERVER)
    inner.ip("link del tun0")
    says(client, "event=device-incomplete")
    inner.sysctl(ipv4__ip_forward=0)
    feed(pid)
    reaches(inner, SERVER)
    wait_for(lambda: forwards(inner), 10.0, "forwarding to be mended")
    wait_for(lambda: leads(inner), 10.0, "the route to be back")
    wait_for(lambda: client.status().get("health") == "healthy", 10.0, "health to return")
    assert psutil.Process(pid).num_fds() == descriptors
    output = client.process.output()
    assert output.count("event=device-recreated") == 1
    assert output.count("event=device-incomplete") == 1
    assert "Traceback" not in output
    assert "Exception ignored" not in output
    assert server.stop() == client.stop() == 0
    assert not forwards(inner)


def test_what_a_starved_stop_leaves_is_put_back_by_the_next_start(net):
    host = net.lab.clients[0]
    client = client_of(net, f"&route={FAR}")
    starve(client.process.pid)
    assert client.stop() == 0
    assert "event=not-put-back" in client.process.output()
    assert forwards(host)
    assert list(net.state_directory.glob("*.host"))

    client.restart()
    client.expect_ready()
    assert "event=put-back" in client.process.output()
    assert client.stop() == 0
    assert not forwards(host)
    assert not list(net.state_directory.glob("*.host"))


def test_a_start_without_descriptors_is_one_line(net):
    """However many there are: never a traceback, and none of pyroute2's either."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    url = f"tun://:8421?net={SERVER}/24&workers=1"
    for soft in range(11, 21):
        done = subprocess.run(
            net.lab.server.argv([GATEWAY, "-L", url]),
            check=False,
            capture_output=True,
            text=True,
            timeout=20,
            env=net.environment,
            preexec_fn=lambda soft=soft: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
        )
        lines = [line for line in done.stderr.splitlines() if " INFO " not in line]
        assert done.returncode == 3, (soft, done.stderr)
        assert len(lines) == 1, (soft, done.stderr)
        assert lines[0].startswith("gateway: error: "), soft
        assert NOTHING_LEFT in lines[0], soft
