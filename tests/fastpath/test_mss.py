"""The MSS of SYNs that pass is clamped to the tunnel."""

import pytest
from fastpath.rig import HOST, Rig, examples, tunnel_address
from fastpath.twins import (
    ACK,
    SYN,
    needs_checksum,
    plain,
    split_record,
    tcp_packet,
    with_checksums,
)
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    UDP,
    a16,
    ip_packet,
    udp_packet,
)

OUTSIDE = {4: a16("192.0.2.1"), 6: a16("2001:db8::1")}
IP_SIZE = {4: 20, 6: 40}


def clamping(mtu: int) -> Rig:
    rig = Rig(merge=False)
    rig.worker_parts["mss_mtu"] = rig.reader_parts["mss_mtu"] = mtu
    rig.succeed()
    return rig


OPTIONS = st.lists(
    st.sampled_from([b"\1", b"\1\1", b"\3\3\7", b"\4\2", b"\x08\x0a" + bytes(8)]), max_size=3
)


def syn(version: int, mss: int, before: list[bytes], flags: int = SYN) -> bytes:
    """A SYN with the MSS behind some other options, so that it may lie at an odd place."""
    options = b"".join(before) + b"\2\4" + mss.to_bytes(2)
    options += b"\0" * (-len(options) % 4)
    return tcp_packet(tunnel_address(0, version), OUTSIDE[version], options=options, flags=flags)


def mss_of(packet: bytes, before: list[bytes], version: int) -> int:
    at = IP_SIZE[version] + 20 + sum(map(len, before)) + 2
    return int.from_bytes(packet[at : at + 2])


@examples(60)
@given(
    st.sampled_from([4, 6]), st.integers(0, 65535), OPTIONS, st.sampled_from([SYN, SYN | ACK]),
    st.sampled_from([1280, 1420, 9000]),
)  # fmt: skip
def test_a_syn_for_the_host_is_clamped(version, mss, before, flags, mtu):
    """To what fits; its checksum stays right, and a smaller MSS as it is."""
    packet = syn(version, mss, before, flags)
    with clamping(mtu) as rig:
        rig.peer(0)
        rig.send(0, packet)
        rig.work()
        _, got = split_record(rig.to_host()[0])

    limit = mtu - IP_SIZE[version] - 20
    assert mss_of(got, before, version) == min(mss, limit)
    assert got == with_checksums(got)
    assert mss > limit or got == packet


@pytest.mark.parametrize("version", [4, 6])
def test_a_syn_of_the_host_is_clamped(version):
    """Whether its checksum is complete or still to be completed."""
    with clamping(1420) as rig:
        peer = rig.peer(0)
        options = b"\2\4" + (8960).to_bytes(2)
        packet = tcp_packet(
            HOST[version == 6], tunnel_address(0, version), options=options, flags=SYN
        )

        rig.from_host(plain(packet), needs_checksum(packet))
        rig.work()

        limit = 1420 - IP_SIZE[version] - 20
        for got in peer.receive(2):
            assert mss_of(got, [], version) == limit
            assert got == with_checksums(got)


@pytest.mark.parametrize(
    "options", [b"\2", b"\1\2\4\xff", b"\2\3\xff\xff", b"\x09\xff\2\4", b"\5\0"]
)
def test_damaged_options_stay_as_they_are(options):
    options += b"\1" * (-len(options) % 4)
    packet = tcp_packet(tunnel_address(0), OUTSIDE[4], options=options, flags=SYN)
    with clamping(1280) as rig:
        rig.peer(0)
        rig.send(0, packet)
        rig.work()

        assert rig.to_host() == [plain(packet)]


def test_what_is_no_syn_stays_as_it_is():
    """An MSS option, or its bytes, elsewhere mean nothing."""
    lookalike = b"\2\4\xff\xff"
    packets = [
        tcp_packet(tunnel_address(0), OUTSIDE[4], options=lookalike, flags=ACK),
        tcp_packet(tunnel_address(0), OUTSIDE[4], options=lookalike, flags=SYN, ip_flags=5),
        udp_packet(tunnel_address(0), OUTSIDE[4], 1, 2, bytes(12) + b"\x60\2" + lookalike * 3),
        ip_packet(tunnel_address(0), OUTSIDE[4], bytes(12) + b"\x60\2" + lookalike * 3, UDP),
    ]
    with clamping(1280) as rig:
        rig.peer(0)
        rig.send(0, *packets)
        rig.work()

        assert rig.to_host() == [plain(packet) for packet in packets]
