import os
from contextlib import closing

import msgspec
import pytest

from gateway.linux.channel import (
    ChannelClosedError,
    ChannelGarbledError,
    MessageTooLargeError,
    channel_pair,
)
from gateway.protocol.bridge_messages import StreamOpened
from gateway.protocol.messages import Asked, PuntedDatagram, Punts, Ready, Stop

encode = msgspec.msgpack.encode


def test_messages_keep_order_and_borders() -> None:
    """What is sent arrives, one by one."""
    ours, theirs = channel_pair()
    with closing(ours), closing(theirs):
        theirs.send(Ready(1))
        theirs.send(Ready(2))

        assert [ours.receive(), ours.receive(), ours.receive()] == [Ready(1), Ready(2), None]


def test_a_full_channel_says_so() -> None:
    """The sender never waits."""
    ours, theirs = channel_pair()
    with closing(ours), closing(theirs):
        while ours.send(Stop()):
            pass

        assert theirs.receive() == Stop()


def test_too_large_is_refused() -> None:
    """Before the kernel would."""
    ours, theirs = channel_pair()
    with closing(ours), closing(theirs), pytest.raises(MessageTooLargeError):
        theirs.send(Punts((PuntedDatagram(bytes(16), 1, 0, bytes(16), bytes(210_000)),)))


def test_death_is_an_end_of_file() -> None:
    """After what was sent before."""
    ours, theirs = channel_pair()
    theirs.send(Ready(1))
    theirs.close()
    with closing(ours):
        assert ours.receive() == Ready(1)
        with pytest.raises(ChannelClosedError):
            ours.receive()
        with pytest.raises(ChannelClosedError):
            ours.send(Stop())


def test_descriptors_travel() -> None:
    """A descriptor arrives as another number for the same file."""
    ours, theirs = channel_pair()
    reading, writing = os.pipe()
    with closing(ours), closing(theirs):
        ours.send(Stop(), [writing])
        os.close(writing)
        theirs.receive()
        [received] = theirs.descriptors
        os.write(received, b"x")
        os.close(received)

        assert os.read(reading, 2) == b"x"
    os.close(reading)


def test_no_descriptors_come_from_a_child() -> None:
    """Else it could take the supervisor's last one."""
    ours, theirs = channel_pair()
    reading, writing = os.pipe()
    with closing(ours), closing(theirs), os.fdopen(reading, "rb") as pipe:
        theirs.send(Ready(1), [writing])
        os.close(writing)
        assert ours.receive() == Ready(1)
        assert ours.descriptors == []
        assert pipe.read() == b"", "nobody holds it any more"


@pytest.mark.parametrize(
    "raw",
    [
        b"\xc1",
        b"\x93\x01\x02",
        b"not a message",
        b"\x92\xa5ready\xd9",
        b"\x92\xa5\xff\xff\xff\xff\xff\x01",
        b"\x94\xa5ready\x01\x01" + b"\x91" * 100_000,
        encode(Asked((bytes(15),))),
        encode(StreamOpened(bytes(16), 1 << 16, 0, "tls", "", 0.0)),
    ],
    ids=lambda raw: raw[:12].hex(),
)
def test_nonsense_ends_the_conversation(raw: bytes) -> None:
    """And is no error of a library's, which nobody would expect."""
    ours, theirs = channel_pair()
    with closing(ours), closing(theirs):
        os.write(theirs.fileno(), raw)
        with pytest.raises(ChannelGarbledError):
            ours.receive()
