"""HTTP/2 frames by hand, and ends of gRPC that have greeted."""

from hpack import Encoder

from gateway.carriers.grpc import Options
from gateway.carriers.http2 import Connection
from gateway.carriers.http2_frames import PREFACE, frame
from gateway.carriers.http2_frames import settings as settings_frame
from gateway.protocol.chunks import head
from gateway.protocol.multiplex import Data, Opened

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
