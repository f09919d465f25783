"""A relay listener's side in the supervisor: sockets for its bridges."""

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.config.chain_model import RelaySpec
from gateway.linux import near
from gateway.log import setup
from gateway.protocol.bridge_messages import SocketsPlease
from gateway.supervisor.relay_users import RelayUsers
from gateway.supervisor.relays import RelayService


def test_a_host_without_descriptors_does_not_fill_the_log(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A bridge asks again for each stream that comes."""

    def refuse() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(near, "open_near", refuse)
    setup("info")
    clock = SimpleNamespace(now=100.0)
    opened: Any = None
    resolving: Any = None
    member: Any = SimpleNamespace(life=None)
    spec = RelaySpec(name="relay", carrier="tcp", host="", port=0)
    users = RelayUsers(None, bytes(32))
    relay = RelayService(spec, opened, users, (), (0,), lambda *_: None)
    relay.start(clock, resolving)  # type: ignore[arg-type]
    for _ in range(1000):
        relay._on_message(member, SocketsPlease(16))
        clock.now += 0.01

    said = capfd.readouterr().err
    assert said.count("event=no-sockets") == 1
    assert "Too many open files" in said
