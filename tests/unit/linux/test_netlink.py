"""Sockets for netlink where there are no descriptors."""

import sys

import pytest
from starving import open_descriptors, raised_again

from gateway.errors import NoRoomError
from gateway.linux import netlink


@pytest.mark.parametrize("room", range(netlink.DESCRIPTORS))
def test_without_descriptors_nothing_stays_and_nothing_is_printed(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyroute2 keeps what it has opened of a socket, and complains while it is forgotten."""
    assert netlink.link("lo") is not None
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    before = open_descriptors()
    with raised_again() as limit:
        limit(room)
        with pytest.raises(NoRoomError, match="Too many open files; raise the limit"):
            netlink.link("lo")
        assert open_descriptors() == before
    assert complaints == []
    assert netlink.link("lo") is not None


def test_there_is_no_device_of_that_name() -> None:
    """That is no error."""
    assert netlink.link("none-such") is None
