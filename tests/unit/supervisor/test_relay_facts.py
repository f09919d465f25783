"""What clients are told of relay listeners: those that lead to their service, no secret."""

from types import SimpleNamespace
from typing import cast

import pytest

from gateway.config.build import build
from gateway.config.sources import read_tree
from gateway.config.tree import Report
from gateway.protocol.relay_access import near_address
from gateway.protocol.status import RelayFacts
from gateway.supervisor.relay_facts import relay_facts
from gateway.supervisor.relay_users import RelayUsers
from gateway.supervisor.relayed import Relayed
from gateway.supervisor.relays import OpenedRelay, RelayService, own_services
from gateway.supervisor.service import TunService

HUB = "tun://127.0.0.1:8421?net=192.168.123.1/24"
OTHER = "tun://127.0.0.1:8422?net=192.168.124.1/24"


def told(*relays: str, services: tuple[str, ...] = (HUB,)) -> tuple[RelayFacts, ...]:
    """Of the first service, as the supervisor would tell it."""
    report = Report()
    config = build(read_tree([*services, *relays], [], report), report)
    near = own_services((each.host, each.port) for each in config.services)
    made = []
    for spec in config.relays:
        listener = SimpleNamespace(getsockname=lambda port=spec.port: ("::", port))
        opened = cast("OpenedRelay", SimpleNamespace(listener=listener))
        users = RelayUsers(spec.users, b"key")
        made.append(RelayService(spec, opened, users, near, (0,), lambda *_: None))
    relayed = SimpleNamespace(relays=made, pin_of=lambda relay: "pin" if relay.spec.tls else "")
    service = cast("TunService", SimpleNamespace(config=config.services[0]))
    assert near_address(config.services[0].host) == "127.0.0.1"
    return relay_facts(cast("Relayed", relayed), service, config.services[0].port)


def test_every_field() -> None:
    (found,) = told("relay+wss://alice:secret@:443?path=/hidden")
    assert found == RelayFacts(
        name="service-1", carrier="wss", listen="", port=443, auth=True, tls=True, pin="pin",
        wants_certificate=False, server_name="", options={"path": "/hidden"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("relay", "options"),
    [
        ("relay://:443", {}),
        ("relay+ws://:443?ttl=5s&enableCompression=true", {}),
        ("relay+grpc://:443?path=A/B", {"path": "A/B"}),
        ("relay+grpc://:443?insecure=true", {"insecure": "true"}),
        ("relay+mtls://:443?mux.version=2&mux.maxFrameSize=999", {"mux.version": "2"}),
        ("relay+quic://:443?cipherKey=0123456789abcdef", {"cipherKey": ""}),
        ("relay+kcp://:443?kcp.mtu=1200", {}),
        (
            "relay+kcp://:443?kcp.key=hush&kcp.crypt=sm4&kcp.nocomp=true&kcp.smuxver=2",
            {"kcp.key": "", "kcp.crypt": "sm4", "kcp.nocomp": "true", "kcp.smuxver": "2"},
        ),
    ],
)
def test_what_must_be_the_same_at_both_ends(relay: str, options: dict[str, str]) -> None:
    (found,) = told(relay)
    assert found.options == options
    assert not found.auth


def test_a_listener_that_is_particular() -> None:
    (found,) = told("relay+tls://:443?ca=ca.pem&rejectUnknownSNI=true&serverNames=a.example,b")
    assert found.wants_certificate
    assert found.server_name == "a.example"
    (found,) = told("relay+tls://:443?serverNames=a.example")
    assert not found.wants_certificate
    assert found.server_name == ""


@pytest.mark.parametrize(
    ("relay", "leads"),
    [
        ("relay://:443", True),
        ("relay://:443/:8421", True),
        ("relay://:443/192.0.2.1:8421,127.0.0.1:8421", True),
        ("relay://:443/:8422", False),
        ("relay://:443/192.0.2.1:8421", False),
    ],
)
def test_those_that_lead_to_the_service(relay: str, leads: bool) -> None:
    assert bool(told(relay, services=(HUB, OTHER))) is leads
