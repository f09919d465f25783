"""gRPC's machine: the windows both ends keep, and its pings."""

from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.carriers.grpc_frames import (
    BIG,
    DATA,
    GOAWAY,
    PING,
    WINDOW,
    client,
    fed,
    frames_of,
    message,
    pair,
    serving_one,
)

from gateway.carriers.grpc import Options
from gateway.carriers.http2_frames import frame
from gateway.carriers.http2_frames import settings as settings_frame
from gateway.protocol.multiplex import Data
from gateway.protocol.wire import WireError


def test_a_sender_stops_at_the_streams_window() -> None:
    machine = client()
    fed(machine, frame(WINDOW, 0, 0, pack(">I", 1 << 20)))
    written = machine.write(1, bytes(100_000), BIG)
    assert [one[3][0:1] for one in frames_of(written)] == [b"\0"] * 4  # whole messages
    out = frames_of(written + machine.flush(BIG))
    assert sum(len(one[3]) for one in out) == 65535
    assert max(len(one[3]) for one in out) <= 16384
    assert machine.flush(BIG) == b""
    fed(machine, frame(WINDOW, 0, 1, pack(">I", 10)))
    assert [len(one[3]) for one in frames_of(machine.flush(BIG))] == [10]
    fed(machine, settings_frame({4: 65535 + 7}))
    assert [len(one[3]) for one in frames_of(machine.flush(BIG)) if one[0] == DATA] == [7]
    fed(machine, settings_frame({4: 0}))
    fed(machine, frame(WINDOW, 0, 1, pack(">I", 65542)))
    assert b"".join(one[3] for one in frames_of(machine.flush(BIG)) if one[0] == DATA) == b""


def test_a_sender_stops_at_the_connections_window() -> None:
    machine = client()
    other = machine.open()
    machine.flush(BIG)
    written = machine.write(1, bytes(60_000), BIG) + machine.write(other, bytes(60_000), BIG)
    out = frames_of(written + machine.flush(BIG))
    assert sum(len(one[3]) for one in out if one[0] == DATA) == 65535
    fed(machine, frame(WINDOW, 0, 0, pack(">I", 1 << 20)))
    machine.flush(BIG)
    assert machine.backlog(1) == machine.backlog(other) == 0


def test_a_large_frame_goes_whole_to_who_takes_it() -> None:
    near, far = pair()
    near.open()
    fed(far, near.flush(BIG))
    (one,) = frames_of(near.write(1, bytes(65536), BIG))
    assert len(one[3]) == 65536 + 9


def test_a_paused_stream_holds_its_window_and_no_more() -> None:
    near, far = pair(window=65535, connection_window=200_000)
    for sid in (1, 3):
        assert near.open() == sid
    fed(far, near.flush(BIG))
    far.pause(1)
    near.write(1, bytes(300_000), BIG)
    for _ in range(20):
        fed(far, near.flush(BIG))
        fed(near, far.flush(BIG))
    assert len(far._calls[1].kept) == 65535
    wire = near.write(3, b"passes", BIG)
    assert fed(far, wire) == [Data(3, b"passes")]


def test_who_overruns_a_window_is_cut_off() -> None:
    machine = serving_one(window=65535, connection_window=65535)
    machine.pause(1)
    wire = frame(DATA, 0, 1, bytes(16384))
    fed(machine, wire * 3)
    with pytest.raises(WireError):
        fed(machine, wire)


@pytest.mark.parametrize("windows", [(65535, 1 << 20), (1 << 20, 65535)])
def test_a_burst_that_overruns_a_window_is_cut_off_where_nobody_reads_yet(windows) -> None:
    machine = serving_one(window=max(windows), connection_window=1 << 20)
    call = machine._calls[1]
    call.room, machine._room = windows
    wire = frame(DATA, 0, 1, message(bytes(16000)))
    with pytest.raises(WireError, match="without room"):
        fed(machine, wire * 5)


def test_a_frame_too_long_is_none_in_a_burst_either() -> None:
    machine = serving_one(max_frame=16384)
    wire = frame(DATA, 0, 1, message(bytes(100)))
    with pytest.raises(WireError, match="16385 bytes"):
        fed(machine, wire * 2 + frame(DATA, 0, 1, bytes(16385)))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_slow_pipe_loses_nothing(data: st.DataObject) -> None:
    """Random writes, cuts, pauses at both ends: at last everything is there, in order."""
    ends = pair(window=65535, connection_window=70_000, max_frame=16384)
    sids = [ends[0].open() for _ in range(3)]
    fed(ends[1], ends[0].flush(BIG))
    said = {(end, sid): b"" for end in (0, 1) for sid in sids}
    heard = dict(said)
    wires = [b"", b""]
    paused = set()

    def take(end: int, events) -> None:
        for event in events:
            assert isinstance(event, Data)
            heard[end, event.sid] += bytes(event.data)

    for number in range(data.draw(st.integers(1, 30))):
        end = data.draw(st.integers(0, 1))
        sid = data.draw(st.sampled_from(sids))
        action = data.draw(st.sampled_from(["write", "write", "carry", "carry", "pause", "resume"]))
        if action == "write":
            part = bytes([number]) * data.draw(st.sampled_from([1, 100, 1402, 20_000, 90_000]))
            said[end, sid] += part
            wires[end] += ends[end].write(sid, part, data.draw(st.sampled_from([0, 5000, BIG])))
        elif action == "carry":
            wires[end] += ends[end].flush(data.draw(st.sampled_from([0, 5000, BIG])))
            size = data.draw(st.sampled_from([1, 9, 1000, BIG]))
            piece, wires[end] = wires[end][:size], wires[end][size:]
            take(1 - end, ends[1 - end].feed(piece, 0.0))
        elif action == "pause":
            ends[end].pause(sid)
            paused.add((end, sid))
        elif (end, sid) in paused:
            paused.remove((end, sid))
            take(end, ends[end].resume(sid))
        for one in ends:
            assert one._unread == sum(len(call.kept) for call in one._calls.values()) <= 70_000
    for end, sid in paused:
        take(end, ends[end].resume(sid))
    moved = True
    while moved:
        moved = False
        for end in (0, 1):
            piece, wires[end] = wires[end] + ends[end].flush(BIG), b""
            moved = moved or bool(piece)
            take(1 - end, ends[1 - end].feed(piece, 0.0))
    for (end, sid), whole in said.items():
        assert heard[1 - end, sid] == whole


# Time


def test_silence_is_pinged_then_given_up() -> None:
    near, far = pair(keepalive=10.0, timeout=5.0)
    assert near.deadline == 10.0
    near.tick(10.0)
    ping = near.flush(BIG)
    assert frames_of(ping)[0][0] == PING
    assert not near.fresh(10.1)
    assert not near.silent(14.9)
    assert near.silent(15.0)
    fed(far, ping)
    fed(near, far.flush(BIG), 10.5)
    assert not near.silent(15.0)
    assert near.fresh(10.5)
    assert near.rtt == 0.5


def test_a_client_does_not_ping_more_than_a_server_in_go_allows() -> None:
    """One after each answer, one after a question without one, then one every five minutes."""
    near, far = pair(keepalive=10.0, timeout=5.0)
    near.open()
    fed(far, near.flush(BIG))
    near.tick(10.0)
    fed(far, near.flush(BIG))
    fed(near, far.flush(BIG), 10.0)
    assert near.deadline == 20.0  # the answer's headers came meanwhile
    near.tick(20.0)
    fed(far, near.flush(BIG))
    fed(near, far.flush(BIG), 20.0)
    assert near.deadline == 321.0
    near.tick(40.0)
    assert near.flush(BIG) == b""
    fed(far, near.write(1, b"question", BIG))
    assert near.deadline == 30.0
    near.tick(41.0)
    fed(far, near.flush(BIG))
    fed(near, far.flush(BIG), 41.0)
    fed(far, near.write(1, b"another", BIG))
    assert near.deadline == 342.0
    fed(near, far.write(1, b"data", BIG), 50.0)
    assert near.deadline == 60.0


def test_a_server_pings_as_it_likes() -> None:
    near, far = pair(keepalive=10.0, timeout=5.0)
    for now in (10.0, 20.0, 30.0):
        far.tick(now)
        answer = far.flush(BIG)
        assert frames_of(answer)[0][0] == PING
        fed(near, answer, now)
        fed(far, near.flush(BIG), now)


def test_who_goes_away_takes_no_more() -> None:
    machine = client()
    other = machine.open()
    words = pack(">II", 1, 11) + b"too_many_pings"
    (event,) = fed(machine, frame(GOAWAY, 0, 0, words))
    assert event.sid == other
    assert event.reason.endswith("error 11: too_many_pings")
    assert machine.full
    assert not machine.fresh(0.0)
    assert 1 in machine


@pytest.mark.parametrize(
    "options",
    [{"keepalive": -1}, {"timeout": 0}, {"window": 1}, {"window": 64 << 20}, {"max_frame": 1}],
)
def test_options_that_cannot_be(options) -> None:
    with pytest.raises(ValueError, match=r"not|below"):
        Options(**options)
