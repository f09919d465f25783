"""What lies under kcp's streams: the crypt, the compression, the options."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.carriers.kcp_crypt import OVERHEAD, make_crypt
from gateway.carriers.kcp_snappy import IDENTIFIER, Compressor, Decompressor
from gateway.protocol.kcp_bursts import SIDE_BY_SIDE
from gateway.protocol.kcp_options import CRYPTS, KcpOptions, kcp_options
from gateway.protocol.wire import WireError

# 50 bytes encrypted by kcp-go under the empty key.
SEALED_BY_GO = {
    "aes": (
        "06109a684c0510b38efa5ecbc9ff9cdfc480cce2bd76223a56c5a933df734579"
        "76d34c26696240d6a5b794199f5bb833df03"
    ),
}


@pytest.mark.parametrize("name", CRYPTS)
def test_what_was_sealed_opens(name):
    packets = [os.urandom(size) for size in (24, 1, 1380, 1380, 33, 100)]
    sealed = make_crypt(name, "secret").seal(packets)
    assert [len(one) for one in sealed] == [OVERHEAD + len(packet) for packet in packets]
    views = [memoryview(bytes(one)) for one in reversed(sealed)]
    assert make_crypt(name, "secret").open(views) == packets[::-1]


@pytest.mark.parametrize("name", CRYPTS)
def test_noise_among_good_ones_is_told(name):
    crypt = make_crypt(name, "")
    (good,) = crypt.seal([b"good one"])
    broken = bytearray(good)
    broken[-1] ^= 1
    found = crypt.open([memoryview(bytes(one)) for one in (b"", broken, good, good[:19], b"x")])
    assert found == [None, None, b"good one", None, None]


@pytest.mark.parametrize("name", CRYPTS)
def test_a_large_burst_is_sealed_as_a_small_one(name):
    packets = [os.urandom(1372 if number % 7 else 30 + number) for number in range(SIDE_BY_SIDE)]
    sealed = make_crypt(name, "secret").seal(packets)
    assert [len(one) for one in sealed] == [OVERHEAD + len(packet) for packet in packets]
    opens = make_crypt(name, "secret").open
    assert opens(sealed) == packets
    assert [packet for one in sealed for packet in opens([one])] == packets


def test_another_key_opens_nothing():
    (sealed,) = make_crypt("aes", "one").seal([b"packet"])
    assert make_crypt("aes", "two").open([memoryview(bytes(sealed))]) == [None]


@pytest.mark.parametrize("name", CRYPTS)
def test_no_two_packets_look_alike(name):
    sealed = make_crypt(name, "").seal([b"the same"] * 100)
    if name == "xor":
        return  # it has no way to hide that
    assert len({bytes(one[:16]) for one in sealed}) == 100
    assert len({bytes(one) for one in sealed}) == 100


def test_a_packet_of_go_decrypts_as_there():
    """Its bytes are 00 to 31 (hex), so its CRC is none: what lies beneath is looked at."""
    crypt = make_crypt("aes", "")
    whole = crypt._iv + bytes.fromhex(SEALED_BY_GO["aes"]) + bytes(14)
    assert crypt._decryptor.update(whole)[16:66] == bytes(range(50))


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=3000), max_size=10),
    cut=st.integers(1, 50),
    kin=st.booleans(),
)
def test_what_was_compressed_comes_back_cut_anywhere(pieces, cut, kin):
    out, back = Compressor(), Decompressor()
    stream = b"".join(bytes(out.compress(piece, kin)) for piece in pieces)
    got = b"".join(
        bytes(back.decompress(stream[at : at + cut])) for at in range(0, len(stream), cut)
    )
    assert got == b"".join(pieces)


def test_kin_is_spared_the_try_after_one_in_vain():
    out, back = Compressor(), Decompressor()
    noise = os.urandom(100_000)
    first, second = bytes(out.compress(noise, True)), bytes(out.compress(noise, True))
    assert second[0] == 0xA3
    assert bytes(out.compress(noise))[0] != 0xA3
    assert [bytes(back.decompress(one)) for one in (first, second)] == [noise, noise]
    for _ in range(20):
        last = bytes(out.compress(bytes(100_000), True))
    assert len(last) < 10_000


def test_large_pieces_are_cut_into_chunks():
    data = os.urandom(200_000)
    stream = bytes(Compressor().compress(data))
    assert stream.startswith(IDENTIFIER)
    assert Decompressor().decompress(stream) == data


def test_the_identifier_comes_once():
    out = Compressor()
    assert bytes(out.compress(b"x")).startswith(IDENTIFIER)
    assert not bytes(out.compress(b"x")).startswith(IDENTIFIER)


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (b"\x01\x05\x00\x00" + b"12345", "nocomp and key"),
        (IDENTIFIER + b"\x02\x01\x00\x00x", "type 0x2"),
        (IDENTIFIER + b"\x01\x05\x00\x01", "of 65541 bytes"),
        (IDENTIFIER + b"\x00\xff\xff\xff", "of 16777215 bytes"),
        (IDENTIFIER + b"\x01\x05\x00\x00" + b"\0\0\0\0x", "cannot be read"),
        (IDENTIFIER + b"\x00\x06\x00\x00" + b"\0\0\0\0\xff\xff", "cannot be read"),
        (b"\xff\x06\x00\x00sNaPPY", "cannot be read"),
    ],
)
def test_what_is_no_snappy_is_refused(stream, text):
    with pytest.raises(WireError, match=text):
        Decompressor().decompress(stream)


def test_chunks_to_be_skipped_are():
    rest = bytes(Compressor().compress(b"data"))[len(IDENTIFIER) :]
    assert Decompressor().decompress(IDENTIFIER + b"\xfe\x03\x00\x00pad" + rest) == b"data"


@given(st.lists(st.binary(max_size=100), max_size=10))
def test_noise_in_the_stream_raises_wire_errors_only(pieces):
    back = Decompressor()
    try:
        back.decompress(IDENTIFIER)
        for piece in pieces:
            back.decompress(piece)
    except WireError:
        pass


def test_the_options_have_gosts_effective_defaults():
    options, warnings = kcp_options({})
    assert warnings == []
    assert (options.key, options.crypt, options.mtu) == ("", "aes", 1400)
    assert (options.datashard, options.parityshard) == (10, 3)
    assert (options.nodelay, options.interval, options.resend, options.nc) == (False, 10, 0, False)
    assert (options.smuxver, options.smuxbuf, options.streambuf) == (1, 4194304, 2097152)
    assert (options.keepalive, options.nocomp) == (10, False)
    assert options == KcpOptions()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("normal", (False, 40, 2, True)),
        ("fast", (False, 30, 2, True)),
        ("fast2", (True, 20, 2, True)),
        ("fast3", (True, 10, 2, True)),
        ("manual", (True, 50, 1, False)),
        ("", (True, 50, 1, False)),
    ],
)
def test_the_modes(mode, expected):
    options, _ = kcp_options({"mode": mode, "interval": "50"}, {"nodelay": 1, "resend": 1})
    assert (options.nodelay, options.interval, options.resend, options.nc) == expected


def test_what_the_map_does_not_say_is_zero_in_it():
    options, _ = kcp_options({}, {"sockbuf": 1 << 20})
    assert not options.fec
    assert (options.smuxbuf, options.streambuf) == (1 << 20, 1 << 19)


def test_what_gost_ignores_is_warned_of():
    options, warnings = kcp_options({"datashard": "5"}, {"key": "not used", "dscp": 46})
    assert options.key == ""
    assert (options.datashard, options.dscp) == (0, 46)
    assert [line.split(" has no effect")[0] for line in warnings] == [
        "kcp config: key", "kcp.datashard",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "config", "text"),
    [
        ({"crypt": "salsa20"}, None, "kcp.crypt: salsa20 is left out; there are aes, "),
        ({"crypt": "aes-265"}, None, "'aes-265' is none of aes, .*takes it for aes"),
        ({"mode": "fsat"}, None, "kcp.mode: 'fsat' is none of normal, fast"),
        ({"tcp": "true"}, None, "kcp.tcp: "),
        ({"mtu": "1600"}, None, "kcp.mtu: 1600 is not from 128 to 1500"),
        ({"mtu": "big"}, None, "kcp.mtu: 'big' is no whole number"),
        ({"nocomp": "perhaps"}, None, "kcp.nocomp: 'perhaps' is neither"),
        ({"smuxver": "3"}, None, "kcp.smuxver: 3 is not from 1 to 2"),
        ({"sndwnd": "70000"}, None, "kcp.sndwnd: 70000"),
        ({}, {"datashard": 250, "parityshard": 9}, "datashard and parityshard: 250 and 9"),
        ({"sendwnd": "5"}, None, "kcp.sendwnd: kcp has no such option"),
    ],
)
def test_what_cannot_be_is_refused_by_name(options, config, text):
    with pytest.raises(ValueError, match=text):
        kcp_options(options, config)


def test_the_key_is_not_shown():
    assert "hidden" not in repr(KcpOptions(key="hidden"))
