"""Routers: whose entries count, what is left out, and what the gateway makes of it."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import a16

from gateway.config.model import FileSpec, HttpSpec, PluginSpec, RedisSpec, Route, RouterSpec
from gateway.config.model import Service as ServiceSpec
from gateway.linux.channel import ChannelGarbledError
from gateway.protocol.forwarding import NOTHING, VOID, Role
from gateway.protocol.messages import (
    GatewayRow,
    PeerEntry,
    PluginState,
    Prefix,
    RouteEntry,
    SourceRoutes,
    SourceState,
)
from gateway.protocol.packet import pack_network
from gateway.protocol.peer_changes import Changes as PeerChanges
from gateway.sources.tables import Prefixed, route_parts
from gateway.supervisor.networks import Networks
from gateway.supervisor.routers import PROBLEMS_SHOWN, Routed, Routers, RouterTable

NETS = (ip_interface("192.168.123.1/24"), ip_interface("fd00:123::1/64"))
INLINE = (Route(ip_network("10.1.0.0/16"), ip_interface("192.168.123.2").ip),)
SITES = RouterSpec("sites", INLINE, FileSpec("/routes"), RedisSpec("cache"), HttpSpec("http://w"))


class HostDouble:
    """What the host is told."""

    def __init__(self) -> None:
        self.table: dict[Prefixed, bytes] = {}

    def change(self, networks: Mapping[Prefixed, bytes], removed: Iterable[Prefixed]) -> None:
        for prefix in removed:
            self.table.pop(prefix, None)
        self.table |= networks


class Place:
    """One router and the service that uses it."""

    def __init__(self, spec: RouterSpec = SITES) -> None:
        self.routers = Routers([spec], boot=1.0)
        self.networks = Networks(Role.SERVER, NETS, ())
        self.host = HostDouble()
        service = ServiceSpec("hub", Role.SERVER, "", 1, (), NETS, router=spec)
        table = self.routers.of(spec)
        assert table is not None
        self.routed = Routed(service, table, self.networks, LansDouble(), self.host)  # type: ignore[arg-type]
        self.routers.changed = lambda _, changes: self.routed.take(changes, 0.0)
        self.routed.begin(0.0)

    def tell(self, kind: str, table: dict[str, str], *removed: str) -> None:
        rows = {pack_network(ip_network(net)): a16(gateway) for net, gateway in table.items()}
        gone = [pack_network(ip_network(net)) for net in removed]
        for part in route_parts("sites", kind, rows, gone, fresh=not removed):  # type: ignore[arg-type]
            self.routers.on_message(part)
        self.networks.settle()

    def peer(self, address: str, slot: int) -> None:
        self.networks.apply(
            PeerChanges(
                peers=(PeerEntry(slot, 1, a16("198.51.100.1"), slot + 1, 0, bytes(16)),),
                gone=(), routes=(RouteEntry(a16(address), 128, slot),), withdrawn=(),
            )
        )  # fmt: skip

    def target(self, address: str) -> int:
        return self.networks.table.lookup(a16(address))

    def known(self, net: str) -> bytes | None:
        return self.host.table.get(pack_network(ip_network(net)))


class LansDouble:
    """Advertisements are tested elsewhere."""

    def tell(self, networks: object, removed: object) -> None:
        pass


def test_inline_entries_count_at_once_and_lead_nowhere_until_the_peer_is_there() -> None:
    place = Place()
    assert place.target("10.1.2.3") == VOID
    place.peer("192.168.123.2", 4)
    assert place.target("10.1.2.3") == 4
    assert place.known("10.1.0.0/16") == a16("192.168.123.2")
    table = place.routers.tables["sites"]
    assert table.states["inline"].entries == 1
    assert place.routers.for_resolver()[0].inline == ()
    assert place.routers.need_resolver
    assert not Routers([RouterSpec("sites", INLINE)], 1.0).need_resolver


def test_the_first_source_counts_and_the_other_is_named() -> None:
    place = Place()
    for number in (2, 3, 4):
        place.peer(f"192.168.123.{number}", number)
    place.tell("file", {"10.1.0.0/16": "192.168.123.3", "10.2.0.0/16": "192.168.123.3"})
    place.tell("http", {"10.2.0.0/16": "192.168.123.4", "10.2.1.0/24": "192.168.123.4"})
    assert place.target("10.1.2.3") == 2
    assert place.target("10.2.2.3") == 3
    assert place.target("10.2.1.3") == 4, "the longest prefix decides, whatever source has it"
    assert place.routed.problems("file") == (
        ["10.1.0.0/16 is in inline too: the gateway 192.168.123.2 counts"],
        1,
    )
    assert place.routed.problems("http") == (
        ["10.2.0.0/16 is in file too: the gateway 192.168.123.3 counts"],
        1,
    )
    place.tell("file", {}, "10.2.0.0/16", "10.1.0.0/16")
    assert place.target("10.2.2.3") == 4
    assert place.routed.problems("http") == ([], 0)
    assert place.routed.problems("file") == ([], 0)


def test_of_many_contradictions_some_are_shown_and_all_counted() -> None:
    place = Place()
    nets = [f"10.7.{n}.0/24" for n in range(PROBLEMS_SHOWN + 5)]
    place.tell("file", dict.fromkeys(nets, "192.168.123.3"))
    place.tell("http", dict.fromkeys(nets, "192.168.123.4"))

    lines, count = place.routed.problems("http")
    assert (len(lines), count) == (PROBLEMS_SHOWN, PROBLEMS_SHOWN + 5)


def test_what_leads_nowhere_is_left_out_and_said() -> None:
    place = Place()
    place.peer("192.168.123.2", 2)
    place.tell(
        "file",
        {
            "10.3.0.0/16": "10.9.9.9",
            "10.4.0.0/16": "192.168.123.1",
            "192.168.123.0/24": "192.168.123.2",
            "192.168.123.9/32": "192.168.123.2",
            "192.168.123.128/25": "192.168.123.2",
            "fd00:9::/64": "fd00:123::2",
        },
    )
    assert place.target("10.3.0.1") == NOTHING
    assert place.target("10.4.0.1") == NOTHING
    assert place.target("192.168.123.9") == VOID
    assert place.target("192.168.123.200") == 2
    assert place.target("fd00:9::1") == VOID
    assert place.known("10.3.0.0/16") is None
    lines, count = place.routed.problems("file")
    assert len(lines) == count == 4
    assert lines[0] == "10.3.0.0/16: the gateway 10.9.9.9 is outside net: name a peer's address"
    assert "is this gateway itself" in lines[1]
    assert lines[2] == "192.168.123.0/24: the tunnel itself has these addresses"
    place.tell("file", {"10.3.0.0/16": "192.168.123.2"}, "10.4.0.0/16")
    assert place.target("10.3.0.1") == 2
    assert place.routed.problems("file")[1] == 2
    place.tell("file", {"10.3.0.0/16": "10.9.9.9"}, "10.77.0.0/16")
    assert place.target("10.3.0.1") == NOTHING, "an entry that turns bad takes its route along"
    assert place.known("10.3.0.0/16") is None


def test_states_of_other_holders_and_names_are_not_ours() -> None:
    place = Place()
    for holder, name in (("auther", "sites"), ("router", "others")):
        place.routers.on_message(SourceState(holder, name, "file", "x", 1, 1.0))  # type: ignore[arg-type]
    assert "file" not in place.routers.tables["sites"].states
    state = PluginState("router", "sites", "p", 1, 1, 0, 0, 1.0)
    place.routers.on_message(state)
    assert place.routers.tables["sites"].plugin is state


def test_secrets_are_wiped_in_other_children() -> None:
    spec = RouterSpec(
        "sites",
        redis=RedisSpec("c", password=b"word"),
        http=HttpSpec("http://me:word@w"),
        plugin=PluginSpec("http://p?key=word", b"token"),
    )
    routers = Routers([spec], 1.0)
    routers.forget()
    bare = routers.for_resolver()[0]
    assert bare.redis is not None
    assert bare.plugin is not None
    assert bytes(bare.redis.password) == bytes(4)
    assert bytes(bare.plugin.token) == bytes(5)
    assert bare.http is not None
    assert {*bare.http.url, *bare.plugin.url} == {"\0"}
    assert HttpSpec("http://me:word@w").url == "http://me:word@w", "nobody else's is"


nets = st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "10.1.1.1/32", "fd00:5::/64"])
gateways = {4: ["192.168.123.2", "192.168.123.3"], 6: ["fd00:123::2"]}
tables = st.dictionaries(nets, st.integers(0, 1), max_size=5)


@given(st.lists(st.tuples(st.sampled_from(["file", "redis", "http"]), tables), max_size=8))
def test_any_order_of_changes_ends_as_the_tables_are(steps: list[tuple[str, dict[str, int]]]):
    """A slow twin: merge the present tables, the first source last."""
    place = Place(RouterSpec("sites", (), SITES.file, SITES.redis, SITES.http))
    place.peer("192.168.123.2", 2)
    place.peer("192.168.123.3", 3)
    present: dict[str, dict[str, str]] = {}
    for kind, wanted in steps:
        table = {}
        for net, number in wanted.items():
            choices = gateways[ip_network(net).version]
            table[net] = choices[number % len(choices)]
        gone = [net for net in present.get(kind, {}) if net not in table]
        changed = {n: g for n, g in table.items() if present.get(kind, {}).get(n) != g}
        rows = {pack_network(ip_network(n)): a16(g) for n, g in changed.items()}
        lost = [pack_network(ip_network(n)) for n in gone]
        for part in route_parts("sites", kind, rows, lost, fresh=kind not in present):  # type: ignore[arg-type]
            place.routers.on_message(part)
        present[kind] = table
    place.networks.settle()
    merged: dict[str, str] = {}
    for kind in ("http", "redis", "file"):
        merged |= present.get(kind, {})
    assert place.host.table == {
        pack_network(ip_network(net)): a16(gateway) for net, gateway in merged.items()
    }
    slots = {"192.168.123.2": 2, "192.168.123.3": 3, "fd00:123::2": VOID}
    for net, gateway in merged.items():
        found = place.networks.table.get(*pack_network(ip_network(net)))
        assert found is not None
        assert found.target == slots[gateway]


def test_a_table_of_no_service_is_kept_all_the_same() -> None:
    table = RouterTable(SITES)
    assert table.overruled("file") == []


@pytest.mark.parametrize(
    ("address", "length"), [("10.2.3.4", 120), ("2001:db8::1", 64), ("10.2.0.0", 90)]
)
def test_a_resolver_whose_prefixes_are_none_ends_itself(address: str, length: int) -> None:
    """Its networks would be no routes, and the supervisor would end over them."""
    place = Place()
    prefix, gateway = a16(address), a16("192.168.123.2")
    with pytest.raises(ChannelGarbledError):
        place.routers.on_message(
            SourceRoutes("sites", "file", 0, 1, True, (GatewayRow(prefix, length, gateway),))
        )
    with pytest.raises(ChannelGarbledError):
        place.routers.on_message(
            SourceRoutes("sites", "file", 0, 1, True, (), (Prefix(prefix, length),))
        )
