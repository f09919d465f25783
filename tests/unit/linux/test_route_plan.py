"""Snapshot and wishes in, steps out: tables, and properties over random tables."""

import socket
import struct
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.linux.nlmsg import attribute, nested
from gateway.linux.route_plan import (
    PROTOCOL,
    UNREACHABLE,
    KernelRoute,
    RouteRecord,
    Wanted,
    parse,
    plan,
    undo_plan,
    unicast,
)

WAN, LTE, TUN = 2, 3, 9
KERNEL, BOOT, STATIC, DHCP = 2, 3, 4, 16
SERVER, SERVER6 = ip_address("1.2.3.4"), ip_address("2001:db8:1234::4")
NOTHING = RouteRecord("here")
HEADER = struct.Struct("=BBBBBBBBI")


def route(
    text: str, device: int = WAN, via: str = "", metric: int = 0, **fields: int
) -> KernelRoute:
    """What the kernel would tell of a route. `fields`: protocol, kind, flags."""
    network = ip_network(text)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    payload = HEADER.pack(
        family, network.prefixlen, 0, 0, 254, fields.get("protocol", BOOT), 0 if via else 253,
        fields.get("kind", 1), fields.get("flags", 0),
    )  # fmt: skip
    payload += attribute(15, struct.pack("=I", 254))
    if network.prefixlen:
        payload += attribute(1, network.network_address.packed)
    if metric:
        payload += attribute(6, struct.pack("=I", metric))
    if via:
        payload += attribute(5, ip_address(via).packed)
    payload += attribute(4, struct.pack("=I", device))
    found = parse(payload)
    assert found is not None
    return found


def wanted(*networks: str, endpoints: tuple = (), persistent: bool = False) -> Wanted:
    routes = tuple((ip_network(text), None) for text in networks)
    return Wanted(TUN, routes, tuple(map(ip_address, endpoints)), persistent)


def steps(found) -> list[str]:
    """Readable: `replace 1.2.3.4/32 dev 2`."""
    return [line(step.verb, step.route) for step in found]


def line(verb: str, one: KernelRoute) -> str:
    if one.kind == UNREACHABLE:
        return f"{verb} guard {one.network}"
    return f"{verb} {one.network} " + " ".join(f"dev {device}" for device, _ in one.hops)


def after(present, found) -> list[KernelRoute]:
    """The table when the steps were done."""
    table = {one.key: one for one in present}
    for step in found:
        if step.verb == "delete":
            del table[step.route.key]
        else:
            table[step.route.key] = step.route
    return list(table.values())


HOME = [
    route("0.0.0.0/0", WAN, "198.18.1.1", protocol=DHCP, metric=100),
    route("198.18.1.0/24", WAN, protocol=KERNEL),
    route("192.168.123.0/24", TUN, protocol=KERNEL),
    route("::/0", WAN, "fe80::1", protocol=9, metric=1024),
    route("2001:db8:1::/64", WAN, protocol=KERNEL, metric=256),
]


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (wanted(), []),
        (wanted("10.1.0.0/16"), ["replace 10.1.0.0/16 dev 9"]),
        (wanted("10.1.0.0/16", endpoints=("1.2.3.4",)), ["replace 10.1.0.0/16 dev 9"]),
        (
            wanted("0.0.0.0/0", endpoints=("1.2.3.4",)),
            [
                "replace 1.2.3.4/32 dev 2",
                "replace guard 1.2.3.4/32",
                "replace 0.0.0.0/1 dev 9",
                "replace 128.0.0.0/1 dev 9",
            ],
        ),
        (
            wanted("1.0.0.0/8", endpoints=("1.2.3.4",)),
            ["replace 1.2.3.4/32 dev 2", "replace guard 1.2.3.4/32", "replace 1.0.0.0/8 dev 9"],
        ),
        (
            wanted("::/0", endpoints=("1.2.3.4", "2001:db8:1234::4")),
            [
                "replace 2001:db8:1234::4/128 dev 2",
                "replace guard 2001:db8:1234::4/128",
                "replace ::/1 dev 9",
                "replace 8000::/1 dev 9",
            ],
        ),
        (  # on the link: its network is lost with the link, the guard is not
            wanted("0.0.0.0/0", endpoints=("198.18.1.1",)),
            [
                "replace 198.18.1.1/32 dev 2",
                "replace guard 198.18.1.1/32",
                "replace 0.0.0.0/1 dev 9",
                "replace 128.0.0.0/1 dev 9",
            ],
        ),
        (
            wanted("fc00::/7", endpoints=("fd00::1",)),
            [
                "replace fd00::1/128 dev 2",
                "replace guard fd00::1/128",
                "replace fc00::/7 dev 9",
            ],
        ),
        (wanted("192.168.123.0/24"), []),
        (wanted("198.18.1.0/24"), []),
        (wanted("1.2.3.4/32", endpoints=("1.2.3.4",)), []),
    ],
)
def test_from_nothing(wish: Wanted, expected: list[str]) -> None:
    found = plan(HOME, wish, NOTHING)

    assert steps(found.steps) == expected
    assert plan(after(HOME, found.steps), wish, found.record).steps == ()


@pytest.mark.parametrize(
    ("wish", "problem"),
    [
        (wanted("198.18.1.0/24"), "a device of this host"),
        (wanted("1.2.3.4/32", endpoints=("1.2.3.4",)), "the server itself"),
        (wanted("192.168.123.0/24"), None),
    ],
)
def test_problems(wish: Wanted, problem: str | None) -> None:
    found = plan(HOME, wish, NOTHING).problems

    assert found == () if problem is None else problem in found[0]


def test_a_host_route_of_somebody_elses_gets_a_guard_only() -> None:
    present = [*HOME, route("1.2.3.4/32", LTE, "10.64.0.1")]
    found = plan(present, wanted("1.0.0.0/8", endpoints=("1.2.3.4",)), NOTHING)

    assert steps(found.steps) == ["replace guard 1.2.3.4/32", "replace 1.0.0.0/8 dev 9"]


def test_the_best_way_outside_is_taken() -> None:
    """The longest prefix, then the lowest metric; never the tunnel, a guard or another's."""
    present = [
        route("0.0.0.0/0", LTE, "10.64.0.1", metric=50),
        route("0.0.0.0/0", WAN, "198.18.1.1", metric=10),
        route("1.0.0.0/8", LTE, kind=UNREACHABLE),
        route("1.2.0.0/16", 8, protocol=PROTOCOL),
        route("1.2.3.0/24", TUN),
    ]
    found = plan(present, wanted("0.0.0.0/0", endpoints=("1.2.3.4",)), NOTHING)
    assert steps(found.steps)[0] == "replace 1.2.3.4/32 dev 2"
    assert found.steps[0].route.hops == ((WAN, ip_address("198.18.1.1").packed),)


def test_no_way_outside_leaves_the_guard() -> None:
    wish = wanted("0.0.0.0/0", endpoints=("1.2.3.4",))
    full = plan(HOME, wish, NOTHING)
    present = [one for one in after(HOME, full.steps) if one.metric != 100]

    found = plan(present, wish, full.record)
    assert steps(found.steps) == ["delete 1.2.3.4/32 dev 2"]


def test_multipath_and_nexthop_objects_are_copied() -> None:
    hops = b"".join(
        struct.pack("=HBBi", 16, 0, 0, device) + attribute(5, ip_address(via).packed)
        for device, via in ((WAN, "198.18.1.1"), (LTE, "10.64.0.1"))
    )
    head = HEADER.pack(socket.AF_INET, 0, 0, 0, 254, BOOT, 0, 1, 0x10)
    many = parse(head + attribute(9, hops))
    by_id = parse(head + attribute(30, struct.pack("=I", 7)) + attribute(4, b"\2\0\0\0"))
    assert many is not None
    assert by_id is not None
    wish = wanted("0.0.0.0/0", endpoints=("1.2.3.4",))

    copied = plan([many], wish, NOTHING).steps[0].route
    assert [device for device, _ in copied.hops] == [WAN, LTE]
    assert HEADER.unpack_from(copied.payload)[8] == 0, "the kernel takes no RTNH_F_LINKDOWN"
    copied = plan([by_id], wish, NOTHING).steps[0].route
    assert attribute(30, struct.pack("=I", 7)) in copied.payload
    assert attribute(4, b"\2\0\0\0") not in copied.payload, "its hops are the object's"
    present = [by_id, *after([], plan([by_id], wish, NOTHING).steps)]
    assert plan(present, wish, plan([by_id], wish, NOTHING).record).steps == ()


def test_another_default_route_moves_the_host_route_only() -> None:
    wish = wanted("0.0.0.0/0", endpoints=("1.2.3.4",))
    first = plan(HOME, wish, NOTHING)
    present = [*after(HOME, first.steps)[1:], route("0.0.0.0/0", LTE, "10.64.0.1")]

    assert steps(plan(present, wish, first.record).steps) == ["replace 1.2.3.4/32 dev 3"]


def test_another_endpoint_comes_before_the_former_goes() -> None:
    first = plan(HOME, wanted("0.0.0.0/0", endpoints=("1.2.3.4",)), NOTHING)
    wish = wanted("0.0.0.0/0", endpoints=("9.9.9.9",))

    found = plan(after(HOME, first.steps), wish, first.record)
    assert steps(found.steps) == [
        "replace 9.9.9.9/32 dev 2",
        "replace guard 9.9.9.9/32",
        "delete 1.2.3.4/32 dev 2",
        "delete guard 1.2.3.4/32",
    ]


def test_the_end_leaves_the_tunnel_first() -> None:
    first = plan(HOME, wanted("0.0.0.0/0", endpoints=("1.2.3.4",)), NOTHING)
    found = plan(after(HOME, first.steps), wanted(), first.record)

    assert steps(found.steps)[:2] == ["delete 0.0.0.0/1 dev 9", "delete 128.0.0.0/1 dev 9"]
    assert sorted(after(after(HOME, first.steps), found.steps)) == sorted(HOME)
    assert found.record == NOTHING


def test_routes_of_ours_that_others_use_stay() -> None:
    """Another instance's: its device, and its way to its server."""
    present = [
        *HOME,
        unicast(ip_network("10.1.0.0/16"), 8),
        route("9.9.9.9/32", WAN, "198.18.1.1", protocol=PROTOCOL),
    ]
    assert plan(present, wanted(), NOTHING).steps == ()


def test_a_strangers_route_gives_way_and_comes_back() -> None:
    stranger = route("10.1.0.0/16", WAN, "198.18.1.1", protocol=STATIC, flags=0x10)
    present = [*HOME, stranger]
    first = plan(present, wanted("10.1.0.0/16"), NOTHING)
    assert steps(first.steps) == ["delete 10.1.0.0/16 dev 2", "replace 10.1.0.0/16 dev 9"]
    assert first.record.displaced == (stranger.payload,)

    there = after(present, first.steps)
    found = plan(there, wanted(), first.record)
    assert steps(found.steps) == ["delete 10.1.0.0/16 dev 9", "replace 10.1.0.0/16 dev 2"]
    assert HEADER.unpack_from(found.steps[1].route.payload)[8] == 0
    assert found.record == NOTHING


def test_a_worse_metric_of_a_strangers_is_left_alone() -> None:
    present = [*HOME, route("10.1.0.0/16", WAN, "198.18.1.1", metric=100)]

    assert steps(plan(present, wanted("10.1.0.0/16"), NOTHING).steps) == [
        "replace 10.1.0.0/16 dev 9"
    ]


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("device_gone", [False, True])
def test_undo_after_a_crash(persistent: bool, device_gone: bool) -> None:
    """What is left is put back, and what the kernel took away already is no matter."""
    stranger = route("10.1.0.0/16", WAN, "198.18.1.1")
    wish = wanted("0.0.0.0/0", "10.1.0.0/16", endpoints=("1.2.3.4",), persistent=persistent)
    first = plan([*HOME, stranger], wish, NOTHING)
    there = after([*HOME, stranger], first.steps)
    before = [*HOME, stranger]
    if device_gone or not persistent:
        there = [one for one in there if not one.leads_to(TUN)]
        before = [one for one in before if not one.leads_to(TUN)]

    found = undo_plan(there, first.record)
    assert sorted(one.key for one in after(there, found)) == sorted(one.key for one in before)
    assert all(one.protocol != PROTOCOL for one in after(there, found))
    assert undo_plan(before, first.record) == ()


def test_undo_takes_nothing_that_is_anothers_now() -> None:
    wish = wanted("0.0.0.0/0", "10.1.0.0/16", endpoints=("1.2.3.4",))
    first = plan([*HOME, route("10.1.0.0/16", WAN, "198.18.1.1")], wish, NOTHING)
    since = [*HOME, route("1.2.3.4/32", LTE), route("10.1.0.0/16", LTE)]

    assert undo_plan(since, first.record) == ()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        bytes(11),
        HEADER.pack(28, 0, 0, 0, 254, 3, 0, 1, 0),
        HEADER.pack(2, 0, 0, 0, 255, 3, 0, 1, 0),
        HEADER.pack(2, 0, 0, 0, 252, 3, 0, 1, 0) + attribute(15, struct.pack("=I", 1000)),
        HEADER.pack(2, 24, 8, 0, 254, 3, 0, 1, 0),
        HEADER.pack(2, 24, 0, 4, 254, 3, 0, 1, 0),
        HEADER.pack(10, 128, 0, 0, 254, 3, 0, 1, 0x200),
        HEADER.pack(2, 24, 0, 0, 254, 3, 0, 1, 0) + attribute(1, bytes(16)),
        HEADER.pack(2, 33, 0, 0, 254, 3, 0, 1, 0) + attribute(1, bytes(4)),
    ],
)
def test_not_for_us(payload: bytes) -> None:
    assert parse(payload) is None


@given(st.binary(max_size=80), st.sampled_from((b"", HEADER.pack(2, 8, 0, 0, 254, 3, 0, 1, 0))))
def test_any_bytes_are_parsed_or_not(data: bytes, start: bytes) -> None:
    """Records come from a file: whatever is in there ends nothing."""
    parse(start + data)
    undo_plan(HOME, RouteRecord("here", (start + data,), (data,)))


def test_a_damaged_multipath_ends() -> None:
    head = HEADER.pack(2, 0, 0, 0, 254, 3, 0, 1, 0)
    found = parse(head + nested(9, struct.pack("=HBBi", 0, 0, 0, 1)))
    assert found is not None
    assert found.hops == ()


few = st.sampled_from(
    ("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "1.0.0.0/8", "1.2.3.0/24", "1.2.3.4/32",
     "10.1.0.0/16", "198.18.1.0/24", "::/0", "fd00::/64", "2001:db8:1234::/48")
)  # fmt: skip
tables = st.lists(
    st.builds(
        lambda text, device, metric, protocol: route(
            text, device, metric=metric, protocol=protocol
        ),
        few,
        st.sampled_from((WAN, LTE)),
        st.sampled_from((0, 1, 100)),
        st.sampled_from((KERNEL, BOOT, DHCP)),
    ),
    max_size=8,
).map(lambda routes: list({one.key: one for one in routes}.values()))
wishes = st.builds(
    wanted,
    *[few] * 2,
    endpoints=st.sets(st.sampled_from(("1.2.3.4", "1.2.3.9", "2001:db8:1234::4"))).map(
        lambda chosen: tuple(sorted(chosen))
    ),
)


def lookup(table, address) -> KernelRoute | None:
    return max(
        (one for one in table if address.version == one.network.version and address in one.network),
        key=lambda one: (one.length, -one.metric),
        default=None,
    )


@given(tables, st.lists(wishes, min_size=1, max_size=3))
def test_a_server_never_lies_in_the_tunnel_and_all_comes_back(present, chain) -> None:
    """Whatever the table and however the wishes change; also half-way through the steps."""
    table, record = present, NOTHING
    for wish in chain:
        found = plan(table, wish, record)
        table, record = after(table, found.steps), found.record
        for server in wish.endpoints:
            way = lookup(table, server)
            assert way is None or not way.leads_to(TUN)
            left = [one for one in table if not (one.leads_to(WAN) or one.leads_to(LTE))]
            way = lookup(left, server)
            assert way is None or not way.leads_to(TUN), "with all links gone"
        assert plan(table, wish, record).steps == ()
    end = plan(table, wanted(), record)
    assert {one.key: one.hops for one in after(table, end.steps)} == {
        one.key: one.hops for one in present
    }
    assert end.record == NOTHING
