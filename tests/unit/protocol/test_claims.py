from ipaddress import ip_address, ip_interface

import pytest
from hypothesis import given
from strategies import a16, addresses

from gateway.protocol.claims import check_claim
from gateway.protocol.forwarding import Refusal
from gateway.protocol.packet import unpack_address

NETS = ("192.168.123.1/24", "fd00::1/64")
OWN, OUTSIDE, FORBIDDEN = Refusal.OWN_ADDRESS, Refusal.OUTSIDE_NET, Refusal.FORBIDDEN_ADDRESS

CLAIMS = [
    (NETS, "192.168.123.2", None),
    (NETS, "192.168.123.254", None),
    (NETS, "fd00::2", None),
    (NETS, "fd00::ffff:ffff:ffff:ffff", None),  # IPv6 has no broadcast
    (NETS, "192.168.123.1", OWN),
    (NETS, "fd00::1", OWN),
    (NETS, "192.168.124.2", OUTSIDE),
    (NETS, "8.8.8.8", OUTSIDE),
    (NETS, "fd00:0:0:1::2", OUTSIDE),
    (NETS, "192.168.123.0", FORBIDDEN),
    (NETS, "192.168.123.255", FORBIDDEN),
    (NETS, "fd00::", FORBIDDEN),
    (NETS, "224.0.0.1", FORBIDDEN),
    (NETS, "ff02::1", FORBIDDEN),
    (NETS, "127.0.0.1", FORBIDDEN),
    (NETS, "::1", FORBIDDEN),
    (NETS, "0.0.0.0", FORBIDDEN),
    (NETS, "::", FORBIDDEN),
    (NETS, "255.255.255.255", FORBIDDEN),
    (("192.168.123.1/24",), "fd00::2", OUTSIDE),
    (("10.0.0.0/31",), "10.0.0.1", None),
    (("10.0.0.1/31",), "10.0.0.0", None),
    (("10.0.0.1/32",), "10.0.0.1", OWN),
    (("10.0.0.1/32",), "10.0.0.2", OUTSIDE),
    (("10.0.0.1/30",), "10.0.0.3", FORBIDDEN),
    (("10.0.0.1/30",), "10.0.0.0", FORBIDDEN),
    (("fd00::1/127",), "fd00::", None),
    (("fd00::1/128",), "fd00::2", OUTSIDE),
    (("10.0.0.1/8", "10.1.0.1/16"), "10.1.255.255", FORBIDDEN),
    (("0.0.0.1/0",), "8.8.8.8", None),
    (("0.0.0.1/0",), "224.0.0.9", FORBIDDEN),
]


@pytest.mark.parametrize(("nets", "claimed", "refusal"), CLAIMS)
def test_claims(nets: tuple[str, ...], claimed: str, refusal: Refusal | None) -> None:
    verdict = check_claim([a16(claimed)], tuple(map(ip_interface, nets)))

    assert verdict == (None if refusal is None else (refusal, ip_address(claimed)))


def test_one_bad_address_is_enough() -> None:
    claimed = [a16("192.168.123.2"), a16("fd00::2"), a16("8.8.8.8")]

    assert check_claim(claimed, tuple(map(ip_interface, NETS))) == (
        OUTSIDE,
        ip_address("8.8.8.8"),
    )


@given(addresses)
def test_what_may_be_claimed_lies_in_a_net_and_is_not_ours(address: bytes) -> None:
    nets = tuple(map(ip_interface, NETS))

    if check_claim([address], nets) is None:
        assert any(unpack_address(address) in net.network for net in nets)
        assert all(unpack_address(address) != net.ip for net in nets)
