import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.relay import Address, Request, Status
from gateway.protocol.relay_access import Own, Way, find_way, near_address

OWN = (Own("", 8421, "127.0.0.1"), Own("203.0.113.5", 8500, "203.0.113.5"))
ALLOWED = (Address("10.0.0.1", 443), Address("next.example", 443), Address("fd00::1", 53))


def way(host: str, port: int, *, udp: bool = True, command: int = 1) -> Way | Status:
    request = Request(Address(host, port), udp, command=command)
    return find_way(request, OWN, ALLOWED, lambda text: text == "192.0.2.9")


@pytest.mark.parametrize(
    "host",
    ["", "localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "192.0.2.9",
     "::ffff:127.0.0.1"],
)  # fmt: skip
def test_own_services_by_every_name_of_this_host(host: str) -> None:
    assert way(host, 8421) == Way(Address("127.0.0.1", 8421), udp=True, own=True)
    assert way(host, 8500) == Way(Address("203.0.113.5", 8500), udp=True, own=True)


def test_a_service_by_the_address_it_listens_on() -> None:
    assert way("203.0.113.5", 8500) == Way(Address("203.0.113.5", 8500), udp=True, own=True)
    assert way("203.0.113.5", 8421) is Status.FORBIDDEN


@pytest.mark.parametrize(
    ("host", "entry"),
    [
        ("10.0.0.1", ALLOWED[0]),
        ("::ffff:10.0.0.1", ALLOWED[0]),
        ("10.0.0.1%eth0", ALLOWED[0]),
        ("next.example", ALLOWED[1]),
        ("NEXT.example...", ALLOWED[1]),
        ("fd00:0::1", ALLOWED[2]),
    ],
)
@pytest.mark.parametrize("udp", [True, False])
def test_the_list_whose_own_spelling_is_used(host: str, entry: Address, *, udp: bool) -> None:
    assert way(host, entry.port, udp=udp) == Way(entry, udp, own=False)


@pytest.mark.parametrize(
    ("host", "port"),
    [("10.0.0.1", 444), ("10.0.0.2", 443), ("example", 443), ("", 22), ("192.0.2.9", 443),
     ("169.254.169.254", 80), ("server.example", 8421), ("1.2.3.4", 8421), ("", 0),
     ("10.0.0.1", 0), ("::ffff:10.0.0.2", 443), ("::ffff:1.2.3.4", 8421), ("::10.0.0.1", 443)],
)  # fmt: skip
def test_everything_else_is_forbidden(host: str, port: int) -> None:
    assert way(host, port) is Status.FORBIDDEN


def test_own_services_are_for_datagrams() -> None:
    assert way("", 8421, udp=False) is Status.FORBIDDEN


def test_what_is_no_connect() -> None:
    assert way("", 8421, command=2) is Status.FORBIDDEN
    assert way("", 8421, command=3) is Status.FORBIDDEN
    assert way("10.0.0.1", 443, udp=False, command=3) is Status.FORBIDDEN
    assert way("", 8421, command=9) is Status.BAD_REQUEST
    assert find_way(Request(None), OWN, ALLOWED, lambda _: True) is Status.BAD_REQUEST


@given(st.text(max_size=30), st.integers(0, 65535), st.booleans())
def test_nobody_gets_anywhere_else(host: str, port: int, udp: bool) -> None:
    found = way(host, port, udp=udp)
    if isinstance(found, Way):
        assert found.own == (found.address.port in (8421, 8500))
        assert found.own or any(found.address.port == entry.port for entry in ALLOWED)


def test_where_a_service_is_reached() -> None:
    assert near_address("") == near_address("::") == near_address("0.0.0.0") == "127.0.0.1"
    assert near_address("203.0.113.5") == "203.0.113.5"
