"""smux: exact frames, any cuts, what is no smux, and silence."""

from itertools import pairwise
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.protocol.smux_ends import BIG, VERSIONS, fed, frame, opened, session

from gateway.protocol.multiplex import Data, Ended, Opened
from gateway.protocol.smux import MAX_REFUSED, Options
from gateway.protocol.smux_frames import Heads
from gateway.protocol.wire import WireError


@VERSIONS
def test_a_client_opens_writes_and_closes_as_gost_does(version: int) -> None:
    machine = session(client=True, version=version)
    sid = machine.open()
    assert sid == 3
    assert machine.open() == 5
    assert machine.flush(BIG) == frame(0, 3, version=version) + frame(0, 5, version=version)
    assert machine.write(3, b"hello", BIG) == frame(2, 3, b"hello", version)
    machine.close(3)
    assert machine.flush(BIG) == frame(1, 3, version=version)
    assert len(machine) == 1


def test_a_long_write_is_cut_at_the_largest_frame() -> None:
    machine = session(client=True)
    sid = machine.open()
    data = bytes(range(256)) * 256
    out = machine.write(sid, data, BIG)
    assert out == frame(0, 3) + frame(2, 3, data[:32768]) + frame(2, 3, data[32768:])


def test_a_server_opens_even_ids_and_passes_over_those_in_use() -> None:
    machine = session()
    fed(machine, frame(0, 2))
    assert machine.open() == 4


def test_a_nop_at_every_interval() -> None:
    machine = session(keepalive=10.0, now=100.0)
    assert machine.deadline == 110.0
    machine.tick(109.9)
    assert machine.flush(BIG) == b""
    machine.tick(110.0)
    assert machine.flush(BIG) == frame(3, 0)
    assert machine.deadline == 120.0


def test_version_2_tells_what_was_consumed_at_first_and_at_every_half_buffer() -> None:
    machine, sid = opened(version=2, stream_buffer=1000)
    fed(machine, frame(2, sid, b"x" * 10, 2))
    assert machine.flush(BIG) == frame(4, sid, pack("<II", 10, 1000), 2)
    fed(machine, frame(2, sid, b"x" * 499, 2))
    assert machine.flush(BIG) == b""
    fed(machine, frame(2, sid, b"x", 2))
    assert machine.flush(BIG) == frame(4, sid, pack("<II", 510, 1000), 2)


# In


@given(st.data())
def test_cuts_do_not_matter(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from([1, 2]))
    wire = frame(0, 3, version=version) + frame(3, 0, version=version)
    wire += frame(0, 5, version=version)
    said = {3: b"", 5: b""}
    for number in range(data.draw(st.integers(0, 8))):
        sid = data.draw(st.sampled_from([3, 5]))
        part = data.draw(st.binary(max_size=40))
        wire += frame(2, sid, part, version)
        if version == 2 and number % 2:
            wire += frame(4, sid, pack("<II", 0, 5), version)
        said[sid] += part
    wire += frame(1, 3, version=version)
    machine = session(version=version)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
    heard = {3: b"", 5: b""}
    order = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        for event in fed(machine, wire[start:end]):
            if isinstance(event, Data):
                assert event.data
                heard[event.sid] += event.data
            else:
                order.append(event)
    assert heard == said
    assert order == [Opened(3), Opened(5), Ended(3)]


def test_a_burst_of_small_frames_of_one_stream_is_one_event() -> None:
    machine, sid = opened()
    wire = b"".join(frame(2, sid, b"\x00\x24") + frame(2, sid, b"p" * 36) for _ in range(9))
    assert fed(machine, wire) == [Data(sid, (b"\x00\x24" + b"p" * 36) * 9)]


def test_a_large_frame_is_not_copied() -> None:
    machine, sid = opened()
    wire = bytearray(frame(2, sid, b"x" * 1000))
    (event,) = machine.feed(wire, 0.0)
    wire[8] = ord("y")
    assert event.data[0] == ord("y")


@pytest.mark.parametrize(
    ("wire", "version"),
    [
        (frame(0, 3, version=2), 1),
        (frame(0, 3, version=1), 2),
        (frame(5, 3), 1),
        (frame(255, 3), 1),
        (frame(4, 3, bytes(8)), 1),
        (frame(4, 3, bytes(7), 2), 2),
        (frame(4, 3, bytes(65535), 2), 2),
        (frame(0, 3, b"x"), 1),
        (frame(1, 3, b"x"), 1),
        (frame(3, 0, bytes(65535)), 1),
        (frame(0, 3, version=2) + frame(4, 3, pack("<II", 1, 9), 2), 2),  # nothing was sent
        (frame(0, 3, version=2) + frame(4, 3, pack("<II", 0, 2**31), 2), 2),
    ],
)
def test_what_is_no_frame(wire: bytes, version: int) -> None:
    with pytest.raises(WireError):
        fed(session(version=version), wire)


@given(st.sampled_from([1, 2]), st.lists(st.binary(max_size=80), max_size=6))
def test_noise_raises_nothing_else(version: int, pieces: list[bytes]) -> None:
    machine, _ = opened(version=version)
    try:
        for piece in pieces:
            fed(machine, bytes([version]) + piece)
    except WireError:
        return


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4), st.sampled_from([0, 2, 3, 5]), st.binary(max_size=9), st.booleans()
        ),
        max_size=40,
    )
)
def test_frames_in_any_order_raise_nothing_else(frames) -> None:
    machine, _ = opened(version=2, stream_buffer=16, receive_buffer=64, max_streams=3)
    try:
        for command, sid, data, pause in frames:
            body = data if command == 2 else pack("<II", len(data), 7) if command == 4 else b""
            fed(machine, frame(command, sid, body, 2))
            machine.write(sid, data, 4)
            machine.flush(20)
            if pause:
                machine.pause(sid)
            else:
                list(machine.resume(sid))
    except WireError:
        return


def test_data_for_an_unknown_stream_is_dropped_and_counted_by_frame() -> None:
    machine, sid = opened()
    wire = frame(2, 9, b"x" * 500) + frame(2, sid, b"here")
    assert fed(machine, wire[:300]) + fed(machine, wire[300:]) == [Data(sid, b"here")]
    assert machine.ignored == {"unknown-stream": 1}


def test_opening_an_open_stream_changes_nothing() -> None:
    machine, sid = opened()
    assert fed(machine, frame(0, sid)) == []
    assert machine.ignored == {"repeated-open": 1}


def test_a_client_takes_no_streams() -> None:
    machine = session(client=True)
    assert fed(machine, frame(0, 2)) == []
    assert machine.flush(BIG) == frame(1, 2)


def test_a_flood_of_opens_is_refused_then_ends_the_session() -> None:
    machine = session(max_streams=2)
    fed(machine, frame(0, 3) + frame(0, 5))
    for number in range(MAX_REFUSED):
        assert fed(machine, frame(0, 7 + 2 * number)) == []
    assert len(machine) == 2
    assert machine.ignored["refused-open"] == MAX_REFUSED
    assert machine.flush(BIG).startswith(frame(1, 7) + frame(1, 9))
    with pytest.raises(WireError):
        fed(machine, frame(0, 99999))


def test_a_place_that_is_free_again_is_given_out() -> None:
    machine = session(max_streams=1)
    fed(machine, frame(0, 3) + frame(0, 5) + frame(1, 3))
    assert fed(machine, frame(0, 7)) == [Opened(7)]


def test_full() -> None:
    machine = session(client=True, max_streams=2)
    machine.open()
    sid = machine.open()
    assert machine.full
    with pytest.raises(ValueError, match="no more"):
        machine.open()
    machine.abort(sid)
    assert not machine.full


# Time


def test_silence() -> None:
    machine, sid = opened(keepalive=10.0, timeout=30.0)
    fed(machine, frame(2, sid, b"x"), 100.0)
    assert machine.fresh(114.9)
    assert not machine.fresh(115.0)
    assert not machine.silent(129.9)
    assert machine.silent(130.0)
    fed(machine, frame(3, 0), 130.0)
    assert not machine.silent(130.0)


def test_no_keepalive_no_silence() -> None:
    machine = session(keepalive=0.0)
    assert machine.deadline is None
    assert not machine.silent(1e9)
    assert machine.fresh(1e9)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"version": 3}, "mux.version"),
        ({"keepalive": 40.0}, "mux.keepaliveInterval"),
        ({"keepalive": -1.0}, "mux.keepaliveInterval"),
        ({"max_frame": 0}, "mux.maxFrameSize"),
        ({"max_frame": 65536}, "mux.maxFrameSize"),
        ({"stream_buffer": 0}, "mux.maxStreamBuffer"),
        ({"stream_buffer": 5 << 20}, "mux.maxStreamBuffer"),
    ],
)
def test_options_that_cannot_be(options: dict, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Options(**options)


@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=5))
def test_heads_at_any_cut(noise: bytes, cuts: list[int]) -> None:
    """A header cut in pieces is read, or refused, as the whole one is."""

    def read(pieces: list[bytes]) -> tuple | None:
        heads = Heads(2)
        for piece in pieces:
            head, _ = heads.next(memoryview(piece), 0)
            if head is not None:
                return head
        return None

    wire = b"\x02" + noise[:15]
    places = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    pieces = [wire[a:b] for a, b in pairwise(places)]
    try:
        whole = read([wire])
    except WireError:
        with pytest.raises(WireError):
            read(pieces)
        return
    assert read(pieces) == whole
