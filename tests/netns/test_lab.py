"""The lab itself: where the host is a chroot, and where a run is told to end."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import hosts
import pytest
from needs import need
from programs import wait_for

NETNS = Path("/run/netns")
RUN = """
import signal
from pathlib import Path

import pytest
from lab import Lab


@pytest.fixture
def client():
    with Lab(1, tun=False) as lab:
        yield lab.clients[0]


def test_it(client):
    sleeper = client.spawn("sleep", "1000")
    Path("made").write_text(f"{client.netns} {sleeper.pid}")
    Path("made").rename("waits")
    signal.pause()
"""


@pytest.mark.smoke
@pytest.mark.parametrize("own_root", [True, False])
def test_a_host_is_entered(network, monkeypatch, own_root):
    host = network(1).lab.clients[0]
    assert hosts.own_root() == (host.argv(["true"])[0] == "ip")
    monkeypatch.setattr(hosts, "own_root", lambda: own_root)
    assert (host.argv(["true"])[0] == "ip") is own_root
    assert set(host.devices()) == {"lo", "wan0"}
    assert host.ipv4 in host.run("ip", "-4", "address", "show", "wan0").stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_told_to_end_leaves_nothing(tmp_path, number):
    """As by `timeout`, or by a terminal that is closed."""
    need("root", "netns", "ip")
    (tmp_path / "test_it.py").write_text(RUN)
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([*command, "test_it.py"], cwd=tmp_path, env=environment) as run:
        waits = tmp_path / "waits"
        try:
            wait_for(lambda: waits.exists() or run.poll() is not None, 20.0, "the run to wait")
            netns, sleeper = waits.read_text().split()
        finally:
            run.send_signal(number)
            status = run.wait(20.0)
    lab = netns.rpartition("-")[0]
    try:
        assert not list(NETNS.glob(lab + "-*"))
        assert not Path("/proc", sleeper).exists()
        assert status == pytest.ExitCode.INTERRUPTED
    finally:
        clear(lab)


def clear(lab: str) -> None:
    """What a run left that did not end as it should have."""
    for path in NETNS.glob(lab + "-*"):
        for pid in hosts.ip("netns", "pids", path.name).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        hosts.ip("netns", "delete", path.name)
