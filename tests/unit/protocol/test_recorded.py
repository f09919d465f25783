"""What stock GOST said on the wire, replayed against our decisions.

Each file of tests/fixtures/gost-exchanges is one exchange between a stock server on S
and stock clients on C1 and C2 (bench/record.py makes them). What stock did with a
datagram is in the recording itself: an ack that follows, the same bytes sent on to
another client, or nothing visible, which for data means its own device.
"""

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.protocol.forwarding import (
    LOCAL,
    NOTHING,
    VOID,
    Decision,
    DropReason,
    Forwarding,
    Role,
    Verdict,
    decide_udp,
)
from gateway.protocol.packet import Endpoint, pack_address
from gateway.protocol.wire import Ack, Heartbeat, WireError

FIXTURES = sorted((Path(__file__).parents[2] / "fixtures" / "gost-exchanges").glob("*.json"))

Exchange = dict[str, Any]
Datagram = dict[str, Any]

NO_TABLE = Forwarding({}, lambda _address: NOTHING)
SERVER = Endpoint(pack_address(ipaddress.ip_address("1.2.3.4")), 8421)


@pytest.fixture(params=FIXTURES, ids=[path.stem for path in FIXTURES])
def exchange(request: pytest.FixtureRequest) -> Exchange:
    found: Exchange = json.loads(request.param.read_text())
    return found


def payload(datagram: Datagram) -> bytes:
    return bytes.fromhex(datagram["hex"])


def endpoint(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    return Endpoint(pack_address(ipaddress.ip_address(host.strip("[]"))), int(port))


def addresses(nets: list[str]) -> tuple[bytes, ...]:
    return tuple(pack_address(ipaddress.ip_interface(net).ip) for net in nets)


def of_kind(exchange: Exchange, kind: str, *, to: str = "") -> list[Datagram]:
    found = [one for one in exchange["datagrams"] if one["kind"] == kind]
    return [one for one in found if not to or one["to"] == to]


class Server:
    """What a server knows at the end of an exchange: a slot per client, C1 first."""

    def __init__(self, exchange: Exchange) -> None:
        self.answered = {one["target"] for one in of_kind(exchange, "ack")}
        self.slots = {name: slot for slot, name in enumerate(exchange["clients"])}
        self.holders = {
            address: self.slots[name]
            for name, client in exchange["clients"].items()
            for address in addresses(client["nets"])
        }
        self.own = addresses(exchange["server"]["nets"])
        self.nets = [ipaddress.ip_interface(net).network for net in exchange["server"]["nets"]]
        self.table = Forwarding(
            {
                endpoint(one["source"]): self.slots[one["from"]]
                for one in of_kind(exchange, "heartbeat")
                if one["source"] in self.answered and one["from"] in self.slots
            },
            self.lookup,
        )

    def lookup(self, address: bytes) -> int:
        if address in self.own:
            return LOCAL
        if address in self.holders:
            return self.holders[address]
        return VOID if self.inside(address) else NOTHING

    def inside(self, address: bytes) -> bool:
        plain = ipaddress.IPv6Address(address)
        return any((plain.ipv4_mapped or plain) in net for net in self.nets)


def sent_on(exchange: Exchange, datagram: Datagram) -> str:
    """The client that stock sent these very bytes to, "" for none."""
    for one in of_kind(exchange, "data"):
        if one["from"] == "S" and one["hex"] == datagram["hex"]:
            return str(one["to"])
    return ""


def test_the_recordings_are_there() -> None:
    assert len(FIXTURES) == 10


def test_every_recording_names_its_source(exchange: Exchange) -> None:
    assert exchange["recorded_with"].startswith("gost 3.")
    assert exchange["datagrams"]


def test_a_stock_heartbeat_is_punted_and_read(exchange: Exchange) -> None:
    for one in of_kind(exchange, "heartbeat"):
        decision = decide_udp(
            payload(one), endpoint(one["source"]), NO_TABLE, Role.SERVER, source_check=True
        )
        assert decision == Decision(Verdict.PUNT)
        client = exchange["clients"].get(one["from"])
        if client is not None:
            heartbeat = Heartbeat.parse(payload(one))
            assert heartbeat.addresses == addresses(client["nets"])
            assert heartbeat.passphrase == client["passphrase"].encode()


def test_our_heartbeat_is_the_stock_one(exchange: Exchange) -> None:
    for one in of_kind(exchange, "heartbeat"):
        client = exchange["clients"].get(one["from"])
        if client is not None:
            passphrase = client["passphrase"].encode()
            ours = Heartbeat(passphrase, addresses(client["nets"])).build()
            assert ours == payload(one)


def test_our_ack_is_the_stock_one(exchange: Exchange) -> None:
    for one in of_kind(exchange, "ack"):
        assert Ack(endpoint(one["target"]).address).build() == payload(one)


def test_a_stock_ack_is_punted_and_read(exchange: Exchange) -> None:
    for one in of_kind(exchange, "ack"):
        decision = decide_udp(payload(one), SERVER, NO_TABLE, Role.CLIENT, source_check=True)
        assert decision == Decision(Verdict.PUNT)
        assert Ack.parse(payload(one)).observed == endpoint(one["target"]).address


def test_every_heartbeat_of_an_admitted_client_was_acked(exchange: Exchange) -> None:
    answered = Server(exchange).answered
    heartbeats = [one for one in of_kind(exchange, "heartbeat") if one["source"] in answered]
    assert len(heartbeats) == len(of_kind(exchange, "ack"))


def test_data_reaches_whom_stock_sent_it_to(exchange: Exchange) -> None:
    """Without the source check our server does what stock does."""
    server = Server(exchange)
    for one in of_kind(exchange, "data", to="S"):
        decision = decide_udp(
            payload(one), endpoint(one["source"]), server.table, Role.SERVER, source_check=False
        )
        taker = sent_on(exchange, one)
        if taker:
            assert decision == Decision(Verdict.FORWARD, slot=server.slots[taker])
        else:
            assert decision == Decision(Verdict.DELIVER)


def test_the_source_check_stops_strangers_only(exchange: Exchange) -> None:
    server = Server(exchange)
    for one in of_kind(exchange, "data", to="S"):
        source = endpoint(one["source"])
        decision = decide_udp(payload(one), source, server.table, Role.SERVER, source_check=True)
        if source not in server.table.endpoints:
            assert decision == Decision(Verdict.DROP, DropReason.UNKNOWN_ENDPOINT)
        elif payload(one)[8:10] == b"\xfe\x80" and payload(one)[0] >> 4 == 6:
            assert decision == Decision(Verdict.DROP, DropReason.UNROUTABLE_SOURCE)
        else:
            assert decision.verdict in (Verdict.DELIVER, Verdict.FORWARD)


def test_data_from_a_stock_server_is_delivered(exchange: Exchange) -> None:
    for one in of_kind(exchange, "data"):
        if one["from"] == "S":
            decision = decide_udp(payload(one), SERVER, NO_TABLE, Role.CLIENT, source_check=True)
            assert decision == Decision(Verdict.DELIVER)


def test_what_stock_ignores_is_refused(exchange: Exchange) -> None:
    """Up to 20 bytes it is dropped at once, above that when its size is looked at."""
    for one in of_kind(exchange, "control"):
        data, source = payload(one), endpoint(one["source"])
        decision = decide_udp(data, source, NO_TABLE, Role.SERVER, source_check=True)
        if len(data) <= 20:
            assert decision == Decision(Verdict.DROP, DropReason.BAD_CONTROL)
        else:
            assert decision == Decision(Verdict.PUNT)
            with pytest.raises(WireError):
                Heartbeat.parse(data)
