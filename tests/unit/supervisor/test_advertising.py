"""Advertisements of a client: what it sends when, and what it makes of answers."""

import socket
from ipaddress import ip_interface, ip_network

import pytest

from gateway.config.model import Service, Target
from gateway.linux import lan
from gateway.protocol.advert import Advertisement, Answer, Result
from gateway.protocol.approval import Reason, Standing
from gateway.protocol.forwarding import Role
from gateway.protocol.uplink import Uplink
from gateway.supervisor.advertising import REPEATS, Advertising

LAN = ip_network("192.168.100.0/24")
TARGET = Target("203.0.113.1", 8421)


@pytest.fixture
def sockets():
    server, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with server, ours:
        server.setblocking(False)
        yield server, ours


class Client:
    def __init__(self, sockets, *, keepalive: bool = True, advertise=(LAN,)) -> None:
        service = Service(
            "site", Role.CLIENT, "", 0, (TARGET,), (ip_interface("192.168.123.2/24"),),
            passphrase=b"secret", advertise=advertise,
        )  # fmt: skip
        self.server, ours = sockets
        self.machine = Uplink((TARGET,), 10.0, keepalive, lambda: 0.5)
        self.advertising = Advertising(service, "tun0", ours, lambda: False)

    def up(self) -> None:
        self.machine.start(0.0)
        self.machine.resolved(0.0, TARGET, [object()])  # type: ignore[list-item]
        self.machine.sent(0.0)
        self.machine.ack(0.1, bytes(16))

    def sent(self) -> list[Advertisement]:
        found = []
        while True:
            try:
                found.append(Advertisement.parse(self.server.recv(2000)))
            except BlockingIOError:
                return found

    def answer(self, heard: Advertisement, standing: Standing, reason=Reason.NONE) -> None:
        answer = Answer(heard.session, heard.sequence, (Result(LAN, standing, reason),))
        self.advertising.on_answer(answer.build(), 0.0)

    def standing(self) -> list[str]:
        return [network.standing for network in self.advertising.status()]


def test_one_follows_each_ack(sockets):
    client = Client(sockets)
    client.up()
    client.advertising.tell(client.machine)
    client.advertising.tell(client.machine)
    one, two = client.sent()
    assert one.networks == (LAN,)
    assert one.passphrase == b"secret"
    assert one.rtt == pytest.approx(0.1)
    assert (two.session, two.sequence) == (one.session, one.sequence + 1)
    assert one.software.startswith("gateway ")


def test_answers(sockets):
    client = Client(sockets)
    client.up()
    client.advertising.tell(client.machine)
    client.advertising.tell(client.machine)
    one, two = client.sent()
    assert client.standing() == ["unanswered"]
    client.answer(two, Standing.WAITING, Reason.NOT_APPROVED)
    assert client.standing() == ["waiting"]
    client.answer(one, Standing.ACCEPTED)
    assert client.standing() == ["waiting"], "an older answer says nothing new"
    client.advertising.on_answer(Answer(two.session, two.sequence + 1).build(), 0.0)
    assert client.standing() == ["waiting"], "nothing was sent that this could answer"
    client.advertising.on_answer(b"GOST" + bytes(27), 0.0)
    assert client.advertising.bad_answers == 1
    assert client.advertising.refused == 0
    for _ in range(2):
        client.advertising.tell(client.machine)
        client.answer(client.sent()[0], Standing.REFUSED, Reason.OVERLAPS_PEER)
    assert client.standing() == ["refused"]
    assert client.advertising.refused == 1


def test_a_change_is_told_at_once_and_the_end_too(sockets, monkeypatch):
    found = [LAN]
    monkeypatch.setattr(lan, "connected", tuple)
    monkeypatch.setattr(lan, "read_legacy", tuple)
    monkeypatch.setattr(lan, "reachable", lambda *_, **__: tuple(found))
    client = Client(sockets, advertise="auto")
    client.advertising.scan(client.machine)
    assert client.sent() == [], "there is no server yet"
    client.up()
    client.advertising.scan(client.machine)
    assert client.sent() == []
    found.append(ip_network("10.0.0.0/8"))
    found.append(ip_network("10.9.0.0/24"))
    client.advertising.scan(client.machine)
    (heard,) = client.sent()
    assert heard.networks == (LAN, ip_network("10.9.0.0/24")), "what is too wide stays at home"
    client.advertising.withdraw()
    assert [one.networks for one in client.sent()] == [()]


def test_without_keepalive_it_is_repeated_some_times(sockets):
    client = Client(sockets, keepalive=False)
    client.up()
    client.advertising.tell(client.machine)
    for _ in range(10):
        client.advertising.scan(client.machine)
    heard = client.sent()
    assert len(heard) == 1 + REPEATS
    client.advertising.tell(client.machine)
    (last,) = client.sent()
    client.answer(last, Standing.ACCEPTED)
    client.advertising.scan(client.machine)
    assert client.sent() == []


def test_off_still_tells_the_round_trip(sockets):
    client = Client(sockets, advertise="off")
    client.up()
    client.advertising.tell(client.machine)
    (heard,) = client.sent()
    assert (heard.networks, heard.rtt is not None) == ((), True)
