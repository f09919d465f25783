"""smux frames by hand, and ends that speak."""

from struct import pack

import pytest

from gateway.protocol.multiplex import Data, Event, Opened
from gateway.protocol.smux import Options, Session

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
