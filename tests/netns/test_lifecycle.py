"""Begin and end: signals, deaths, restarts, leases; what stays and what goes."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from netns.forge import INNER_PORT, Peer, Port, inner
from networks import misses, reaches
from programs import wait_for
from traffic import ping

from gateway.ctl.ask import ask_status

SERVER, ONE, TWO = "192.168.123.1", "192.168.123.2", "192.168.123.3"


def state_of(gateway, name: str) -> dict:
    """What the report says of a child."""
    processes = gateway.service().get("processes", [])
    return next((item for item in processes if item["name"] == name), {})


def expect_nothing_left(network, host) -> None:
    assert host.pids() == []
    assert "tun0" not in host.devices()
    assert list(network.run_directory.iterdir()) == []
    assert "192.168.100.0/24" not in host.run("ip", "route").stdout


@pytest.mark.smoke
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything_in_order(network, number):
    made = network(1)
    server = made.server("&workers=2&route=192.168.100.0/24&gw=192.168.123.2")
    client = made.client(1, "&route=192.168.100.0/24")
    reaches(made.lab.clients[0], SERVER)
    for gateway in (client, server):
        assert "192.168.100.0/24" in gateway.host.run("ip", "route").stdout
        gateway.process.send(number)
        assert gateway.process.wait(3.0) == 0
        assert "Traceback" not in gateway.process.output()
    for gateway in (client, server):
        expect_nothing_left(made, gateway.host)


@pytest.mark.parametrize("stopped", ["", "udp-worker 0", "tun-reader"])
def test_the_supervisors_sudden_death_takes_all_with_it(network, stopped):
    """Even a child that is stopped; and the next start minds nothing that was left."""
    made = network(1)
    server = made.server("&workers=2")
    if stopped:
        os.kill(server.child(stopped), signal.SIGSTOP)
    host = made.lab.server
    children = [process["pid"] for process in server.service()["processes"]]
    assert set(children) < set(host.pids())
    server.process.send(signal.SIGKILL)
    wait_for(lambda: host.pids() == [], 2.0, "the children to be gone")
    wait_for(lambda: "tun0" not in host.devices(), 2.0, "the device to be gone")
    assert len(list(made.run_directory.glob("*.sock"))) == 1
    assert server.ctl("status", server.instance).returncode == 3

    server.restart()
    server.expect_ready()
    made.client(1)
    reaches(made.lab.clients[0], SERVER)


@pytest.mark.parametrize("name", ["udp-worker 0", "tun-reader"])
def test_a_child_that_dies_is_replaced_under_traffic(network, name):
    made = network(1)
    server = made.server("&workers=1")
    made.client(1)
    reaches(made.lab.clients[0], SERVER)
    before = server.service()
    pid = server.child(name)
    pings = made.lab.clients[0].spawn(*f"ping -n -q -c 200 -i 0.01 -W 1 {SERVER}".split())
    wait_for(lambda: counted(server) > counted_in(before) + 40, 3.0, "the pings to be on their way")
    os.kill(pid, signal.SIGKILL)
    child = wait_for(
        lambda: (
            (now := state_of(server, name)).get("pid", 0) not in (0, pid)
            and now["state"] == "running"
            and now
        ),
        3.0,
        f"another {name}",
    )
    assert child["restarts"] == 1
    assert "SIGKILL" in child["last_exit"]
    assert pings.wait(10.0) == 0
    received = int(pings.output().partition("transmitted, ")[2].split()[0])
    assert received >= 170, pings.output()

    service = server.service()
    assert service["rings"][0]["pushed"] > before["rings"][0]["pushed"]
    assert counted_in(service) > counted_in(before) + 150  # counters go on where they were
    assert service["sockets"][0]["dropped"] == 0
    assert server.status()["health"] == "healthy"
    assert "child-died" in server.process.output()


def counted(gateway) -> int:
    return counted_in(gateway.service())


def counted_in(service) -> int:
    return service["counters"]["sent_packets"]


def test_what_waits_in_the_ring_outlives_the_worker(network):
    """The worker stops, packets queue in its ring, it is killed: its successor sends them."""
    made = network(1)
    server = made.server("&workers=1")
    with Peer(made.lab.clients[0]) as peer, Port(made.lab.server, SERVER) as source:
        peer.join(ONE)
        worker = server.child("udp-worker 0")
        os.kill(worker, signal.SIGSTOP)
        for number in range(500):
            source.send(number.to_bytes(2), ONE, INNER_PORT)
        wait_for(lambda: server.service()["rings"][0]["pushed"] == 500, 3.0, "500 in the ring")
        assert peer.received() == []
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: counted(server) == 500, 3.0, "the successor to send")
        assert [packet[28:] for packet in peer.packets()] == [n.to_bytes(2) for n in range(500)]


def test_a_crash_loop_ends_the_program(network):
    made = network(1)
    server = made.server("&workers=1")

    def ended() -> bool:
        with suppress(ProcessLookupError, KeyError):
            pid = server.child("udp-worker 0")
            if pid:
                os.kill(pid, signal.SIGKILL)
        return server.process.status is not None

    wait_for(ended, 15.0, "the program to give up")
    assert server.process.wait() == 4
    last = server.process.output().splitlines()[-1]
    assert "udp-worker 0" in last
    assert "SIGKILL" in last
    expect_nothing_left(made, made.lab.server)


def test_the_status_answers_while_a_worker_hangs(network):
    made = network(1)
    server = made.server("&workers=2")
    assert server.ctl("status", server.instance).returncode == 0
    worker = server.child("udp-worker 1")
    os.kill(worker, signal.SIGSTOP)
    times = []

    def degraded() -> bool:
        began = time.monotonic()
        report = ask_status(str(made.run_directory), server.instance)
        times.append(time.monotonic() - began)
        return report.status.health == "degraded"

    wait_for(degraded, 8.0, "the pulse to be late", every=0.05)
    print(f"{len(times)} answers, the slowest after {1000 * max(times):.1f} ms")
    assert max(times) < 1.0
    done = server.ctl("status", server.instance)
    assert done.returncode == 1
    assert "udp-worker 1 is late" in done.stdout
    assert state_of(server, "udp-worker 1")["state"] == "late"
    assert state_of(server, "udp-worker 0")["state"] == "running"
    os.kill(worker, signal.SIGCONT)
    wait_for(lambda: server.ctl("status", server.instance).returncode == 0, 3.0, "health to return")


ASK_AS_STRANGER = """
import os, sys
from gateway.ctl.main import main
assert main(["status", "--quiet", sys.argv[1]]) == 0  # and loads whatever is loaded late
os.setgroups([])
os.setresgid(54321, 54321, 54321)
os.setresuid(54321, 54321, 54321)
sys.exit(main(["status", *sys.argv[1:]]))
"""


def test_the_exit_statuses_of_ctl(network):
    made = network(0)
    server = made.server()
    command = [sys.executable, "-c", ASK_AS_STRANGER, server.instance]
    stranger = subprocess.run(
        command, check=False, capture_output=True, text=True, env=made.environment
    )
    assert stranger.returncode == 4, stranger.stderr
    assert stranger.stdout == ""
    assert len(stranger.stderr.splitlines()) == 1
    assert server.ctl("status", server.instance).returncode == 0
    assert server.ctl("status", "no-such-instance").returncode == 3
    assert server.stop() == 0
    assert server.ctl("status").returncode == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("keepalive", [True, False])
def test_clients_survive_a_restart_of_the_server(network, number, keepalive):
    """With keepalive off nothing but the saved table can know of the client."""
    made = network(2)
    server = made.server()
    host, (one, _) = made.lab.server, made.lab.clients
    options = "&ttl=1s" if keepalive else ""
    clients = [made.client(n, options, keepalive=keepalive) for n in (1, 2)]
    reaches(host, ONE)
    reaches(host, TWO)
    wait_for(lambda: saved(made, server) == 2, 5.0, "the table to be saved")
    heartbeats = [client.service()["uplink"]["heartbeats"] for client in clients]
    server.process.send(number)
    assert server.process.wait() == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    server.restart()
    server.expect_ready()
    reaches(host, ONE)
    reaches(host, TWO)
    reaches(one, TWO)
    assert all(client.process.status is None for client in clients)
    if not keepalive:
        assert [client.service()["uplink"]["heartbeats"] for client in clients] == heartbeats


def saved(network, server) -> int:
    """How many peers are in the state file."""
    path = network.state_directory / f"{server.instance}.json"
    text = path.read_text() if path.exists() else ""
    assert not text or path.stat().st_mode & 0o777 == 0o600
    return text.count('"addresses"')


def test_a_restart_without_the_saved_table_loses_silent_clients(network):
    """The control of the test above."""
    made = network(1)
    server = made.server()
    made.client(1, keepalive=False)
    reaches(made.lab.server, ONE)
    assert server.stop() == 0
    for path in made.state_directory.iterdir():
        path.unlink()
    server.restart()
    server.expect_ready()
    misses(made.lab.server, ONE)
    assert server.service()["drops"]["no_peer"] >= 3


def test_a_dead_clients_lease_ends(network):
    made = network(1)
    server = made.server("&route=192.168.100.0/24&gw=192.168.123.2")
    client = made.client(1, "&ttl=1s")
    host = made.lab.server
    reaches(host, ONE)
    wait_for(lambda: 0 < server.peer(ONE)["lease_left_seconds"] < 5, 10.0, "the lease to be short")
    assert server.peer(ONE)["networks"] == ["192.168.100.0/24"]
    client.process.send(signal.SIGKILL)
    client.process.wait()
    wait_for(lambda: not server.peer(ONE), 6.0, "the lease to end")
    dropped = server.service()["drops"]["no_peer"]
    misses(host, ONE)
    misses(host, "192.168.100.10")
    assert server.service()["drops"]["no_peer"] >= dropped + 6
    assert "peer-expired" in server.process.output()
    client.restart()
    reaches(host, ONE)


def test_data_alone_keeps_a_lease(network):
    """Two clients beat alike. One falls silent, the other sends data only, and stays."""
    made = network(1)
    server = made.server()
    host = made.lab.clients[0]
    with Peer(host) as talker, Peer(host) as silent:
        for beat in range(5):
            due = time.monotonic() + (1.05 if beat else 0.0)
            wait_for(lambda due=due: time.monotonic() >= due, 2.0, "the next heartbeat")
            talker.join(ONE)
            silent.join(TWO)
        assert server.peer(ONE)["heartbeats"] == server.peer(TWO)["heartbeats"] == 5
        assert server.peer(TWO)["lease_left_seconds"] < 4

        def expired() -> bool:
            talker.say(inner(ONE, SERVER))
            return not server.peer(TWO)

        wait_for(expired, 8.0, "the silent client to expire")
        kept = server.peer(ONE)
        assert kept["heartbeats"] == 5
        assert kept["last_seen_seconds"] < 2


def test_ping_is_back_when_the_server_is(network):
    """Within a second once both are there: a client with keepalive probes twice a second."""
    made = network(1)
    server = made.server()
    client = made.client(1, "&ttl=1s")
    host = made.lab.clients[0]
    reaches(host, SERVER)
    server.process.send(signal.SIGKILL)
    server.process.wait()
    wait_for(lambda: client.service()["uplink"]["state"] == "lost", 6.0, "the loss to be noticed")
    assert client.ctl("status", client.instance).returncode == 1
    server.restart()
    server.expect_ready()
    wait_for(lambda: ping(host, SERVER, wait=0.1).received, 1.5, "the server to answer again")
    assert client.service()["uplink"]["state"] == "up"
