"""Clients with several servers: who takes over, how soon, and the way back."""

import signal
import sys
import time
from collections.abc import Iterator

import pytest
from networks import PORT, reaches
from programs import listening, wait_for

SERVER, ONE = "192.168.123.1", "192.168.123.2"
FIRST, SECOND, THIRD = "1.2.3.4", "198.18.2.2", "198.18.3.2"
LOST_AFTER = 3.0
"""Periods of a second without an ack."""
REFUSED_AFTER = 1.0
"""Where a host refuses for a server the next heartbeat tells."""
TAKEN_OVER = 1.0
"""Promised once a loss is noticed: a probe to where it was up, one to the next. The unit tests
hold it by the uplink's clock."""
ROOM = 1.0
"""What a busy machine may add: two readings, and its own delay."""
ASKED = 5.0
"""How long the test may be in learning of it; what it learns are times of the client's own."""


@pytest.fixture
def several(network) -> Iterator:
    """C1 is the client; S, C2 and C3 may be servers of one tunnel network."""
    net = network(3)
    hosts = {FIRST: net.lab.server, SECOND: net.lab.clients[1], THIRD: net.lab.clients[2]}

    def server(address: str):
        url = f"tun://:{PORT}?net={SERVER}/24"
        return net.gateway(hosts[address], "-L", url).expect_ready()

    def client(options: str, *addresses: str):
        targets = ",".join(f"{address}:{PORT}" for address in addresses)
        url = f"tun://:0/{targets}?net={ONE}/24&keepAlive=true&ttl=1s{options}"
        return net.gateway(net.lab.clients[0], "-L", url).expect_ready()

    net.start_server, net.start_client = server, client
    return net


def uplink(client) -> dict:
    return client.service().get("uplink") or {}


def expect_used(client, address: str, deadline: float = 5.0) -> None:
    wait_for(
        lambda: (
            (uplink(client).get("state"), uplink(client).get("endpoint"))
            == ("up", f"{address}:{PORT}")
        ),
        deadline,
        f"the client to use {address}",
    )


def expect_taken_over(client, address: str, since: float, within: float) -> None:
    """By the client's clock, in `within` seconds after `since`, of which it was lost for little."""
    lost = None

    def taken() -> float:
        nonlocal lost
        shown = uplink(client)
        began = time.monotonic() - shown.get("state_seconds", 0.0)
        if shown.get("state") == "lost":
            lost = began
        used = (shown.get("state"), shown.get("endpoint")) == ("up", f"{address}:{PORT}")
        return began if used else 0.0

    up = wait_for(taken, within + ASKED, f"the client to use {address}")
    assert up - since < within + ROOM
    assert lost is None or up - lost < TAKEN_OVER + ROOM


def states(client) -> list[str]:
    return [target["state"] for target in uplink(client)["targets"]]


def blackhole(net, address: str) -> None:
    net.lab.hub.ip(f"route add blackhole {address}/32")


def revive(net, address: str) -> None:
    net.lab.hub.ip(f"route delete blackhole {address}/32")


def test_a_server_that_is_killed_is_replaced(several):
    """The kernel refuses for it: two probes, no more."""
    first = several.start_server(FIRST)
    several.start_server(SECOND)
    client = several.start_client("", FIRST, SECOND)
    expect_used(client, FIRST)
    reaches(several.lab.clients[0], SERVER)

    killed = time.monotonic()
    first.process.send(signal.SIGKILL)

    expect_taken_over(client, SECOND, killed, REFUSED_AFTER + TAKEN_OVER)
    reaches(several.lab.clients[0], SERVER, deadline=2.0)
    assert states(client) == ["failed", "used"]
    shown = client.ctl("status", client.instance)
    assert shown.returncode == 0
    assert "targets (round)" in shown.stdout


def test_fifo_returns_when_the_first_is_back_for_good(several):
    """Its server never ends; the way to it does, in silence."""
    first = several.start_server(FIRST)
    second = several.start_server(SECOND)
    client = several.start_client("&strategy=fifo", FIRST, SECOND)
    expect_used(client, FIRST)
    former = first.peer(ONE)["endpoint"]
    begun = time.monotonic()
    blackhole(several, FIRST)

    expect_taken_over(client, SECOND, begun, LOST_AFTER + 2 * TAKEN_OVER)

    assert time.monotonic() - begun > LOST_AFTER - 1.0
    reaches(several.lab.clients[0], SERVER, deadline=2.0)
    assert states(client) == ["failed", "used"]
    revive(several, FIRST)
    begun = time.monotonic()

    expect_used(client, FIRST, 8.0)

    assert time.monotonic() - begun > 1.5, "one answer is not enough"
    reaches(several.lab.clients[0], SERVER, deadline=2.0)
    assert states(client) == ["used", "healthy"]
    assert uplink(client)["reconnects"] == 2
    assert first.peer(ONE)["endpoint"] != former
    assert not first.peer(ONE)["conflict"]
    assert second.peer(ONE)["heartbeats"] >= 3


def test_a_backup_is_left_as_soon_as_another_is_healthy(several):
    config = several.lab.directory / "client.yaml"
    config.write_text(
        f"""
services:
- name: tun
  addr: :0
  handler: {{type: tun, metadata: {{keepAlive: true, ttl: 1s}}}}
  listener: {{type: tun, metadata: {{net: {ONE}/24}}}}
  forwarder:
    nodes:
    - {{name: backup, addr: "{FIRST}:{PORT}", metadata: {{backup: true}}}}
    - {{name: main, addr: "{SECOND}:{PORT}"}}
"""
    )
    config.chmod(0o644)
    several.start_server(FIRST)
    client = several.gateway(several.lab.clients[0], "-C", str(config)).expect_ready()
    expect_used(client, FIRST, 8.0)
    assert [target["backup"] for target in uplink(client)["targets"]] == [True, False]
    several.start_server(SECOND)
    expect_used(client, SECOND, 8.0)


SLOW = """
import socket, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 8421))
while True:
    datagram, name = sock.recvfrom(2000)
    if datagram[:4] == b"GOST" and len(datagram) % 16 == 4:
        time.sleep(0.04)
        sock.sendto(b"GOST" + bytes(16), name)
"""
"""A server that is in no hurry. It acks heartbeats, and no advertisements as these have no ack."""


def test_the_quickest_is_found(several):
    slow = several.lab.server.spawn(sys.executable, "-I", "-c", SLOW)
    wait_for(lambda: listening(slow, PORT, "udp"), 5.0, "the slow server to listen")
    several.start_server(SECOND)
    client = several.start_client("&strategy=lowestlatency", FIRST, SECOND)
    expect_used(client, FIRST)
    expect_used(client, SECOND, 10.0)
    assert states(client) == ["healthy", "used"]
    first, second = (target["rtt_ms"] for target in uplink(client)["targets"])
    assert first > 40 > second
    slow.stop()


def test_parallel_begins_with_whoever_answers(several):
    """The first of the list is silent, and nobody waits for it."""
    blackhole(several, FIRST)
    several.start_server(SECOND)
    client = several.start_client("&strategy=parallel", FIRST, SECOND, THIRD)
    expect_used(client, SECOND, 1.0)
    assert uplink(client)["reconnects"] == 0


def test_a_default_route_swallows_no_question(several):
    """Servers that are not in use are asked outside the tunnel too."""
    first = several.start_server(FIRST)
    several.start_server(SECOND)
    client = several.start_client("&strategy=fifo&route=0.0.0.0/0", FIRST, SECOND)
    expect_used(client, FIRST)
    first.stop()
    stopped = time.monotonic()
    expect_taken_over(client, SECOND, stopped, REFUSED_AFTER + TAKEN_OVER)
    first.restart()
    first.expect_ready()
    expect_used(client, FIRST, 8.0)
    routes = several.lab.clients[0].run("ip", "route", "show").stdout
    assert f"{FIRST} via" in routes
    assert f"{SECOND} via" in routes
