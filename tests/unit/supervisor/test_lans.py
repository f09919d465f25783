"""Advertisements at the server: who is heard, what is taken up, and when it ends."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from gateway.config.model import Credential, Route, RouterSpec, Service
from gateway.linux import lan
from gateway.linux.lan import Connected
from gateway.protocol.advert import Advertisement, Answer
from gateway.protocol.approval import Reason, Standing
from gateway.protocol.forwarding import VOID, Role
from gateway.protocol.messages import PuntedDatagram
from gateway.protocol.packet import ANY, Endpoint, pack_address, pack_network
from gateway.protocol.peers import PeerTable
from gateway.supervisor.admission import Admission
from gateway.supervisor.lans import Lans
from gateway.supervisor.networks import Networks

KEY = bytes(32)
NETS = (ip_interface("192.168.123.1/24"),)
OWN = ip_network("172.20.0.0/16")
LAN = ip_network("192.168.100.0/24")
OTHER = ip_network("192.168.101.0/24")


class Server:
    """Peers 2 to 9, each at an endpoint of its own; time is a number."""

    def __init__(self, **options: object) -> None:
        service = Service("hub", Role.SERVER, "", 8421, (), NETS, **options)  # type: ignore[arg-type]
        self.peers = PeerTable()
        self.networks = Networks(Role.SERVER, NETS, () if service.router else service.routes)
        self.admission = Admission(NETS, service.credentials, KEY)
        self.lans = Lans(service, self.admission.digest, self.networks)

    def register(self, number: int, passphrase: bytes = b"") -> None:
        result = self.peers.register(
            [address(number)], endpoint(number), ANY, 0.0, authenticated=True,
            data_seen=lambda _: 0.0, credential=self.admission.digest(passphrase),
        )  # fmt: skip
        self.networks.apply(result.changes)  # type: ignore[union-attr]

    def hear(self, number: int, *networks, sequence: int = 0, passphrase: bytes = b"", **more):
        datagram = Advertisement(passphrase, 7, sequence, networks, **more).build()
        return self.hear_bytes(number, datagram)

    def hear_bytes(self, number: int, datagram: bytes):
        place = endpoint(number)
        punted = PuntedDatagram(*place, ANY, datagram)
        judged = self.lans.judge(punted, place, self.peers, 0.0)
        return None if judged is None else Answer.parse(judged[0])

    def end(self, number: int) -> None:
        peer = self.peers.at_address(address(number))
        assert peer is not None
        changes = self.peers.remove(peer)
        self.networks.apply(changes)
        self.lans.end(changes.gone)

    def target(self, text: str) -> int:
        return self.networks.table.lookup(pack_address(ip_address(text)))

    def slot(self, number: int) -> int:
        peer = self.peers.at_address(address(number))
        assert peer is not None
        return peer.slot


def address(number: int) -> bytes:
    return pack_address(ip_address(f"192.168.123.{number}"))


def endpoint(number: int) -> Endpoint:
    return Endpoint(pack_address(ip_address("198.18.0.1")), 1000 + number)


@pytest.fixture(autouse=True)
def own(monkeypatch):
    monkeypatch.setattr(lan, "connected", lambda: (Connected(OWN, "eth0", True),))


def test_a_network_is_taken_up_and_taken_back():
    server = Server()
    server.register(2)
    answer = server.hear(2, LAN, rtt=0.01, loss=0.5, software="x")
    assert [(r.network, r.standing) for r in answer.results] == [(LAN, Standing.ACCEPTED)]
    assert server.target("192.168.100.7") == server.slot(2)
    assert (server.lans.said(server.slot(2)).rtt, server.lans.counts["heeded"]) == (0.01, 1)
    assert server.hear(2, sequence=1).results == ()
    assert server.target("192.168.100.7") < VOID


def test_who_is_not_heard():
    server = Server(credentials=(Credential("192.168.123.2", b"right", (LAN,)),))
    assert server.hear(2, LAN, passphrase=b"right") is None
    server.register(2, b"right")
    assert server.hear(2, LAN, passphrase=b"wrong") is None
    assert server.hear_bytes(2, b"GOST" + bytes(27)) is None
    assert server.target("192.168.100.7") < VOID
    counts = {"unknown_endpoint": 1, "wrong_passphrase": 1, "malformed": 1}
    assert server.lans.counts == counts
    answer = server.hear(2, LAN, OTHER, passphrase=b"right")
    standings = [result.standing for result in answer.results]
    assert standings == [Standing.ACCEPTED, Standing.WAITING]


def test_what_was_overtaken_changes_nothing_and_is_answered():
    server = Server()
    server.register(2)
    server.hear(2, LAN, sequence=5)
    late = server.hear(2, OTHER, sequence=4)
    assert late.sequence == 4
    assert [result.network for result in late.results] == [LAN]
    assert server.lans.counts["late"] == 1


def test_the_second_waits_for_the_first_to_go():
    server = Server()
    for number in (2, 3):
        server.register(number)
    server.hear(2, LAN)
    (refused,) = server.hear(3, LAN).results
    assert (refused.reason, refused.holder) == (Reason.OVERLAPS_PEER, address(2))
    server.hear(3, LAN, sequence=1)
    assert server.lans.refused == 1, "a network, however often it is said"
    server.end(2)
    assert server.target("192.168.100.7") < VOID
    (result,) = server.hear(3, LAN, sequence=2).results
    assert result.standing is Standing.ACCEPTED
    assert server.target("192.168.100.7") == server.slot(3)


def test_the_servers_own_networks():
    server = Server()
    server.register(2)
    (result,) = server.hear(2, ip_network("172.20.5.0/24")).results
    assert result.reason is Reason.OVERLAPS_OWN


@pytest.mark.parametrize(
    ("accept", "reason"),
    [("off", Reason.SWITCHED_OFF), ((OTHER,), Reason.NOT_APPROVED), ((LAN,), Reason.NONE)],
)
def test_accept(accept, reason):
    server = Server(accept=accept)
    server.register(2)
    assert server.hear(2, LAN).results[0].reason is reason


def test_what_the_server_was_told_stays_when_it_is_no_longer_advertised():
    server = Server(routes=(Route(LAN, ip_address("192.168.123.2")),))
    server.register(2)
    server.register(3)
    assert server.hear(2, LAN).results[0].standing is Standing.ACCEPTED
    assert server.hear(3, LAN).results[0].reason is Reason.CONFIGURED
    server.hear(2, sequence=1)
    assert server.target("192.168.100.7") == server.slot(2)
    assert server.networks.led(server.slot(2)) == ()


def test_a_restart_judges_again_what_was_advertised():
    server = Server()
    server.register(2)
    server.hear(2, LAN, ip_network("fd00:1::/64"))
    again = Server(accept=(LAN,))
    changes = again.peers.restore(server.peers.export(0.0), 0.0, accept=lambda _: True)
    again.networks.apply(changes)
    again.lans.resume(again.peers.at_address(address(2)), 0.0)
    assert again.networks.led(again.slot(2)) == (pack_network(LAN),)
    assert again.hear(2, LAN).results[0].standing is Standing.ACCEPTED, "any mark is new to it"


def test_a_router_is_followed_by_what_was_advertised_before():
    """Told to another: refused at the next look. Told no more: accepted again, and led."""
    server = Server(router=RouterSpec("sites"), routes=(Route(LAN, ip_address("192.168.123.3")),))
    for number in (2, 3):
        server.register(number)
    assert server.hear(2, LAN).results[0].standing is Standing.ACCEPTED, "routes are the host's"
    prefix = pack_network(LAN)

    server.networks.tell({prefix: address(3)})
    server.lans.tell({prefix: address(3)})
    assert server.lans.reconsider(server.peers, 0.0)
    assert not server.lans.reconsider(server.peers, 0.0)
    [status] = server.lans.status(server.slot(2), server.peers)
    assert status.standing == "refused"
    assert server.target("192.168.100.7") == server.slot(3)

    server.networks.tell({}, [prefix])
    server.lans.tell({}, [prefix])
    assert server.lans.reconsider(server.peers, 0.0)
    assert server.target("192.168.100.7") == server.slot(2)

    server.networks.tell({prefix: address(2)})
    server.lans.tell({prefix: address(2)})
    server.lans.reconsider(server.peers, 0.0)
    server.networks.tell({}, [prefix])
    server.lans.tell({}, [prefix])
    server.lans.reconsider(server.peers, 0.0)
    server.networks.settle()
    assert server.target("192.168.100.7") == server.slot(2), "accepted all along, and led again"


def test_a_routers_entry_is_an_approval():
    server = Server(
        credentials=(Credential("192.168.123.2", b"right"),), router=RouterSpec("sites")
    )
    server.register(2, b"right")
    first = server.hear(2, LAN, passphrase=b"right").results[0]
    assert (first.standing, first.reason) == (Standing.WAITING, Reason.NOT_APPROVED)
    server.lans.tell({pack_network(LAN): address(2)})
    server.lans.reconsider(server.peers, 0.0)
    [status] = server.lans.status(server.slot(2), server.peers)
    assert status.standing == "accepted"


def test_p2p_takes_up_nothing():
    server = Server(p2p=True)
    server.register(2)
    assert server.hear(2, LAN).results[0].reason is Reason.SWITCHED_OFF
