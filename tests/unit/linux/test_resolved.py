"""Name servers given back after a crash: the record comes from a disk."""

import socket

import pytest

from gateway.linux import resolved, sysctl
from gateway.linux.resolved import DnsRecord

LOOPBACK = socket.if_nametoindex("lo")


@pytest.mark.parametrize(
    ("former", "words"),
    [
        (("192.0.2.1", "2001:db8::1#name"), ("dns", "lo", "192.0.2.1", "2001:db8::1#name")),
        (("--host=evil", "192.0.2.1"), ("dns", "lo", "192.0.2.1")),
        (("-h",), ("revert", "lo")),
        ((), ("revert", "lo")),
    ],
)
def test_only_servers_are_given_back(
    former: tuple[str, ...], words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[str, ...]] = []
    monkeypatch.setattr(resolved, "_call", lambda *command: called.append(command) or "")

    assert resolved.undo(DnsRecord(sysctl.place(), LOOPBACK, former)) == ()
    assert called == [("resolvectl", *words)]


def test_a_record_of_another_boot_is_void(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, ...]] = []
    monkeypatch.setattr(resolved, "_call", lambda *command: called.append(command) or "")

    assert resolved.undo(DnsRecord("elsewhere", LOOPBACK)) == ()
    assert called == []
