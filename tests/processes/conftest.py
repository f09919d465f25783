"""Gateways for the tests of this folder."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from instance import Gateway, Peer


@pytest.fixture
def room() -> Iterator[Path]:
    """A directory that the user the gateway becomes can reach, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="gateway-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start(room: Path) -> Iterator[Callable[..., Gateway]]:
    """Start gateways; they are gone after the test, and none of them imported late."""
    started: list[Gateway] = []

    def starter(**options: object) -> Gateway:
        gateway = Gateway(room, **options)
        started.append(gateway)
        return gateway

    yield starter
    for gateway in started:
        gateway.close()
    for gateway in started:
        assert "IMPORTED LATE" not in gateway.text()


@pytest.fixture
def gateway(start: Callable[..., Gateway]) -> Gateway:
    return start().wait_running()


@pytest.fixture
def peer(gateway: Gateway) -> Iterator[Peer]:
    client = Peer("192.168.123.2", gateway.port).register()
    yield client
    client.close()
