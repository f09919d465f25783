"""Attributes and messages of netlink, without a kernel and with one."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.linux.nlmsg import F_ACK, Message, Netlink, attribute, attributes, nested

GETLINK, GETROUTE = 18, 26
ENODEV, EOPNOTSUPP = 19, 95


@pytest.fixture
def route_socket() -> Iterator[Netlink]:
    with Netlink(0) as made:
        yield made


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=9)), max_size=5))
def test_attributes_both_ways(items: list[tuple[int, bytes]]) -> None:
    data = b"".join(attribute(kind, value) for kind, value in items)

    assert len(data) % 4 == 0
    assert list(attributes(data)) == items
    assert list(attributes(nested(7, data))) == [(7, data)]


@given(st.binary(max_size=60))
def test_damaged_attributes_end(data: bytes) -> None:
    assert sum(len(value) + 4 for _, value in attributes(data)) <= len(data) + 3


def test_one_result_per_message(route_socket: Netlink) -> None:
    """GETLINK by index: the loopback is there, the other is not."""
    good, bad = (bytes(4) + index.to_bytes(4, "little") + bytes(8) for index in (1, 0x7FFFFFF0))
    messages = [Message(GETLINK, F_ACK, payload) for payload in (good, bad, good)]

    assert route_socket.send(messages) == [0, ENODEV, 0]
    assert route_socket.send([]) == []


def test_a_dump(route_socket: Netlink) -> None:
    found = route_socket.dump(GETLINK, bytes(16))
    assert any((3, b"lo\0") in attributes(payload[16:]) for _, payload in found)


def test_a_refused_dump_is_an_error(route_socket: Netlink) -> None:
    with pytest.raises(OSError, match=os.strerror(EOPNOTSUPP)):
        route_socket.dump(0x4FF & 0x7E, bytes(16))


def test_listening_never_blocks() -> None:
    with Netlink(0, groups=0x1) as listener:
        assert list(listener.drain()) == []
        assert listener.fileno() > 0
