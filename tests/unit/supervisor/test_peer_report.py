"""What the status says of a server's peers: every field, each in its place."""

import mmap
from ipaddress import ip_address, ip_interface, ip_network
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.model import Route
from gateway.fastpath.counters import Page
from gateway.protocol.forwarding import Role
from gateway.protocol.packet import V4_MAPPED, Endpoint, pack_address, unpack_address
from gateway.protocol.peer_changes import Registered
from gateway.protocol.peers import PeerTable
from gateway.protocol.status import NetworkStatus
from gateway.supervisor.client_facts import MOST_ROUTES, client_facts
from gateway.supervisor.control import NoServer
from gateway.supervisor.networks import Networks
from gateway.supervisor.peer_report import MOST_NETWORKS, address_text, peers
from gateway.supervisor.relayed import Relayed
from gateway.supervisor.remotes import Remote
from gateway.supervisor.service import TunService
from gateway.supervisor.traffic import Traffic

NETS = (ip_interface("192.168.123.1/24"), ip_interface("fd00::1/64"))
OWN = pack_address(ip_address("192.168.123.2"))
LOCAL = pack_address(ip_address("198.51.100.1"))
ENDPOINT = Endpoint(pack_address(ip_address("2001:db8::7")), 40000, 3)
SAID = NetworkStatus("10.0.0.0/8", "refused")


class Counting(Traffic):
    def look(self, slot: int, now: float) -> tuple[tuple[int, ...], float]:
        return (1, 2, 3, 4, 5, 1), 110.0


def serving(told: int = 0) -> TunService:
    """A server with one peer, behind whom so many networks were told to be."""
    gateway = ip_address("192.168.123.2")
    routes = [
        Route(ip_network(f"10.{n // 256}.{n % 256}.0/24"), gateway) for n in reversed(range(told))
    ]
    page = Page(memoryview(mmap.mmap(-1, Page.bytes_for(1))), 1)
    table, networks = PeerTable(capacity=1), Networks(Role.SERVER, NETS, routes)
    registered = table.register(
        (OWN,), ENDPOINT, LOCAL, 100.0, authenticated=False, data_seen=lambda _: 0.0
    )
    assert isinstance(registered, Registered)
    peer = registered.peer
    peer.moves, peer.heartbeats = 6, 7
    networks.apply(registered.changes)
    lans = SimpleNamespace(
        said=lambda _: SimpleNamespace(rtt=0.25, loss=0.5, software="ours/1"),
        status=lambda *_: (SAID,),
    )
    hub = SimpleNamespace(peers=table, lans=lans)
    config = SimpleNamespace(
        name="hub", nets=NETS, routes=(), host="", port=8421, mtu=1420,
        accept="auto", p2p=False, credentials=(), authers=(), netns_out=None,
    )  # fmt: skip
    return cast(
        "TunService",
        SimpleNamespace(
            hub=hub,
            traffic=Counting([page]),
            networks=networks,
            config=config,
            admission=SimpleNamespace(auth=False, knows=lambda _: False),
            opened=SimpleNamespace(acks=None),
        ),
    )


def no_relays(bridged: Remote | None = None) -> Relayed:
    """None that leads anywhere; who came by one all the same."""
    return cast("Relayed", SimpleNamespace(relays=[], remote_of=lambda _: bridged))


def test_every_field_is_in_its_place() -> None:
    service, problems = serving(told=1), []
    (found,) = peers(service, problems, 130.0)

    assert found.addresses == ("192.168.123.2",)
    assert found.endpoint == "[2001:db8::7%3]:40000"
    assert found.local == "198.51.100.1"
    assert (found.since_seconds, found.last_seen_seconds) == (30.0, 20.0)
    assert found.lease_left_seconds > 0
    assert (found.rtt_ms, found.loss_percent) == (250.0, 50.0)
    assert (found.rx_packets, found.rx_bytes) == (1, 2)
    assert (found.tx_packets, found.tx_bytes, found.tx_dropped) == (3, 4, 5)
    assert found.single_sends
    assert (found.heartbeats, found.moves) == (7, 6)
    assert not found.conflict
    assert (found.networks, found.networks_left_out) == (("10.0.0.0/24",), 0)
    assert found.advertised == (SAID,)
    assert found.software == "ours/1"
    assert (found.carrier, found.remote, found.user) == ("", "", "")
    assert problems == []


def test_a_claim_of_two_is_a_problem() -> None:
    service, problems = serving(), []
    assert service.hub is not None
    (peer,) = service.hub.peers
    peer.conflict_at = 129.0
    (found,) = peers(service, problems, 130.0)

    assert found.conflict
    assert problems == ["service hub: two hosts claim 192.168.123.2; [2001:db8::7%3]:40000 has it"]


def test_many_networks_behind_one_peer_are_counted() -> None:
    (found,) = peers(serving(told=MOST_NETWORKS + 5), [], 130.0)

    assert len(found.networks) == MOST_NETWORKS
    assert found.networks_left_out == 5


def test_a_client_is_told_the_first_of_many_networks() -> None:
    """In order, whatever the order of the configuration was."""
    facts = client_facts([serving(told=MOST_ROUTES + 2)], ["192.168.123.3"], no_relays())

    assert facts.routes == tuple(f"10.0.{n}.0/24" for n in range(MOST_ROUTES))
    assert facts.left_out == 2
    assert client_facts([serving(told=3)], ["fd00::3"], no_relays()).routes == (), (
        "of its own family only"
    )
    assert client_facts([serving(told=3)], ["192.168.123.2"], no_relays()).routes == (), (
        "not to itself"
    )


def test_a_client_is_told_the_address_that_peers_use() -> None:
    """Unless that is one that only this host can use, or where a bridge sends from."""
    service = serving()
    asked = ["192.168.123.3"]
    assert client_facts([service], asked, no_relays()).reached == ("198.51.100.1",)
    assert client_facts([service], asked, no_relays(Remote("203.0.113.7", "wss"))).reached == ()
    assert service.hub is not None
    (peer,) = service.hub.peers
    for loopback in ("127.0.0.1", "::1"):
        peer.local = pack_address(ip_address(loopback))
        assert client_facts([service], asked, no_relays()).reached == ()


def test_a_client_cannot_tell_of_clients() -> None:
    service = serving()
    service.hub = None
    with pytest.raises(NoServer, match="ask the one that clients connect to"):
        client_facts([service], ["192.168.123.3"], no_relays())


@given(st.binary(min_size=16, max_size=16) | st.binary(min_size=4, max_size=4))
def test_text_is_what_addresses_are_called(raw: bytes) -> None:
    address = raw if len(raw) == 16 else V4_MAPPED + raw

    assert address_text(address) == str(unpack_address(address))


@given(st.lists(st.sampled_from([0, 0, 0, 1, 0xFFFF]), min_size=8, max_size=8))
def test_zeros_are_left_out_alike(groups: list[int]) -> None:
    address = b"".join(group.to_bytes(2) for group in groups)

    assert address_text(address) == str(unpack_address(address))
