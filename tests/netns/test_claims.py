"""Which heartbeats are let in: addresses, passphrases, two hosts with one address, roaming."""

import json
from pathlib import Path

import pytest
from netns.forge import INNER_PORT, Peer, Port, inner
from networks import misses, reaches
from programs import wait_for

SERVER, MINE, OTHER = "192.168.123.1", "192.168.123.2", "192.168.123.3"
NETS = "192.168.123.1/24,fd00:123::1/64"
PASSPHRASE = "open-sesame-7"


def expect_refused(server, reason: str, count: int = 1) -> None:
    """Wait until this many heartbeats were refused for this reason."""
    wait_for(
        lambda: server.service()["refusals"][reason] >= count,
        3.0,
        f"{count} heartbeats refused: {reason}",
    )
    assert server.service()["refusals"][reason] == count


@pytest.mark.parametrize(
    ("reason", "claims"),
    [
        ("outside_net", [["192.168.124.2"], ["fd00:124::2"], ["10.0.0.1"], [MINE, "1.2.3.4"]]),
        ("own_address", [[SERVER], ["fd00:123::1"], [MINE, SERVER]]),
        (
            "forbidden_address",
            [
                ["192.168.123.0"],
                ["192.168.123.255"],
                ["255.255.255.255"],
                ["224.0.0.1"],
                ["127.0.0.1"],
                ["0.0.0.0"],
                ["fd00:123::"],
                ["ff02::1"],
                ["::1"],
                ["::"],
                [MINE, "0.0.0.0"],
            ],
        ),
        ("too_many", [[f"192.168.123.{n}" for n in range(2, 19)]]),
    ],
)
def test_a_forbidden_claim_is_refused_in_silence(network, reason, claims):
    made = network(1)
    server = made.server(net=NETS)
    with Peer(made.lab.clients[0]) as peer:
        for number, claim in enumerate(claims, 1):
            peer.heartbeat(*claim)
            expect_refused(server, reason, number)
        assert peer.received() == []
        assert server.service()["peers"] == []
        assert sum(server.service()["refusals"].values()) == len(claims)
        peer.join(*(f"192.168.123.{n}" for n in range(2, 18)))  # sixteen, and all in order


def test_a_damaged_heartbeat_is_refused(network):
    made = network(1)
    server = made.server()
    with Peer(made.lab.clients[0]) as peer:
        peer.say(b"GOST" + bytes(16) + bytes(15))  # as long as an advertisement may be
        wait_for(
            lambda: sum(server.service()["advertisements"].values()) == 1, 3.0, "it to be counted"
        )
        peer.say(b"GOST" + bytes(15))
        wait_for(lambda: server.service()["drops"]["bad_control"] == 1, 3.0, "it to be dropped")
        assert peer.received() == []


YAML = """\
authers:
- name: sites
  auths:
  - {{username: {mine}, password: {passphrase}}}
  - {{username: {other}, password: some-other}}
services:
- name: hub
  addr: :8421
  listener: {{type: tun, metadata: {{net: {net}}}}}
  handler: {{type: tun, auther: sites}}
"""


def by_userinfo(network):
    url = f"tun://{MINE}:{PASSPHRASE}@:8421?net={SERVER}/24"
    return network.gateway(network.lab.server, "-L", url)


def by_yaml(network):
    text = YAML.format(mine=MINE, other=OTHER, passphrase=PASSPHRASE, net=f"{SERVER}/24")
    path = network.lab.directory / "server.yaml"
    path.write_text(text)
    return network.gateway(network.lab.server, "-C", str(path))


@pytest.mark.parametrize("start", [by_userinfo, by_yaml])
def test_the_passphrase_decides(network, start):
    made = network(1)
    server = start(made).expect_ready()
    host, client = made.lab.server, made.lab.clients[0]
    with Peer(client) as peer, Port(host, SERVER, INNER_PORT) as sink:
        peer.heartbeat(MINE)
        peer.heartbeat(MINE, passphrase=b"open-sesame")
        peer.heartbeat(MINE, passphrase=PASSPHRASE.encode() + b"8")
        expect_refused(server, "wrong_passphrase", 3)
        peer.heartbeat("192.168.123.77", passphrase=PASSPHRASE.encode())
        expect_refused(server, "unknown_address")
        peer.say(inner(MINE, SERVER))
        wait_for(lambda: server.service()["drops"]["unknown_endpoint"], 3.0, "the drop")
        assert peer.received() == sink.received() == server.service()["peers"] == []

        peer.join(MINE, passphrase=PASSPHRASE.encode())
        peer.say(inner(MINE, SERVER))
        wait_for(sink.received, 3.0, "the packet of the peer that was let in")


def test_clients_with_a_right_and_a_wrong_passphrase(network):
    made = network(2)
    server = by_yaml(made).expect_ready()
    thief = made.client(2, f"&ttl=1s&passphrase={PASSPHRASE}", net=f"{OTHER}/24")
    client = made.client(1, f"&ttl=1s&passphrase={PASSPHRASE}")
    reaches(made.lab.clients[0], SERVER)
    wait_for(lambda: server.service()["refusals"]["wrong_passphrase"] > 2, 5.0, "refusals")
    misses(made.lab.clients[1], SERVER)
    assert thief.service()["uplink"]["acks"] == 0
    for gateway in (server, client, thief):
        for text in spoken(gateway):
            assert PASSPHRASE not in text
    assert "wrong_passphrase" in server.process.output()


def spoken(gateway) -> list[str]:
    """All that a gateway shows of itself: log, both statuses, process titles."""
    status = gateway.status()
    processes = [status["supervisor"], *status["services"][0]["processes"]]
    titles = [Path(f"/proc/{item['pid']}/cmdline").read_text() for item in processes]
    assert all("gateway" in title for title in titles)
    table = gateway.ctl("status", gateway.instance).stdout
    return [gateway.process.output(), table, json.dumps(status), *titles]


def test_the_first_of_two_hosts_keeps_the_address(network):
    """Without auth nobody knows who is right: A, B, A, and B is refused from then on."""
    made = network(2)
    server = made.server()
    first, second = made.lab.clients
    with Peer(first) as one, Peer(second) as other:
        one.join(MINE)
        other.join(MINE)  # for all anybody knows the host roamed
        one.join(MINE)
        for number in range(1, 4):
            other.heartbeat(MINE)
            expect_refused(server, "conflict", number)
            one.join(MINE)
        assert other.packets() == other.received() == []
        peer = server.peer(MINE)
        assert peer["endpoint"].startswith(first.ipv4)
        assert peer["conflict"]
        status = server.ctl("status", server.instance)
        assert status.returncode == 1
        assert "two hosts claim" in status.stdout


def test_the_first_of_two_gateways_keeps_the_address(network):
    made = network(2)
    server = made.server()
    made.client(1, "&ttl=1s")
    reaches(made.lab.clients[0], SERVER)
    made.client(2, "&ttl=1s", net=f"{MINE}/24")
    wait_for(lambda: server.service()["refusals"]["conflict"] > 1, 10.0, "a conflict")
    reaches(made.lab.clients[0], SERVER)
    misses(made.lab.clients[1], SERVER)
    assert server.peer(MINE)["endpoint"].startswith(made.lab.clients[0].ipv4)


def test_a_thief_with_a_new_port_each_time_gets_nothing(network):
    made = network(2)
    server = made.server()
    host, thieves = made.lab.clients
    with Peer(host) as one:
        one.join(MINE)
        with Peer(thieves) as thief:
            thief.join(MINE)
        one.join(MINE)
        for number in range(1, 11):
            with Peer(thieves) as thief:
                thief.heartbeat(MINE)
                expect_refused(server, "conflict", number)
                assert thief.received() == []
        one.join(MINE)
        assert server.peer(MINE)["endpoint"].startswith(host.ipv4)


def test_with_auth_the_newest_wins_and_flapping_is_shown(network):
    made = network(2)
    server = by_userinfo(made).expect_ready()
    with Peer(made.lab.clients[0]) as one, Peer(made.lab.clients[1]) as other:
        for _ in range(3):
            for peer in (one, other):
                peer.join(MINE, passphrase=PASSPHRASE.encode())
                endpoint = server.peer(MINE)["endpoint"]
                assert endpoint.rpartition(":")[2] == str(peer.number)
        assert server.peer(MINE)["conflict"]
        assert server.service()["refusals"]["conflict"] == 0
        assert server.ctl("status", server.instance).returncode == 1


def test_roaming_there_and_back_is_no_conflict(network):
    made = network(2)
    server = made.server()
    with (
        Peer(made.lab.clients[0]) as home,
        Peer(made.lab.clients[1]) as away,
        Peer(made.lab.clients[1]) as friend,
    ):
        friend.join(OTHER)
        for place in (home, away, home):
            place.join(MINE)
            place.say(inner(MINE, OTHER))
            wait_for(friend.packets, 3.0, "a packet from the host that roams")
            friend.say(inner(OTHER, MINE))
            wait_for(place.packets, 3.0, "a packet to the host that roams")
        peer = server.peer(MINE)
        assert peer["moves"] == 2
        assert not peer["conflict"]
        assert server.status()["health"] == "healthy"
