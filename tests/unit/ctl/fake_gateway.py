"""Something at the end of a control socket: the right answer, half of it, or none."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from gateway.protocol.instances import socket_path
from gateway.protocol.status import Answer, Request, Status


def answer_of(status: Status) -> bytes:
    """What a gateway with this status says."""
    return msgspec.json.encode(Answer(status=status))


class FakeGateway:
    """Answers each request with `answer`, a piece at a time; None: never, but stays connected.

    `requests` are the lines that came, decoded.
    """

    def __init__(self, directory: Path, instance: str, answer: bytes | None, piece: int = 4096):
        self.requests: list[Request] = []
        self._answer = answer
        self._piece = piece
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(socket_path(str(directory), instance))
        self._listener.listen(8)
        self._silent: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread and leaves the socket's file, as a gateway does that was killed."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=5)
        self._listener.close()
        for connection in self._silent:
            connection.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        line = connection.makefile("rb").readline()
        self.requests.append(msgspec.json.decode(line, type=Request))
        if self._answer is None:
            self._silent.append(connection)
            return
        with connection, contextlib.suppress(BrokenPipeError):
            for start in range(0, len(self._answer), self._piece):
                connection.sendall(self._answer[start : start + self._piece])


@contextlib.contextmanager
def fake_gateway(
    directory: Path, instance: str, answer: bytes | Status | None, piece: int = 4096
) -> Iterator[FakeGateway]:
    """A gateway for the time of the block. A status is sent as its answer."""
    content = answer_of(answer) if isinstance(answer, Status) else answer
    gateway = FakeGateway(directory, instance, content, piece)
    try:
        yield gateway
    finally:
        gateway.close()
