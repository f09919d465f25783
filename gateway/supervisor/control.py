"""The control socket: `gateway-ctl` asks, the supervisor answers from what it has.

One JSON request and a newline, one JSON answer, closed. Everything is non-blocking and
bounded: so many clients, so long a request, so much time; a slow or silent client costs
nobody anything (I8). The mode of the file (0660) keeps strangers from connecting, and
the kernel's word about the other side (SO_PEERCRED) decides who is answered.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.errors import GatewayError, HostError
from gateway.linux.belongings import Owner, acting_as, claim_directory
from gateway.protocol.status import Answer, ClientFacts, Request, Status
from gateway.supervisor.loop import WRITE, Loop, Timer

CLIENTS = 16
REQUEST_LIMIT = 4096
DEADLINE = 5.0
NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
PAUSE = 1.0
"""Seconds in which nobody is let in where the host or the process has no room for one more."""
SO_SNDBUFFORCE = 32
ANSWER_BUFFER = 16 << 20
"""Room for a whole answer: with 16,384 peers it has 8 MB."""
SO_PEERGROUPS = 59
GROUPS_LIMIT = 1024

FORBIDDEN = Answer(error="only root, the gateway's user and its group may ask", kind="permission")
BUSY = Answer(
    error=f"{CLIENTS} others are asking at this moment; ask again in {DEADLINE:g} s", kind="busy"
)


class NoServer(GatewayError):  # noqa: N818
    """A question for a server, asked of an instance that is none."""


_credentials = struct.Struct("3i")


def listen(path: Path, owner: Owner | None, *, named: bool = True) -> socket.socket:
    """Bind the control socket; `owner` will answer it. Raises HostError.

    `named`: the directory is the operator's choice, not the program's own.

    A socket that a dead instance left is replaced; a live one is another instance.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claim_directory(path.parent, 0o755, owner, named=named)
        with acting_as(owner):
            _remove_stale(path)
            old = os.umask(0o117)
            try:
                sock.bind(str(path))
            finally:
                os.umask(old)
        sock.listen(CLIENTS)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise HostError(
            f"control socket {path}: {error.strerror}; "
            "start as root, or set GATEWAY_RUN_DIR to a directory you may write"
        ) from None
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # somebody listens and is busy
    raise HostError(
        f"control socket {path}: an instance of this name is running already; "
        "stop it, or give this one another --instance"
    )


@dataclass
class _Client:
    sock: socket.socket
    deadline: Timer
    request: bytes = b""
    answer: memoryview = memoryview(b"")  # noqa: RUF009  (immutable)


class Control:
    """Serves the socket. `status` makes the report, `client` a client's facts.

    `client` raises GatewayError with a sentence for who asked.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        path: Path,
        status: Callable[[], Status],
        client: Callable[[Sequence[str]], ClientFacts],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._path = path
        self._status = status
        self._client = client
        self._clients: dict[int, _Client] = {}
        self._pause: Timer | None = None
        self._listen()

    def close(self) -> None:
        """Stop serving and remove the socket."""
        for client in list(self._clients.values()):
            self._drop(client)
        if self._pause is not None:
            self._pause.cancel()
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _listen(self) -> None:
        self._loop.watch(self._sock.fileno(), lambda _: self._on_connect())

    def _on_connect(self) -> None:
        try:
            sock, _ = self._sock.accept()
        except OSError as error:
            if error.errno in NO_ROOM:  # he waits at the door, which would wake us again at once
                self._loop.unwatch(self._sock.fileno())
                self._pause = self._loop.call_in(PAUSE, self._listen)
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                raise
            return
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # else it takes some turns of the loop
            sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, ANSWER_BUFFER)
        if len(self._clients) >= CLIENTS:
            _turn_away(sock)
            return
        client = _Client(sock, self._loop.call_in(DEADLINE, lambda: self._drop(client)))
        self._clients[sock.fileno()] = client
        if not allowed(sock):
            self._answer(client, FORBIDDEN)
            return
        self._loop.watch(sock.fileno(), lambda _: self._on_request(client))

    def _on_request(self, client: _Client) -> None:
        try:
            data = client.sock.recv(REQUEST_LIMIT)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        client.request += data
        if not data or len(client.request) > REQUEST_LIMIT:
            self._drop(client)
            return
        if b"\n" in client.request:
            self._answer(client, self._reply(client.request.partition(b"\n")[0]))

    def _reply(self, line: bytes) -> Answer:
        try:
            request = msgspec.json.decode(line, type=Request)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return Answer(error=f"no request this version knows: {error}")
        if request.command == "status":
            return Answer(status=self._status())
        try:
            return Answer(client=self._client(request.addresses))
        except NoServer as error:
            return Answer(error=str(error), kind="no-server")
        except GatewayError as error:
            return Answer(error=str(error))

    def _answer(self, client: _Client, answer: Answer) -> None:
        client.answer = memoryview(msgspec.json.encode(answer))
        self._loop.watch(client.sock.fileno(), lambda _: self._on_room(client), WRITE)
        self._on_room(client)

    def _on_room(self, client: _Client) -> None:
        try:
            while client.answer:
                client.answer = client.answer[client.sock.send(client.answer) :]
        except BlockingIOError:
            return
        except OSError:
            pass  # whoever asked has gone
        self._drop(client)

    def _drop(self, client: _Client) -> None:
        fd = client.sock.fileno()
        if fd < 0:
            return
        client.deadline.cancel()
        self._loop.unwatch(fd)
        self._clients.pop(fd, None)
        client.sock.close()


def _turn_away(sock: socket.socket) -> None:
    """One answer is short enough for any new socket's buffer."""
    with contextlib.suppress(OSError):
        sock.send(msgspec.json.encode(BUSY))
    sock.close()


def allowed(sock: socket.socket) -> bool:
    """Whether the process at the other end is root, our own user or of our group."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _credentials.size)
    _, uid, gid = _credentials.unpack(raw)
    if uid in (0, os.geteuid()) or gid == os.getegid():
        return True
    try:
        groups = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * GROUPS_LIMIT)
    except OSError:
        return False
    return os.getegid() in struct.unpack(f"{len(groups) // 4}I", groups)
