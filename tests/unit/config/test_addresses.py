"""Addresses as users write them."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from gateway.config import addresses
from gateway.config.model import Route
from gateway.config.values import BadValueError


@pytest.mark.parametrize(
    "word",
    ["192.168.123.1/24", "10.0.0.0/31", "10.0.0.1/31", "10.0.0.1/32", "fd00::1/64", "fd00::/127"],
)
def test_interface(word):
    assert addresses.interface(word) == ip_interface(word)


@pytest.mark.parametrize(
    ("word", "rest"),
    [
        ("192.168.123.1", "has no length: write ADDRESS/LENGTH, for example 192.168.123.1/24"),
        ("192.168.123.1/", "is not a network address: write ADDRESS/LENGTH, for example 19"),
        ("192.168.123.1/33", "is not a network address: write ADDRESS/LENGTH, for example 19"),
        ("192.168.123.1/255.255.255.0", "is not a network address"),
        ("192.168.123.01/24", "is not a network address"),
        ("fe80::1%eth0/64", "is not a network address"),
        ("", "is not a network address"),
        ("10.0.0.5/0", "would put every address into the tunnel: write a longer length"),
        ("10.0.0.0/24", "is the network itself: write this host's address in it, for example "),
        (
            "fd00::/64",
            "is the network itself: write this host's address in it, for example fd00::1",
        ),
        ("10.0.0.255/24", "is the broadcast address: write this host's address in the network"),
        ("::ffff:10.0.0.1/120", "holds an IPv4 address: write it as such"),
        ("224.0.0.5/24", "cannot be used in a tunnel"),
        ("127.0.0.1/8", "cannot be used in a tunnel"),
        ("169.254.1.1/16", "cannot be used in a tunnel"),
        ("0.1.2.3/8", "cannot be used in a tunnel"),
        ("250.1.2.3/8", "cannot be used in a tunnel"),
        ("fe80::1/64", "cannot be used in a tunnel"),
        ("::1/128", "cannot be used in a tunnel"),
        ("ff02::1/64", "cannot be used in a tunnel"),
    ],
)
def test_not_an_interface(word, rest):
    with pytest.raises(BadValueError) as caught:
        addresses.interface(word)
    assert str(caught.value).startswith(f'"{word}" {rest}')


def test_network_clears_what_is_behind_the_length():
    assert addresses.network("192.168.100.7/24") == ip_network("192.168.100.0/24")


@pytest.mark.parametrize("word", ["192.168.100.0", "x/24", "::ffff:0:0/96", "10.0.0.0/-1", ""])
def test_not_a_network(word):
    with pytest.raises(BadValueError):
        addresses.network(word)


def test_route():
    net, gateway = ip_network("10.1.0.0/16"), ip_address("192.168.123.2")
    assert addresses.route("10.1.0.0/16") == Route(net)
    assert addresses.route(" 10.1.0.0/16  192.168.123.2 ") == Route(net, gateway)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("", '"" is not a route: write NETWORK or NETWORK GATEWAY'),
        ("a b c", '"a b c" is not a route: write NETWORK or NETWORK GATEWAY'),
        ("10.0.0.0/8 gw", '"gw" is not an IP address: write the address of a peer'),
        ("10.0.0.0/8 fd00::1", '"10.0.0.0/8 fd00::1" has a gateway of the other IP version'),
    ],
)
def test_not_a_route(word, message):
    with pytest.raises(BadValueError) as caught:
        addresses.route(word)
    assert str(caught.value) == message


def test_address():
    assert addresses.address("::ffff:192.168.123.2") == ip_address("192.168.123.2")
    assert str(addresses.address("FD00:0::2")) == "fd00::2"
    for word in ("fe80::1%eth0", "host", "1.2.3", "", 5):
        with pytest.raises(BadValueError):
            addresses.address(word)


@pytest.mark.parametrize("word", ["tun0", "a", "fifteen-letters", "gost.1"])
def test_device(word):
    assert addresses.device(word) == word


@pytest.mark.parametrize("word", ["", ".", "..", "a/b", "a b", "a:b", "tun%d", "sixteen--letters"])
def test_not_a_device(word):
    with pytest.raises(BadValueError):
        addresses.device(word)


@pytest.mark.parametrize(
    ("word", "host", "port"),
    [
        (":8421", "", 8421),
        (":0", "", 0),
        ("", "", None),
        ("1.2.3.4:8421", "1.2.3.4", 8421),
        ("1.2.3.4", "1.2.3.4", None),
        ("hub.example.com:8421", "hub.example.com", 8421),
        ("hub.:1", "hub.", 1),
        ("[2001:DB8::1]:8421", "2001:db8::1", 8421),
        ("[::]", "::", None),
        ("[::ffff:1.2.3.4]:5", "1.2.3.4", 5),
        ("[fe80::1%eth0]:5", "fe80::1%eth0", 5),
    ],
)
def test_endpoint(word, host, port):
    assert addresses.endpoint(word) == (host, port)


@pytest.mark.parametrize(
    "word",
    [
        "2001:db8::1",
        "[2001:db8::1",
        "[::1]x",
        "[1.2.3.4]:5",
        "a:b",
        "a:65536",
        "a:8421-8423",
        "a:-1",
        "1.2.3:5",
        "256.1.1.1:5",
        "-a:5",
        "a b:5",
        "é:5",
        "a..b:5",
        "1.2.3.4%eth0:5",
        "[fe80::1%e/th]:5",
        "*:5",
    ],
)
def test_not_an_endpoint(word):
    with pytest.raises(BadValueError):
        addresses.endpoint(word)
