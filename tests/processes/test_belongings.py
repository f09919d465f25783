"""What each child has and may: descriptors, privileges, CPU, name."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from instance import Gateway, wait_for
from needs import need

from gateway.fastpath.counters import Page
from gateway.linux import process
from gateway.linux.channel import channel_pair
from gateway.linux.shared import Arena
from gateway.workers.base import Child, Place

# Channels are sockets; the standard streams are null, pipe, file or terminal.
STANDARD = ["standard"] * 3
EXPECTED = {
    "tun-reader": [*STANDARD, "doorbell", "doorbell", "socket: channel", "socket: tun"],
    "udp-worker 0": [*STANDARD, "doorbell", "socket: channel", "socket: tun", "socket: udp"],
    "udp-worker 1": [*STANDARD, "doorbell", "socket: channel", "socket: tun", "socket: udp"],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_descriptors_are_the_list(gateway: Gateway, name: str) -> None:
    """Nothing else of the supervisor's is open in a child."""
    pid = gateway.child(name).pid

    assert sorted(_kind(entry, gateway) for entry in _descriptors(pid)) == sorted(EXPECTED[name])


def test_resolver_and_bridge_hold_nothing_of_the_data_plane(
    start: Callable[..., Gateway], room: Path
) -> None:
    """What they have in common with the supervisor is the socket the bridge accepts from."""
    (room / "users").write_text("192.168.123.2 secret\n")
    relay = {"name": "relay-0", "carrier": "tcp", "host": "127.0.0.1", "port": 0, "bridges": 1}
    authers = [{"name": "staff", "file": {"path": str(room / "users")}}]
    gateway = start(credentials=[], authers=authers, relays=[relay]).wait_running()
    wait_for(lambda: gateway.status().resolver is not None, "a resolver")
    status = gateway.status()
    resolver = status.resolver.pid if status.resolver else 0
    bridge = status.relays[0].processes[0].pid
    listening = Path(f"/proc/{gateway.process.pid}/net/tcp").read_text()
    ours = _targets(gateway.process.pid)

    assert _targets(resolver) & ours == {"anon_inode:[eventpoll]"}
    shared = _targets(bridge) & ours - {"anon_inode:[eventpoll]"}
    assert [f" {_inode(target)} " in listening for target in shared] == [True]
    for pid in (resolver, bridge):
        kinds = [_kind(entry, gateway) for entry in _descriptors(pid)]
        assert kinds.count("socket: channel") == 1
        assert "doorbell" not in kinds
        assert "anon_inode:[pidfd]" not in kinds


def test_privileges(gateway: Gateway) -> None:
    """No capability in any set of a child, no way to get one; the supervisor has one."""
    for child in gateway.children():
        text = Path(f"/proc/{child.pid}/status").read_text()

        assert {int(x, 16) for x in re.findall(r"Cap(?:Inh|Prm|Eff|Amb):\t(\w+)", text)} == {0}
        assert "NoNewPrivs:\t1" in text
        if os.geteuid() == 0:
            assert "CapBnd:\t0000000000000000" in text
            assert child.uids().real != 0
            assert "Groups:\t \n" in text
    if os.geteuid() == 0:
        assert gateway.status().capabilities == ("net_admin",)


def test_names_and_cpus(gateway: Gateway) -> None:
    """The process list shows who is who; workers have a CPU each, as far as there are enough."""
    usable = psutil.Process().cpu_affinity() or []
    names = sorted(child.name() for child in gateway.children())

    assert names == ["tun-reader", "udp-worker 0", "udp-worker 1"]
    workers = [gateway.child(f"udp-worker {i}") for i in range(2)]
    assert all(len(worker.cpus) == 1 for worker in workers)
    assert len({worker.cpus for worker in workers}) == min(2, len(usable))


def test_the_command_line_is_gone(gateway: Gateway) -> None:
    """It may have held a passphrase."""
    for pid in [gateway.process.pid, *(child.pid for child in gateway.children())]:
        assert b"192.168.123.1/24" not in Path(f"/proc/{pid}/cmdline").read_bytes()


class _Reader(Child):
    def work(self) -> None:
        try:
            os.open("/etc/shadow", os.O_RDONLY)
        except PermissionError:
            os._exit(7)


def test_no_child_opens_shadow() -> None:
    """The supervisor's uid and a child's settling leave nobody who could."""
    need("root")
    assert _ends(_Reader, as_user=True) == 7


class _Writer(Child):
    def work(self) -> None:
        try:
            Path(f"/proc/{self.place.supervisor}/oom_score_adj").write_text("0")
        except PermissionError:
            os._exit(7)


def test_no_child_writes_what_is_its_users() -> None:
    """Same user, and no capability missing: only its confinement forbids it."""
    need("landlock")
    assert _ends(_Writer, as_user=False) == 7


def _ends(kind: type[Child], *, as_user: bool) -> int:
    size = Page.bytes_for(1)
    arena = Arena([size])
    page = Page(arena.carve(size), 1)
    ours, theirs = channel_pair()
    pid = os.fork()
    if pid == 0:
        if as_user:
            process.leave_root(None)
        kind(Place("x", "x", theirs, page, arena, (0,), os.getppid(), dict), ()).run()
        os._exit(1)
    _, status = os.waitpid(pid, 0)
    ours.close()
    theirs.close()

    return os.waitstatus_to_exitcode(status)


def _descriptors(pid: int) -> list[Path]:
    return sorted(Path(f"/proc/{pid}/fd").iterdir(), key=lambda path: int(path.name))


def _targets(pid: int) -> set[str]:
    """What the descriptors lead to, beside the standard streams."""
    return {str(path.readlink()) for path in _descriptors(pid) if int(path.name) > 2}


def _inode(target: str) -> str:
    return target.removeprefix("socket:[").rstrip("]")


def _kind(entry: Path, gateway: Gateway) -> str:
    if int(entry.name) <= 2:
        return "standard"
    target = str(entry.readlink())
    if target == "anon_inode:[eventfd]":
        return "doorbell"
    inode = _inode(target)
    for table, kind in (("udp", "socket: udp"), ("udp6", "socket: udp")):
        if f" {inode} " in Path(f"/proc/{gateway.process.pid}/net/{table}").read_text():
            return kind
    for line in Path("/proc/net/unix").read_text().splitlines():
        fields = line.split()
        if len(fields) > 6 and fields[6] == inode:
            return "socket: channel" if fields[4] == "0005" else "socket: tun"
    return target
