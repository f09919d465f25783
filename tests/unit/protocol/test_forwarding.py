from ipaddress import ip_network

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from models import SlowRoutes, slow_decide_tun, slow_decide_udp
from strategies import (
    Rows,
    Scene,
    a16,
    echo_request,
    endpoint,
    ipv6_packet,
    scenes,
)

from gateway.protocol.forwarding import (
    DROP_TEXT,
    LOCAL,
    REFUSAL_TEXT,
    VOID,
    Decision,
    DropReason,
    Forwarding,
    Refusal,
    Role,
    Verdict,
    decide_tun,
    decide_udp,
)
from gateway.protocol.packet import Endpoint, pack_network
from gateway.protocol.routes import Origin, RouteTable

C1, C2 = endpoint("203.0.113.1", 1001), endpoint("203.0.113.2", 1002)
STRANGER = endpoint("203.0.113.9", 1009)
ROUTES = [
    ("192.168.123.0/24", VOID),
    ("192.168.123.1/32", LOCAL),
    ("192.168.123.2/32", 0),
    ("192.168.123.3/32", 1),
    ("192.168.100.0/24", 0),
    ("fd00::/64", VOID),
    ("fd00::1/128", LOCAL),
    ("fd00::2/128", 0),
    ("fd00::3/128", 1),
]


def ping(source: str, destination: str) -> bytes:
    return echo_request(a16(source), a16(destination))


def table() -> Forwarding:
    """C1 (slot 0) with a LAN behind it, and C2 (slot 1)."""
    route_table = RouteTable()
    for network, target in ROUTES:
        route_table.set(*pack_network(ip_network(network)), target, Origin.SERVICE)
    return Forwarding({C1: 0, C2: 1}, route_table.lookup)


def drop(reason: DropReason) -> Decision:
    return Decision(Verdict.DROP, reason=reason)


DELIVER = Decision(Verdict.DELIVER)
PUNT = Decision(Verdict.PUNT)
HEARTBEAT = b"GOST" + bytes(32)
ACK = b"GOST" + bytes(16)

# segment, from, verdict of a server that checks sources, of one that does not, of a client
FROM_UDP = [
    (b"", C1, *[drop(DropReason.EMPTY)] * 3),
    (HEARTBEAT, STRANGER, PUNT, PUNT, PUNT),
    (ACK, C1, *[drop(DropReason.BAD_CONTROL)] * 2, PUNT),
    (ACK + b"\0", C1, PUNT, PUNT, PUNT),
    (b"GOST", C1, *[drop(DropReason.BAD_CONTROL)] * 3),
    (ACK[:-1], C1, *[drop(DropReason.BAD_CONTROL)] * 3),
    (b"GOS", C1, *[drop(DropReason.TOO_SHORT)] * 3),
    (b"x", C1, *[drop(DropReason.TOO_SHORT)] * 3),
    (b"GET / HTTP/1.1\r\nHost: x\r\n", C1, *[drop(DropReason.BAD_LENGTH)] * 3),
    (b"\x16\x03\x01" + bytes(30), C1, *[drop(DropReason.NOT_IP)] * 3),
    (ping("192.168.123.2", "192.168.123.1")[:-1], C1, *[drop(DropReason.BAD_LENGTH)] * 3),
    (ping("192.168.123.2", "192.168.123.1"), C1, DELIVER, DELIVER, DELIVER),
    (ping("fd00::2", "fd00::1"), C1, DELIVER, DELIVER, DELIVER),
    (ping("192.168.123.2", "8.8.8.8"), C1, DELIVER, DELIVER, DELIVER),
    (ping("192.168.123.2", "224.0.0.5"), C1, DELIVER, DELIVER, DELIVER),
    (ping("192.168.123.2", "192.168.123.3"), C1, *[Decision(Verdict.FORWARD, slot=1)] * 2, DELIVER),
    (ping("192.168.100.7", "192.168.123.3"), C1, *[Decision(Verdict.FORWARD, slot=1)] * 2, DELIVER),
    (ping("fd00::3", "fd00::2"), C2, *[Decision(Verdict.FORWARD, slot=0)] * 2, DELIVER),
    (ping("192.168.123.2", "192.168.123.9"), C1, *[drop(DropReason.NO_PEER)] * 2, DELIVER),
    (ping("192.168.123.2", "192.168.100.7"), C1, *[drop(DropReason.SAME_PEER)] * 2, DELIVER),
    (
        ping("192.168.123.2", "192.168.123.1"),
        STRANGER,
        drop(DropReason.UNKNOWN_ENDPOINT),
        DELIVER,
        DELIVER,
    ),
    (
        ping("192.168.123.2", "192.168.123.3"),
        STRANGER,
        drop(DropReason.UNKNOWN_ENDPOINT),
        Decision(Verdict.FORWARD, slot=1),
        DELIVER,
    ),
    (
        ping("192.168.123.3", "192.168.123.1"),
        C1,
        drop(DropReason.SPOOFED_SOURCE),
        DELIVER,
        DELIVER,
    ),
    (
        ping("192.168.123.1", "192.168.123.3"),
        C1,
        drop(DropReason.SPOOFED_SOURCE),
        Decision(Verdict.FORWARD, slot=1),
        DELIVER,
    ),
    (ping("8.8.8.8", "192.168.123.1"), C1, drop(DropReason.SPOOFED_SOURCE), DELIVER, DELIVER),
    (ping("fe80::2", "ff02::2"), C1, drop(DropReason.UNROUTABLE_SOURCE), DELIVER, DELIVER),
    (ping("fe80::2", "ff02::2"), STRANGER, drop(DropReason.UNKNOWN_ENDPOINT), DELIVER, DELIVER),
    (
        ipv6_packet(a16("192.168.123.2"), a16("fd00::1")),
        C1,
        drop(DropReason.UNROUTABLE_SOURCE),
        DELIVER,
        DELIVER,
    ),
    (ipv6_packet(a16("fd00::2"), a16("192.168.123.3")), C1, DELIVER, DELIVER, DELIVER),
]


@pytest.mark.parametrize(("segment", "source", "checked", "unchecked", "client"), FROM_UDP)
def test_from_udp(
    segment: bytes, source: Endpoint, checked: Decision, unchecked: Decision, client: Decision
) -> None:
    assert decide_udp(segment, source, table(), Role.SERVER, source_check=True) == checked
    assert decide_udp(segment, source, table(), Role.SERVER, source_check=False) == unchecked
    for check in (True, False):
        assert decide_udp(segment, source, table(), Role.CLIENT, source_check=check) == client


FROM_TUN = [
    (b"", drop(DropReason.EMPTY)),
    (b"\x45", drop(DropReason.TOO_SHORT)),
    (bytes(20), drop(DropReason.NOT_IP)),
    (ping("192.168.123.1", "192.168.123.2") + b"\0", drop(DropReason.BAD_LENGTH)),
    (ping("192.168.123.1", "192.168.123.2"), Decision(Verdict.FORWARD, slot=0)),
    (ping("8.8.8.8", "192.168.100.7"), Decision(Verdict.FORWARD, slot=0)),
    (ping("fd00::1", "fd00::3"), Decision(Verdict.FORWARD, slot=1)),
    (ping("192.168.123.1", "192.168.123.9"), drop(DropReason.NO_PEER)),
    (ping("192.168.123.1", "8.8.8.8"), drop(DropReason.NO_ROUTE)),
    (ping("192.168.123.1", "192.168.123.1"), drop(DropReason.NO_ROUTE)),
    (ping("fe80::1", "ff02::2"), drop(DropReason.UNROUTABLE_SOURCE)),
    (ping("fd00::1", "ff02::2"), drop(DropReason.NO_ROUTE)),
    (ipv6_packet(a16("fd00::1"), a16("192.168.123.2")), drop(DropReason.NO_ROUTE)),
]


@pytest.mark.parametrize(("packet", "decision"), FROM_TUN)
def test_from_the_tun(packet: bytes, decision: Decision) -> None:
    assert decide_tun(packet, table()) == decision


def tables(rows: Rows) -> tuple[RouteTable, SlowRoutes]:
    fast, slow = RouteTable(), SlowRoutes()
    for (prefix, length), target in rows:
        fast.set(prefix, length, target, Origin.SERVICE)
        slow.set(prefix, length, target)
    return fast, slow


@given(scenes(), st.sampled_from(Role), st.booleans())
def test_from_udp_as_the_slow_twin_decides(scene: Scene, role: Role, check: bool) -> None:
    segment, source, peers, rows = scene
    fast, slow = tables(rows)

    decision = decide_udp(segment, source, Forwarding(peers, fast.lookup), role, check)

    assert decision == slow_decide_udp(
        segment, source, peers, slow.lookup, role=role, source_check=check
    )
    assert (decision.reason is not None) == (decision.verdict is Verdict.DROP)
    assert (decision.slot is not None) == (decision.verdict is Verdict.FORWARD)


@given(scenes())
def test_from_the_tun_as_the_slow_twin_decides(scene: Scene) -> None:
    fast, slow = tables(scene.rows)

    decision = decide_tun(scene.segment, Forwarding({}, fast.lookup))

    assert decision == slow_decide_tun(scene.segment, slow.lookup)


@given(scenes())
def test_with_the_source_check_no_data_of_a_stranger_gets_through(scene: Scene) -> None:
    fast, _ = tables(scene.rows)
    table = Forwarding({}, fast.lookup)

    decision = decide_udp(scene.segment, scene.source, table, Role.SERVER, source_check=True)

    assert decision.verdict in (Verdict.DROP, Verdict.PUNT)


DECISIONS_FROM_UDP = [
    *((Verdict.DROP, reason) for reason in DropReason if reason <= DropReason.SAME_PEER),
    (Verdict.DELIVER, None),
    (Verdict.FORWARD, None),
    (Verdict.PUNT, None),
]
DECISIONS_FROM_UDP.remove((Verdict.DROP, DropReason.TRUNCATED))  # the socket's to tell


@pytest.mark.parametrize(("verdict", "reason"), DECISIONS_FROM_UDP)
def test_the_scenes_show_every_decision(verdict: Verdict, reason: DropReason | None) -> None:
    """Else the comparisons above, and those with the compiled path, would prove little."""

    def shown(scene: Scene) -> bool:
        fast, _ = tables(scene.rows)
        table = Forwarding(scene.peers, fast.lookup)
        decision = decide_udp(scene.segment, scene.source, table, Role.SERVER, source_check=True)
        return (decision.verdict, decision.reason) == (verdict, reason)

    enough = settings(max_examples=100_000, phases=[Phase.generate], database=None)
    find(scenes(), shown, settings=enough)


@pytest.mark.parametrize(("reasons", "texts"), [(DropReason, DROP_TEXT), (Refusal, REFUSAL_TEXT)])
def test_every_reason_is_explained_in_a_sentence(reasons: type, texts: dict[object, str]) -> None:
    assert list(texts) == list(reasons)
    assert [reason.value for reason in reasons] == list(range(len(reasons)))
    for text in texts.values():
        assert text[0].isupper()
        assert text.endswith(".")
        assert len(set(texts.values())) == len(texts)
