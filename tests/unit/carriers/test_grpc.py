"""gRPC's machine: exact frames, what is refused, and noise."""

import re
from struct import pack

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st
from unit.carriers.grpc_frames import (
    BIG,
    DATA,
    GOAWAY,
    HEADERS,
    MORE,
    PING,
    PUSH,
    RST_STREAM,
    SETTINGS,
    WINDOW,
    asking,
    client,
    fed,
    frames_of,
    message,
    server,
    serving_one,
)

from gateway.carriers import http2
from gateway.carriers.grpc import Options
from gateway.carriers.http2 import Connection
from gateway.carriers.http2_frames import PREFACE, frame
from gateway.carriers.http2_frames import settings as settings_frame
from gateway.protocol.multiplex import Data, Ended, Opened
from gateway.protocol.wire import WireError


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
