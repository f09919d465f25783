import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import a16, datagrams, heartbeat_addresses, passphrases

from gateway.protocol.forwarding import Refusal
from gateway.protocol.wire import Ack, Heartbeat, WireError

HEARTBEATS = [
    (
        Heartbeat(b"userpass1", (a16("192.168.123.2"),)),
        "474f5354 75736572 70617373 31000000 00000000 00000000 00000000 0000ffff c0a87b02",
    ),
    (
        Heartbeat(b"userpass1", (a16("192.168.123.2"), a16("fd::2"))),
        (
            "474f5354 75736572 70617373 31000000 00000000 00000000 00000000 0000ffff c0a87b02"
            "00fd0000 00000000 00000000 00000002"
        ),
    ),
    (
        Heartbeat(b"", (a16("fd::2"),)),
        "474f5354 00000000 00000000 00000000 00000000 00fd0000 00000000 00000000 00000002",
    ),
    (
        Heartbeat(b"0123456789abcdef", (a16("10.0.0.1"),) * 16),
        "474f5354 30313233 34353637 38396162 63646566" + "00000000 00000000 0000ffff 0a000001" * 16,
    ),
    (
        Heartbeat(b"nul\0inside", (a16("::"),)),
        "474f5354 6e756c00 696e7369 64650000 00000000" + "00" * 16,
    ),
]
ACKS = [
    (Ack(a16("203.0.113.7")), "474f5354 00000000 00000000 0000ffff cb007107"),
    (Ack(a16("2001:db8::7")), "474f5354 20010db8 00000000 00000000 00000007"),
]


@pytest.mark.parametrize(("heartbeat", "text"), HEARTBEATS)
def test_heartbeats_both_ways(heartbeat: Heartbeat, text: str) -> None:
    datagram = bytes.fromhex(text)

    assert heartbeat.build() == datagram
    assert Heartbeat.parse(datagram) == heartbeat


@pytest.mark.parametrize(("heartbeat", "text"), HEARTBEATS)
def test_a_heartbeat_cut_or_lengthened_is_refused_or_another(
    heartbeat: Heartbeat, text: str
) -> None:
    """Every shorter size and some longer ones: whole addresses count, all else is an error."""
    datagram = bytes.fromhex(text) + bytes(40)
    for size in range(len(datagram)):
        count, rest = divmod(size - 20, 16)
        if rest == 0 and 1 <= count <= 16:
            assert len(Heartbeat.parse(datagram[:size]).addresses) == count
        else:
            with pytest.raises(WireError):
                Heartbeat.parse(datagram[:size])


@pytest.mark.parametrize(("ack", "text"), ACKS)
def test_acks_both_ways_and_at_no_other_size(ack: Ack, text: str) -> None:
    datagram = bytes.fromhex(text)

    assert ack.build() == datagram
    assert Ack.parse(datagram) == ack
    for wrong in [datagram[:size] for size in range(20)] + [datagram + b"\0", datagram * 2]:
        with pytest.raises(WireError):
            Ack.parse(wrong)


def test_refusals_tell_too_many_from_malformed() -> None:
    with pytest.raises(WireError) as seventeen:
        Heartbeat.parse(b"GOST" + bytes(16 + 17 * 16))
    with pytest.raises(WireError) as odd:
        Heartbeat.parse(b"GOST" + bytes(16 + 17))

    assert seventeen.value.refusal is Refusal.TOO_MANY
    assert odd.value.refusal is Refusal.MALFORMED


@pytest.mark.parametrize("magic", [b"gost", b"GOS", b"", b"TSOG"])
def test_nothing_without_the_magic(magic: bytes) -> None:
    for parse in (Heartbeat.parse, Ack.parse):
        with pytest.raises(WireError, match="GOST"):
            parse(magic + bytes(32))


def test_what_no_heartbeat_can_carry_is_not_built() -> None:
    one = (a16("10.0.0.1"),)
    for wrong in (
        Heartbeat(b"seventeen bytes!!", one),
        Heartbeat(b"", ()),
        Heartbeat(b"", one * 17),
        Heartbeat(b"", (b"1234",)),
    ):
        with pytest.raises(ValueError, match="16"):
            wrong.build()
    with pytest.raises(ValueError, match="16 bytes"):
        Ack(b"1234").build()


def test_a_passphrase_is_not_shown() -> None:
    assert "secret" not in repr(Heartbeat(b"secret", (a16("10.0.0.1"),)))


@given(passphrases, heartbeat_addresses)
def test_any_heartbeat_survives_the_wire(passphrase: bytes, claimed: tuple[bytes, ...]) -> None:
    heartbeat = Heartbeat(passphrase, claimed)

    assert Heartbeat.parse(heartbeat.build()) == heartbeat


@given(st.one_of(datagrams, st.binary(max_size=400), st.binary(max_size=400).map(b"GOST".__add__)))
def test_peers_bytes_raise_wire_errors_only(datagram: bytes) -> None:
    """I15. And what is accepted is rebuilt to the byte, so nothing was overlooked."""
    for kind in (Heartbeat, Ack):
        try:
            message = kind.parse(datagram)
        except WireError:
            continue
        assert message.build() == datagram
