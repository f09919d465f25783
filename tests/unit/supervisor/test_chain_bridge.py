"""What the bridge of a chain may tell the supervisor."""

from types import SimpleNamespace
from typing import Any

import pytest
from strategies import a16

from gateway.config.build import build
from gateway.config.sources import read_tree
from gateway.config.tree import Report
from gateway.linux.channel import ChannelGarbledError
from gateway.protocol.bridge_messages import Dialling, LegFigures
from gateway.protocol.packet import Endpoint
from gateway.supervisor.chains import ChainClient, OpenedChain

ADDRESS = a16("203.0.113.7")
BRIDGE: Any = SimpleNamespace(life=None)


@pytest.fixture
def chain() -> tuple[ChainClient, list[Endpoint]]:
    """One of two nodes and one leg; and whom it kept outside the tunnel."""
    report = Report()
    tree = read_tree(
        ("tun://:0/:8421?net=10.0.0.2/24",),
        [],
        report,
        ("relay+tcp://203.0.113.7:1,203.0.113.8:1",),
    )
    (service,) = build(tree, report).services
    assert service.chain is not None
    client = ChainClient(service.chain, OpenedChain((), []), service, (0,))
    outside: list[Endpoint] = []
    loop: Any = SimpleNamespace(now=0.0)
    client.start(loop, outside.append, lambda _: None)
    return client, outside


@pytest.mark.parametrize(
    "message",
    [
        Dialling(1, 0, ADDRESS, 1, node=2),
        Dialling(1, 0, ADDRESS, 1, node=-1),
        Dialling(1, 0, ADDRESS[:15], 1),
        LegFigures(1, "up"),
        LegFigures(-1, "up"),
    ],
)
def test_nonsense_ends_the_bridge_and_nobody_else(chain, message):
    """As what is no message at all does (`children`)."""
    client, outside = chain
    with pytest.raises(ChannelGarbledError):
        client._on_message(BRIDGE, message)
    assert not outside
    assert not client.legs


def test_what_it_says_of_its_own_counts(chain):
    client, outside = chain
    client._on_message(BRIDGE, Dialling(1, 0, ADDRESS, 443, node=1))
    client._on_message(BRIDGE, LegFigures(0, "dialling"))
    assert outside == [Endpoint(ADDRESS, 443)]
    assert client.legs[0].state == "dialling"
