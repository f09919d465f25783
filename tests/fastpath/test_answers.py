"""ICMP errors that the data path says of itself."""

import struct

import pytest
from fastpath.rig import HOST, Rig, examples, tunnel_address
from fastpath.twins import (
    VNET_SIZE,
    plain,
)
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    a16,
    echo_request,
    ip_packet,
    ipv4_packet,
    ipv6_packet,
    pseudo_header,
    udp_packet,
)

from gateway.protocol.forwarding import VOID
from gateway.protocol.packet import checksum

NOBODY = {4: a16("10.0.0.99"), 6: a16("fd00::99")}
OUTSIDE = {4: a16("192.0.2.1"), 6: a16("2001:db8::1")}
UNREACHABLE = {4: (3, 1), 6: (1, 3)}
TOO_BIG = {4: (3, 4), 6: (2, 0)}
IP_SIZE = {4: 20, 6: 40}
LIMIT = {4: 576, 6: 1280}


def answering(**options: bool) -> Rig:
    rig = Rig(merge=False, **options)
    rig.worker_parts |= {"own4": HOST[0], "own6": HOST[1]}
    rig.succeed()
    return rig


def check_answer(
    answer: bytes, about: bytes, source: bytes, version: int, kind=UNREACHABLE, mtu: int = 0
) -> None:
    """A whole ICMP error from `source`, quoting the packet's beginning."""
    ip, body = answer[: IP_SIZE[version]], answer[IP_SIZE[version] :]
    assert (body[0], body[1]) == kind[version]
    assert body[4:8] == mtu.to_bytes(4)
    assert body[8:] == about[: LIMIT[version] - IP_SIZE[version] - 8]
    if version == 4:
        assert ip[:10] == b"\x45\xc0" + len(answer).to_bytes(2) + b"\0\0\x40\0\x40\1"
        assert (ip[12:16], ip[16:20]) == (source[12:], about[12:16])
        assert checksum(ip) == 0
        assert checksum(body) == 0
    else:
        assert ip[:8] == b"\x60\0\0\0" + len(body).to_bytes(2) + b"\x3a\x40"
        assert (ip[8:24], ip[24:40]) == (source, about[8:24])
        assert checksum(pseudo_header(source, about[8:24], 58, len(body)) + body) == 0


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [0, 1000, 1350])
def test_a_peer_learns_that_nobody_has_an_address(version, size):
    """From the gateway's own address, to the peer that asked; in no other sum."""
    with answering() as rig:
        peer = rig.peer(0)
        packet = udp_packet(tunnel_address(0, version), NOBODY[version], 1, 2, bytes(size))

        rig.send(0, packet)
        rig.work()

        check_answer(peer.receive(1)[0], packet, HOST[version == 6], version)
        assert rig.drops() == {"no_peer": 1}
        assert rig.counted("answered_packets") == 1
        rig.check_sums()


@pytest.mark.parametrize("version", [4, 6])
def test_the_host_learns_that_nobody_has_an_address(version):
    """From that address itself: the host would take its own for a forgery."""
    with answering() as rig:
        packet = echo_request(HOST[version == 6], NOBODY[version])

        rig.from_host(plain(packet))

        record = rig.to_host()[0]
        assert record[:VNET_SIZE] == bytes(VNET_SIZE)
        check_answer(record[VNET_SIZE:], packet, NOBODY[version], version)
        assert rig.drops(rig.reader_page) == {"no_peer": 1}
        rig.check_sums()


def slow_may_be_answered(packet: bytes) -> bool:
    """By its protocol, its ICMP type, and whether it is a later fragment."""
    if packet[0] >> 4 == 4:
        if int.from_bytes(packet[6:8]) & 0x1FFF:
            return False
        return packet[9] != 1 or packet[20] in (0, 8, *range(13, 19))
    if packet[6] == 58:
        return packet[40] >= 128
    return packet[6] not in (0, 43, 44, 51, 60, 135, 139, 140)


@pytest.mark.parametrize("start", range(0, 256, 64))
@pytest.mark.parametrize("what", ["protocol", "type"])
@pytest.mark.parametrize("version", [4, 6])
def test_protocol_and_type_decide_on_an_answer(version, what, start):
    source, target = tunnel_address(0, version), NOBODY[version]
    query, icmp = (8, 1) if version == 4 else (128, 58)
    answered = 0
    with answering() as rig:
        rig.peer(0)
        for number in range(start, start + 64):
            kind, protocol = (number, icmp) if what == "type" else (query, number)
            packet = ip_packet(source, target, bytes((kind,)) + bytes(30), protocol)
            rig.send(0, packet)
            rig.work()

            answered += slow_may_be_answered(packet)
            assert rig.counted("answered_packets") == answered, number
        assert rig.drops() == {"no_peer": 64}


@pytest.mark.parametrize("version", [4, 6])
def test_an_icmp_header_that_is_missing_is_no_query(version):
    """Whatever lay behind it in memory: here the ports of a former datagram."""
    source, query = tunnel_address(0, version), (8, 128)[version == 6]
    with answering() as rig:
        rig.peer(0)
        rig.send(0, udp_packet(source, OUTSIDE[version], query * 257, query * 257, bytes(9)))
        rig.work()
        rig.send(0, ip_packet(source, NOBODY[version], b"", (1, 58)[version == 6]))
        rig.work()

        assert rig.drops() == {"no_peer": 1}
        assert rig.counted("answered_packets") == 0


def test_a_first_fragment_is_answered():
    packet = ipv4_packet(tunnel_address(0), NOBODY[4], bytes(64), flags=0x2000)
    with answering() as rig:
        peer = rig.peer(0)
        rig.send(0, packet)
        rig.work()

        check_answer(peer.receive(1)[0], packet, HOST[0], 4)


@pytest.mark.parametrize("target", ["224.0.0.9", "239.1.1.1", "255.255.255.255", "ff02::9"])
def test_nobody_is_told_of_a_group(target):
    with answering() as rig:
        peer = rig.peer(0)
        rig.fib.set_route(a16(target), 128, VOID)
        rig.send(0, ip_packet(tunnel_address(0, 6 if ":" in target else 4), a16(target), bytes(9)))
        rig.work()

        assert rig.drops() == {"no_peer": 1}
        assert peer.nothing_came()
        assert rig.counted("answered_packets") == 0


@pytest.mark.parametrize("source", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "::", "::1", "fe80::1"])
def test_a_source_that_is_no_hosts_is_not_told(source):
    with answering(source_check=False) as rig:
        peer = rig.peer(0)
        target = NOBODY[6 if ":" in source else 4]
        rig.send(0, ip_packet(a16(source), target, bytes(9)))
        rig.work()

        assert rig.drops() == {"no_peer": 1}
        assert peer.nothing_came()
        assert rig.counted("answered_packets") == 0


def unanswerable(version: int) -> list[bytes]:
    source, target = tunnel_address(0, version), NOBODY[version]
    if version == 4:
        packet = bytearray(udp_packet(source, target, 1, 2, b"late"))
        packet[6:8] = struct.pack("!H", 100)
        packet[10:12] = b"\0\0"
        packet[10:12] = checksum(bytes(packet[:20])).to_bytes(2)
        errors = [ip_packet(source, target, bytes((kind, 0)) + bytes(30), 1) for kind in (3, 11)]
        return [bytes(packet), *errors]
    extension = [ip_packet(source, target, bytes(40), header) for header in (0, 43, 44, 60)]
    errors = [ip_packet(source, target, bytes((kind, 0)) + bytes(30), 58) for kind in (1, 2, 127)]
    return [*extension, *errors]


@pytest.mark.parametrize("version", [4, 6])
def test_errors_fragments_and_hidden_headers_are_not_answered(version):
    """RFC 1122, 3.2.2; RFC 4443, 2.4."""
    with answering() as rig:
        peer = rig.peer(0)
        packets = unanswerable(version)

        rig.send(0, *packets)
        rig.work()

        assert rig.drops() == {"no_peer": len(packets)}
        assert rig.counted("answered_packets") == 0
        assert peer.nothing_came()


@pytest.mark.parametrize("first", ["answer", "forwarded"])
def test_an_answer_is_in_no_sum_of_what_is_sent_on(first):
    """Though it leaves beside a datagram of the same size, for the same peer."""
    asked = udp_packet(tunnel_address(0), NOBODY[4], 1, 2, bytes(100))
    answer_size = 20 + 8 + len(asked)
    forwarded = udp_packet(tunnel_address(1), tunnel_address(0), 1, 2, bytes(answer_size - 28))
    with answering() as rig:
        peer, _ = rig.peer(0), rig.peer(1)
        packets = [(0, asked), (1, forwarded)]
        for slot, packet in packets if first == "answer" else reversed(packets):
            rig.send(slot, packet)

        rig.work()

        assert {len(each) for each in peer.receive(2)} == {answer_size}
        assert rig.counted("answered_packets") == rig.counted("forwarded_packets") == 1
        assert rig.counted("forwarded_bytes") == answer_size
        rig.check_sums()


def test_without_an_address_of_its_own_the_gateway_is_silent():
    with Rig() as rig:
        peer = rig.peer(0)

        rig.send(0, udp_packet(tunnel_address(0), NOBODY[4], 1, 2, b""))
        rig.work()

        assert rig.drops() == {"no_peer": 1}
        assert peer.nothing_came()


def test_answers_are_rationed():
    """A hundred at once from each process; a burst has at most sixteen."""
    with answering() as rig:
        rig.peer(0)

        for _ in range(100):
            rig.send(0, *[udp_packet(tunnel_address(0), NOBODY[4], 1, 2, b"")] * 20)
            rig.work()

        assert rig.drops() == {"no_peer": 2000}
        assert 100 <= rig.counted("answered_packets") < 1600
        rig.check_sums()


def test_the_hosts_answers_are_rationed_too():
    with answering() as rig:
        for _ in range(5000):
            rig.from_host(plain(echo_request(HOST[0], NOBODY[4])))
            rig.to_host()

        assert rig.drops(rig.reader_page) == {"no_peer": 5000}
        assert 100 <= rig.reader_page.read()["answered_packets"] < 4500


def test_a_burst_is_answered_sixteen_times_at_most():
    packets = [udp_packet(tunnel_address(0), NOBODY[4], port, 2, b"") for port in range(20)]
    with answering() as rig:
        peer = rig.peer(0)
        rig.send(0, *packets, grouped=True)

        rig.work()

        for answer, packet in zip(peer.receive(16), packets, strict=False):
            check_answer(answer, packet, HOST[0], 4)
        assert peer.nothing_came()
        assert rig.drops() == {"no_peer": 20}
        assert rig.counted("answered_packets") == 16
        rig.check_sums()


def narrow(mtu: int, **options: bool) -> Rig:
    rig = Rig(merge=False, **options)
    rig.worker_parts |= {"own4": HOST[0], "own6": HOST[1], "mtu": mtu}
    rig.succeed()
    return rig


def slow_is_too_big(packet: bytes, mtu: int) -> bool:
    """What a router would answer instead of sending it on, and may: RFC 1812, RFC 4443."""
    if len(packet) <= mtu:
        return False
    if packet[0] >> 4 == 4 and not packet[6] & 0x40:
        return False
    return slow_may_be_answered(packet)


PROTOCOLS = st.sampled_from([0, 1, 6, 17, 44, 51, 58, 60, 253])
FRAGMENT_FIELDS = st.sampled_from([0, 0x4000, 0x4000, 0x2000, 0x4001, 100])


@examples(80)
@given(
    st.sampled_from([4, 6]), st.integers(-40, 80), PROTOCOLS, FRAGMENT_FIELDS, st.integers(0, 255),
    st.sampled_from([576, 1280, 1420]),
)  # fmt: skip
def test_a_packet_between_peers_fits_the_tunnel_or_is_answered(
    version, more, protocol, fragment, first, mtu
):
    """Sent on unchanged, or answered with our MTU; never neither and never both."""
    source, target = tunnel_address(0, version), tunnel_address(1, version)
    payload = bytes((first,)) + bytes(mtu + more - IP_SIZE[version] - 1)
    if version == 4:
        packet = ipv4_packet(source, target, payload, protocol, flags=fragment)
    else:
        packet = ipv6_packet(source, target, payload, protocol)
    with narrow(mtu) as rig:
        sender, receiver = rig.peer(0), rig.peer(1)
        rig.send(0, packet)
        rig.work()

        if slow_is_too_big(packet, mtu):
            check_answer(sender.receive(1)[0], packet, HOST[version == 6], version, TOO_BIG, mtu)
            assert receiver.nothing_came()
            assert rig.drops() == {"too_big": 1}
            assert rig.counted("answered_packets") == 1
        else:
            assert receiver.receive(1) == [packet]
            assert sender.nothing_came()
        rig.check_sums()


def test_what_comes_out_of_the_tunnel_has_no_limit():
    """The host is the router there; it knows the link that follows, and answers itself."""
    packet = udp_packet(tunnel_address(0), OUTSIDE[4], 1, 2, bytes(3000))
    with narrow(1280) as rig:
        rig.peer(0)
        rig.send(0, packet)
        rig.work()

        assert rig.to_host() == [plain(packet)]


def test_a_sender_that_cannot_be_told_is_served():
    """Nobody is registered there, or the gateway has no address of that family."""
    packet = udp_packet(tunnel_address(0), tunnel_address(1), 1, 2, bytes(1400))
    with narrow(1280, source_check=False) as rig:
        rig.peer(0)
        receiver = rig.peer(1)
        rig.fib.drop_peer(0)
        rig.send(0, packet)
        rig.work()
        assert receiver.receive(1) == [packet]

        rig.admit(0, incarnation=2)
        rig.worker_parts |= {"own4": bytes(16)}
        rig.succeed()
        rig.send(0, packet)
        rig.work()
        assert receiver.receive(1) == [packet]


def test_too_big_is_rationed_and_never_sent_on():
    packet = udp_packet(tunnel_address(0), tunnel_address(1), 1, 2, bytes(1400))
    with narrow(1280) as rig:
        rig.peer(0)
        receiver = rig.peer(1)
        for _ in range(100):
            rig.send(0, *[packet] * 20)
            rig.work()

        assert rig.drops() == {"too_big": 2000}
        assert 100 <= rig.counted("answered_packets") < 1600
        assert receiver.nothing_came()
        rig.check_sums()
