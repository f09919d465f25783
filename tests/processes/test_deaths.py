"""Who dies, who notices, who takes over, and what is left behind."""

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
from instance import VNET, Gateway, Peer, ipv4, wait_for
from starving import feed, starve

from gateway.linux import process
from gateway.protocol.status import ProcessStatus
from gateway.supervisor.children import RESTARTS

CHILDREN = ["tun-reader", "udp-worker 0", "udp-worker 1"]


@pytest.mark.parametrize("name", CHILDREN)
def test_a_dead_child_is_replaced(gateway: Gateway, peer: Peer, name: str) -> None:
    """At once, with its reason, and the peer stays known to the successor."""
    before = gateway.child(name).pid
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: gateway.running() and gateway.child(name).pid != before, "replaced", 2)
    child = gateway.child(name)
    inward = ipv4("192.168.123.2", "192.168.123.1")
    outward = ipv4("192.168.123.1", "192.168.123.2")

    assert (child.restarts, child.last_exit) == (1, "killed by SIGKILL")
    peer.sock.send(inward)
    assert gateway.inside.recv(2000) == VNET + inward
    gateway.inside.send(VNET + outward)
    assert peer.sock.recv(2000) == outward


def test_queued_datagrams_survive_their_worker(gateway: Gateway, peer: Peer) -> None:
    """What waited in the socket of a dead worker is handled by the next one."""
    workers = [gateway.child(name).pid for name in CHILDREN[1:]]
    packets = [ipv4("192.168.123.2", "192.168.123.1", bytes([i])) for i in range(20)]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    for packet in packets:
        peer.sock.send(packet)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)

    assert [gateway.inside.recv(2000) for _ in packets] == [VNET + packet for packet in packets]


def test_successor_goes_on_in_the_ring(gateway: Gateway, peer: Peer) -> None:
    """What the tun-reader queued for a dead worker is sent, in order, once (I3)."""
    workers = [gateway.child(name).pid for name in CHILDREN[1:]]
    packets = [ipv4("192.168.123.1", "192.168.123.2", bytes([i])) for i in range(20)]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    for packet in packets:
        gateway.inside.send(VNET + packet)
    wait_for(lambda: sum(r.pushed for r in gateway.service().rings) == 20, "all in the ring")
    for pid in workers:
        os.kill(pid, signal.SIGKILL)

    assert [peer.sock.recv(2000) for _ in packets] == packets


def test_supervisors_death_takes_the_children(gateway: Gateway) -> None:
    """Even when nobody is left to end them."""
    children = gateway.children()
    gateway.process.kill()
    gateway.process.wait()

    assert len(children) == 3
    wait_for(lambda: not any(_alive(child) for child in children), "children gone")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ordered_stop(gateway: Gateway, number: signal.Signals) -> None:
    """Exit 0; no process and no control socket stay."""
    children = gateway.children()

    assert gateway.end(number) == 0
    assert not any(_alive(child) for child in children)
    assert list((gateway.room / "run").iterdir()) == []


def test_stop_with_a_stopped_child(gateway: Gateway) -> None:
    """A child that cannot answer does not keep the program from ending."""
    os.kill(gateway.child("udp-worker 0").pid, signal.SIGSTOP)

    assert gateway.end() == 0


def test_crash_loop_ends_the_program(gateway: Gateway) -> None:
    """Exit 4 with a sentence, and nobody left."""
    while gateway.process.poll() is None:
        for child in gateway.children():
            if "udp-worker" in _name(child):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        time.sleep(0)

    assert gateway.process.returncode == 4
    assert "udp-worker" in gateway.text().splitlines()[-1]
    assert "killed by SIGKILL" in gateway.text().splitlines()[-1]


def test_a_bridge_that_dies_again_and_again_ends_nothing_else(
    start: Callable[..., Gateway],
) -> None:
    """It is replaced more and more slowly; the status says so, and the tunnel goes on."""
    relay = {"name": "relay-0", "carrier": "tcp", "host": "127.0.0.1", "port": 0, "bridges": 1}
    gateway = start(relays=[relay]).wait_running()
    worker = gateway.child("udp-worker 0").pid
    killed: set[int] = set()

    def bridge() -> ProcessStatus:
        return gateway.status().relays[0].processes[0]

    def kill() -> bool:
        found = bridge()
        if found.state == "running" and found.pid not in killed:
            killed.add(found.pid)
            os.kill(found.pid, signal.SIGKILL)
        return bridge().restarts > RESTARTS

    wait_for(kill, "more deaths than a worker may have", 30)
    wait_for(lambda: bridge().state == "running", "there again", 30)
    status = gateway.status()

    assert status.health == "degraded"
    assert "relay relay-0: bridge died 6 times within 30 s" in status.problems[0]
    assert "killed by SIGKILL" in status.problems[0]
    assert gateway.text().count("child-died") == RESTARTS + 1
    assert gateway.child("udp-worker 0").pid == worker
    with closing(Peer("192.168.123.2", gateway.port)) as peer:
        peer.register()
    port = int(status.relays[0].listen.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 10) as stranger:
        stranger.send(b"\x01\x01\x00\x00")  # a request without an address
        assert stranger.recv(100)[:1] == b"\x01"


def test_a_supervisor_without_descriptors_waits_for_them(gateway: Gateway, peer: Peer) -> None:
    """It goes on with the children it has, and replaces the dead one once it can."""
    supervisor = psutil.Process(gateway.process.pid)
    before = gateway.child("udp-worker 0").pid
    descriptors = supervisor.num_fds()
    starve(supervisor.pid)
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: "could not be forked" in gateway.text(), "a fork that failed")
    feed(supervisor.pid)
    wait_for(lambda: gateway.running() and gateway.child("udp-worker 0").pid != before, "replaced")
    child = gateway.child("udp-worker 0")
    packet = ipv4("192.168.123.2", "192.168.123.1")

    assert (child.restarts, child.last_exit) == (1, "killed by SIGKILL")
    assert gateway.text().count("event=child-missing") == 1
    assert gateway.text().count("event=child-replaced") == 1
    wait_for(lambda: supervisor.num_fds() == descriptors, "as many descriptors as before")
    peer.sock.send(packet)
    assert gateway.inside.recv(2000) == VNET + packet


def test_status_while_a_worker_is_stopped(gateway: Gateway) -> None:
    """Within 100 ms, and after some seconds it says what is wrong."""
    pid = gateway.child("udp-worker 1").pid
    os.kill(pid, signal.SIGSTOP)
    began = time.perf_counter()
    gateway.status()
    took = time.perf_counter() - began
    wait_for(lambda: gateway.status().health == "degraded", "degraded")

    assert took < 0.1
    assert gateway.child("udp-worker 1").state == "late"
    assert "udp-worker 1 is late" in gateway.status().problems[0]
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: gateway.status().health == "healthy", "healthy again")


def test_restart_keeps_peers(start: Callable[..., Gateway], room: Path) -> None:
    """A client that sends no more heartbeats goes on after a restart of the server."""
    credentials = [["192.168.123.2", "userpass1"], ["192.168.123.3", "userpass2"]]
    first = start(credentials=credentials).wait_running()
    port = first.port
    with (
        closing(Peer("192.168.123.2", port, b"userpass1")) as stays,
        closing(Peer("192.168.123.3", port, b"userpass2")) as goes,
    ):
        stays.register()
        goes.register()
        assert first.end() == 0
        credentials[1][1] = "changed"
        second = start(credentials=credentials, port=port).wait_running()
        packet = ipv4("192.168.123.2", "192.168.123.1")
        stays.sock.send(packet)

        assert second.inside.recv(2000) == VNET + packet
        assert [peer.addresses for peer in second.service().peers] == [("192.168.123.2",)]
        [file] = (room / "state").glob("*.json")
        assert file.stat().st_mode & 0o777 == 0o600
        assert "userpass" not in file.read_text()


def test_second_instance_is_refused(start: Callable[..., Gateway], gateway: Gateway) -> None:
    """One line, exit 3, and the first one goes on."""
    second = start(port=gateway.port)

    assert second.process.wait(10) == 3
    assert "running already" in gateway.text()
    assert gateway.running()


def test_stale_control_socket_is_replaced(start: Callable[..., Gateway], room: Path) -> None:
    """A dead instance's socket keeps nobody from starting."""
    (room / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(room / "run" / "test.sock"))
    if owner := process.future_owner(None):
        for path in (room / "run", room / "run" / "test.sock"):
            os.chown(path, *owner)

    start().wait_running()


def _alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""
