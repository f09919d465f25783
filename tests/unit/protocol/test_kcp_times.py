"""KCP: when segments are sent again, and windows that close."""

import pytest
from unit.protocol.kcp_worlds import (
    ACK,
    ASK,
    GREETING,
    KCP,
    MSS,
    PUSH,
    TELL,
    Way,
    an_end,
    names,
    pattern,
    run,
    segment,
    segments,
)

pytestmark = pytest.mark.parametrize("module", KCP, ids=names)


def times_sent(end, until):
    """When segment 0 leaves, up to a time."""
    sent, now = [], 0.0
    while now < until:
        sent += [round(now, 3) for cmd, *_ in segments(end.flush(now)) if cmd == PUSH]
        now = max(now, end.due())
    return sent


@pytest.mark.parametrize(
    ("nodelay", "expected"),
    [
        (False, [0.0, 0.2, 0.6, 1.2, 2.0, 3.0]),
        (True, [0.0, 0.2, 0.5, 0.9, 1.4, 2.0, 2.7, 3.5]),
    ],
)
def test_each_retry_waits_longer(module, nodelay, expected):
    end = an_end(module, nodelay=nodelay)
    end.write(b"x")
    assert times_sent(end, 3.6) == expected


def test_the_twentieth_transmission_is_the_last_hope(module):
    end = an_end(module)
    end.write(b"x")
    now = 0.0
    for number in range(20):
        assert not end.dead, number
        assert len(end.flush(now)) == 1
        now = end.due()
    assert end.dead


@pytest.mark.parametrize(("nodelay", "least"), [(False, 0.1), (True, 0.03)])
def test_a_short_way_does_not_make_the_time_out_shorter_than_that(module, nodelay, least):
    end = an_end(module, nodelay=nodelay)
    for sn in range(20):
        end.write(b"x")
        ((_, _, ts, *_),) = segments(end.flush(sn))
        end.receive(segment(ACK, sn=sn, ts=ts, una=sn + 1), sn + 0.001)
    assert end.srtt == pytest.approx(0.001)
    assert end.rto == pytest.approx(least)


def test_the_time_out_follows_the_way(module):
    end = an_end(module)
    end.write(b"x")
    ((_, _, ts, *_),) = segments(end.flush(1.0))
    end.receive(segment(ACK, sn=0, ts=ts), 1.4)
    assert end.srtt == pytest.approx(0.4)
    assert end.rto == pytest.approx(0.4 + 4 * 0.2)


def test_a_repeated_one_measures_nothing_unless_the_answer_says_which(module):
    end = an_end(module)
    end.write(b"x")
    end.flush(1.0)
    assert len(end.flush(1.2)) == 1
    end.receive(segment(ACK, sn=0, ts=1000), 1.25)
    assert end.srtt == 0
    assert end.owed == 0


def sent_numbers(packets):
    return [sn for cmd, _, _, sn, _, _ in segments(packets) if cmd == PUSH]


def test_what_later_ones_overtook_is_sent_again(module):
    end = an_end(module, reorder=3)
    end.write(pattern(6 * MSS))
    assert sent_numbers(end.flush(1.0)) == list(range(6))
    for sn in (1, 2):
        end.receive(segment(ACK, sn=sn, ts=1000), 1.001)
    assert sent_numbers(end.flush(1.001)) == []
    end.receive(segment(ACK, sn=3, ts=1000), 1.001)
    assert sent_numbers(end.flush(1.001)) == [0]
    assert (end.resent, end.timeouts) == (1, 0)


def test_one_overtaken_is_sent_again_a_little_later(module):
    end = an_end(module, reorder=3)
    end.write(pattern(2 * MSS))
    end.flush(1.0)
    end.receive(segment(ACK, sn=1, ts=1000), 1.004)
    assert sent_numbers(end.flush(1.004)) == []
    assert end.due() == pytest.approx(1.0 + 1.25 * 0.004 + 0.005)
    assert sent_numbers(end.flush(end.due())) == [0]


def test_kin_that_does_not_answer_gets_the_last_one_again(module):
    end = an_end(module)
    end.receive(segment(TELL, sn=GREETING), 0.9)
    end.write(b"x")
    end.flush(1.0)
    end.receive(segment(ACK, sn=0, ts=1000, una=1), 1.004)
    end.write(pattern(3 * MSS))
    assert sent_numbers(end.flush(2.0)) == [1, 2, 3]
    assert end.due() == pytest.approx(2.0 + 2 * 0.004 + 0.01)
    now = end.due()
    assert sent_numbers(end.flush(now)) == [3]
    end.receive(segment(ACK, sn=3, ts=int(now * 1000), una=1), now + 0.004)
    assert sent_numbers(end.flush(now + 0.004)) == [1, 2]
    assert end.timeouts == 0


def test_the_last_one_is_not_sent_again_for_ever(module):
    end = an_end(module)
    end.receive(segment(TELL, sn=GREETING), 0.9)
    end.write(b"x")
    assert times_sent(end, 0.7) == [0.0, 0.01, 0.02, 0.22, 0.62]


def test_a_path_that_mixes_is_given_more_patience(module):
    one, two = an_end(module), an_end(module)
    data = pattern(400 * MSS)
    one.write(data)
    got = bytearray()

    def whole():
        got.extend(b"".join(two.read()))
        return len(got) >= len(data)

    run((one, two), Way(1, delay=0.02, jitter=0.004), until=whole)
    assert one.resent < 80


def test_a_closed_window_is_asked_for_and_told(module):
    end = an_end(module)
    end.receive(segment(TELL, wnd=0), 1.0)
    end.write(b"x")
    assert end.flush(1.0) == []
    assert end.due() == 1.5
    assert [cmd for cmd, *_ in segments(end.flush(1.5))] == [ASK]
    assert end.flush(1.6) == []
    assert end.due() == pytest.approx(2.25)
    end.receive(segment(TELL, wnd=1), 2.0)
    assert sent_numbers(end.flush(2.0)) == [0]


def test_a_window_that_opens_is_told(module):
    end = an_end(module, receive=2)
    for sn in (0, 1):
        end.receive(segment(PUSH, sn=sn, data=b"x"), 1.0)
    assert [(cmd, wnd) for cmd, wnd, *_ in segments(end.flush(1.0))] == [(ACK, 0)]
    assert end.read() == [b"x", b"x"]
    assert [(cmd, wnd) for cmd, wnd, *_ in segments(end.flush(1.0))] == [(TELL, 2)]
    end.receive(segment(ASK), 1.0)
    assert [(cmd, wnd) for cmd, wnd, *_ in segments(end.flush(1.0))] == [(TELL, 2)]
