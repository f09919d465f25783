"""Which nodes of a chain the start warns of."""

import pytest

from gateway.config.build import build
from gateway.config.sources import read_tree
from gateway.config.tree import Report
from gateway.supervisor import chains

PIN = "sha256:" + "0f" * 32


@pytest.fixture
def warned(monkeypatch):
    """The name and the first words of what is said of a `-F`."""
    found = []
    monkeypatch.setattr(
        chains, "event", lambda _log, _level, name, **more: found.append((name, more["text"]))
    )

    def warned(forward: str) -> list[tuple[str, str]]:
        found.clear()
        report = Report()
        listens = ("tun://:0/:8421?net=10.0.0.2/24",)
        (service,) = build(read_tree(listens, [], report, (forward,)), report).services
        (hop,) = service.chain.hops
        for node in hop.nodes:
            chains._warn("tun", node)
        return [(name, text.partition(":")[0]) for name, text in found]

    return warned


@pytest.mark.parametrize(
    ("forward", "warning"),
    [
        ("relay+wss://h:1", [("unverified", "NOTHING IS VERIFIED")]),
        ("relay+quic://h:1?serverName=x", [("unverified", "NOTHING IS VERIFIED")]),
        (f"relay+wss://h:1?pin={PIN}", []),
        ("relay+grpc://h:1?ca=/ca.pem", []),
        ("relay+grpc://h:1?insecure=true", [("in-clear", "NOT ENCRYPTED")]),
        ("relay+mws://h:1", [("in-clear", "NOT ENCRYPTED")]),
        ("relay+kcp://h:1", [("in-clear", "NOT SECRET")]),
        ("relay+kcp://h:1?kcp.key=k&kcp.crypt=xor", [("in-clear", "NOT SECRET")]),
        ("relay+kcp://h:1?kcp.key=k", []),
    ],
)
def test_what_protects_nobody_is_loud(warned, forward, warning):
    assert warned(forward) == warning
