"""A packet's ways through the real processes, and what the counters say about it."""

import socket
from collections.abc import Callable
from contextlib import closing

from instance import VNET, Gateway, Peer, ipv4, wait_for

from gateway.protocol.advert import is_extension


def test_heartbeat_is_acked_and_shown(gateway: Gateway, peer: Peer) -> None:
    """The ack is 20 bytes with the address seen; the status has the peer."""
    service = gateway.service()
    [shown] = service.peers

    assert service.acks == {"sent": 1, "full": 0, "failed": 0}
    assert shown.addresses == ("192.168.123.2",)
    assert shown.endpoint == f"127.0.0.1:{peer.sock.getsockname()[1]}"


def test_outside_to_inside(gateway: Gateway, peer: Peer) -> None:
    """A packet from a registered endpoint leaves at the TUN unchanged."""
    packet = ipv4("192.168.123.2", "192.168.123.1", b"in")
    peer.sock.send(packet)

    assert gateway.inside.recv(2000) == VNET + packet


def test_inside_to_outside(gateway: Gateway, peer: Peer) -> None:
    """A packet of the host goes through a ring to the peer."""
    packet = ipv4("192.168.123.1", "192.168.123.2", b"out")
    gateway.inside.send(VNET + packet)

    assert peer.sock.recv(2000) == packet
    assert sum(ring.pushed for ring in gateway.service().rings) == 1


def test_peer_to_peer(gateway: Gateway, peer: Peer) -> None:
    """A packet between two peers touches neither ring nor TUN."""
    packet = ipv4("192.168.123.2", "192.168.123.3", b"across")
    with closing(Peer("192.168.123.3", gateway.port).register()) as other:
        peer.sock.send(packet)

        assert other.sock.recv(2000) == packet
        assert sum(ring.pushed for ring in gateway.service().rings) == 0


def test_spoofed_and_unknown_are_counted(gateway: Gateway, peer: Peer) -> None:
    """What is not let through has a reason, and the sum is right (I14)."""
    peer.sock.send(ipv4("192.168.123.9", "192.168.123.1"))
    with closing(Peer("192.168.123.3", gateway.port)) as stranger:
        stranger.sock.send(ipv4("192.168.123.3", "192.168.123.1"))
        wait_for(lambda: sum(gateway.service().drops.values()) == 2, "two drops")
    service = gateway.service()

    assert (service.drops["spoofed_source"], service.drops["unknown_endpoint"]) == (1, 1)
    counters = service.counters
    assert counters["udp_received_packets"] == sum(service.drops.values()) + sum(
        counters[name] for name in ("delivered_packets", "forwarded_packets", "punted_packets")
    )


def test_auth(start: Callable[..., Gateway]) -> None:
    """A wrong passphrase gets nothing and is counted; the right one gets in."""
    gateway = start(credentials=[["192.168.123.2", "userpass1"]]).wait_running()
    with (
        closing(Peer("192.168.123.2", gateway.port, b"wrong")) as thief,
        closing(Peer("192.168.123.3", gateway.port, b"userpass1")) as unknown,
        closing(Peer("192.168.123.2", gateway.port, b"userpass1")) as owner,
    ):
        thief.heartbeat()
        unknown.heartbeat()
        wait_for(lambda: sum(gateway.service().refusals.values()) == 2, "two refusals")
        refusals = gateway.service().refusals

        assert (refusals["wrong_passphrase"], refusals["unknown_address"]) == (1, 1)
        owner.register()
    assert "userpass1" not in gateway.text()


def test_ports_reach_every_worker(start: Callable[..., Gateway]) -> None:
    """64 source ports: every worker's counters move, and never the ack socket's."""
    gateway = start(workers=4).wait_running()
    port = gateway.port
    for _ in range(64):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", ("127.0.0.1", port))
    wait_for(lambda: gateway.service().counters["udp_received_packets"] == 64, "64 received")

    received = [
        child.counters["udp_received_packets"]
        for child in gateway.service().processes
        if child.kind == "udp-worker"
    ]
    assert len(received) == 4
    assert all(received)


def test_client_meets_server(start: Callable[..., Gateway]) -> None:
    """Our client registers with a stand-in server, and packets go both ways."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        target = ["127.0.0.1", server.getsockname()[1]]
        gateway = start(role="CLIENT", nets=["192.168.123.2/24"], targets=[target], keepalive=True)
        heartbeat, client = server.recvfrom(2000)
        server.sendto(b"GOST" + bytes(10) + b"\xff\xff\x7f\0\0\1", client)
        gateway.wait_running()
        wait_for(lambda: getattr(gateway.service().uplink, "state", "") == "up", "up")
        out = ipv4("192.168.123.2", "192.168.123.1")
        gateway.inside.send(VNET + out)
        back = ipv4("192.168.123.1", "192.168.123.2")

        assert heartbeat.hex().endswith("ffffc0a87b02")
        assert is_extension(server.recv(2000)), "an advertisement follows an ack"
        assert server.recv(2000) == out
        server.sendto(back, client)
        assert gateway.inside.recv(2000) == VNET + back


def test_client_resolves_a_name(start: Callable[..., Gateway]) -> None:
    """A target that is a name is looked up by the resolver."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        target = ["localhost", server.getsockname()[1]]
        start(role="CLIENT", nets=["192.168.123.2/24"], targets=[target], keepalive=True)

        # localhost may be ::1 first: nobody is there, so the probes come around to us.
        assert server.recv(2000).startswith(b"GOST")
