from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.relay import (
    LIMIT,
    Address,
    Client,
    RelayError,
    Request,
    Server,
    Status,
    build_response,
    status_text,
)
from gateway.protocol.wire import WireError

REQUESTS = [
    (Request(Address("", 8421)), "0181000c 04 0002 0001 02 0004 03 00 20e5"),
    (
        Request(Address("", 8421), username=b"user", password=b"pass"),
        "01810019 04 0002 0001 01 000a 04 75736572 04 70617373 02 0004 03 00 20e5",
    ),
    (
        Request(Address("127.0.0.1", 8421)),
        "0181000f 04 0002 0001 02 0007 01 7f000001 20e5",
    ),
    (
        Request(Address("::1", 8421)),
        "0181001b 04 0002 0001 02 0013 04" + "00" * 15 + "01 20e5",
    ),
    (
        Request(Address("localhost", 8421)),
        "01810015 04 0002 0001 02 000d 03 09 6c6f63616c686f7374 20e5",
    ),
    (
        Request(Address("10.0.0.1", 443), udp=False, username=b"u"),
        "01010010 01 0003 01 75 00 02 0007 01 0a000001 01bb",
    ),
    (Request(None, command=2), "01820005 04 0002 0001"),
]
KEEPALIVE = bytes.fromhex("0024 474f5354" + "00" * 26 + "ffff c0a87b02")
ACK = bytes.fromhex("0014 474f5354" + "00" * 10 + "ffff 7f000001")

hosts = st.one_of(
    st.ip_addresses().map(str),
    st.from_regex(r"[a-z][a-z0-9]{0,20}(\.[a-z][a-z0-9]{0,20}){0,3}", fullmatch=True),
    st.just(""),
)
requests = st.builds(
    Request,
    st.none() | st.builds(Address, hosts, st.integers(0, 65535)),
    st.booleans(),
    st.binary(max_size=255),
    st.binary(max_size=255),
    st.sampled_from((1, 2, 3, 15)),
)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` in pieces, cut at these places."""
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


@pytest.mark.parametrize(("request_", "text"), REQUESTS)
def test_requests_both_ways(request_: Request, text: str) -> None:
    data = bytes.fromhex(text)
    server = Server()

    assert request_.build() == data
    assert bytes(server.feed(data) or b"") == b""
    assert server.request == request_


def test_the_first_exchange_of_a_chain() -> None:
    """Request and first datagram are one write; the server's answer may come with its first."""
    client, server = Client(Request(Address("", 8421))), Server()
    first = client.opening() + KEEPALIVE

    assert len(first) == 54
    assert client.opening() == b""
    assert bytes(server.feed(first) or b"") == KEEPALIVE
    answer = build_response(Status.OK) + ACK
    assert answer.hex().startswith("010000000014474f5354")
    assert bytes(client.feed(answer) or b"") == ACK
    assert client.answered
    assert bytes(client.feed(ACK) or b"") == ACK


@given(requests, st.binary(max_size=100), st.lists(st.integers(0, 900), max_size=20))
def test_a_request_in_any_pieces(request_: Request, rest: bytes, cuts: list[int]) -> None:
    data = request_.build()
    server = Server()
    came = b""
    for piece in pieces_of(data + rest, cuts):
        found = server.feed(piece)
        came += bytes(found) if found is not None else b""

    assert server.request == request_
    assert came == rest


@given(st.binary(max_size=100), st.lists(st.integers(0, 120), max_size=20))
def test_a_response_in_any_pieces(rest: bytes, cuts: list[int]) -> None:
    client = Client(Request(Address("", 8421)))
    came = b""
    for piece in pieces_of(bytes.fromhex("01000006 09 0003 616263") + rest, cuts):
        assert client.answered == bool(came) or not came
        found = client.feed(piece)
        came += bytes(found) if found is not None else b""

    assert client.answered
    assert came == rest


@pytest.mark.parametrize("status", [1, 2, 3, 4, 5, 6, 7, 8, 200])
def test_a_refusal_names_its_status(status: int) -> None:
    client = Client(Request(Address("", 8421)))

    with pytest.raises(RelayError, match=rf"\b{status}\b") as caught:
        client.feed(build_response(status))

    assert caught.value.status == status


def test_statuses_in_words() -> None:
    assert status_text(2) == "unauthorized (2)"
    assert status_text(99) == "status 99"


def test_unknown_features_are_passed_over() -> None:
    server = Server()
    extra = "03 0014" + "aa" * 20 + "05 0000" + "ff 0001 00"
    size = 12 + len(bytes.fromhex(extra))

    server.feed(bytes.fromhex(f"0181{size:04x}" + extra + "04 0002 0001 02 0004 03 00 20e5"))

    assert server.request == Request(Address("", 8421))


def test_an_older_way_to_write_connect_and_an_unknown_network() -> None:
    server = Server()

    server.feed(bytes.fromhex("0100000c 04 0002 0010 02 0004 03 00 20e5"))

    assert server.request == Request(Address("", 8421), udp=False)


@pytest.mark.parametrize(
    "text",
    [
        "02",  # another version
        "47455420",  # HTTP
        "0181 07fd",  # longer than any request
        "0181 ffff",
        "0181 0002 0400",  # a feature's header cut off
        "0181 0004 04 0002 00",  # its data
        "0181 0004 04 0001 00",  # a network of one byte
        "0181 0004 01 0001 00",  # a user of one byte
        "0181 0005 01 0002 0161",  # a name without password
        "0181 0006 01 0003 016102",  # a password cut off
        "0181 0006 02 0003 030020",  # an address of three bytes
        "0181 0007 02 0004 010a0000",  # an IPv4 address cut off
        "0181 0007 02 0004 05000020",  # an unknown kind of address
        "0181 0008 02 0005 03 02 61 20e5",  # a name cut off
        "0181 0008 02 0005 03 01 0a 20e5",  # a line feed as a name
        "0181 0008 02 0005 03 01 ff 20e5",
        "0181 0008 02 0005 03 01 20 20e5",
    ],
)
def test_bad_requests(text: str) -> None:
    with pytest.raises(WireError):
        Server().feed(bytes.fromhex(text))


@given(st.lists(st.binary(max_size=600), max_size=8))
def test_any_bytes_raise_nothing_else_and_fill_nothing(parts: list[bytes]) -> None:
    for end in (Server(), Client(Request(Address("", 8421)))):
        try:
            for part in parts:
                end.feed(part)
                assert len(end._reader._data) <= LIMIT
        except (WireError, RelayError):
            pass


@given(st.integers(0, 255), st.binary(max_size=40).flatmap(lambda b: st.permutations(b).map(bytes)))
def test_any_features_raise_nothing_else(command: int, features: bytes) -> None:
    header = bytes((1, command)) + len(features).to_bytes(2, "big")
    server = Server()
    try:
        server.feed(header + features)
    except WireError:
        return
    assert server.request is not None


def test_a_password_is_not_shown() -> None:
    assert "hush" not in repr(Request(Address("", 1), username=b"u", password=b"hush"))


def test_what_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="255"):
        Request(Address("", 1), username=bytes(256)).build()
