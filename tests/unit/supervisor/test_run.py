"""An instance whose start fails."""

import gc
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.errors import HostError
from gateway.supervisor.loop import Loop
from gateway.supervisor.run import Instance


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()
    gc.unfreeze()


def nothing(*_: object) -> None:
    pass


def service(name: str, begins: Any = nothing) -> Any:
    """A server of which a former run saved peers."""
    hub = SimpleNamespace(restore=lambda *_: 1, export=lambda _: f"peers of {name}")
    return SimpleNamespace(
        config=SimpleNamespace(name=name),
        host=SimpleNamespace(start=begins),
        hub=hub,
        start=nothing,
        stop=nothing,
    )


@pytest.mark.parametrize("fails", [True, False])
def test_a_start_that_fails_leaves_the_saved_peers_alone(loop: Loop, fails: bool) -> None:
    """Those of services it did not come to had no place to be, and would be overwritten."""

    def second(*_: object) -> None:
        if fails:
            raise HostError("NAT cannot be had")

    saved: list[object] = []
    instance: Any = object.__new__(Instance)
    instance.loop = loop
    instance.services = [service("one"), service("two", second)]
    instance._leftovers = instance.children = None
    instance._sourcing = SimpleNamespace(resolving=None, begin=nothing, start=_refuse)
    instance._state = SimpleNamespace(
        peers_of=lambda name: name,
        down=lambda: 0.0,
        save=lambda states, **_: saved.append(states),
    )
    instance._stop_children = nothing

    with ExitStack() as stack:
        instance._stack = stack
        with pytest.raises(HostError):
            instance.start()
    assert saved == ([] if fails else [{"one": "peers of one", "two": "peers of two"}])


def _refuse(*_: object) -> None:
    raise HostError("no process could be made")
