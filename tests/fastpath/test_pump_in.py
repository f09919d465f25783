"""From datagrams to the TUN, to other peers and to the supervisor.

How flows to the TUN are joined is in `test_merge.py`.
"""

import os
import socket
import sys

import pytest
from fastpath.flows import FAMILIES, GROUPED, damaged, data, from_peer, recut, tcp_flow, traffic
from fastpath.rig import HOST, Rig, examples, tunnel_address
from fastpath.twins import tcp_packet
from hypothesis import given
from hypothesis import strategies as st
from strategies import a16, control_datagrams, datagrams, echo_request, honest_packets

from gateway.fastpath import pump
from gateway.protocol.forwarding import Role
from gateway.protocol.packet import ANY

HEARTBEAT = b"GOST" + bytes(28)


@pytest.mark.parametrize("gso", [True, False], ids=["gso", "singly"])
@pytest.mark.parametrize("gro", [True, False], ids=["gro", "no gro"])
@GROUPED
@FAMILIES
def test_client_to_client_is_byte_exact(family, grouped, gro, gso):
    pair = tunnel_address(0), tunnel_address(1)
    packets = [tcp_packet(*pair, data(900), seq=900 * index, ident=index) for index in range(40)]
    packets[20] = damaged(packets[20], -1)  # whatever it is, it is not ours to repair
    with Rig(gro=gro, gso=gso) as rig:
        rig.peer(0)
        other = rig.peer(1, family)
        rig.send(0, *packets, grouped=grouped)

        rig.work()

        assert other.receive(40) == packets
        assert rig.counted("forwarded_packets") == 40
        assert rig.counted("forwarded_bytes") == sum(map(len, packets))
        assert rig.page.peer(0)[:2] == rig.page.peer(1)[2:4] == (40, sum(map(len, packets)))
        assert rig.to_host() == []
        assert (max(other.arrivals) > 1) == gso
        rig.check_sums()


def test_a_run_for_the_host_and_a_run_for_a_peer_are_kept_apart():
    to_host = tcp_flow(5)
    pair = tunnel_address(0), tunnel_address(1)
    to_peer = [tcp_packet(*pair, data(100), seq=100 * index, ident=index) for index in range(5)]
    with Rig() as rig:
        rig.peer(0)
        other = rig.peer(1)
        mixed = [packet for both in zip(to_host, to_peer, strict=True) for packet in both]
        rig.send(0, *mixed, grouped=True)

        rig.work()

        assert recut(rig.to_host()) == to_host
        assert other.receive(5) == to_peer


@FAMILIES
def test_a_heartbeat_is_punted_with_where_it_came_from(family):
    with Rig() as rig:
        peer = rig.peer(0, family)
        rig.send(0, HEARTBEAT)

        assert rig.work() == pump.PUNTS
        assert rig.punts == [(peer.address, peer.port, 0, peer.address, HEARTBEAT)]
        assert rig.worker.punts() == []
        assert rig.counted("punted_packets") == 1


def test_an_ipv4_socket_punts_v4_mapped_addresses():
    with Rig(family=socket.AF_INET) as rig:
        peer = rig.peer(0)
        rig.send(0, HEARTBEAT)
        rig.work()

        assert rig.punts == [(peer.address, peer.port, 0, peer.address, HEARTBEAT)]


def test_the_magic_is_looked_for_in_every_segment():
    ping = echo_request(*from_peer(), data=data(4))
    with Rig() as rig:
        rig.peer(0)
        rig.send(0, ping, HEARTBEAT, ping, grouped=True)

        rig.work()

        assert recut(rig.to_host()) == [ping, ping]
        assert [punt[4] for punt in rig.punts] == [HEARTBEAT]


@pytest.mark.parametrize(("size", "punted"), [(20, 0), (21, 1), (2048, 1), (2049, 0)])
def test_the_size_of_a_control_datagram_decides(size, punted):
    with Rig() as rig:
        rig.peer(0)
        rig.send(0, HEARTBEAT[:4] + bytes(size - 4))

        rig.work()

        assert len(rig.punts) == punted
        assert rig.drops() == ({} if punted else {"bad_control": 1})


def test_a_turn_punts_as_much_as_it_has_room_for():
    with Rig() as rig:
        for slot in range(4):
            rig.peer(slot)
            rig.send(slot, *[HEARTBEAT] * 32, grouped=True)

        rig.work()

        assert rig.counted("punted_packets") == 64
        assert rig.drops() == {"punt_limited": 64}
        rig.check_sums()


def test_a_flood_of_strangers_leaves_the_known_their_tokens():
    with Rig() as rig:
        rig.peer(0)
        rig.peer(1)
        rig.fib.drop_peer(1)
        for _ in range(2000):
            rig.send(1, *[HEARTBEAT] * 64, grouped=True)
            rig.work()
            if rig.drops():
                break
        assert rig.drops().keys() == {"punt_limited"}
        limited, punted = rig.drops()["punt_limited"], rig.counted("punted_packets")

        rig.send(0, *[HEARTBEAT] * 32, grouped=True)
        rig.work()

        assert rig.drops()["punt_limited"] == limited
        assert rig.counted("punted_packets") == punted + 32
        rig.check_sums()


STRANGE = b"\x45" + bytes(39)
REFUSED = {
    "unknown_endpoint": (1, echo_request(*from_peer(slot=1))),
    "spoofed_source": (0, echo_request(tunnel_address(1), HOST[0])),
    "unroutable_source": (0, echo_request(a16("fe80::1"), a16("ff02::2"))),
    "no_peer": (0, echo_request(tunnel_address(0), a16("10.0.0.99"))),
    "same_peer": (0, echo_request(tunnel_address(0), tunnel_address(0))),
    "bad_length": (0, STRANGE),
    "not_ip": (0, bytes(40)),
    "too_short": (0, b"hello"),
    "empty": (0, b""),
    "bad_control": (0, b"GOST"),
}


@pytest.mark.parametrize(("reason", "slot", "packet"), [(k, *v) for k, v in REFUSED.items()])
def test_what_may_not_pass_is_counted_by_its_reason(reason, slot, packet):
    with Rig() as rig:
        rig.peer(0)
        rig.peer(1)
        rig.fib.drop_peer(1)
        rig.send(slot, packet)

        rig.work()

        assert rig.drops() == {reason: 1}
        assert rig.to_host() == []
        assert all(peer.nothing_came() for peer in rig.peers.values())
        rig.check_sums()


def test_without_a_source_check_strangers_pass():
    packet = echo_request(tunnel_address(5), HOST[0])
    with Rig(source_check=False) as rig:
        rig.peer(1)
        rig.fib.drop_peer(1)
        rig.send(1, packet)

        rig.work()

        assert recut(rig.to_host()) == [packet]


@pytest.mark.parametrize("slot", [7, 8, 2**24 - 8])
def test_a_route_to_an_empty_slot_or_none_drops_as_stale(slot):
    with Rig() as rig:
        rig.peer(0)
        rig.fib.set_route(a16("10.0.0.9"), 128, slot)
        rig.send(0, echo_request(tunnel_address(0), a16("10.0.0.9")))

        rig.work()

        assert rig.drops() == {"stale_peer": 1}
        rig.check_sums()


whatever = st.one_of(
    datagrams,
    honest_packets(),
    control_datagrams,
    st.builds(
        lambda size, start: start + bytes(size), st.integers(0, 65_000), st.binary(max_size=4)
    ),
    traffic().map(lambda packets: packets[0]),
)


@given(st.lists(whatever, max_size=40), st.sampled_from(Role), st.booleans(), st.booleans())
@examples(150)
def test_every_datagram_is_in_exactly_one_counter(received, role, source_check, gro):
    with Rig(role=role, source_check=source_check, gro=gro) as rig:
        rig.peer(0)
        rig.peer(1)
        for data_ in received:
            rig.send(0, data_)
            if len(data_) > 9000:
                rig.work()  # the socket's buffer holds only so many
        rig.work()

        assert rig.counted("udp_received_packets") == len(received)
        assert rig.counted("udp_received_bytes") == sum(map(len, received))
        rig.check_sums()


def test_a_datagram_longer_than_any_packet_is_truncated_and_dropped():
    """UDP has none so long; a socketpair does."""
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with far, Rig(role=Role.CLIENT, udp=near) as rig:
        far.send(bytes(65_537))
        rig.sent = 1

        rig.work()

        assert rig.drops() == {"truncated": 1}
        rig.check_sums()


def test_a_client_delivers_all_that_its_server_sends():
    far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    packets = [echo_request(a16("203.0.113.9"), HOST[0]), echo_request(a16("fe80::1"), HOST[1])]
    with far, Rig(role=Role.CLIENT, udp=near) as rig:
        for packet in packets:
            far.send(packet)
        far.send(b"GOST" + bytes(16))
        rig.sent = 3

        assert rig.work() == pump.PUNTS
        assert recut(rig.to_host()) == packets
        assert rig.punts == [(ANY, 0, 0, ANY, b"GOST" + bytes(16))]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_client_tells_which_server_an_ack_came_from(family):
    """It may have waited in the socket while that was connected to another one."""
    with Rig(role=Role.CLIENT, family=family) as rig:
        first, second = rig.peer(0), rig.peer(1)
        name = ("::ffff:127.0.0.1" if family == socket.AF_INET6 else "127.0.0.1", first.port)
        rig.udp.connect(name)
        rig.send(0, b"GOST" + bytes(16))
        rig.udp.connect((name[0], second.port))
        rig.send(1, b"GOST" + bytes(16))

        assert rig.work() == pump.PUNTS
        assert [punt[:2] for punt in rig.punts] == [
            (first.address, first.port),
            (second.address, second.port),
        ]


def test_a_full_device_drops_and_counts():
    packets = tcp_flow(40, 1400)
    with Rig(merge=False) as rig:
        rig.peer(0)
        while not rig.drops():
            rig.send(0, *packets, grouped=True)
            rig.work()

        assert rig.drops().keys() == {"tun_full"}
        assert len(rig.to_host()) == rig.counted("delivered_packets")
        rig.check_sums()


def test_a_deleted_device_is_reported():
    reading, writing = os.pipe()
    os.close(writing)
    with Rig(tun=reading) as rig:  # writev() fails with EBADF, as on a deleted device
        rig.closing.callback(os.close, reading)
        rig.peer(0)
        rig.send(0, *tcp_flow(3))

        assert rig.work() & pump.DEVICE_GONE
        assert rig.drops() == {"tun_error": 3}
        rig.check_sums()


def test_no_object_is_made_per_packet():
    """A call is many packets and no allocation (I9)."""
    with Rig() as rig:
        rig.peer(0)
        rig.send(0, *tcp_flow(1000, 50), grouped=True)

        before = sys.getallocatedblocks()
        rig.worker.run(0)
        made = sys.getallocatedblocks() - before

        assert rig.counted("delivered_packets") == 1000
        assert made < 20
