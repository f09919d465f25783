"""KCP: exact segments, what arrives in which order, greetings, and what is no KCP."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.protocol.kcp_worlds import (
    ACK,
    ASK,
    CONV,
    GREETING,
    GREETINGS,
    KCP,
    KCP_SOURCE,
    MSS,
    PUSH,
    ROOM,
    TELL,
    Stock,
    Way,
    an_end,
    names,
    pattern,
    run,
    segment,
    segments,
)

from gateway.protocol.wire import WireError

PATHS = {
    "clean": {},
    "loses": {"loss": 0.1},
    "loses-half": {"loss": 0.5},
    "doubles": {"double": 0.3},
    "mixes": {"jitter": 0.03},
    "everything": {"loss": 0.1, "double": 0.1, "jitter": 0.02},
}


@pytest.fixture(scope="module", params=KCP, ids=names)
def module(request):
    return request.param


def test_the_bytes_of_a_first_segment(module):
    end = an_end(module, receive=32)
    end.write(b"hello")
    sent = end.flush(1.5)
    assert [packet.hex() for packet in sent] == [
        "0403020151002000dc05000000000000000000000500000068656c6c6f"
    ]


def test_the_bytes_of_an_answer(module):
    end = an_end(module, receive=32)
    end.receive(segment(PUSH, sn=0, ts=77, data=b"x"), 5.0)
    assert end.read() == [b"x"]
    assert end.flush(5.0) == [segment(ACK, sn=0, ts=77, una=1)]


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("seed", range(3))
def test_what_was_written_arrives_in_order(module, name, seed):
    one, two = an_end(module), an_end(module)
    there, back = pattern(150_000), pattern(20_000, seed=3)
    one.write(there)
    two.write(back)
    got = {one: bytearray(), two: bytearray()}

    def whole():
        for end, data in got.items():
            data.extend(b"".join(end.read()))
        return len(got[two]) >= len(there) and len(got[one]) >= len(back)

    run((one, two), Way(seed, **PATHS[name]), until=whole)
    assert got[two] == there
    assert got[one] == back


@pytest.mark.parametrize("name", ["clean", "loses", "everything"])
def test_a_stock_end_understands_and_is_understood(module, name):
    ours, stock = an_end(module), Stock()
    there, back = pattern(60_000), pattern(60_000, seed=5)
    ours.write(there)
    stock.write(back)
    got = {ours: bytearray(), stock: bytearray()}

    def whole():
        for end, data in got.items():
            data.extend(b"".join(end.read()))
        return len(got[stock]) >= len(there) and len(got[ours]) >= len(back)

    run((ours, stock), Way(7, **PATHS[name]), until=whole)
    assert got[stock] == there
    assert got[ours] == back


@given(
    sizes=st.lists(st.integers(0, 3 * MSS), max_size=20),
    loss=st.sampled_from([0.0, 0.2]),
    window=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=40, deadline=None)
def test_neither_window_is_ever_exceeded(module, sizes, loss, window, seed):
    sender = an_end(module, send=window)
    receiver = an_end(module, receive=window)
    sender.receive(segment(TELL, wnd=window), 0.0)
    data = b"".join(pattern(size, seed=size) for size in sizes)
    for size in sizes:
        sender.write(pattern(size, seed=size))
    got = bytearray()

    def whole():
        got.extend(b"".join(receiver.read()))
        return len(got) >= len(data)

    def watch(_):
        assert sender.owed <= window

    run((sender, receiver), Way(seed, loss=loss), until=whole, watch=watch)
    assert got == data


def test_nothing_beyond_the_window_is_kept(module):
    end = an_end(module, receive=4)
    for sn in range(10):
        end.receive(segment(PUSH, sn=sn, data=b"x"), 1.0)
    acks = [sn for cmd, _, _, sn, _, _ in segments(end.flush(1.0)) if cmd == ACK]
    assert max(acks) == 3
    assert end.read() == [b"x"] * 4


def test_small_writes_share_segments(module):
    end = an_end(module)
    for _ in range(MSS + 1):
        end.write(b"x")
    assert end.unsent == MSS + 1
    assert [len(data) for *_, data in segments(end.flush(1.0))] == [MSS, 1]
    assert end.unsent == 0


def test_only_what_una_does_not_say_is_acknowledged_alone(module):
    end = an_end(module)
    for sn in (0, 1, 2, 5, 6):
        end.receive(segment(PUSH, sn=sn, ts=sn, data=b"x"), 1.0)
    assert [(sn, una) for _, _, _, sn, una, _ in segments(end.flush(1.0))] == [(5, 3), (6, 3)]


def test_what_waits_behind_a_gap_is_acknowledged_twice_to_kin(module):
    end = an_end(module)
    end.receive(segment(TELL, sn=GREETING), 1.0)
    end.receive(segment(PUSH, sn=1, data=b"x"), 1.0)
    end.flush(1.0)
    end.receive(segment(PUSH, sn=2, data=b"x"), 1.1)
    assert sorted(sn for _, _, _, sn, _, _ in segments(end.flush(1.1))) == [1, 2]
    end.receive(segment(PUSH, sn=3, data=b"x"), 1.2)
    assert sorted(sn for _, _, _, sn, _, _ in segments(end.flush(1.2))) == [2, 3]


def test_a_stock_end_is_not_told_twice(module):
    end = an_end(module)
    for sn in (1, 2):
        end.receive(segment(PUSH, sn=sn, data=b"x"), 1.0)
        assert [number for _, _, _, number, _, _ in segments(end.flush(1.0))] == [sn]


def test_two_of_ours_know_each_other_and_stock_hears_nothing_of_it(module):
    one, two, stock = an_end(module, greets=True), an_end(module, greets=True), Stock()
    one.write(b"hello")
    for packet in one.flush(1.0):
        two.receive(packet, 1.0)
        stock.receive(packet, 1.0)
    assert two.kin
    assert stock.got == [b"hello"]
    assert not one.kin
    for packet in two.flush(1.0):
        one.receive(packet, 1.0)
    assert one.kin


def test_only_kin_can_say_farewell(module):
    end, stock = an_end(module), Stock()
    stock.receive(module.farewell(CONV), 1.0)
    end.receive(module.farewell(CONV), 1.0)
    assert not end.left
    end.receive(segment(TELL, sn=GREETING), 1.0)
    end.receive(module.farewell(CONV), 1.0)
    assert end.left


def test_the_greeting_comes_with_the_first_packets_only(module):
    end = an_end(module, greets=True)
    assert end.flush(1.0) == []
    greeted = []
    for _ in range(GREETINGS + 3):
        end.write(b"x")
        greeted += [sn for cmd, _, _, sn, _, _ in segments(end.flush(1.0)) if cmd == TELL]
    assert greeted == [GREETING] * GREETINGS


def test_what_was_recovered_says_nothing_of_now(module):
    end = an_end(module)
    end.write(b"x")
    end.flush(1.0)
    end.receive(segment(ACK, sn=0, ts=1000, wnd=7), 1.5, False)
    assert end.owed == 0
    assert end.srtt == 0
    assert end.peer_window == 32


@pytest.mark.parametrize("module", KCP_SOURCE, ids=names)
def test_numbers_go_on_beyond_32_bits(module):
    one, two = an_end(module), an_end(module)
    one._una = one._next = two.arrivals.expected = 2**32 - 10
    data = pattern(60 * MSS)
    one.write(data)
    got = bytearray()

    def whole():
        got.extend(b"".join(two.read()))
        return len(got) >= len(data)

    run((one, two), Way(3, loss=0.1), until=whole)
    assert got == data


@pytest.mark.parametrize(
    ("packet", "text"),
    [
        (b"", "24 bytes or more"),
        (segment(PUSH)[:23], "24 bytes or more"),
        (segment(PUSH, conv=CONV + 1), "another conversation"),
        (segment(PUSH, data=b"xyz")[:-1], "of 3 bytes in a packet that has 2"),
        (segment(0x55), "0x55"),
        (segment(ACK, una=1), "was not sent"),
        (segment(PUSH, data=b"x") + segment(0x50), "0x50"),
    ],
)
def test_what_is_no_kcp_is_refused(module, packet, text):
    with pytest.raises(WireError, match=text):
        an_end(module).receive(packet, 1.0)


@given(
    packets=st.lists(
        st.one_of(
            st.binary(max_size=100),
            st.builds(
                segment,
                st.sampled_from([PUSH, ACK, ASK, TELL]),
                sn=st.integers(0, 300),
                una=st.integers(0, 8),
                wnd=st.integers(0, 65535),
                data=st.binary(max_size=5),
            ),
        ),
        max_size=30,
    )
)
@settings(max_examples=60)
def test_noise_raises_wire_errors_only_and_is_bounded(module, packets):
    end = an_end(module, receive=16)
    end.write(pattern(5 * MSS))
    now = 1.0
    for packet in packets:
        end.flush(now)
        with suppress(WireError):
            end.receive(packet, now)
        now += 0.1
    assert len(end.read()) <= 16
    assert end.owed <= 5
    assert all(len(packet) <= ROOM for packet in end.flush(now))
