"""Advertisements and answers: exact bytes, every damage, and never a heartbeat."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import a16, addresses, passphrases

from gateway.protocol.advert import (
    MAX_SIZE,
    Advertisement,
    Answer,
    Result,
    is_extension,
    supersedes,
)
from gateway.protocol.approval import Reason, Standing
from gateway.protocol.forwarding import Decision, Forwarding, Refusal, Role, Verdict, decide_udp
from gateway.protocol.packet import Endpoint
from gateway.protocol.wire import Ack, Heartbeat, WireError

LAN4, LAN6 = ip_network("192.168.100.0/24"), ip_network("fd00:100::/64")
SESSION = 0x01020304
HEAD = "474f5354 00000000 00000000 00000000 00000000"

ADVERTISEMENTS = [
    (
        Advertisement(b"userpass1", SESSION, 1, (LAN4,)),
        "474f5354 75736572 70617373 31000000 00000000 0101 01020304 0000000101 06 04 18 c0a86400",
    ),
    (
        Advertisement(b"", SESSION, 2, (LAN4, LAN6), 0.0125, 0.025, "gateway 0.1.0"),
        HEAD + "0101 01020304 00000002"
        "01 06 04 18 c0a86400"
        "01 12 06 40 fd000100 00000000 00000000 00000000"
        "02 04 000030d4"
        "03 02 00fa"
        "04 0d 67617465 77617920 302e312e 30",
    ),
    (Advertisement(b"", 0xFFFFFFFF, 0xFFFFFFFF), HEAD + "0101 ffffffff ffffffff"),
    (
        Advertisement(b"", 1, 0, rtt=0.0125),  # one byte of padding: 36 is a heartbeat's size
        HEAD + "0101 00000001 00000000  02 04 000030d4  00",
    ),
]
ANSWERS = [
    (
        Answer(SESSION, 1, (Result(LAN4, Standing.ACCEPTED),)),
        HEAD + "0102 01020304 00000001"
        "05 18 00 00 00000000 00000000 00000000 00000000 04 18 c0a86400",
    ),
    (
        Answer(
            SESSION,
            2,
            (
                Result(LAN4, Standing.REFUSED, Reason.OVERLAPS_PEER, a16("192.168.123.3")),
                Result(LAN6, Standing.WAITING, Reason.NOT_APPROVED),
            ),
        ),
        HEAD + "0102 01020304 00000002"
        "05 18 01 02 00000000 00000000 0000ffff c0a87b03 04 18 c0a86400"
        "05 24 02 05 00000000 00000000 00000000 00000000"
        "      06 40 fd000100 00000000 00000000 00000000",
    ),
    (Answer(7, 9), HEAD + "0102 00000007 00000009"),
]
VECTORS = ADVERTISEMENTS + ANSWERS

networks = st.lists(
    st.one_of(
        st.builds(
            lambda bits, length: IPv4Network((bits >> 32 - length << 32 - length, length)),
            st.integers(0, 2**32 - 1),
            st.integers(0, 32),
        ),
        st.builds(
            lambda bits, length: IPv6Network((bits >> 128 - length << 128 - length, length)),
            st.integers(0, 2**128 - 1),
            st.integers(0, 128),
        ),
    ),
    max_size=16,
).map(tuple)
numbers = st.integers(0, 2**32 - 1)
advertisements = st.builds(
    Advertisement,
    passphrases,
    numbers,
    numbers,
    networks,
    st.none() | numbers.map(lambda n: n / 1e6),
    st.none() | st.integers(0, 10000).map(lambda n: n / 10000),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=32),
)
answers = st.builds(
    lambda session, sequence, nets, data: Answer(
        session, sequence, tuple(Result(net, *rest) for net, rest in zip(nets, data, strict=False))
    ),
    numbers,
    numbers,
    networks,
    st.lists(
        st.tuples(st.sampled_from(Standing), st.sampled_from(Reason), addresses),
        min_size=16,
        max_size=16,
    ),
)


def parse_both(datagram: bytes) -> None:
    for parse in (Advertisement.parse, Answer.parse):
        with pytest.raises(WireError):
            parse(datagram)


@pytest.mark.parametrize(("message", "text"), VECTORS)
def test_vectors_both_ways(message: Advertisement | Answer, text: str) -> None:
    datagram = bytes.fromhex(text)

    assert message.build() == datagram
    assert type(message).parse(datagram) == message
    assert type(message).parse(memoryview(datagram)) == message


@pytest.mark.parametrize(("message", "text"), VECTORS)
def test_the_document_has_these_bytes(message: Advertisement | Answer, text: str) -> None:
    document = (Path(__file__).parents[3] / "docs" / "advertisements.md").read_text()

    assert "".join(text.split()) in "".join(document.split())


@given(st.one_of(advertisements, answers))
@example(Advertisement(b"", 0, 0, rtt=4294.967295))
def test_what_is_built_is_parsed(message: Advertisement | Answer) -> None:
    datagram = message.build()

    assert type(message).parse(datagram) == message
    assert len(datagram) <= MAX_SIZE


@given(st.one_of(advertisements, answers))
def test_neither_end_takes_it_for_anything_else(message: Advertisement | Answer) -> None:
    """No heartbeat, no ack; a stock server drops a size that is not 20 + 16k."""
    datagram = message.build()
    table = Forwarding({}, {}.__getitem__)

    assert len(datagram) > 20
    assert (len(datagram) - 20) % 16
    assert is_extension(datagram)
    for parse in (Heartbeat.parse, Ack.parse):
        with pytest.raises(WireError):
            parse(datagram)
    for role in Role:
        found = decide_udp(datagram, Endpoint(a16("203.0.113.7"), 1), table, role, True)
        assert found == Decision(Verdict.PUNT)


@given(st.lists(addresses, min_size=1, max_size=16), passphrases)
def test_a_heartbeat_is_no_extension(claimed: list[bytes], passphrase: bytes) -> None:
    datagram = Heartbeat(passphrase, tuple(claimed)).build()

    assert not is_extension(datagram)
    parse_both(datagram)
    parse_both(datagram[:20])


@pytest.mark.parametrize(("message", "text"), VECTORS)
def test_one_is_not_the_other(message: Advertisement | Answer, text: str) -> None:
    other = Answer if isinstance(message, Advertisement) else Advertisement
    with pytest.raises(WireError, match="type"):
        other.parse(bytes.fromhex(text))


@pytest.mark.parametrize(("message", "text"), VECTORS)
def test_truncated_at_any_byte(message: Advertisement | Answer, text: str) -> None:
    """An error, or with whole parts only a message that has fewer of them."""
    datagram = bytes.fromhex(text)
    for size in range(len(datagram)):
        try:
            shorter = type(message).parse(datagram[:size])
        except WireError:
            continue
        assert size >= 30
        assert (size - 20) % 16
        assert shorter.session == message.session
        assert len(repr(shorter)) <= len(repr(message))


@given(st.binary(max_size=200), st.sampled_from((b"", b"GOST", b"GOST" + bytes(16) + b"\1\1")))
def test_anything_else_raises_wire_errors_only(data: bytes, start: bytes) -> None:
    for parse in (Advertisement.parse, Answer.parse):
        try:
            parse(start + data)
        except WireError:
            continue


@given(st.one_of(advertisements, answers), st.data())
def test_damage_raises_wire_errors_only(
    message: Advertisement | Answer, data: st.DataObject
) -> None:
    datagram = bytearray(message.build())
    for _ in range(data.draw(st.integers(1, 4))):
        datagram[data.draw(st.integers(0, len(datagram) - 1))] = data.draw(st.integers(0, 255))
    try:
        type(message).parse(bytes(datagram))
    except WireError:
        return


def odd(parts: str, kind: str = "01") -> bytes:
    """A datagram with these parts, padded where its size would be a heartbeat's."""
    datagram = bytes.fromhex(HEAD + "01" + kind + "00000001 00000001" + parts)
    return datagram if is_extension(datagram) else datagram + b"\0"


def test_unknown_parts_and_padding_are_skipped() -> None:
    wanted = Advertisement(b"", 1, 1, (LAN4,))

    for parts in ("c8 03 010203", "c8 00", "00 00 00", "ff 0a" + "00" * 10):
        assert Advertisement.parse(odd(parts + "01 06 04 18 c0a86400")) == wanted
        assert Advertisement.parse(odd("01 06 04 18 c0a86400" + parts)) == wanted


def test_a_reason_of_tomorrow_is_unknown_today() -> None:
    text = "05 18 01 63" + "00" * 16 + "04 18 c0a86400"

    found = Answer.parse(odd(text, "02")).results
    assert found == (Result(LAN4, Standing.REFUSED, Reason.UNKNOWN),)


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        ("01 05 04 18 c0a864", "6 or 18 bytes"),
        ("01 07 04 18 c0a86400 00", "6 or 18 bytes"),
        ("01 06 06 18 c0a86400", "6 or 18 bytes"),
        ("01 12 04 40" + "00" * 16, "6 or 18 bytes"),
        ("01 06 05 18 c0a86400", "4 or 6"),
        ("01 00", "4 or 6"),
        ("01 06 04 18 c0a86401", "host bits"),
        ("01 06 04 21 c0a86400", "no network"),
        ("01 12 06 81" + "00" * 16, "no network"),
        ("01 06 04 18 c0a864", "ends behind"),
        ("01", "ends behind"),
        ("c8 09 00", "ends behind"),
        ("02 03 000000", "4 bytes"),
        ("02 05 0000000000", "4 bytes"),
        ("02 04 00000000 02 04 00000000", "RTT comes twice"),
        ("03 01 00", "2 bytes"),
        ("03 02 2711", "100.01 percent"),
        ("03 02 0000 03 02 0000", "LOSS comes twice"),
        ("04 00", "printable"),
        ("04 01 0a", "printable"),
        ("04 01 ff", "printable"),
        ("04 21" + "41" * 33, "printable"),
        ("01 06 04 18 c0a86400" * 17, "at most 16"),
    ],
)
def test_what_is_known_must_be_exact(parts: str, match: str) -> None:
    with pytest.raises(WireError, match=match):
        Advertisement.parse(odd(parts))


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        ("05 11" + "00" * 17, "at least 18"),
        ("05 12" + "00" * 18, "6 or 18 bytes"),
        ("05 18 03 00" + "00" * 16 + "04 18 c0a86400", "no standing"),
        ("05 18 00 00" + "00" * 16 + "04 18 c0a86401", "host bits"),
        (("05 18 00 00" + "00" * 16 + "04 18 c0a86400") * 17, "at most 16"),
    ],
)
def test_results_must_be_exact(parts: str, match: str) -> None:
    with pytest.raises(WireError, match=match):
        Answer.parse(odd(parts, "02"))


def test_versions_types_and_sizes() -> None:
    for text, match in (
        ("0201 00000001 00000001", "version 2"),
        ("0001 00000001 00000001", "version 0"),
        ("0103 00000001 00000001", "type 3"),
        ("0101 00000001 000000", "29 bytes"),
    ):
        with pytest.raises(WireError, match=match):
            Advertisement.parse(bytes.fromhex(HEAD + text))
    with pytest.raises(WireError, match="1201 bytes"):
        Advertisement.parse(odd("00" * (MAX_SIZE - 29)))
    with pytest.raises(WireError, match="GOST"):
        Advertisement.parse(b"gost" + bytes(26))


def test_too_many_is_told_from_malformed() -> None:
    with pytest.raises(WireError) as many:
        Advertisement.parse(odd("01 06 04 18 c0a86400" * 17))
    with pytest.raises(WireError) as broken:
        Advertisement.parse(odd("01"))

    assert many.value.refusal is Refusal.TOO_MANY
    assert broken.value.refusal is Refusal.MALFORMED


@pytest.mark.parametrize(
    "message",
    [
        Advertisement(b"12345678901234567", 0, 0),
        Advertisement(b"", 0, 0, (LAN4,) * 17),
        Advertisement(b"", -1, 0),
        Advertisement(b"", 0, 1 << 32),
        Advertisement(b"", 0, 0, rtt=-0.1),
        Advertisement(b"", 0, 0, loss=1.01),
        Advertisement(b"", 0, 0, loss=-0.01),
        Advertisement(b"", 0, 0, software="x" * 33),
        Advertisement(b"", 0, 0, software="ä"),
        Answer(0, 0, (Result(LAN4, Standing.ACCEPTED),) * 17),
        Answer(0, 0, (Result(LAN4, Standing.ACCEPTED, holder=b""),)),
    ],
)
def test_what_cannot_be_said_is_not_built(message: Advertisement | Answer) -> None:
    with pytest.raises(ValueError, match=r"."):
        message.build()


def test_a_long_rtt_is_cut() -> None:
    assert Advertisement.parse(Advertisement(b"", 0, 0, rtt=1e9).build()).rtt == 4294.967295


def test_a_passphrase_is_not_shown() -> None:
    assert "secret" not in repr(Advertisement(b"secret", 0, 0))


@pytest.mark.parametrize(
    ("new", "known", "newer"),
    [
        ((1, 0), None, True),
        ((1, 6), (1, 5), True),
        ((1, 5), (1, 5), False),
        ((1, 4), (1, 5), False),
        ((2, 0), (1, 5), True),
        ((1, 0), (1, 0xFFFFFFFF), True),
        ((1, 0xFFFFFFFF), (1, 0), False),
        ((1, 1 << 31), (1, 0), False),
    ],
)
def test_overtaken_ones_are_old(
    new: tuple[int, int], known: tuple[int, int] | None, newer: bool
) -> None:
    assert supersedes(new, known) is newer
