"""The channel: whole messages between the supervisor and one child.

A `SOCK_SEQPACKET` pair keeps message borders, tells of the other side's death by an
end of file, and can carry descriptors. Both ends are used with `MSG_DONTWAIT`: a
sender whose peer is slow learns so at once and never waits (I8).
"""

import array
import os
import select
import socket
from collections.abc import Sequence
from typing import Final, Generic, TypeVar, cast

import msgspec

from gateway.protocol.messages import MESSAGE_LIMIT, FromChild, ToChild

RECEIVE_BYTES: Final = MESSAGE_LIMIT + 4096
MAX_DESCRIPTORS: Final = 16
_RIGHTS_BYTES: Final = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)

Out = TypeVar("Out")
In = TypeVar("In")

_encoder = msgspec.msgpack.Encoder()


class ChannelClosedError(Exception):
    """The other side is gone."""


class ChannelGarbledError(ChannelClosedError):
    """What the other side says makes no sense: it is as good as gone."""


class MessageTooLargeError(Exception):
    """The message exceeds `MESSAGE_LIMIT`; the sender must split it."""


class Channel(Generic[Out, In]):
    """One end, which sends `Out` and receives `In` (unions of tagged structs).

    `descriptors` collects what came with the messages; who takes one out closes it. With
    `bare` messages come alone, and the kernel closes what was sent with them.
    """

    def __init__(self, sock: socket.socket, incoming: object, *, bare: bool = False) -> None:
        self._sock = sock
        self._decoder = msgspec.msgpack.Decoder(type=incoming)
        self._room = 0 if bare else _RIGHTS_BYTES
        self.descriptors: list[int] = []

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close this end. The other one then reads an end of file."""
        self._sock.close()

    def send(self, message: Out, descriptors: Sequence[int] = ()) -> bool:
        """Send one message. False: the buffer is full and nothing was sent.

        Raises ChannelClosedError, MessageTooLargeError.
        """
        data = _encoder.encode(message)
        if len(data) > MESSAGE_LIMIT:
            raise MessageTooLargeError(f"{type(message).__name__} of {len(data)} bytes")
        try:
            self._sock.sendmsg([data], _rights(descriptors), socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return False
        except (BrokenPipeError, ConnectionResetError):
            raise ChannelClosedError from None
        return True

    def receive(self) -> In | None:
        """The next message, None if none waits. ChannelClosedError, ChannelGarbledError."""
        try:
            data, ancillary, flags, _ = self._sock.recvmsg(
                RECEIVE_BYTES, self._room, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, InterruptedError):
            return None
        except ConnectionResetError:
            raise ChannelClosedError from None
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.descriptors.extend(array.array("i", payload))
        if not data:
            raise ChannelClosedError
        if flags & socket.MSG_TRUNC:
            raise ChannelGarbledError
        try:
            return cast("In", self._decoder.decode(data))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ChannelGarbledError from None  # msgspec lets the latter two through

    def wait(self, timeout: float) -> bool:
        """Block until a message or the end of file waits; children only (I8)."""
        return self._poll(select.POLLIN, timeout)

    def wait_for_room(self, timeout: float) -> bool:
        """Block until a message can be sent; for longer than 0 children only (I8)."""
        return self._poll(select.POLLOUT, timeout)

    def _poll(self, events: int, timeout: float) -> bool:
        poll = select.poll()
        poll.register(self.fileno(), events)
        return bool(poll.poll(max(0, int(timeout * 1000))))


def _rights(descriptors: Sequence[int]) -> list[tuple[int, int, bytes]]:
    # Not socket.send_fds and recv_fds: before Python 3.12 they drop the flags, and wait.
    if not descriptors:
        return []
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors).tobytes())]


SupervisorEnd = Channel[ToChild, FromChild]
ChildEnd = Channel[FromChild, ToChild]


def channel_pair() -> tuple[SupervisorEnd, ChildEnd]:
    """The two ends of a new channel. No child can fill the supervisor with descriptors."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Channel(ours, FromChild, bare=True), Channel(theirs, ToChild)


def doorbell() -> int:
    """A new eventfd that says "look" (I4). Its holders never block on it."""
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
