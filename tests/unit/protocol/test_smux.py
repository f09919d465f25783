"""smux: exact frames, any cuts, two machines over a pipe, windows, and what is no smux."""

from itertools import pairwise
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.protocol.multiplex import Data, Ended, Event, Opened
from gateway.protocol.smux import MAX_REFUSED, Options, Session
from gateway.protocol.smux_frames import FIRST_WINDOW, Heads
from gateway.protocol.wire import WireError

BIG = 1 << 30
VERSIONS = pytest.mark.parametrize("version", [1, 2])


def frame(command: int, sid: int, data: bytes = b"", version: int = 1) -> bytes:
    return pack("<BBHI", version, command, len(data), sid) + data


def session(*, client: bool = False, now: float = 0.0, **options) -> Session:
    return Session(client=client, options=Options(**options), now=now)


def fed(machine: Session, data: bytes, now: float = 0.0) -> list[Event]:
    """The events, with bytes that outlive the input."""
    return [
        Data(event.sid, bytes(event.data)) if isinstance(event, Data) else event
        for event in machine.feed(data, now)
    ]


def opened(*, version: int = 1, **options) -> tuple[Session, int]:
    """A server with one stream, and its id."""
    machine = session(version=version, **options)
    assert fed(machine, frame(0, 3, version=version)) == [Opened(3)]
    return machine, 3


# Exact bytes


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
