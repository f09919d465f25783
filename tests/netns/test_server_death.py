"""A whole server killed, and started again: the host as it was, and all who were there.

With everything a server can have at once: a persistent device that others have set up,
routes, a router, networks that clients advertise, name servers, commands, and clients over
plain UDP, over carriers, and one that says nothing after its first word. The same process
is another hub's client, with NAT.
"""

import json
import re
import signal

import pytest
from hosts import Host
from lab import SERVER_IPV4
from needs import need
from netns.resolved import Resolved
from netns.test_lifecycle import saved
from netns.test_surroundings import changed, everything
from networks import Gateway, Network, reaches
from programs import wait_for

SERVER, OTHER_HUB = "192.168.123.1", "192.168.150.1"
C1, C2, C3, C4 = (f"192.168.123.{number}" for number in (2, 3, 4, 5))
LAN1, LAN2 = "192.168.100.0/24", "192.168.101.0/24"
H1, H2 = "192.168.100.10", "192.168.101.10"
STEPS = ("preUp", "postUp", "preDown", "postDown")
BY_ROUTER = "10.7.0.0/16"
HOSTS = [
    {"nat": "off", "problems": [], "dns": "on"},
    {"nat": "on", "problems": [], "dns": "off"},
]


@pytest.fixture
def net(network):
    need("nft")
    return network(4, lans=(1, 2))


@pytest.fixture
def resolved(net):
    return Resolved(net.lab.directory, net.environment)


def document(net: Network) -> str:
    """The server with all of it."""
    room = net.lab.directory
    commands = "".join(
        f"      {step}: {json.dumps(f'sleep 0.6; echo {step} >> {room}/noted')}\n" for step in STEPS
    )
    (room / "routes").write_text(f"{LAN2} {C2}\n{BY_ROUTER} {C4}\n")
    (room / "routes").chmod(0o644)
    return f"""
services:
  - name: hub
    addr: ":8421"
    metadata:
{commands}    handler: {{type: tun, auther: staff}}
    listener:
      type: tun
      metadata:
        name: tun0
        net: 192.168.123.1/24,fd00:123::1/64
        router: sites
        routes: [10.8.0.0/16 {C4}]
        tun.dns: 9.9.9.9
  - name: site
    addr: ":0"
    handler: {{type: tun, metadata: {{keepAlive: true, ttl: 1s}}}}
    listener:
      type: tun
      metadata: {{name: tun1, net: 192.168.150.2/24, nat: true, route: 10.9.0.0/16}}
    forwarder: {{nodes: [{{addr: "198.18.1.2:9000"}}]}}
  - name: secure
    addr: ":443"
    handler: {{type: relay}}
    listener: {{type: wss}}
  - name: lossy
    addr: ":444"
    handler: {{type: relay}}
    listener: {{type: kcp}}
authers:
  - name: staff
    auths:
      - {{username: {C1}, password: one, networks: [{LAN1}]}}
      - {{username: {C2}, password: two}}
      - {{username: {C3}, password: three}}
      - {{username: {C4}, password: four}}
routers:
  - name: sites
    file: {{path: {room}/routes}}
"""


def start(net: Network) -> Gateway:
    file = net.lab.directory / "hub.yaml"
    file.write_text(document(net))
    file.chmod(0o644)
    return net.gateway(net.lab.server, "-C", str(file)).expect_ready()


def join(net: Network) -> list[Gateway]:
    """C1 advertises its LAN, C2 is silent after its first word, C3 and C4 come by carriers."""
    url = "tun://:9000?net=192.168.150.1/24&name=tun1"
    name = f"{net.lab.mark}-other"
    arguments = ("--instance", name, "-L", url)
    net.gateway(net.lab.clients[0], *arguments, instance=name).expect_ready()
    one = net.client(1, "&passphrase=one&nat=true&ttl=1s")
    two = net.client(2, f"&passphrase=two&nat=true&advertise=off&route={LAN1}", keepalive=False)
    found = [one, two]
    for number, carrier, port, word in ((3, "wss", 443, "three"), (4, "kcp", 444, "four")):
        found.append(
            net.gateway(
                net.lab.clients[number - 1],
                "-L",
                f"tun://:0/:8421?net=192.168.123.{number + 1}/24&keepAlive=true&ttl=1s"
                f"&passphrase={word}&route={LAN1},{LAN2}",
                "-F",
                f"relay+{carrier}://{SERVER_IPV4}:{port}",
            ).expect_ready()
        )
    return found


def all_meet(net: Network) -> None:
    """Peers of all kinds with each other, with the server, and with the LANs."""
    server, *clients = net.lab.server, *net.lab.clients
    for address in (C1, C2, C3, C4, H2, OTHER_HUB):
        reaches(server, address, deadline=20.0)
    for host, address in ((1, SERVER), (2, C3), (3, C4), (4, C2), (3, H1), (4, H2), (2, H1)):
        reaches(clients[host - 1], address, deadline=20.0)


def prepare(net: Network) -> None:
    """A device that was there before, with an address, a route and a name server of others."""
    host = net.lab.server
    host.ip(
        "tuntap add dev tun0 mode tun vnet_hdr",
        "address add 10.99.0.1/24 dev tun0",
        "link set tun0 up",
        "route add 10.98.0.0/16 dev tun0",
        "route add 10.8.0.0/16 via 1.2.3.1",
    )


def kill(server: Gateway) -> None:
    server.process.send(signal.SIGKILL)
    server.process.wait()
    wait_for(lambda: server.host.pids() == [], 5.0, "the children to be gone")


def numberless(host: Host, resolved: Resolved) -> str:
    """A device that is made anew has another number."""
    return re.sub(r'"ifindex": \d+, ', "", str(everything(host, resolved)))


def hosts(server: Gateway) -> list[dict]:
    return [service["host"] for service in server.status()["services"]]


def steps(net: Network) -> list[str]:
    return (net.lab.directory / "noted").read_text().splitlines()


def test_everything_is_there_again_and_everybody_returns(net, resolved):
    prepare(net)
    host = net.lab.server
    index = host.run("cat", "/sys/class/net/tun0/ifindex").stdout.strip()
    (resolved.room / f"link.{index}").write_text("192.0.2.53\n")
    before = everything(host, resolved)
    server = start(net)
    clients = join(net)
    all_meet(net)
    during = numberless(host, resolved)
    assert resolved.servers(host) == {"tun0": "9.9.9.9"}
    assert hosts(server) == HOSTS

    wait_for(lambda: saved(net, server) == 4, 10.0, "the table to be saved")
    kill(server)
    assert {"routes", "settings", "dns"} <= set(changed(host, before, resolved))
    server.restart()
    server.expect_ready()
    assert server.peer(C2)["lease_left_seconds"] > 60.0, "who says nothing more is remembered"
    all_meet(net)
    wait_for(lambda: numberless(host, resolved) == during, 10.0, "all that was changed, again")
    assert server.peer(C1)["networks"] == [LAN1]
    assert server.peer(C3)["carrier"] == "wss"
    assert server.peer(C4)["carrier"] == "kcp"
    assert hosts(server) == HOSTS
    assert server.service()["refusals"] == dict.fromkeys(server.service()["refusals"], 0)
    assert all(client.process.status is None for client in clients)
    wait_for(lambda: server.status()["health"] == "healthy", 5.0, "its health")
    wait_for(lambda: steps(net) == ["preUp", "postUp"] * 2, 5.0, "its commands to have run")

    assert server.stop() == 0
    assert changed(host, before, resolved) == []
    assert steps(net)[4:] == ["preDown", "postDown"]
    assert "routes-mended" not in server.process.output()
    assert "Traceback" not in server.process.output()


def test_the_next_start_puts_back_what_it_does_not_want(net, resolved):
    prepare(net)
    host = net.lab.server
    before = everything(host, resolved)
    server = start(net)
    join(net)
    all_meet(net)
    kill(server)
    plain = net.gateway(
        host,
        *("--instance", server.instance, "-L", "tun://:8421?net=192.168.123.1/24&name=tun9"),
        instance=server.instance,
    ).expect_ready()
    reaches(net.lab.clients[0], SERVER)
    assert plain.stop() == 0
    assert changed(host, before, resolved) == []
