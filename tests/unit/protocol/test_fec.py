import struct
from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.protocol.kcp_worlds import FEC, FEC_SOURCE, names

from gateway.protocol.wire import WireError


@pytest.fixture(scope="module", params=FEC, ids=names)
def module(request):
    return request.param


def packets_of(number, seed=1, most=120):
    random = Random(seed)
    return [random.randbytes(random.randint(24, most)) for _ in range(number)]


def test_the_parity_rows_are_those_of_the_go_library(module):
    # Printed by klauspost/reedsolomon for 10 and 3.
    rows = [bytes(module.coefficients(row, tuple(range(10)))).hex() for row in range(10, 13)]
    assert rows == ["8196afb8d2c4fee80302", "9681b8afc4d2e8fe0203", "bfd6620a066fdfb70504"]


def test_the_bytes_of_a_group(module):
    data, parity = module.Encoder(1, 1).encode([b"abc"])
    assert data.hex() == "00000000f1000500616263"
    assert parity.hex() == "01000000f2000500616263"


def test_parity_follows_each_full_group_and_shares_the_numbers(module):
    encoder = module.Encoder(2, 1)
    kinds = []
    for packet in packets_of(5):
        kinds += [struct.unpack_from("<IH", one) for one in encoder.encode([packet])]
    assert kinds == [
        (0, 0xF1), (1, 0xF1), (2, 0xF2), (3, 0xF1), (4, 0xF1), (5, 0xF2), (6, 0xF1),
    ]  # fmt: skip


def test_parity_is_as_long_as_the_longest_of_its_group(module):
    encoded = module.Encoder(2, 1).encode([b"x" * 30, b"y" * 90, b"z" * 30, b"z" * 30])
    assert [len(one) for one in encoded] == [38, 98, 98, 38, 38, 38]


@pytest.mark.parametrize(("data", "parity"), [(3, 1), (4, 2), (6, 3)])
def test_any_loss_of_as_many_as_there_is_parity_is_made_good(module, data, parity):
    sent = packets_of(data)
    encoded = module.Encoder(data, parity).encode(sent)
    for lost in combinations(range(data + parity), parity):
        decoder = module.Decoder(data, parity)
        got = []
        for number, packet in enumerate(encoded):
            if number in lost:
                continue
            own, recovered = decoder.decode(memoryview(packet))
            got += [*([] if own is None else [bytes(own)]), *recovered]
        assert sorted(got) == sorted(sent)
        assert decoder.recovered == sum(number < data for number in lost)


def test_more_loss_than_parity_brings_nothing_wrong(module):
    encoded = module.Encoder(4, 1).encode(packets_of(4))
    decoder = module.Decoder(4, 1)
    assert [decoder.decode(packet)[1] for packet in encoded[2:]] == [[], [], []]


@settings(max_examples=30)
@given(seed=st.integers(0, 1 << 32), data=st.integers(1, 12), parity=st.integers(1, 4))
def test_late_mixed_and_doubled_ones_bring_nothing_wrong(module, seed, data, parity):
    random = Random(seed)
    sent = packets_of(6 * data, seed)
    encoded = module.Encoder(data, parity).encode(sent)
    arriving = [one for one in encoded if random.random() > 0.15] * 2
    arriving.sort(key=lambda one: struct.unpack_from("<I", one)[0] + random.random() * 6)
    decoder = module.Decoder(data, parity)
    got = set()
    for packet in arriving:
        own, recovered = decoder.decode(packet)
        got |= {*([] if own is None else [bytes(own)]), *recovered}
    assert got <= set(sent)
    assert got >= {one[8:] for one in arriving if one[4] == 0xF1}


@pytest.mark.parametrize("known", [(0, 0), (10, 3)])
def test_a_group_of_another_form_is_learnt(module, known):
    encoder = module.Encoder(7, 2)
    decoder = module.Decoder(*known)
    random = Random(3)
    for packet in packets_of(400, most=40):
        for one in encoder.encode([packet]):
            if random.random() > 0.05:
                decoder.decode(one)
    assert decoder.recovered > 5


@pytest.mark.parametrize("module", FEC_SOURCE, ids=names)
def test_groups_that_begin_in_no_right_place_are_not_learnt(module):
    decoder = module.Decoder()
    for seq in range(1, 100):
        kind = 0xF1 if (seq - 1) % 9 < 7 else 0xF2
        decoder.decode(struct.pack("<IHH", seq, kind, 2))
    assert decoder._group == 0


@pytest.mark.parametrize("module", FEC_SOURCE, ids=names)
def test_what_is_kept_is_bounded(module):
    encoder = module.Encoder(10, 3)
    decoder = module.Decoder(10, 3)
    for packet in packets_of(1000):
        decoder.decode(encoder.encode([packet])[0])
    assert len(decoder._groups) <= 8
    unknown = module.Decoder()
    for number in range(10_000):
        unknown.decode(struct.pack("<IHH", number * 2, 0xF1, 2))
    assert len(unknown._kinds) <= 600


@given(packets=st.lists(st.binary(max_size=60), max_size=40))
def test_noise_raises_wire_errors_only(module, packets):
    decoder = module.Decoder(2, 1)
    for number, packet in enumerate(packets):
        marked = struct.pack("<IH", number % 9, 0xF1 + number % 2) + packet
        try:
            decoder.decode(marked)
        except WireError:
            assert len(marked) < 8


@pytest.mark.parametrize(("data", "parity"), [(0, 3), (10, 0), (250, 7), (-1, 3)])
def test_a_group_that_cannot_be_is_refused(module, data, parity):
    with pytest.raises(ValueError, match=f"{data} and {parity} are no group"):
        module.Encoder(data, parity)


def test_it_is_told_from_bare_kcp(module):
    assert module.is_fec(bytes.fromhex("04030201f1000000"))
    assert module.is_fec(bytes.fromhex("04030201f2000000"))
    assert not module.is_fec(bytes.fromhex("0403020151002000"))
