"""gRPC beyond what all streams promise: exact frames, windows, strangers, sharing, silence."""

import asyncio
import re
from struct import pack

import pytest
from carried import Taker, listening, run, serving
from hpack import Decoder, Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.carriers import grpc, http2
from gateway.carriers.grpc import Options
from gateway.carriers.http2 import Connection
from gateway.carriers.http2_frames import PREFACE, frame
from gateway.carriers.http2_frames import settings as settings_frame
from gateway.protocol.chunks import head
from gateway.protocol.multiplex import Data, Ended, Opened
from gateway.protocol.wire import WireError

BIG = 1 << 30
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW, MORE = range(10)
REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/GostTunel/Tunnel"),
    (":authority", "1.2.3.4"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


def asking(sid: int, flags: int = 4, **changed: str) -> bytes:
    headers = [(name, changed.get(name.strip(":").replace("-", "_"), v)) for name, v in REQUEST]
    encoder = Encoder()
    encoder.header_table_size = 0
    return frame(HEADERS, flags, sid, encoder.encode(headers))


def message(data: bytes) -> bytes:
    return head(len(data)) + data if data else bytes(5)


GREETING = PREFACE + settings_frame({})


def fed(machine: Connection, data: bytes, now: float = 0.0) -> list:
    return [
        Data(event.sid, bytes(event.data)) if isinstance(event, Data) else event
        for event in machine.feed(data, now)
    ]


def server(**options) -> Connection:
    """One that has heard a greeting, and has said its own."""
    machine = Connection(client=False, options=Options(**options), now=0.0)
    assert fed(machine, GREETING) == []
    machine.flush(BIG)
    return machine


def serving_one(**options) -> Connection:
    machine = server(**options)
    assert fed(machine, asking(1)) == [Opened(1)]
    machine.flush(BIG)
    return machine


def client(**options) -> Connection:
    """One with a stream open, on a server that took its greeting."""
    machine = Connection(client=True, options=Options(**options), now=0.0, authority="1.2.3.4")
    fed(machine, settings_frame({}))
    assert machine.open() == 1
    machine.flush(BIG)
    return machine


def pair(now: float = 0.0, **options) -> tuple[Connection, Connection]:
    ends = [Connection(client=one, options=Options(**options), now=now) for one in (True, False)]
    for _ in range(2):
        assert fed(ends[1], ends[0].flush(BIG)) == fed(ends[0], ends[1].flush(BIG)) == []
    return ends[0], ends[1]


def frames_of(wire: bytes) -> list[tuple[int, int, int, bytes]]:
    """(type, flags, stream, payload) of each."""
    found = []
    while wire:
        size = int.from_bytes(wire[:3], "big")
        sid = int.from_bytes(wire[5:9], "big")
        found.append((wire[3], wire[4], sid, wire[9 : 9 + size]))
        wire = wire[9 + size :]
    return found


# Exact frames


def test_a_client_greets_and_asks_as_grpc_for_go_does() -> None:
    machine = Connection(client=True, options=Options(), now=0.0, authority="1.2.3.4")
    assert not machine.ready
    greeting = machine.flush(BIG)
    assert greeting.startswith(PREFACE)
    first, window = frames_of(greeting.removeprefix(PREFACE))
    assert first[:3] == (SETTINGS, 0, 0)
    assert pack(">HI", 5, 256 * 1024) in first[3]
    assert window == (WINDOW, 0, 0, pack(">I", (32 << 20) - 65535))
    assert fed(machine, settings_frame({})) == []
    assert machine.ready
    assert machine.open() == 1
    acknowledged, asked = frames_of(machine.flush(BIG))
    assert acknowledged == (SETTINGS, 1, 0, b"")
    assert asked[:3] == (HEADERS, 4, 1)
    headers = dict(Decoder().decode(asked[3]))
    assert headers[":path"] == "/GostTunel/Tunnel"
    assert headers[":authority"] == "1.2.3.4"
    assert headers["content-type"] == "application/grpc"
    assert machine.write(1, b"hello", BIG) == frame(DATA, 0, 1, message(b"hello"))


def test_a_server_answers_at_once_and_ends_with_trailers() -> None:
    machine = server()
    assert not machine.ready
    assert fed(machine, asking(1)) == [Opened(1)]
    assert machine.ready
    (answer,) = frames_of(machine.flush(BIG))
    decoder = Decoder()
    assert answer[:3] == (HEADERS, 4, 1)
    assert dict(decoder.decode(answer[3]))[":status"] == "200"
    machine.write(1, b"owed", 0)
    machine.close(1)
    data, trailers = frames_of(machine.flush(BIG))
    assert data == (DATA, 0, 1, message(b"owed"))
    assert trailers[:3] == (HEADERS, 5, 1)
    assert dict(decoder.decode(trailers[3]))["grpc-status"] == "0"
    assert 1 not in machine


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("", "/GostTunel/Tunnel"),
        ("/", "/GostTunel/Tunnel"),
        ("/a/", "/a/Tunnel"),
        ("a/b", "/a/b"),
        ("a/b/c", "/a/b-c"),
    ],
)
def test_paths_are_parsed_as_gost_does(path: str, method: str) -> None:
    assert Options(path=path).method == method


def test_a_client_closes_its_direction_and_waits_for_the_trailers() -> None:
    machine = client()
    machine.write(1, b"x", 0)
    machine.close(1)
    assert machine.flush(BIG) == frame(DATA, 0, 1, message(b"x")) + frame(DATA, 1, 1)
    assert fed(machine, frame(DATA, 0, 1, message(b"dropped"))) == []
    assert fed(machine, frame(HEADERS, 5, 1, Encoder().encode([("grpc-status", "0")]))) == [
        Ended(1)
    ]
    assert machine.flush(BIG) == b""


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([(":status", "404")], "HTTP 404"),
        ([(":status", "200"), ("grpc-status", "12"), ("grpc-message", "a%20b")], r"12 \(a b\): is"),
        ([("grpc-status", "14"), ("grpc-message", "x\n" * 500)], r"14 \(x\?"),
    ],
)
def test_what_a_server_ends_a_stream_with_is_said(headers, reason) -> None:
    machine = client()
    (event,) = fed(machine, frame(HEADERS, 5, 1, Encoder().encode(headers)))
    assert event.sid == 1
    assert re.search(reason, event.reason)
    assert len(event.reason) < 300


def test_a_burst_of_small_messages_is_one_event() -> None:
    machine = serving_one()
    parts = [b"\x00\x24", b"p" * 36] * 9
    wire = b"".join(frame(DATA, 0, 1, message(part)) for part in parts)
    assert fed(machine, wire) == [Data(1, b"".join(parts))]


def test_the_end_comes_after_the_data_of_the_same_burst() -> None:
    machine = serving_one()
    wire = frame(DATA, 0, 1, message(b"last")) + frame(DATA, 1, 1)
    assert fed(machine, wire) == [Data(1, b"last"), Ended(1)]


def test_padding_and_priorities_are_taken_off() -> None:
    machine = server()
    block = asking(1)[9:]
    assert fed(machine, frame(HEADERS, 4 | 8 | 32, 1, b"\x02" + bytes(5) + block + b"\0\0")) == [
        Opened(1)
    ]
    padded = b"\x03" + message(b"hi") + bytes(3)
    assert fed(machine, frame(DATA, 8, 1, padded)) == [Data(1, b"hi")]


def test_headers_in_pieces() -> None:
    machine = server()
    block = asking(1)[9:]
    wire = frame(HEADERS, 0, 1, block[:5]) + frame(MORE, 0, 1, block[5:9])
    assert fed(machine, wire + frame(MORE, 4, 1, block[9:])) == [Opened(1)]


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(("code", "reason"), [(0, ""), (8, ""), (7, "HTTP/2 error 7")])
def test_a_reset_is_an_end(kept: bool, code: int, reason: str) -> None:
    machine = serving_one()
    data = []
    if kept:
        machine.pause(1)
        assert fed(machine, frame(DATA, 0, 1, message(b"x"))) == []
        data = [Data(1, b"x")]
    events = fed(machine, frame(RST_STREAM, 0, 1, pack(">I", code)))
    if kept:
        assert events == []
        events = list(machine.resume(1))
    assert events[:-1] == data
    assert events[-1].sid == 1
    assert events[-1].reason.endswith(reason)
    assert bool(events[-1].reason) == bool(reason)


def test_pings_are_answered_with_what_they_carry() -> None:
    machine = server()
    fed(machine, frame(PING, 0, 0, b"12345678"))
    assert machine.flush(BIG) == frame(PING, 1, 0, b"12345678")


# Refusals and noise


@pytest.mark.parametrize(
    ("changed", "what", "status"),
    [
        ({"path": "/GostTunel/Other"}, "wrong-path", "200"),
        ({"method": "GET"}, "bad-http", "405"),
        ({"content_type": "text/html"}, "bad-http", "415"),
    ],
)
def test_other_requests_are_answered_and_counted(changed, what, status) -> None:
    machine = server()
    assert fed(machine, asking(1, **changed)) == []
    assert machine.ignored == {what: 1}
    assert not machine.ready
    answer, reset = frames_of(machine.flush(BIG))
    headers = dict(Decoder().decode(answer[3]))
    assert headers[":status"] == status
    assert headers.get("grpc-status") == ("12" if what == "wrong-path" else None)
    assert answer[1] == 5
    assert reset[0] == RST_STREAM


def test_streams_beyond_the_limit_are_refused_then_the_connection_ends(monkeypatch) -> None:
    monkeypatch.setattr(http2, "MAX_REFUSED", 5)
    machine = server(max_streams=1)
    assert fed(machine, asking(1)) == [Opened(1)]
    machine.flush(BIG)
    for sid in range(3, 13, 2):
        assert fed(machine, asking(sid)) == []
        assert machine.flush(BIG) == frame(RST_STREAM, 0, sid, pack(">I", 7))
    with pytest.raises(WireError):
        fed(machine, asking(13))


@pytest.mark.parametrize(
    "wire",
    [
        frame(PING, 0, 0, b"1234567"),
        frame(PING, 0, 1, b"12345678"),
        frame(SETTINGS, 0, 0, b"12345"),
        frame(SETTINGS, 1, 0, b"123456"),
        frame(SETTINGS, 0, 3),
        settings_frame({5: 16383}),
        settings_frame({5: 2**24}),
        settings_frame({4: 2**31}),
        settings_frame({4: 2**31 - 1}) + frame(WINDOW, 0, 1, pack(">I", 1)),
        frame(WINDOW, 0, 0, pack(">I", 0)),
        frame(WINDOW, 0, 0, pack(">I", 2**31 - 1)),
        frame(WINDOW, 0, 5, pack(">I", 1)),
        frame(DATA, 0, 0, b"x"),
        frame(DATA, 0, 3, b"x"),
        frame(DATA, 8, 1, b"\x09x"),
        frame(DATA, 8, 1),
        frame(RST_STREAM, 0, 3, pack(">I", 0)),
        frame(RST_STREAM, 0, 1, b"123"),
        frame(PUSH, 4, 1, pack(">I", 2)),
        frame(MORE, 4, 1, b""),
        frame(HEADERS, 0, 3) + frame(PING, 0, 0, bytes(8)),
        frame(HEADERS, 0, 3) + frame(DATA, 0, 1, message(b"x")),
        frame(HEADERS, 0, 3) + frame(MORE, 0, 3),
        frame(HEADERS, 0, 3) + frame(MORE, 0, 3, bytes(16384)) + frame(MORE, 0, 3, b"x"),
        frame(HEADERS, 4, 3, b"\xff\xff\xff\xff\xff\xff"),
        frame(HEADERS, 4, 3, b"\x80"),
        frame(HEADERS, 4, 2),
        asking(1),
        frame(GOAWAY, 0, 0, b"123"),
        b"\x01\x00\x00" + frame(PING, 0, 0)[3:],
        (256 * 1024 + 1).to_bytes(3, "big") + frame(DATA, 0, 1)[3:],
    ],
)
def test_what_is_no_frame(wire: bytes) -> None:
    machine = serving_one()
    with pytest.raises(WireError):
        fed(machine, wire)


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\nX",
        b"\x16\x03\x01",
        PREFACE + frame(PING, 0, 0, bytes(8)),
        PREFACE + frame(SETTINGS, 1, 0),
        PREFACE + frame(DATA, 0, 1, b"x"),
    ],
)
def test_what_is_no_greeting(wire: bytes) -> None:
    machine = Connection(client=False, options=Options(), now=0.0)
    with pytest.raises(WireError):
        fed(machine, wire)


def test_what_is_no_chunk_ends_its_stream_alone() -> None:
    machine = serving_one()
    assert fed(machine, asking(3)) == [Opened(3)]
    machine.flush(BIG)
    (event,) = fed(machine, frame(DATA, 0, 1, b"\x01\0\0\0\0"))
    assert event == Ended(1, "a compressed gRPC message")
    assert machine.ignored == {"bad-message": 1}
    assert machine.flush(BIG) == frame(RST_STREAM, 0, 1, pack(">I", 2))
    assert fed(machine, frame(DATA, 0, 3, message(b"fine"))) == [Data(3, b"fine")]


frames = st.builds(
    frame,
    st.integers(0, 11),
    st.integers(0, 63),
    st.sampled_from([0, 1, 2, 3, 5]),
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from([asking(3)[9:], message(b"data"), bytes(8), pack(">I", 9), b""]),
    ),
)


@given(
    pieces=st.lists(st.one_of(frames, st.binary(max_size=20)), max_size=12),
    is_client=st.booleans(),
    pause=st.booleans(),
)
def test_noise_raises_nothing_else(pieces, is_client, pause) -> None:
    machine = client() if is_client else serving_one()
    if pause:
        machine.pause(1)
    try:
        for piece in pieces:
            fed(machine, piece)
            machine.write(1, b"answer", 100)
            machine.flush(1000)
        list(machine.resume(1))
    except WireError:
        return


# Windows


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


# On sockets


async def raw(port: int, said: bytes):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    return reader, writer


def test_garbage_is_closed_and_counted() -> None:
    async def main():
        async with serving(grpc.listen) as served:
            reader, writer = await raw(served.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            while await reader.read(1000):
                pass
            await served.counts.until("bad-grpc")
            writer.close()

    run(main())


WRONG = GREETING + asking(1, path="/x")


@pytest.mark.parametrize("said", [b"", PREFACE[:5], GREETING, WRONG])
def test_who_opens_no_stream_is_closed_in_time(said: bytes) -> None:
    async def main():
        async with serving(grpc.listen, handshake_timeout=0.1) as served:
            reader, writer = await raw(served.port, said)
            await served.counts.until("handshake-timeout")
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1_000_000)
            assert served.counts["wrong-path"] == (said == WRONG)
            writer.close()

    run(main())


def test_bad_frames_after_the_handshake_end_all_streams_of_the_connection() -> None:
    async def main():
        async with serving(grpc.listen) as served:
            reader, writer = await raw(served.port, GREETING + asking(1) + asking(3))
            takers = [(await served.next())[1] for _ in range(2)]
            writer.write(frame(PUSH, 0, 1))
            reasons = {await taker.ended() for taker in takers}
            assert reasons == {"grpc: an HTTP/2 push"}
            assert served.counts["bad-grpc"] == 1
            while await reader.read(1000):
                pass
            writer.close()

    run(main())


def test_a_wrong_path_is_told_to_the_client() -> None:
    async def main():
        async with serving(grpc.listen, grpc=Options(path="here")) as served:
            stream = await grpc.dial("127.0.0.1", served.port)
            taker = Taker()
            stream.start(taker)
            assert "is the path right?" in await taker.ended()
            assert served.counts["wrong-path"] == 1

    run(main())


def test_streams_to_one_place_share_a_connection_and_others_do_not() -> None:
    async def main():
        async with serving(grpc.listen, echo=True) as served:
            dials = [grpc.dial("127.0.0.1", served.port) for _ in range(5)]
            dials.append(grpc.dial("127.0.0.1", served.port, grpc=Options(window=1 << 20)))
            streams = await asyncio.gather(*dials)
            takers = [Taker() for _ in streams]
            for number, (stream, taker) in enumerate(zip(streams, takers, strict=True)):
                stream.start(taker)
                stream.write(bytes([number]) * 100)
            for number, taker in enumerate(takers):
                assert await taker.has(100) == bytes([number]) * 100
            assert served.counts["accepted"] == 2
            for stream in streams:
                stream.close()
            assert {await taker.ended() for taker in takers} == {""}
            # The last one takes the connection with it: then a dial makes another.
            await asyncio.sleep(0)
            assert not any(stream._trunk.usable for stream in streams)
            again = await grpc.dial("127.0.0.1", served.port)
            late = Taker()
            again.start(late)
            again.write(b"again")
            await late.has(5)
            assert served.counts["accepted"] == 3
            again.abort()
            await late.ended()

    run(main())


def test_streams_beyond_the_servers_limit_get_a_connection_of_their_own() -> None:
    async def main():
        async with serving(grpc.listen, echo=True, grpc=Options(max_streams=2)) as served:
            streams = [await grpc.dial("127.0.0.1", served.port) for _ in range(5)]
            takers = [Taker() for _ in streams]
            for stream, taker in zip(streams, takers, strict=True):
                stream.start(taker)
                stream.write(b"x")
            for taker in takers:
                await taker.has(1)
            assert served.counts["accepted"] == 3
            for stream in streams:
                stream.abort()

    run(main())


def test_a_stream_that_is_not_read_does_not_stop_another() -> None:
    async def main():
        async with serving(grpc.listen) as served:
            slow = await grpc.dial("127.0.0.1", served.port)
            slow.start(Taker())
            far, far_taker = await served.next()
            far.pause()
            while slow.backlog <= slow.high:
                slow.write(bytes(65536))
            quick = await grpc.dial("127.0.0.1", served.port)
            quick.start(Taker())
            _, quick_taker = await served.next()
            for _ in range(100):
                quick.write(bytes(10_000))
            await quick_taker.has(1_000_000)
            assert not far_taker.got
            assert served.counts["accepted"] == 1
            slow.abort()
            quick.abort()
            await far_taker.ended()

    run(main())


def test_a_peer_that_does_not_answer_is_given_up() -> None:
    async def main():
        with listening() as server:
            server.setblocking(False)
            options = Options(keepalive=0.05, timeout=0.1)
            port = server.getsockname()[1]
            dialling = asyncio.create_task(grpc.dial("127.0.0.1", port, grpc=options))
            silent, _ = await asyncio.get_running_loop().sock_accept(server)
            with silent:
                silent.sendall(settings_frame({}))
                taker = Taker()
                (await dialling).start(taker)
                assert await taker.ended() == "grpc: silent for too long"

    run(main())


def test_a_client_that_reads_no_answers_is_cut_off() -> None:
    async def main():
        async with serving(grpc.listen) as served:
            _, writer = await raw(served.port, GREETING + asking(1))
            _, taker = await served.next()
            pings = frame(PING, 0, 0, bytes(8)) * 10_000
            while not taker.ends:
                writer.write(pings)
                await asyncio.sleep(0)
            assert taker.ends == ["grpc: the other end does not read"]
            writer.transport.abort()

    run(main())
