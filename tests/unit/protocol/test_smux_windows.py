"""smux: streams that are paused, windows, turns, and two machines over a pipe."""

from struct import pack

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from unit.protocol.smux_ends import BIG, VERSIONS, fed, frame, opened, session

from gateway.protocol.multiplex import Data, Ended, Opened
from gateway.protocol.smux import Session
from gateway.protocol.smux_frames import FIRST_WINDOW
from gateway.protocol.wire import WireError

# Paused streams


@VERSIONS
def test_a_paused_stream_keeps_its_bytes_and_its_end(version: int) -> None:
    machine, sid = opened(version=version)
    machine.pause(sid)
    wire = frame(2, sid, b"one", version) + frame(2, sid, b"two", version)
    assert fed(machine, wire + frame(1, sid, version=version)) == []
    assert list(machine.resume(sid)) == [Data(sid, b"onetwo"), Ended(sid)]
    assert len(machine) == 0


def test_version_1_says_stop_when_its_buffer_is_full() -> None:
    machine, sid = opened(receive_buffer=1000, stream_buffer=1000)
    machine.pause(sid)
    fed(machine, frame(2, sid, bytes(999)))
    assert not machine.blocked
    fed(machine, frame(2, sid, bytes(1)))
    assert machine.blocked
    assert not machine.silent(1e9)
    list(machine.resume(sid))
    assert not machine.blocked


@pytest.mark.parametrize("end", [Session.close, Session.abort])
def test_the_room_of_a_closed_stream_is_given_back(end) -> None:
    machine, sid = opened(receive_buffer=1000, stream_buffer=1000)
    machine.pause(sid)
    fed(machine, frame(2, sid, bytes(1000)))
    end(machine, sid)
    assert not machine.blocked


def test_a_paused_stream_of_version_2_holds_its_window_and_no_more() -> None:
    machine, sid = opened(version=2, stream_buffer=65536)
    machine.pause(sid)
    full, part = divmod(FIRST_WINDOW, 65535)
    fed(machine, frame(2, sid, bytes(65535), 2) * full + frame(2, sid, bytes(part), 2))
    assert machine.flush(BIG) == b""
    with pytest.raises(WireError):
        fed(machine, frame(2, sid, b"x", 2))


def test_a_stream_paused_between_two_events_keeps_the_second() -> None:
    machine, sid = opened()
    fed(machine, frame(0, 5))
    wire = frame(2, sid, b"1") + frame(2, 5, b"2") + frame(2, sid, b"3")
    got = []
    for event in machine.feed(wire, 0.0):
        got.append((event.sid, bytes(event.data)))
        machine.pause(sid)
    assert got == [(sid, b"1"), (5, b"2")]
    assert list(machine.resume(sid)) == [Data(sid, b"3")]


# Out


def test_version_2_stops_at_the_window_and_goes_on_with_an_update() -> None:
    machine = session(client=True, version=2, max_frame=65535)
    sid = machine.open()
    machine.flush(BIG)
    data = bytes(FIRST_WINDOW + 100)
    sent = machine.write(sid, data, BIG)
    assert len(sent) == FIRST_WINDOW + 8 * 5
    assert machine.backlog(sid) == 100
    assert machine.flush(BIG) == b""
    fed(machine, frame(4, sid, pack("<II", FIRST_WINDOW - 20, 60), 2))
    assert machine.flush(BIG) == frame(2, sid, bytes(40), 2)
    fed(machine, frame(4, sid, pack("<II", FIRST_WINDOW + 20, 60), 2))
    assert machine.flush(BIG) == frame(2, sid, bytes(40), 2)
    assert machine.backlog(sid) == 20


def test_a_window_that_shrinks_below_what_is_under_way_sends_nothing() -> None:
    machine = session(client=True, version=2)
    sid = machine.open()
    machine.write(sid, bytes(1000), 500)
    fed(machine, frame(4, sid, pack("<II", 0, 10), 2))
    machine.flush(0)
    assert machine.flush(BIG) == b""
    assert machine.backlog(sid) == 500


def test_counters_of_version_2_wrap() -> None:
    machine, sid = opened(version=2, stream_buffer=65536)
    stream = machine._streams[sid]
    stream.sent = stream.peer_consumed = 2**32 - 10
    stream.consumed = 2**32 - 4
    machine.write(sid, bytes(30), BIG)
    fed(machine, frame(4, sid, pack("<II", 20, 65536), 2))
    assert machine._window(stream) == 65536
    stream.unsaid = 65536
    fed(machine, frame(2, sid, b"12345678", 2))
    assert machine.flush(BIG) == frame(4, sid, pack("<II", 4, 65536), 2)


def test_streams_take_turns_frame_by_frame() -> None:
    machine = session(client=True, max_frame=10)
    one, two = machine.open(), machine.open()
    machine.flush(BIG)
    machine.write(one, b"a" * 20, 0)
    machine.write(two, b"b" * 5, 0)
    assert machine.flush(BIG) == (
        frame(2, one, b"a" * 10) + frame(2, two, b"b" * 5) + frame(2, one, b"a" * 10)
    )


def test_who_writes_while_another_waits_does_not_overtake() -> None:
    machine = session(client=True)
    one, two = machine.open(), machine.open()
    machine.flush(BIG)
    machine.write(one, b"a" * 20, 0)
    assert machine.write(two, b"b", BIG) == b""
    assert machine.flush(BIG) == frame(2, one, b"a" * 20) + frame(2, two, b"b")


def test_a_close_follows_what_is_queued_and_an_abort_does_not() -> None:
    machine = session(client=True)
    one, two = machine.open(), machine.open()
    machine.flush(BIG)
    for sid, end in ((one, machine.close), (two, machine.abort)):
        machine.write(sid, b"x", 0)
        end(sid)
        assert machine.write(sid, b"late", BIG) == b""
    assert machine.flush(BIG) == frame(1, two) + frame(2, one, b"x") + frame(1, one)
    assert len(machine) == 0


class Pipe(RuleBasedStateMachine):
    """Two sessions over a slow pipe, beside queues that know what must arrive."""

    version = 1

    def __init__(self) -> None:
        super().__init__()
        options = {
            "version": self.version, "max_frame": 7, "stream_buffer": 20, "receive_buffer": 50,
        }  # fmt: skip
        self.ends = (session(client=True, **options), session(**options))
        self.wires = (bytearray(), bytearray())  # from each end
        self.owed: dict[tuple[int, int], bytearray] = {}  # (from end, sid): not yet heard
        self.closed: set[tuple[int, int]] = set()  # (end, sid)
        self.paused: set[tuple[int, int]] = set()

    def take(self, end: int, events) -> None:
        for event in events:
            if isinstance(event, Opened):
                assert end == 1
                self.narrow(end, event.sid)
                continue
            if isinstance(event, Ended):
                assert not self.owed[1 - end, event.sid]
                assert (1 - end, event.sid) in self.closed
                self.closed.add((end, event.sid))
                self.owed[end, event.sid].clear()
                continue
            assert (end, event.sid) not in self.paused
            owed = self.owed[1 - end, event.sid]
            assert owed.startswith(event.data)
            del owed[: len(event.data)]

    def narrow(self, end: int, sid: int) -> None:
        """Begin with the window the other end announces later, so that it is felt at once."""
        self.ends[end]._streams[sid].peer_window = 20

    def open_streams(self, end: int) -> list[int]:
        return [s for e, s in self.owed if e == end and (e, s) not in self.closed]

    @rule()
    def open(self) -> None:
        if len(self.ends[0]) < 4:
            sid = self.ends[0].open()
            self.narrow(0, sid)
            self.owed[0, sid] = bytearray()
            self.owed[1, sid] = bytearray()

    @precondition(lambda self: self.owed)
    @rule(
        data=st.data(), end=st.integers(0, 1), said=st.binary(max_size=60), room=st.integers(-5, 90)
    )
    def write(self, data, end, said, room) -> None:
        streams = [s for s in self.open_streams(end) if s in self.ends[end]._streams]
        if not streams:
            return
        sid = data.draw(st.sampled_from(streams))
        self.owed[end, sid] += said
        self.wires[end].extend(self.ends[end].write(sid, said, room))

    @rule(end=st.integers(0, 1), room=st.integers(0, 60))
    def flush(self, end, room) -> None:
        self.wires[end].extend(self.ends[end].flush(room))

    @rule(end=st.integers(0, 1), size=st.integers(1, 50))
    def carry(self, end, size) -> None:
        if self.ends[1 - end].blocked:
            return
        piece = bytes(self.wires[end][:size])
        del self.wires[end][:size]
        self.take(1 - end, self.ends[1 - end].feed(piece, 0.0))

    @precondition(lambda self: self.owed)
    @rule(data=st.data(), end=st.integers(0, 1))
    def pause(self, data, end) -> None:
        sid = data.draw(st.sampled_from([s for e, s in self.owed if e == end]))
        if sid in self.ends[end]._streams:
            self.ends[end].pause(sid)
            self.paused.add((end, sid))

    @precondition(lambda self: self.paused)
    @rule(data=st.data())
    def resume(self, data) -> None:
        end, sid = data.draw(st.sampled_from(sorted(self.paused)))
        self.paused.discard((end, sid))
        self.take(end, self.ends[end].resume(sid))

    @precondition(lambda self: self.owed)
    @rule(data=st.data(), end=st.integers(0, 1))
    def close(self, data, end) -> None:
        streams = [s for s in self.open_streams(end) if s in self.ends[end]._streams]
        if not streams:
            return
        sid = data.draw(st.sampled_from(streams))
        self.ends[end].close(sid)
        self.closed.add((end, sid))
        self.paused.discard((end, sid))
        self.owed[1 - end, sid].clear()  # what still comes is dropped

    @invariant()
    def memory_is_bounded(self) -> None:
        for end in self.ends:
            assert end._unread == sum(len(s.kept) for s in end._streams.values())
            assert end._unread < 50 + 50 + 16

    def teardown(self) -> None:
        """With everybody reading, all that is owed arrives."""
        for end, sid in self.paused.copy():
            self.paused.discard((end, sid))
            self.take(end, self.ends[end].resume(sid))
        for _ in range(2000):
            moved = False
            for end in (0, 1):
                piece = bytes(self.wires[end] + self.ends[end].flush(40))
                self.wires[end].clear()
                moved = moved or bool(piece)
                self.take(1 - end, self.ends[1 - end].feed(piece, 0.0))
            if not moved:
                break
        for (end, sid), owed in self.owed.items():
            assert not owed or (1 - end, sid) in self.closed, (end, sid)


class Pipe2(Pipe):
    version = 2


TestPipe = Pipe.TestCase
TestPipe2 = Pipe2.TestCase
