"""Routers in a real network: who reaches what, in the gateway and on the server's host.

Hosts H1 and H2 stand behind C1 and C2, which advertise nothing: the server must be told.
"""

import json
import signal
from pathlib import Path

import pytest
from hosts import Host
from needs import need
from netns.test_surroundings import changed, everything
from networks import Gateway, Network, misses, reaches
from programs import listening, wait_for
from traffic import ping

H1, H2 = "192.168.100.10", "192.168.101.10"
LAN1, LAN2 = "192.168.100.0/24", "192.168.101.0/24"
C1, C2, C3 = "192.168.123.2", "192.168.123.3", "192.168.123.4"
WEB = Path(__file__).with_name("slow_web.py")
SILENT = "&nat=true&advertise=off&ttl=1s"
HUB = """
services:
- name: hub
  addr: ":8421"
  handler: {{type: tun}}
  listener: {{type: tun, metadata: {{net: "{net}", router: sites{more}}}}}
routers:
- name: sites
  {sources}
"""
CLIENT = """
services:
- name: client
  addr: ":0"
  handler: {{type: tun, metadata: {{keepAlive: true, ttl: 1s}}}}
  listener: {{type: tun, metadata: {{net: 192.168.123.4/24, router: ways}}}}
  forwarder: {{nodes: [{{addr: "1.2.3.4:8421"}}]}}
routers:
- name: ways
  file: {{path: {routes}}}
  reload: 1s
"""


@pytest.fixture
def net(network):
    need("nft")
    return network(3, lans=(1, 2))


def put(path: Path, text: str) -> None:
    """Replace a file as one should: by renaming."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o644)
    new.replace(path)


def hub(net: Network, sources: str, *, tunnel: str = "192.168.123.1/24", more: str = "") -> Gateway:
    file = net.lab.directory / "hub.yaml"
    file.write_text(HUB.format(net=tunnel, sources=sources, more=more))
    return net.gateway(net.lab.server, "-C", str(file)).expect_ready()


def sites(net: Network) -> None:
    net.client(1, f"&route={LAN2}{SILENT}")
    net.client(2, f"&route={LAN1}{SILENT}")
    net.client(3, f"&route={LAN1},{LAN2}&ttl=1s")


def shown(gateway: Gateway, kind: str) -> dict:
    """What the status says of a source of the router."""
    [found] = [each for each in gateway.service()["sources"] if each["kind"] == kind]
    return found


def way(host: Host, address: str) -> str:
    """The device that packets for the address leave by."""
    words = host.run("ip", "route", "get", address, check=False).stdout.split()
    return words[words.index("dev") + 1] if "dev" in words else "unreachable"


def routes_of(host: Host) -> dict[str, str]:
    """A host's routes of ours: network to gateway."""
    lines = host.run("ip", "route", "show", "proto", "71").stdout.splitlines()
    return {line.split()[0]: line.split()[line.split().index("via") + 1] for line in lines}


def host_routes(net: Network) -> dict[str, str]:
    """The same of the server's host."""
    return routes_of(net.lab.server)


def test_inline_routes_join_the_sites(net):
    both = f"[{{dst: {LAN1}, gateway: {C1}}}, {{net: {LAN2}, gateway: {C2}}}]"
    server = hub(net, f"routes: {both}")
    sites(net)
    reaches(net.lab.lan_hosts[1], H2)
    reaches(net.lab.clients[2], H1)
    reaches(net.lab.server, H2)
    assert host_routes(net) == {LAN1: C1, LAN2: C2}
    assert server.peer(C1)["networks"] == [LAN1]
    assert server.stop() == 0
    assert host_routes(net) == {}


def test_a_file_that_changes(net):
    """Every change counts at once, without a word from the clients."""
    routes = net.lab.directory / "routes"
    put(routes, f"# sites\n{LAN1} {C1}\nnonsense\n10.7.0.0/16 10.1.1.1\n")
    server = hub(net, f"file: {{path: {routes}}}\n  reload: 1s")
    sites(net)
    reaches(net.lab.clients[2], H1)
    misses(net.lab.clients[2], H2)
    malformed, unfit = shown(server, "file")["problems"]
    assert malformed == f'{routes}:3: "nonsense" has no gateway: write NETWORK GATEWAY'
    assert unfit == "10.7.0.0/16: the gateway 10.1.1.1 is outside net: name a peer's address"
    for line in (malformed, unfit):
        assert f"text={json.dumps(line)}" in server.process.output()

    put(routes, f"{LAN1} {C1}\n{LAN2} {C2}\n")
    reaches(net.lab.clients[2], H2)
    reaches(net.lab.server, H2)

    put(routes, f"{LAN2} {C2}\n")
    wait_for(lambda: host_routes(net) == {LAN2: C2}, 5.0, "the route to go")
    misses(net.lab.clients[2], H1)

    put(routes, f"{LAN2} {C1}\n")
    wait_for(lambda: host_routes(net) == {LAN2: C1}, 5.0, "the route to change")
    misses(net.lab.clients[2], H2)

    routes.unlink()
    wait_for(lambda: shown(server, "file")["error"], 5.0, "the error")
    assert host_routes(net) == {LAN2: C1}
    assert server.status()["health"] == "degraded"
    assert "event=source-failed" in server.process.output()


def test_sighup_loads_what_has_no_reload(net):
    routes = net.lab.directory / "routes"
    put(routes, "")
    server = hub(net, f"file: {{path: {routes}}}")
    sites(net)
    reaches(net.lab.clients[2], C1)
    misses(net.lab.clients[2], H1)
    put(routes, f"{LAN1} {C1}\n")
    server.process.send(signal.SIGHUP)
    reaches(net.lab.clients[2], H1)
    server.process.expect_running()


def test_what_others_do_to_the_hosts_routes(net):
    """Deleted ones come back, somebody else's stay, those of a device made again are there."""
    routes = net.lab.directory / "routes"
    net.lab.server.ip("route add 10.5.0.0/16 via 198.18.9.1 dev wan0 onlink")
    put(routes, f"{LAN1} {C1}\n10.5.0.0/16 {C2}\n")
    server = hub(net, f"file: {{path: {routes}}}\n  reload: 1s")
    sites(net)
    reaches(net.lab.server, H1)
    net.lab.server.ip(f"route del {LAN1}")
    wait_for(lambda: LAN1 in host_routes(net), 5.0, "the route to be back")
    assert host_routes(net) == {LAN1: C1}
    [problem] = server.service()["host"]["problems"]
    assert problem == "10.5.0.0/16: this host has a route of its own to it"
    net.lab.server.ip("link del tun0")
    wait_for(lambda: LAN1 in host_routes(net), 5.0, "the routes of the new device")
    reaches(net.lab.server, H1)
    assert server.stop() == 0
    assert "10.5.0.0/16" in net.lab.server.run("ip", "route").stdout


def test_what_was_told_beats_what_is_advertised_and_is_followed_live(net):
    routes = net.lab.directory / "routes"
    put(routes, "")
    server = hub(net, f"file: {{path: {routes}}}\n  reload: 1s")
    net.client(1, "&nat=true&ttl=1s")
    net.client(2, "&nat=true&ttl=1s&advertise=off")
    net.client(3, f"&route={LAN1}&ttl=1s")
    reaches(net.lab.clients[2], H1)

    put(routes, f"{LAN1} {C2}\n")
    wait_for(lambda: server.peer(C2)["networks"] == [LAN1], 5.0, "the other to have it")
    wait_for(
        lambda: [each["standing"] for each in server.peer(C1)["advertised"]] == ["refused"],
        5.0,
        "the advertisement to be refused",
    )
    misses(net.lab.clients[2], H1)

    put(routes, "")
    reaches(net.lab.clients[2], H1)
    assert server.peer(C1)["networks"] == [LAN1]


def test_routes_beside_a_router_are_the_hosts_alone(net):
    server = hub(
        net, f"routes: [{{dst: {LAN1}, gateway: {C1}}}]", more=f", routes: ['{LAN2} {C2}']"
    )
    sites(net)
    reaches(net.lab.clients[2], H1)
    assert LAN2 in net.lab.server.run("ip", "route").stdout
    misses(net.lab.clients[2], H2)
    assert server.peer(C2)["networks"] == []


def test_ipv6(net):
    for number, host in net.lab.lan_hosts.items():
        lan = f"fd00:{99 + number}"
        net.lab.clients[number - 1].ip(f"address add {lan}::1/64 dev lan0 nodad")
        host.ip(f"address add {lan}::10/64 dev wan0 nodad", f"route add default via {lan}::1")
    hub(
        net,
        "routes: [{dst: 'fd00:100::/64', gateway: 'fd00:123::2'}]",
        tunnel="192.168.123.1/24,fd00:123::1/64",
    )
    net.client(1, SILENT, net=f"{C1}/24,fd00:123::2/64")
    net.client(3, "&route=fd00:100::/64", net=f"{C3}/24,fd00:123::4/64")
    reaches(net.lab.clients[2], "fd00:100::10")
    reaches(net.lab.server, "fd00:100::10")


def test_a_client_with_a_router_routes_its_host(net):
    """Beside `route=`; the way to the server stays outside, whatever the router says."""
    net.server()
    net.client(1, SILENT)
    routes = net.lab.directory / "routes"
    put(routes, "")
    file = net.lab.directory / "client.yaml"
    file.write_text(CLIENT.format(routes=routes))
    client = net.gateway(net.lab.clients[2], "-C", str(file)).expect_ready()
    reaches(client.host, "192.168.123.1")

    put(routes, f"{LAN1} 192.168.123.1\n1.2.0.0/16 192.168.123.1\n0.0.0.0/0 192.168.123.1\n")
    wait_for(lambda: way(client.host, H1) == "tun0", 5.0, "the route")
    for address, device in (("8.8.8.8", "tun0"), ("1.2.3.5", "tun0"), ("1.2.3.4", "wan0")):
        assert way(client.host, address) == device
    reaches(client.host, "192.168.123.1")
    put(routes, f"{LAN1} 192.168.123.1\n")
    wait_for(lambda: way(client.host, "1.2.3.5") == "wan0", 5.0, "the route to go")
    assert client.stop() == 0
    assert way(client.host, H1) != "tun0"


def test_p2p_the_last_to_call_is_the_only_one(net):
    """Everything goes to it, whatever the address, and all it sends is the host's."""
    server = net.server("&p2p=true&accept=auto&routes=10.0.0.0/8")
    one = net.client(1, "&ttl=1s&route=10.1.0.0/16")
    reaches(one.host, "192.168.123.1")
    one.host.ip("address add 10.7.7.7/32 dev lo")
    reaches(net.lab.server, "10.7.7.7")
    reaches(net.lab.server, C1)

    net.lab.server.ip("address add 10.1.1.1/32 dev lo")
    reaches(one.host, "10.1.1.1")
    assert one.stop() == 0
    two = net.client(2, "&ttl=1s")
    reaches(two.host, "192.168.123.1")
    misses(net.lab.server, "10.7.7.7")
    two.host.ip("address add 10.7.7.7/32 dev lo")
    reaches(net.lab.server, "10.7.7.7")
    assert server.service()["drops"]["same_peer"] == 0


def test_a_plugin_is_asked_for_what_leads_to_nobody(net):
    """Once for a network, not for each packet; the host's packets and the peers' alike."""
    pytest.importorskip("aiohttp")
    folder = net.lab.directory / "web"
    folder.mkdir()
    put(folder / "mode", "ok")
    put(folder / "body", json.dumps({"net": LAN1, "gateway": C1}))
    host = net.lab.server
    process = host.spawn(*host.python(WEB, 8080, folder), name="web")
    wait_for(lambda: listening(process, 8080), 5.0, "the web server")
    server = hub(
        net,
        "plugin: {type: http, addr: 'http://127.0.0.1:8080/', timeout: 2s}",
        more=f", routes: ['{LAN1} {C1}', '{LAN2} {C2}']",
    )
    sites(net)
    reaches(net.lab.clients[2], H1)
    reaches(host, H1)
    assert ping(net.lab.clients[2], H1, count=200, interval=0.005).received > 190
    assert server.peer(C1)["networks"] == [LAN1]
    found = shown(server, "plugin")
    assert (found["accepted"], found["error"]) == (1, "")
    misses(net.lab.clients[2], H2)
    wait_for(lambda: shown(server, "plugin")["error"] != "", 5.0, "the wrong answer")
    assert shown(server, "plugin")["asked"] < 10
    put(folder / "mode", "never")
    reaches(net.lab.clients[2], H1)
    put(folder / "mode", "ok")


def test_a_device_that_outlives_the_gateway_keeps_no_route(net):
    """Taken back at the end, and after a kill by the next start."""
    host = net.lab.server
    host.run("ip", "tuntap", "add", "tun7", "mode", "tun")
    routes = net.lab.directory / "routes"
    put(routes, f"{LAN1} {C1}\n{LAN2} {C2}\n")
    server = hub(net, f"file: {{path: {routes}}}", more=", name: tun7")
    both = {LAN1: C1, LAN2: C2}
    wait_for(lambda: host_routes(net) == both, 5.0, "the routes")
    server.process.send(signal.SIGKILL)
    server.process.wait()
    host.run("ip", "route", "replace", LAN1, "via", C1, "dev", "tun7", "proto", "71", check=False)
    put(routes, f"{LAN2} {C2}\n")
    server.restart()
    server.expect_ready()
    wait_for(lambda: host_routes(net) == {LAN2: C2}, 5.0, "the leftovers to go")
    assert server.stop() == 0
    assert host_routes(net) == {}


def test_a_server_whose_device_lives_in_another_namespace(net):
    """Routes, what is there already, what others do: all of that namespace, none of this."""
    here, inner = net.lab.server, net.lab.lan_hosts[1]
    before, before_inner = everything(here), everything(inner)
    routes = net.lab.directory / "routes"
    put(routes, f"{LAN1} {C1}\n{LAN2} {C2}\n")
    server = hub(net, f"file: {{path: {routes}}}\n  reload: 1s", more=f", netns: {inner.netns}")
    net.client(2, SILENT)
    wait_for(lambda: routes_of(inner) == {LAN2: C2}, 5.0, "the route beside what it has")
    reaches(inner, H2)
    [problem] = server.service()["host"]["problems"]
    assert LAN1 in problem
    assert changed(here, before) == []

    put(routes, f"{LAN2} {C2}\n10.7.0.0/16 {C2}\n")
    wait_for(lambda: routes_of(inner) == {LAN2: C2, "10.7.0.0/16": C2}, 5.0, "the new one")
    wait_for(lambda: server.service()["host"]["problems"] == [], 5.0, "the problem to end")
    inner.ip(f"route del {LAN2}")
    wait_for(lambda: LAN2 in routes_of(inner), 5.0, "the route to be restored")
    inner.ip("link del tun0")
    wait_for(lambda: len(routes_of(inner)) == 2, 5.0, "the routes of the new device")
    reaches(inner, H2)
    server.process.send(signal.SIGKILL)
    server.process.wait()
    wait_for(lambda: "tun0" not in inner.devices(), 5.0, "the device to go")
    server.restart()
    server.expect_ready()
    wait_for(lambda: len(routes_of(inner)) == 2, 5.0, "the routes again")
    reaches(inner, H2)
    assert server.stop() == 0
    assert changed(inner, before_inner) == []
    assert changed(here, before) == []


def test_a_device_in_another_namespace_that_outlives_the_gateway(net):
    inner = net.lab.lan_hosts[1]
    inner.run("ip", "tuntap", "add", "tun7", "mode", "tun")
    routes = net.lab.directory / "routes"
    put(routes, f"{LAN2} {C2}\n10.7.0.0/16 {C2}\n")
    more = f", name: tun7, netns: {inner.netns}"
    server = hub(net, f"file: {{path: {routes}}}", more=more)
    wait_for(lambda: len(routes_of(inner)) == 2, 5.0, "the routes")
    server.process.send(signal.SIGKILL)
    server.process.wait()
    wait_for(lambda: net.lab.server.pids() == [], 5.0, "the children to be gone")
    inner.run("ip", "link", "set", "tun7", "up")
    inner.run("ip", "route", "replace", "10.7.0.0/16", "dev", "tun7", "proto", "71")
    put(routes, f"{LAN2} {C2}\n")
    server.restart()
    server.expect_ready()
    wait_for(lambda: routes_of(inner) == {LAN2: C2}, 5.0, "the leftovers to go")
    assert server.stop() == 0
    assert routes_of(inner) == {}


def test_a_client_with_a_router_and_its_device_in_another_namespace(net):
    """No way to the server has to be kept: its datagrams are never in that namespace."""
    here, inner = net.lab.clients[2], net.lab.lan_hosts[1]
    net.server()
    net.client(2, SILENT)
    before, before_inner = everything(here), everything(inner)
    routes = net.lab.directory / "routes"
    put(routes, "1.2.0.0/16 192.168.123.1\n10.7.0.0/16 192.168.123.1\n")
    file = net.lab.directory / "client.yaml"
    text = CLIENT.format(routes=routes).replace(
        "router: ways", f"router: ways, netns: {inner.netns}"
    )
    file.write_text(text)
    client = net.gateway(here, "-C", str(file)).expect_ready()
    reaches(inner, "192.168.123.1")
    wait_for(lambda: way(inner, "1.2.3.4") == "tun0", 5.0, "the routes")
    assert changed(here, before) == []
    put(routes, "10.8.0.0/16 192.168.123.1\n")
    wait_for(lambda: way(inner, "10.8.0.1") == "tun0", 5.0, "the new route")
    wait_for(lambda: way(inner, "10.7.0.1") != "tun0", 5.0, "the former route to go")
    client.process.send(signal.SIGKILL)
    client.process.wait()
    wait_for(lambda: "tun0" not in inner.devices(), 5.0, "the device to go")
    client.restart()
    client.expect_ready()
    wait_for(lambda: way(inner, "10.8.0.1") == "tun0", 5.0, "the route again")
    reaches(inner, "192.168.123.1")
    assert client.stop() == 0
    assert changed(inner, before_inner) == []
