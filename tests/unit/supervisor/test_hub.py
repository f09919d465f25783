"""A server's hub: what it tells the log of many peers."""

import logging
import mmap
from ipaddress import ip_address, ip_interface
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from gateway.config.model import Service
from gateway.fastpath.counters import Page
from gateway.protocol.forwarding import Role
from gateway.protocol.messages import PuntedDatagram
from gateway.protocol.packet import Endpoint, pack_address
from gateway.supervisor.acks import Acks
from gateway.supervisor.admission import Admission
from gateway.supervisor.hub import NEWS_AT_ONCE, Hub
from gateway.supervisor.lans import Lans
from gateway.supervisor.networks import Networks
from gateway.supervisor.remotes import Remote
from gateway.supervisor.resolving import Resolving
from gateway.supervisor.traffic import Traffic

NETS = (ip_interface("10.0.0.1/8"),)
KEY = bytes(32)
MANY = NEWS_AT_ONCE + 50
SLOTS = 256


class Clock:
    now = 100.0


def make(clock: Clock) -> Hub:
    page = Page(memoryview(mmap.mmap(-1, Page.bytes_for(SLOTS)))[: Page.bytes_for(SLOTS)], SLOTS)
    networks, admission = Networks(Role.SERVER, NETS, ()), Admission(NETS, None, KEY)
    service = Service("hub", Role.SERVER, "", 1, (), NETS, accept="off")
    return Hub(
        "hub",
        admission,
        networks,
        Traffic([page]),
        cast("Acks", SimpleNamespace(send=lambda *_: None)),
        lambda: None,
        Resolving(),
        lambda: clock.now,
        Lans(service, admission.digest, networks),
    )


def heartbeat(number: int) -> PuntedDatagram:
    tunnel = pack_address(ip_address("10.1.0.0") + number)
    outer = pack_address(ip_address("203.0.113.7"))
    return PuntedDatagram(outer, 1024 + number, 0, outer, b"GOST" + bytes(16) + tunnel)


def test_a_crowd_that_comes_and_goes_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    hub = make(clock)
    hub.on_punts([heartbeat(number) for number in range(MANY)], clock.now)
    assert len(hub.peers) == MANY
    while len(hub.peers) and (due := hub.peers.due()) is not None:
        clock.now = due + 0.01
        hub.tick(clock.now)
    told = [record.getMessage() for record in caplog.records]

    for name in ("peer-up", "peer-expired"):
        lines = [line for line in told if f"event={name} " in line]
        assert NEWS_AT_ONCE <= len(lines) < MANY, name


def test_a_crowd_that_is_withdrawn_neither(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    hub = make(clock)
    hub.on_punts([heartbeat(number) for number in range(MANY)], clock.now)
    for peer in hub.peers:
        hub.leave(peer.endpoint, clock.now + 1.0)
    assert len(hub.peers) == 0
    told = [record.getMessage() for record in caplog.records]

    assert sum("event=peer-withdrawn " in line for line in told) == NEWS_AT_ONCE


def test_whom_a_carrier_brings_is_named_by_true_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    hub = make(clock)
    streams = {2000: "198.51.100.1:40000", 2001: "198.51.100.2:50000", 2002: "198.51.100.2:50001"}

    def find(endpoint: Endpoint) -> Remote | None:
        return Remote(streams[endpoint.port], "wss") if endpoint.port in streams else None

    hub.remotes.find = find
    near = heartbeat(1)
    for port in (2000, 2001, 2000, 2001, 2002, 9):
        clock.now += 1.0
        hub.on_punts([msgspec.structs.replace(near, port=port)], clock.now)
    up, moved, *rest = [record.getMessage() for record in caplog.records]

    who = "service=hub peer=10.1.0.1"
    assert up == f"event=peer-up {who} endpoint=198.51.100.1:40000 carrier=wss"
    assert 'former="wss 198.51.100.1:40000"' in moved
    assert "endpoint=198.51.100.2:50000 carrier=wss" in moved
    refused = next(line for line in rest if "cause=conflict" in line)
    assert "endpoint=198.51.100.2:50000 carrier=wss" in refused
    assert 'holder="wss 198.51.100.1:40000"' in refused
    assert hub.remotes.fields(Endpoint(near.address, 9)) == {
        "endpoint": "203.0.113.7:9",
        "carrier": None,
    }


def test_what_a_restart_must_know_is_told() -> None:
    """Who comes and who goes; a renewal is nothing new."""
    clock = Clock()
    hub = make(clock)
    told: list[int] = []
    hub.changed = lambda: told.append(len(hub.peers))
    hub.on_punts([heartbeat(1)], clock.now)
    assert told == [1]
    hub.on_punts([heartbeat(1)], clock.now + 1.0)
    assert told == [1]
    hub.leave(next(iter(hub.peers)).endpoint, clock.now + 2.0)
    assert told == [1, 0]
