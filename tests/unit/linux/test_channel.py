import os
from contextlib import closing

import pytest

from gateway.linux.channel import (
    ChannelClosedError,
    ChannelGarbledError,
    MessageTooLargeError,
    channel_pair,
)
from gateway.protocol.messages import PuntedDatagram, Punts, Ready, Stop


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


@pytest.mark.parametrize("raw", [b"\xc1", b"\x93\x01\x02", b"not a message"])
def test_nonsense_ends_the_conversation(raw: bytes) -> None:
    """And is no error of a library's, which nobody would expect."""
    ours, theirs = channel_pair()
    with closing(ours), closing(theirs):
        os.write(theirs.fileno(), raw)
        with pytest.raises(ChannelGarbledError):
            ours.receive()
