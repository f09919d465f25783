"""A TUN device that somebody takes down or deletes: counted, shown, mended, never spun on."""

import pytest
from networks import misses, reaches
from programs import wait_for
from traffic import ping

SERVER, ONE = "192.168.123.1", "192.168.123.2"
SERVER_6, ONE_6 = "fd00:123::1", "fd00:123::2"
LAN = "192.168.100.0/24"


@pytest.fixture
def pair(network):
    """Make a server and a client that reach each other in both families."""
    made = network(1)
    server = made.server(f"&workers=2&route={LAN}&gw={ONE}", net=f"{SERVER}/24,{SERVER_6}/64")
    client = made.client(1, "&ttl=1s", net=f"{ONE}/24,{ONE_6}/64")
    reaches(client.host, SERVER)
    reaches(client.host, SERVER_6)
    return server, client


def cpu_seconds(gateway) -> float:
    """What all processes of a gateway have used so far."""
    status = gateway.status()
    processes = [status["supervisor"], *status["services"][0]["processes"]]
    return sum(process["cpu_seconds"] for process in processes)


def uptime(gateway) -> float:
    return gateway.status()["uptime_seconds"]


def expect_idle(gateway) -> None:
    """See that two seconds cost next to nothing, the asking included."""
    began, used = uptime(gateway), cpu_seconds(gateway)
    wait_for(lambda: uptime(gateway) > began + 2.0, 5.0, "two seconds to pass", every=0.2)
    assert cpu_seconds(gateway) - used < 0.5


def test_a_device_that_is_down_drops_and_says_so(pair):
    server, client = pair
    server.host.ip("link set tun0 down")
    misses(client.host, SERVER, count=5)
    assert server.service()["drops"]["tun_down"] >= 5
    status = server.ctl("status", server.instance)
    assert status.returncode == 1
    assert "tun0 is down" in status.stdout
    assert "ip link set tun0 up" in status.stdout
    assert not server.service()["device"]["up"]
    expect_idle(server)
    assert {process["restarts"] for process in server.service()["processes"]} == {0}

    server.host.ip("link set tun0 up")
    reaches(client.host, SERVER)
    reaches(server.host, ONE)
    wait_for(lambda: server.status()["health"] == "healthy", 3.0, "health to return")


def test_what_the_kernel_forgot_of_a_device_that_was_down_is_set_again(pair):
    """It drops IPv6 addresses and routes with the device; up again means all of it."""
    server, client = pair
    server.host.ip("link set tun0 down")
    assert LAN not in server.host.run("ip", "route").stdout
    began = uptime(server)
    wait_for(lambda: uptime(server) > began + 1.0, 3.0, "the gateway to have looked")
    server.host.ip("link set tun0 up")
    wait_for(lambda: LAN in server.host.run("ip", "route").stdout, 3.0, "the route to be back")
    reaches(client.host, SERVER_6)


def test_a_deleted_device_is_made_again(pair):
    server, client = pair
    children = [process["pid"] for process in server.service()["processes"]]
    server.host.ip("link delete tun0")
    wait_for(lambda: "tun0" in server.host.devices(), 3.0, "the device to be back")
    reaches(client.host, SERVER)
    reaches(client.host, SERVER_6)
    reaches(server.host, ONE)
    assert LAN in server.host.run("ip", "route").stdout
    assert [process["pid"] for process in server.service()["processes"]] == children
    assert server.process.output().count("device-recreated") == 1
    expect_idle(server)
    assert server.status()["health"] == "healthy"


def test_a_clients_deleted_device_is_made_again(pair):
    server, client = pair
    client.host.ip("link delete tun0")
    wait_for(lambda: "tun0" in client.host.devices(), 3.0, "the device to be back")
    reaches(client.host, SERVER)
    reaches(server.host, ONE)


def test_who_deletes_it_again_and_again_ends_the_service(pair):
    server, _ = pair

    def ended() -> bool:
        server.host.run("ip", "link", "delete", "tun0", check=False)
        return server.process.status is not None

    wait_for(ended, 15.0, "the gateway to give up", every=0.1)
    assert server.process.wait() == 1
    last = server.process.output().splitlines()[-1]
    assert "tun0" in last
    assert "was deleted" in last
    assert server.host.pids() == []


def test_a_device_that_cannot_be_made_again_ends_the_service(pair):
    """Somebody else takes the name at once."""
    server, _ = pair
    thief = "link add tun0 type veth peer name tun1"
    wait_for(lambda: replaced(server.host, thief), 5.0, "the thief to be faster")
    server.process.wait(5.0)
    assert server.process.status == 1
    last = server.process.output().splitlines()[-1]
    assert "tun0" in last
    assert "cannot be made again" in last
    assert server.host.pids() == []


def replaced(host, command: str) -> bool:
    """Delete tun0 and put another one there, if the gateway is not faster."""
    try:
        host.ip("link delete tun0", command)
    except RuntimeError:
        return False
    return True


def test_a_full_tunnel_packet_and_one_byte_more(pair):
    """The device's MTU is the limit, and the kernel tells whoever exceeds it."""
    _, client = pair
    assert ping(client.host, SERVER, size=1420 - 28, fragment=False).received == 1
    assert ping(client.host, SERVER, size=1420 - 27, fragment=False).received == 0
