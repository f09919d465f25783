"""GOST's text formats, entry by entry, and whatever bytes may come."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.model import Credential, Route
from gateway.protocol.packet import pack_address, pack_network
from gateway.sources import parse
from gateway.sources.errors import SourceError
from gateway.sources.parse import (
    PROBLEMS_KEPT,
    address_of,
    credentials_of_config,
    credentials_of_redis,
    credentials_of_text,
    prefix_of_text,
    routes_of_config,
    routes_of_redis,
    routes_of_text,
)


def a16(text: str) -> bytes:
    return pack_address(ipaddress.ip_address(text))


def net(text: str) -> tuple[bytes, int]:
    return pack_network(ipaddress.ip_network(text))


@pytest.mark.parametrize(
    ("line", "username", "password"),
    [
        (b"10.0.0.2 secret", "10.0.0.2", b"secret"),
        (b"10.0.0.2\tsecret", "10.0.0.2", b"secret"),
        (b"  10.0.0.2 \t  two words  ", "10.0.0.2", b"two words"),
        (b"10.0.0.2 a\tb", "10.0.0.2", b"a b"),
        (b"10.0.0.2 #secret", "10.0.0.2", b"#secret"),
        (b"10.0.0.2 sec#ret # no comment", "10.0.0.2", b"sec#ret # no com"),
        (b"10.0.0.2 secret\r", "10.0.0.2", b"secret"),
        (b"FD00:0::2 secret", "fd00::2", b"secret"),
        (b"::ffff:10.0.0.2 secret", "10.0.0.2", b"secret"),
        (b"\xef\xbb\xbf10.0.0.2 secret", "10.0.0.2", b"secret"),
        (b"10.0.0.2 \xff\xfe", "10.0.0.2", b"\xff\xfe"),
        (b"10.0.0.2 0123456789abcdefg", "10.0.0.2", b"0123456789abcdef"),
        (b"10.0.0.2 0123456789abcde\xc3\xa9", "10.0.0.2", b"0123456789abcde\xc3"),
    ],
)
def test_a_credential(line: bytes, username: str, password: bytes) -> None:
    assert credentials_of_text(line, "users").table == {a16(username): password}


@pytest.mark.parametrize("line", [b"", b"   \t ", b"# 10.0.0.2 secret", b"#", b"\t# x", b"\r"])
def test_what_is_no_credential_and_no_problem(line: bytes) -> None:
    parsed = credentials_of_text(b"10.0.0.2 a\n" + line + b"\n10.0.0.3 b\n", "users")

    assert parsed.table == {a16("10.0.0.2"): b"a", a16("10.0.0.3"): b"b"}
    assert parsed.problem_count == 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"10.0.0.9", "there is no password"),
        (b"10.0.0.9 ", "there is no password"),
        (b"alice secret", "not an IP address"),
        (b"10.0.0.0/24 secret", "not an IP address"),
        (b"10.0.0.09 secret", "not an IP address"),
        (b"10.0.9 secret", "not an IP address"),
        (b"fe80::1%eth0 secret", "not an IP address"),
        (b"\xff\xff secret", "not an IP address"),
        (b"10.0.0.9\0 secret", "not an IP address"),
        (b"10.0.0.9 sec\0ret", "NUL"),
    ],
)
def test_a_malformed_credential_is_one_line_and_the_rest_stays(line: bytes, reason: str) -> None:
    parsed = credentials_of_text(b"10.0.0.2 a\n" + line + b"\n10.0.0.3 b\n", "/etc/users")

    assert parsed.table == {a16("10.0.0.2"): b"a", a16("10.0.0.3"): b"b"}
    assert parsed.problem_count == 1
    assert parsed.problems[0].startswith("/etc/users:2: ")
    assert reason in parsed.problems[0]
    assert "secret" not in parsed.problems[0]


def test_of_one_address_the_later_password_counts() -> None:
    parsed = credentials_of_text(b"10.0.0.2 a\n::ffff:10.0.0.2 b\n", "users")

    assert parsed.table == {a16("10.0.0.2"): b"b"}
    assert parsed.problems == ["users:2: the address was there before: this password counts"]


def test_cut_passwords_are_one_line_together() -> None:
    lines = b"".join(b"10.0.0.%d 0123456789abcdefXYZ\n" % n for n in range(1, 100))
    parsed = credentials_of_text(lines, "users")

    assert len(parsed.table) == 99
    expected = "users:1: the first of 99 passwords that are longer than 16 bytes: the first 16"
    assert parsed.problems == [f"{expected} count"]


def test_of_many_problems_the_first_are_kept_and_all_are_counted() -> None:
    parsed = credentials_of_text(b"x y\n" * 1000, "users")

    assert parsed.problem_count == 1000
    assert len(parsed.problems) == PROBLEMS_KEPT
    assert parsed.problems[-1].startswith(f"users:{PROBLEMS_KEPT}: ")


def test_a_hash_of_credentials_is_taken_as_it_is() -> None:
    values = {b"10.0.0.2": b" a\tb ", b"10.0.0.3": b"", b"alice": b"secret"}
    parsed = credentials_of_redis(values, "redis")

    assert parsed.table == {a16("10.0.0.2"): b" a\tb "}
    assert parsed.problems == [
        "redis: field 2: there is no password: nobody could use it",
        "redis: field 3: the username is not an IP address",
    ]


def test_credentials_are_in_no_list() -> None:
    with pytest.raises(SourceError, match="kept in a hash"):
        credentials_of_redis([b"10.0.0.2 a"], "redis")


def test_inline_credentials() -> None:
    found = credentials_of_config([Credential("10.0.0.2", b"a"), Credential("fd::1", b"b" * 20)])
    assert found.table == {a16("10.0.0.2"): b"a", a16("fd::1"): b"b" * 16}


@pytest.mark.parametrize(
    ("line", "prefix", "gateway"),
    [
        (b"192.168.100.0/24 10.0.0.2", "192.168.100.0/24", "10.0.0.2"),
        (b"\t192.168.100.7/24\t \t10.0.0.2  # LAN", "192.168.100.0/24", "10.0.0.2"),
        (b"192.168.100.7 10.0.0.2#LAN", "192.168.100.7/32", "10.0.0.2"),
        (b"0.0.0.0/0 10.0.0.2", "0.0.0.0/0", "10.0.0.2"),
        (b"::/0 fd::2", "::/0", "fd::2"),
        (b"fd00:1::/64 fd::2\r", "fd00:1::/64", "fd::2"),
        (b"fd00:1::7 fd::2", "fd00:1::7/128", "fd::2"),
        (b"::ffff:10.1.0.0 10.0.0.2", "10.1.0.0/32", "10.0.0.2"),
    ],
)
def test_a_route(line: bytes, prefix: str, gateway: str) -> None:
    assert routes_of_text(line, "routes").table == {net(prefix): a16(gateway)}


@pytest.mark.parametrize("line", [b"", b"#", b"  # 10.0.0.0/8 10.0.0.2", b"\t"])
def test_what_is_no_route_and_no_problem(line: bytes) -> None:
    assert routes_of_text(line, "routes") == parse.Parsed()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"10.1.0.0/16", "has no gateway"),
        (b"10.1.0.0/16 # 10.0.0.2", "has no gateway"),
        (b"10.1.0.0/16 10.0.0.2 x", "has too many words"),
        (b"10.1.0.0/33 10.0.0.2", "is not a network"),
        (b"10.1.0.0/255.255.0.0 10.0.0.2", "is not a network"),
        (b"10.1.0.0/-1 10.0.0.2", "is not a network"),
        (b"10.1.0.0/ 10.0.0.2", "is not a network"),
        (b"::ffff:10.1.0.0/112 10.0.0.2", "is not a network"),
        (b"lan 10.0.0.2", '"lan" is not a network'),
        (b"10.1.0.0/16 site-a", 'the gateway of "10.1.0.0/16" is not an IP address'),
        (b"10.1.0.0/16 fd::2", "other IP version"),
        (b"fd::/16 10.0.0.2", "other IP version"),
        (b"\xff\x1b[31m 10.0.0.2", "is not a network"),
    ],
)
def test_a_malformed_route_is_one_line_and_the_rest_stays(line: bytes, reason: str) -> None:
    parsed = routes_of_text(b"10.2.0.0/16 10.0.0.2\n\n" + line, "routes")

    assert parsed.table == {net("10.2.0.0/16"): a16("10.0.0.2")}
    assert parsed.problem_count == 1
    assert parsed.problems[0].startswith("routes:3: ")
    assert reason in parsed.problems[0]
    assert parsed.problems[0].isprintable()


def test_of_one_prefix_the_first_gateway_counts() -> None:
    text = b"10.1.0.0/16 10.0.0.2\n10.1.2.3/16 10.0.0.3\n10.1.0.0/16 10.0.0.2\n"
    parsed = routes_of_text(text, "routes")

    assert parsed.table == {net("10.1.0.0/16"): a16("10.0.0.2")}
    assert parsed.problem_count == 1
    assert parsed.problems[0].startswith("routes:2: ")


def test_routes_of_redis_values() -> None:
    table = {net("10.1.0.0/16"): a16("10.0.0.2")}

    assert routes_of_redis({b"10.1.0.0/16": b"10.0.0.2"}, "redis").table == table
    found = routes_of_redis([b"# LANs", b"", b"10.1.0.0/16 10.0.0.2", b"x"], "redis")
    assert found.table == table
    assert found.problems == ['redis: item 4: "x" has no gateway: write NETWORK GATEWAY']


def test_inline_routes_without_a_gateway_are_no_entries() -> None:
    lan, other = ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("10.2.0.0/16")
    routes = [Route(lan), Route(other, ipaddress.ip_address("10.0.0.2"))]

    assert routes_of_config(routes).table == {net("10.2.0.0/16"): a16("10.0.0.2")}


def test_a_text_of_too_many_lines_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(parse, "LINE_LIMIT", 10)
    with pytest.raises(SourceError, match="more than 10 lines"):
        credentials_of_text(b"\n" * 11, "users")
    assert credentials_of_text(b"\n" * 10, "users").table == {}


words = st.one_of(
    st.binary(max_size=40),
    st.ip_addresses().map(lambda found: str(found).encode()),
    st.sampled_from([b" ", b"\t", b"\n", b"#", b"/24", b"/", b"\r", b"\0", b"\xef\xbb\xbf"]),
)
texts = st.lists(words, max_size=40).map(b"".join)


@given(texts)
def test_no_text_raises(text: bytes) -> None:
    for parsed in (credentials_of_text(text, "x"), routes_of_text(text, "x")):
        assert parsed.problem_count >= len(parsed.problems)
        assert all(line.isprintable() and len(line) < 400 for line in parsed.problems)


@given(st.dictionaries(words, words, max_size=8), st.lists(words, max_size=8))
def test_no_redis_value_raises(entries: dict[bytes, bytes], items: list[bytes]) -> None:
    credentials_of_redis(entries, "x")
    routes_of_redis(entries, "x")
    routes_of_redis(items, "x")


@given(texts)
def test_tables_are_what_may_be_sent(text: bytes) -> None:
    for address, password in credentials_of_text(text, "x").table.items():
        assert len(address) == 16
        assert 1 <= len(password) <= 16
        assert b"\0" not in password
    for (prefix, length), gateway in routes_of_text(text, "x").table.items():
        assert len(prefix) == len(gateway) == 16
        assert parse.prefix_of(prefix, length) == prefix


@given(st.one_of(st.ip_addresses().map(str), st.text(st.sampled_from("0123456789abcdef:./%"))))
def test_addresses_are_those_of_the_standard_library(text: str) -> None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        found = None
    if found is not None and "%" in text:
        found = None

    assert address_of(text.encode()) == (None if found is None else pack_address(found))


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_ipv4_networks(address: ipaddress.IPv4Address, length: int) -> None:
    network = ipaddress.ip_network((address, length), strict=False)
    assert prefix_of_text(f"{address}/{length}".encode()) == pack_network(network)


@given(st.ip_addresses(v=6), st.integers(0, 128))
def test_ipv6_networks(address: ipaddress.IPv6Address, length: int) -> None:
    network = ipaddress.ip_network((address, length), strict=False)
    mapped = network.network_address.ipv4_mapped is not None
    expected = None if mapped else pack_network(network)
    assert prefix_of_text(f"{address}/{length}".encode()) == expected
