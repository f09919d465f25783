import re

import msgspec
import pytest
from carrier_samples import CHAINED, RELAYING
from rich.cells import cell_len
from sample_parts import PEER_CONTESTED, PEER_IPV6
from samples import CLIENT, DEGRADED, SERVER, SERVER_SERVICE

from gateway.ctl.render import overview, screen
from gateway.ctl.terminal import LEAST_WIDTH, Look
from gateway.protocol.bridge_counts import DROP_TEXT as DATAGRAM_TEXT
from gateway.protocol.bridge_counts import STRANGER_TEXT
from gateway.protocol.forwarding import DropReason, Refusal
from gateway.protocol.status import NetworkStatus, Status

SAMPLES = [SERVER, CLIENT, DEGRADED, RELAYING, CHAINED]
WIDTHS = [60, 80, 120, 200]


def drawn(status: Status, look: Look) -> str:
    return screen([status], look).decode()


def every_address(status: Status) -> set[str]:
    found = {status.instance}
    for service in status.services:
        found |= {service.listen, *service.device.addresses}
        found |= {each.local for each in service.sockets}
        for peer in service.peers:
            found |= {peer.remote or peer.endpoint, *peer.addresses, *peer.networks}
        if service.chain is not None:
            found |= {node for hop in service.chain.hops for node in hop}
            found |= {leg.target for leg in service.chain.legs}
        elif service.uplink is not None:
            found |= {service.uplink.endpoint, service.uplink.observed_address}
    return found | {relay.listen for relay in status.relays}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("status", SAMPLES)
def test_nothing_is_too_wide_and_no_address_cut(status: Status, width: int) -> None:
    text = drawn(status, Look(width))
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    for address in every_address(status):
        assert address in text


@pytest.mark.parametrize("width", [*WIDTHS, 10_000])
@pytest.mark.parametrize("status", SAMPLES)
def test_ascii_screens_are_ascii(status: Status, width: int) -> None:
    assert drawn(status, Look(width, ascii_only=True)).isascii()


@pytest.mark.parametrize("status", SAMPLES)
def test_every_name_fits_the_narrowest_screen(status: Status) -> None:
    """With numbers of a busy decade beside it."""
    many = 10**12
    services = tuple(
        msgspec.structs.replace(
            service,
            drops=dict.fromkeys(service.drops, many),
            refusals=dict.fromkeys(service.refusals, many),
        )
        for service in status.services
    )
    relays = tuple(
        msgspec.structs.replace(relay, counters=dict.fromkeys(relay.counters, many))
        for relay in status.relays
    )
    busy = msgspec.structs.replace(status, services=services, relays=relays)
    assert drawn(busy, Look(LEAST_WIDTH, ascii_only=True)).isascii()
    assert "…" not in drawn(busy, Look(LEAST_WIDTH))


@pytest.mark.parametrize("status", SAMPLES)
def test_a_pipe_gets_neither_escapes_nor_blanks_at_the_end(status: Status) -> None:
    text = drawn(status, Look())
    assert "\x1b" not in text
    assert not re.search(r"[ \t]$", text, re.MULTILINE)


def test_a_pipe_gets_one_line_per_peer_where_a_cell_has_one() -> None:
    line = next(line for line in drawn(DEGRADED, Look()).splitlines() if "CONFLICT" in line)
    assert line.split()[:2] == ["192.168.123.14", "192.0.2.200:8421"]


@pytest.mark.parametrize("terminal", ["xterm", "dumb", "unknown"])
def test_colour_changes_no_word(terminal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", terminal)
    coloured = drawn(DEGRADED, Look(100, colour=True))
    assert "\x1b[" in coloured
    bare = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert bare.split() == drawn(DEGRADED, Look(100)).split()


def test_every_reason_is_on_the_screen() -> None:
    words = set(re.findall(r"[a-z_]+", drawn(SERVER, Look(80))))
    assert {reason.name.lower() for reason in DropReason} <= words
    assert {refusal.name.lower() for refusal in Refusal} <= words


def test_sources_are_shown_with_what_is_wrong() -> None:
    text = drawn(SERVER, Look(200))
    assert "/etc/gateway/users" in text
    assert "cannot be reached: Connection refused" in text
    assert "field 3: the username is no IP address" in text
    assert "and 24 more entries left out" in text
    assert "https://auth.example.com/tun" in text


@pytest.mark.parametrize("width", [50, 80, 110])
def test_a_long_reason_goes_on_below_its_own_beginning(width: int) -> None:
    reason = "It overlaps a network of another peer, who was there first: two sites use the same."
    networks = (
        NetworkStatus("192.168.100.0/24", "accepted"),
        NetworkStatus("192.168.101.0/24", "refused", reason, "192.168.123.2"),
        NetworkStatus("192.168.102.0/24", "refused", reason, "fd12:3456:789a:1:2:3:4:5"),
    )
    service = msgspec.structs.replace(CLIENT.services[0], advertised=networks)
    text = drawn(msgspec.structs.replace(CLIENT, services=(service,)), Look(width))
    part = text.partition("advertised networks: 1 accepted, 2 refused\n")[2]
    part = part.partition("\ntraffic")[0]
    assert " ".join(part.split()).count(reason) == 2
    assert all(line.startswith("  ") for line in part.splitlines())
    assert max(map(len, part.splitlines())) <= width
    assert "(fd12:3456:789a:1:2:3:4:5 has it)" in " ".join(part.split())


def test_drops_come_by_number_and_exactly() -> None:
    text = drawn(SERVER, Look(120))
    assert "packets dropped: 1,174" in text
    assert text.index("1,150  unroutable_source") < text.index("24  spoofed_source")


def test_a_reason_of_a_newer_gateway_is_shown() -> None:
    service = msgspec.structs.replace(SERVER_SERVICE, drops={"eaten_by_dog": 7})
    assert "7  eaten_by_dog" in drawn(msgspec.structs.replace(SERVER, services=(service,)), Look())


def test_what_is_wrong_is_loud() -> None:
    text = drawn(DEGRADED, Look(80))
    assert text.startswith("gateway fd12:3456:789a:1::1  DEGRADED\n")
    for word in (
        "auth          OFF",
        "source check  OFF",
        "tun0 DOWN",
        "LATE",
        "SIGSEGV",
        "CONFLICT",
    ):
        assert word in text
    for problem in DEGRADED.problems:
        assert problem in text


def test_several_targets_and_a_narrow_path_are_shown() -> None:
    text = drawn(CLIENT, Look(120))
    assert "targets (fifo)" in text
    assert "vpn.example.net:8421 used, RTT 11.8ms" in text
    assert "[2001:db8:1234::4]:8421 failed, backup" in text
    assert "TOO NARROW: 1400 bytes; set mtu=1372 on all ends" in text


def test_one_target_and_a_wide_path_say_little() -> None:
    found = CLIENT.services[0].uplink
    assert found is not None
    plain = msgspec.structs.replace(found, targets=found.targets[:1], mtu_fits=None)
    service = msgspec.structs.replace(CLIENT.services[0], uplink=plain)
    text = drawn(msgspec.structs.replace(CLIENT, services=(service,)), Look(120))
    assert "targets" not in text
    assert "NARROW" not in text


def test_acks_that_went_nowhere_are_shown_and_others_not() -> None:
    for acks, shown in (({"sent": 7, "full": 0}, False), ({"full": 2, "failed": 1}, True)):
        service = msgspec.structs.replace(SERVER.services[0], acks=acks)
        text = drawn(msgspec.structs.replace(SERVER, services=(service,)), Look(120))
        assert ("3 could not be sent" in text) is shown
        assert (re.search(r"^  acks  ", text, re.MULTILINE) is not None) is shown


def test_unknown_values_are_dashes() -> None:
    text = drawn(SERVER, Look(80))
    assert "RTT \N{EN DASH}" in text
    assert "RTT 23.5ms" in text
    assert "loss \N{EN DASH}" not in text


def test_peers_by_address() -> None:
    text = drawn(SERVER, Look(80))
    assert (
        text.index("192.168.123.2,") < text.index("192.168.123.3\n") < text.index("192.168.123.4\n")
    )


def test_reached_on_only_where_it_tells_something() -> None:
    assert "reached on" in drawn(SERVER, Look(80))
    service = msgspec.structs.replace(SERVER_SERVICE, peers=(PEER_CONTESTED,))
    one = msgspec.structs.replace(SERVER, services=(service,))
    assert "reached on" not in drawn(one, Look(80))


def test_ordinary_peers_fit_a_table_of_120() -> None:
    busy = msgspec.structs.replace(PEER_IPV6, endpoint="203.0.113.107:51234", local="198.51.100.1")
    service = msgspec.structs.replace(SERVER_SERVICE, peers=(PEER_CONTESTED, busy))
    text = drawn(msgspec.structs.replace(SERVER, services=(service,)), Look(120))
    assert re.search(r"addresses +endpoint +since +seen +lease", text)


def test_text_from_elsewhere_cannot_steer_the_terminal() -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\n[red]x[/red]"
    offload = msgspec.structs.replace(SERVER_SERVICE.offload, note=hostile)
    peer = msgspec.structs.replace(
        PEER_IPV6,
        endpoint=hostile,
        addresses=(hostile,),
        carrier="wss",
        remote=hostile,
        user=hostile,
    )
    service = msgspec.structs.replace(
        SERVER_SERVICE, name=hostile, listen=hostile, offload=offload, peers=(peer,)
    )
    chain = CHAINED.services[0].chain
    assert chain is not None
    leg = msgspec.structs.replace(chain.legs[0], error=hostile, remote=hostile, hops=(hostile,))
    chain = msgspec.structs.replace(chain, name=hostile, legs=(leg,), hops=((hostile,),))
    service = msgspec.structs.replace(service, chain=chain)
    relay = msgspec.structs.replace(RELAYING.relays[0], name=hostile, counters={hostile: 1})
    status = msgspec.structs.replace(
        SERVER,
        relays=(relay,),
        instance=hostile,
        problems=(hostile,),
        user=hostile,
        services=(service,),
    )
    for look in (Look(), Look(80)):
        text = drawn(status, look)
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "[red]x[/red]" in text


def test_a_peer_behind_a_relay_has_its_true_address() -> None:
    text = drawn(RELAYING, Look(200))
    assert "wss 203.0.113.7:51234" in text
    assert "127.0.0.1:40001" not in text
    assert "user alice" in text


def test_a_relay_listener() -> None:
    text = drawn(RELAYING, Look(120))
    part = text.partition("relay relay-0\n")[2]
    assert "wss [::]:443" in part
    assert "OFF: anybody can come through" in part
    assert f"pin=sha256:{32 * '0f'}" in part
    assert "1 open, 44 accepted, 4 led on, 2 undecided, 3 users refused" in part
    assert "raise net.core.rmem_max" in part
    assert "datagrams dropped: 12,352" in part
    assert part.index("12,345  late") < part.index("7  overflow")
    assert "turned away: 22" in part
    assert part.index("17  wrong-path") < part.index("5  bad-kcp")


def test_a_chain_by_hop_and_leg() -> None:
    text = drawn(CHAINED, Look(200))
    part = text.partition("chain chain-0\n")[2].partition("\ntraffic")[0]
    assert re.search(
        r"hop 1 +tls 198.51.100.1:443\n +wss \[2001:db8:1234:5678:90ab::1\]:443\n", part
    )
    assert "hop 2         grpc relay.example.net:8443" in part
    up, down = (line.split() for line in part.splitlines() if re.match(r" +\S*:8421 +(up|D)", line))
    assert up[:3] == [":8421", "up", "1h02m"]
    assert up[-5:] == ["12.5ms", "3", "2.05kB", "9", "verified"]
    assert down == ["[fd00::9]:8421", "DOWN", "31s", "0", "6", "2"]
    assert "tls 198.51.100.1:443: connection refused" in part
    assert "datagrams dropped by the chain: 11" in part
    assert "through chain chain-0" in text
    assert "the server sees" not in text


@pytest.mark.parametrize("width", [60, 200])
def test_every_reason_of_a_bridge_is_on_the_screen(width: int) -> None:
    words = set(re.findall(r"[a-z_-]+", drawn(RELAYING, Look(width))))
    assert DATAGRAM_TEXT.keys() | STRANGER_TEXT.keys() <= words


def test_an_unverified_server_is_loud() -> None:
    chain = CHAINED.services[0].chain
    assert chain is not None
    leg = msgspec.structs.replace(chain.legs[0], verified=False)
    chain = msgspec.structs.replace(chain, legs=(leg,))
    service = msgspec.structs.replace(CHAINED.services[0], chain=chain)
    text = drawn(msgspec.structs.replace(CHAINED, services=(service,)), Look(80))
    assert "identity NOT VERIFIED" in text


def test_several_instances_stand_apart() -> None:
    text = screen([SERVER, CLIENT], Look()).decode()
    assert "\n\ngateway 192.168.123.2  healthy\n" in text


def test_an_overview_names_everyone() -> None:
    text = overview([SERVER, DEGRADED], [("b", "instance b is not running")], Look(80)).decode()
    assert "192.168.123.1" in text
    assert "DEGRADED" in text
    assert "instance b is not running" in text
    assert max(map(len, text.splitlines())) <= 80
