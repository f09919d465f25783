"""What is around a service: its commands, its name servers, and the host as it was before."""

import json
import signal
from pathlib import Path

import pytest
from lab import SERVER_IPV4
from needs import need
from netns.resolved import BAD, HANGING, Resolved
from networks import reaches
from programs import wait_for

SERVER = "192.168.123.1"
VOLATILE = ("dad_", "stable_secret", ".tun0.", "conntrack_count", "random")
CARRIER = ("linkdown", "NO-CARRIER", "LOWER_UP")
STEPS = ("preUp", "postUp", "preDown", "postDown")


def everything(host, resolved=None) -> dict[str, object]:
    """All of a host that a gateway could change, without counters and ages."""

    def of(*command: str) -> object:
        found = json.loads(host.run("ip", *command).stdout or "[]")
        for each in found:  # the kernel tells a little later who has no carrier
            each.pop("operstate", None)
            each["flags"] = [f for f in each.get("flags", ()) if f not in CARRIER]
        kept = [each for each in found if each.get("dst") != "ff00::/8"]  # by the first carrier
        return sorted(json.dumps(each, sort_keys=True) for each in kept)

    settings = host.run("sysctl", "-a", "-r", r"^net\.ipv[46]", check=False).stdout.splitlines()
    return {
        "routes": of("-4", "-j", "route", "show", "table", "all"),
        "routes6": of("-6", "-j", "route", "show", "table", "all"),
        "rules": [of("-4", "-j", "rule"), of("-6", "-j", "rule")],
        "addresses": of("-j", "address"),
        "settings": [line for line in settings if not any(word in line for word in VOLATILE)],
        "nftables": host.run("nft", "list", "ruleset").stdout,
        "dns": resolved.servers(host) if resolved is not None else {},
    }


def changed(host, before: dict[str, object], resolved=None) -> list[str]:
    """What is not as it was."""
    after = everything(host, resolved)
    names = [name for name in before if after[name] != before[name]]
    for name in names:
        was, now = (str(found[name]).split("', '") for found in (before, after))
        print(name, "no more:", [x for x in was if x not in now])
        print(name, "new:", [x for x in now if x not in was])
    return names


def document(commands: dict[str, str], listener: str = "") -> str:
    """A client of the lab's server, with commands."""
    lines = [f"      {step}: {json.dumps(text)}" for step, text in commands.items()]
    metadata = "\n".join(["    metadata:", *lines]) if lines else ""
    return f"""
services:
  - name: site
    addr: :0
{metadata}
    handler: {{type: tun, metadata: {{keepalive: true, ttl: 1s}}}}
    listener: {{type: tun, metadata: {{name: tun0, net: 192.168.123.2/24{listener}}}}}
    forwarder: {{nodes: [{{addr: {SERVER_IPV4}:8421}}]}}
"""


@pytest.fixture
def net(network):
    need("nft")
    return network(1, lans=(1,))


@pytest.fixture
def resolved(net):
    return Resolved(net.lab.directory, net.environment)


def client_of(net, text: str):
    file = net.lab.directory / "gateway.yml"
    file.write_text(text)
    return net.gateway(net.lab.clients[0], "-C", str(file))


def noted(room: Path) -> list[str]:
    file = room / "noted"
    return file.read_text().splitlines() if file.exists() else []


def noting(room: Path) -> dict[str, str]:
    """Commands that note their step, user, device, whether it is there, and what leads into it."""
    return {
        step: f"echo {step} $(id -u) $GATEWAY_DEVICE $GATEWAY_SERVICE"
        f" $(test -e /sys/class/net/tun0 && echo there || echo none)"
        f" $(ip route show 192.168.200.0/24 | wc -l) >> {room}/noted; echo said in {step}"
        for step in STEPS
    }


def test_stop_kill_and_start_leave_the_host_as_it_was(net, resolved):
    """With everything a client can change, a persistent device that others have set up included."""
    host = net.lab.clients[0]
    host.ip(
        "tuntap add dev tun0 mode tun vnet_hdr",
        "address add 10.99.0.1/24 dev tun0",
        "route add 192.168.200.0/24 via 198.18.1.1",
        "rule add fwmark 9 lookup 99 priority 900",
        "link set tun0 up",
        "route add 10.98.0.0/16 dev tun0",
    )
    index = host.run("cat", "/sys/class/net/tun0/ifindex").stdout.strip()
    (resolved.room / f"link.{index}").write_text("192.0.2.53\n")
    net.server(net="192.168.123.1/24,fd00:123::1/64")
    before = everything(host, resolved)
    assert before["dns"] == {"tun0": "192.0.2.53"}

    options = "&ttl=1s&name=tun0&nat=true&route=0.0.0.0/0,::/0,192.168.200.0/24&tun.dns=9.9.9.9"
    client = net.client(1, options, net="192.168.123.2/24,fd00:123::2/64")
    reaches(host, SERVER)
    assert changed(host, before, resolved) == [
        "routes", "routes6", "addresses", "settings", "nftables", "dns"
    ]  # fmt: skip
    assert resolved.servers(host) == {"tun0": "9.9.9.9"}
    assert client.service()["host"] == {"nat": "on", "problems": [], "dns": "on"}
    assert client.stop() == 0
    assert changed(host, before, resolved) == []

    client.restart()
    client.expect_ready()
    reaches(host, SERVER)
    client.process.send(signal.SIGKILL)
    client.process.wait()
    wait_for(lambda: host.pids() == [], 5.0, "the children to be gone")
    assert "dns" in changed(host, before, resolved), "nobody was there to put it back"
    client.restart()
    client.expect_ready()
    reaches(host, SERVER)
    wait_for(lambda: resolved.servers(host) == {"tun0": "9.9.9.9"}, 5.0, "its servers are set")
    assert client.stop() == 0
    assert changed(host, before, resolved) == []


def test_a_kill_leaves_nothing_of_a_device_of_our_own(net, resolved):
    """But what is put back by the next start, even one that wants none of it."""
    host = net.lab.clients[0]
    net.server()
    before = everything(host, resolved)
    client = net.client(1, "&ttl=1s&nat=true&route=0.0.0.0/0&tun.dns=9.9.9.9&name=tun0")
    reaches(host, SERVER)
    assert resolved.servers(host) == {"tun0": "9.9.9.9"}
    client.process.send(signal.SIGKILL)
    client.process.wait()
    wait_for(lambda: host.pids() == [], 5.0, "the children to be gone")
    assert changed(host, before, resolved) == ["routes", "settings"]

    url = f"tun://:0/{SERVER_IPV4}:8421?net=192.168.123.2/24&keepAlive=true"
    again = ("--instance", client.instance, "-L", url)
    plain = net.gateway(host, *again, instance=client.instance).expect_ready()
    reaches(host, SERVER)
    assert plain.stop() == 0
    assert changed(host, before, resolved) == []


def test_name_servers_come_and_go_with_the_device(net, resolved):
    """As `resolvectl` is told by GOST; again when somebody deletes the device."""
    host = net.lab.clients[0]
    net.server()
    client = net.client(1, "&tun.dns=9.9.9.9,2620:fe::9&name=tun0&ttl=1s")
    wait_for(lambda: resolved.log, 5.0, "them to be set")
    assert resolved.log == ["dns tun0 9.9.9.9 2620:fe::9"]
    steward = client.status()["steward"]
    assert steward["pid"] in host.pids()
    assert client.status()["user"] != "root"
    host.ip("link del tun0")
    wait_for(lambda: len(resolved.log) == 2, 5.0, "them to be set again")
    wait_for(lambda: resolved.servers(host) != {}, 5.0, "them to be there")
    assert client.stop() == 0
    assert resolved.log[1:] == ["dns tun0 9.9.9.9 2620:fe::9", "revert tun0"]
    assert host.pids() == []


@pytest.mark.parametrize(("script", "reason"), [(BAD, "error (exit 1)"), (HANGING, "within 5 s")])
def test_without_resolved_the_service_comes_up(net, resolved, script, reason):
    """And says what it lacks. Until resolved is there: it is tried again."""
    resolved.become(script)
    net.server()
    client = net.client(1, "&tun.dns=9.9.9.9")
    reaches(client.host, SERVER)
    wait_for(lambda: client.service()["host"]["dns"] == "failed", 10.0, "it to fail")
    (problem,) = client.service()["host"]["problems"]
    assert reason in problem
    assert client.status()["health"] == "degraded"
    assert "event=host-problem" in client.process.output()
    assert client.stop() == 0


def test_without_resolvectl(net):
    net.environment["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    if (Path("/usr/bin/resolvectl")).exists():
        pytest.skip("this host has resolvectl")
    net.server()
    client = net.client(1, "&tun.dns=9.9.9.9")
    reaches(client.host, SERVER)
    wait_for(lambda: client.service()["host"]["problems"], 5.0, "it to be said")
    assert "there is no resolvectl" in client.service()["host"]["problems"][0]


def test_commands_in_their_order_as_root(net):
    """Before the device, with device and routes, while it still works, after it has gone."""
    room = net.lab.directory
    net.server()
    text = document(noting(room), ", route: 192.168.200.0/24")
    client = client_of(net, text).expect_ready()
    wait_for(lambda: len(noted(room)) == 2, 5.0, "postUp")
    reaches(client.host, SERVER)
    assert client.status()["health"] == "healthy"
    assert client.stop() == 0
    assert noted(room) == [
        "preUp 0 tun0 site none 0",
        "postUp 0 tun0 site there 1",
        "preDown 0 tun0 site there 1",
        "postDown 0 tun0 site none 0",
    ]
    output = client.process.output()
    assert all(f'text="said in {step}"' in output for step in STEPS)
    assert client.host.pids() == []


def test_a_command_that_fails_is_said_and_ends_nothing(net):
    net.server()
    client = client_of(net, document({"preUp": "echo oh no; exit 7", "postUp": "true"}))
    client.expect_ready()
    reaches(client.host, SERVER)
    status = client.status()
    assert status["health"] == "degraded"
    assert "preUp 1" in status["problems"][0]
    assert "exit 7" in status["problems"][0]
    assert 'text="oh no"' in client.process.output()


def test_a_command_may_ask_for_a_refresh_before_there_is_anything_to_load(net):
    """The program turns its loop while it runs, with a part of it not made yet."""
    net.server()
    supervisor = "$(cut -d ' ' -f 4 /proc/$PPID/stat)"
    client = client_of(net, document({"preUp": f"kill -HUP {supervisor}"})).expect_ready()
    assert "event=refresh" in client.process.output()
    assert client.status()["health"] == "healthy"


@pytest.mark.parametrize("step", ["preUp", "postUp"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_hangs_ends_with_the_gateway(net, step, number):
    """It and what it started; with SIGTERM in order, after which postDown still runs."""
    room, host = net.lab.directory, net.lab.clients[0]
    net.server()
    before = everything(host)
    hanging = f"echo {step} >> {room}/noted; sleep 1000 & sleep 1000"
    client = client_of(net, document({step: hanging, "postDown": f"echo down >> {room}/noted"}))
    wait_for(lambda: noted(room) == [step], 10.0, "the command to run")
    client.process.send(number)
    status = client.process.wait()
    wait_for(lambda: host.pids() == [], 5.0, "everything to be gone")
    assert changed(host, before) == []
    if number == signal.SIGTERM:
        assert status == 0
        assert noted(room) == [step, "down"]
    else:
        assert noted(room) == [step], "a gateway that is killed runs no commands"


def test_a_dead_steward_is_a_problem(net):
    net.server()
    client = client_of(net, document({"preDown": "true"})).expect_ready()
    client.host.run("kill", "-9", str(client.status()["steward"]["pid"]))
    wait_for(lambda: client.status()["health"] == "degraded", 5.0, "it to be noticed")
    assert "commands as root" in " ".join(client.status()["problems"])
    assert client.stop() == 0
    assert "event=command-failed" in client.process.output()
