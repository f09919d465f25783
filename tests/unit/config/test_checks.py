"""What parts of a configuration demand of each other."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.checks import _overlapping
from gateway.config.nets import cannot_be_a_peer, within

HUB = "tun://:8421?net=192.168.123.1/24"
SITE = "tun://:0/1.2.3.4:8421?net=10.7.0.2/24"
AUTH = """\
services:
- name: hub
  addr: :8421
  handler: {{type: tun, authers: [one, two]}}
  listener: {{type: tun, metadata: {{net: "192.168.123.1/24,fd00::1/64"}}}}
authers:
- name: one
  auths:
  - {{{first}}}
- name: two
  auths:
  - {{{second}}}
"""
NOBODY = "username: 192.168.123.9, password: x"


def auth(first, second=NOBODY):
    return AUTH.format(first=first, second=second)


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        (
            f"{SITE}&route=10.1.0.0/16",
            "tun://:0/1.2.3.4:8421?net=10.8.0.2/24&route=10.1.0.0/16",
            "-L #2: route: the service at -L #1 has 10.1.0.0/16 too",
        ),
        (
            f"{SITE}&route=10.8.0.0/24",
            "tun://:0/1.2.3.4:8421?net=10.8.0.2/24",
            "-L #1: route: 10.8.0.0/24 is in 10.8.0.0/24 of the service at -L #2",
        ),
        (
            f"{SITE}&routes=10.8.0.128/25",
            "tun://:0/1.2.3.4:8421?net=10.8.0.2/24",
            "-L #1: route: 10.8.0.128/25 is in 10.8.0.0/24 of the service at -L #2",
        ),
        (
            HUB,
            "tun://:8422?net=192.168.0.1/16",
            "-L #2: net: 192.168.0.1/16 overlaps 192.168.123.1/24 of another service: change one",
        ),
    ],
)
def test_two_services_that_cannot_be(problems, first, second, line):
    assert problems(first, second) == [line]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (f"{SITE}&route=10.1.0.0/16", "tun://:8421?net=10.8.0.1/24&routes=10.1.2.0/24%2010.8.0.2"),
        (f"{SITE}&route=10.0.0.0/8", "tun://:8421?net=10.8.0.1/24"),
    ],
)
def test_two_services_of_which_the_longer_prefix_decides(load, first, second):
    assert load(first, second).warnings == ()


@pytest.mark.parametrize(
    ("url", "warnings"),
    [
        (f"{SITE}&route=0.0.0.0/0", []),
        (
            f"{SITE}&route=1.2.0.0/16",
            [
                (
                    "route: 1.2.0.0/16 has the target 1.2.3.4 in it: the way to it is kept "
                    "outside the tunnel"
                )
            ],
        ),
        (
            f"{SITE}&route=10.7.0.128/25",
            ["route: 10.7.0.128/25 is in the tunnel network, which needs no route: leave it out"],
        ),
        (
            "tun://1.2.3.4:8421?net=10.7.0.1/24&gw=10.7.0.2&route=1.2.0.0/16,0.0.0.0/0,1.3.0.0/16",
            [
                (
                    "route: 1.2.0.0/16 has this server's address 1.2.3.4 in it: clients in it "
                    "can then not be answered"
                )
            ],
        ),
        ("tun://127.0.0.1:8421?net=10.7.0.1/24&gw=10.7.0.2&route=126.0.0.0/7", []),
        (
            "tun://:8421?net=10.7.0.1/24,10.0.0.1/8",
            ["net: 10.0.0.1/8 and 10.7.0.1/24: one network is part of the other"],
        ),
        (
            "tun://10.9.9.9:x@:8421?net=10.7.0.1/24",
            ["username: 10.9.9.9 is not inside net: no client can have it"],
        ),
    ],
)
def test_what_is_worth_a_look(load, url, warnings):
    assert load(url).warnings == tuple(f"-L #1: {line}" for line in warnings)


@pytest.mark.parametrize(
    ("given", "warnings"),
    [
        ({"first": "username: 192.168.123.2, password: x, networks: [192.168.100.0/24]"}, []),
        (
            {"first": "username: 192.168.124.2, password: x"},
            ["9:5: username: 192.168.124.2 is not inside net: no client can have it"],
        ),
        (
            {"first": "username: 192.168.123.0, password: x"},
            [
                (
                    "9:5: username: 192.168.123.0 is the network or its broadcast address: no "
                    "client can have it"
                )
            ],
        ),
        (
            {"first": "username: 192.168.123.2, password: x, networks: [192.168.0.0/16]"},
            [
                (
                    "9:5: networks: 192.168.0.0/16 overlaps the tunnel network "
                    "192.168.123.0/24: it is never taken up"
                )
            ],
        ),
    ],
)
def test_credentials(load, given, warnings):
    assert load(yaml=auth(**given)).warnings == tuple(f"g.yaml:{line}" for line in warnings)


def test_networks_of_two_credentials(load):
    """In one auther or in two that one service asks."""
    config = load(
        yaml=auth(
            "username: 192.168.123.2, password: x, networks: [10.1.0.0/16, 10.1.5.0/24]",
            "username: 192.168.123.3, password: x, networks: [10.1.2.0/24]",
        )
    )
    assert config.warnings == (
        (
            "g.yaml:12:5: networks: 10.1.2.0/24 of 192.168.123.3 overlaps 10.1.0.0/16 of "
            "192.168.123.2: only who comes first gets it"
        ),
    )


ADDRESSES = st.integers(0, 255).map(lambda n: f"10.0.{n // 16}.{n % 16 * 16}")
NETWORKS = st.builds(
    lambda text, length: ip_network(f"{text}/{length}", strict=False),
    ADDRESSES,
    st.integers(16, 32),
)


@given(st.lists(NETWORKS, max_size=12))
def test_overlaps_are_found_as_by_looking_at_each_pair(networks):
    placed = [(network, str(index), "") for index, network in enumerate(networks)]
    found = {inner[1] for inner, _ in _overlapping(placed)}
    for inner, outer in _overlapping(placed):
        assert inner[0].overlaps(outer[0])
        assert inner[1] != outer[1]
    alone = {
        owner
        for network, owner, _ in placed
        if not any(network.overlaps(other) for other, name, _ in placed if name != owner)
    }
    assert not found & alone
    pairs = any(a.overlaps(b) for i, a in enumerate(networks) for b in networks[i + 1 :])
    assert bool(found) == pairs


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ("10.0.0.0/24", "10.0.0.0/24", True),
        ("10.0.0.0/25", "10.0.0.0/24", True),
        ("10.0.0.0/23", "10.0.0.0/24", False),
        ("10.0.1.0/24", "10.0.0.0/24", False),
        ("fd00::/64", "10.0.0.0/8", False),
    ],
)
def test_within(inner, outer, expected):
    assert within(ip_network(inner), ip_network(outer)) is expected


@pytest.mark.parametrize(
    ("address", "can"),
    [
        ("10.0.0.2", True),
        ("10.0.0.0", False),
        ("10.0.0.255", False),
        ("10.1.0.0", True),
        ("10.1.0.1", True),
        ("fd00::", False),
        ("fd00::ffff:ffff:ffff:ffff", True),
        ("11.0.0.1", False),
    ],
)
def test_who_can_be_a_peer(address, can):
    nets = [ip_interface(net) for net in ("10.0.0.1/24", "10.1.0.1/31", "fd00::1/64")]
    assert (cannot_be_a_peer(ip_address(address), nets) == "") is can
