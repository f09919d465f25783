"""Asking an instance over its control socket.

One JSON request and a newline go out, one JSON answer comes back and the gateway closes.
Everything has one deadline, since the gateway asked may be stuck, half dead or something
else altogether. What goes wrong is one sentence and an exit status.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from gateway.errors import GatewayError
from gateway.protocol.instances import instances_among, socket_path
from gateway.protocol.status import STATUS_SCHEMA, ClientFacts, Request, Status

DEADLINE_SECONDS = 2.0
ANSWER_LIMIT = 64 << 20


class NotRunning(GatewayError):  # noqa: N818
    """No control socket, or nobody behind it."""

    exit_status = 3


class NoPermission(GatewayError):  # noqa: N818
    """Not for the user who asks."""

    exit_status = 4


class NoAnswer(GatewayError):  # noqa: N818
    """Somebody is there and says nothing, nonsense or an error: degraded at best."""

    exit_status = 1


class NoServer(NoAnswer):
    """A question for a server, and this instance is none."""


class Report(NamedTuple):
    """A status, decoded and as the gateway wrote it.

    `raw` keeps fields that a newer gateway knows and this program does not.
    """

    status: Status
    raw: bytes


class _Schema(msgspec.Struct):
    schema: int


_NULL = msgspec.Raw(b"null")


class _RawAnswer(msgspec.Struct):
    """`status.Answer`, the status left as it is."""

    status: msgspec.Raw = _NULL
    error: str = ""
    client: ClientFacts | None = None
    kind: str = ""


def list_instances(directory: str) -> list[str]:
    """Instances with a control socket, running or left behind. Raises NoPermission."""
    try:
        return instances_among(entry.name for entry in Path(directory).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise NoPermission(f"{directory} may not be read by this user: {_SUDO}") from error


def ask_status(directory: str, instance: str, deadline_seconds: float = DEADLINE_SECONDS) -> Report:
    """The instance's status.

    Raises NotRunning, NoPermission or NoAnswer, each with a sentence that names the instance;
    ConfigError for a name that cannot be one.
    """
    return _asked(directory, instance, Request("status"), deadline_seconds, _report_in)


def ask_client(directory: str, instance: str, addresses: Sequence[str]) -> ClientFacts:
    """What a client with these tunnel addresses has to be told. Raises as `ask_status` does."""
    request = Request("client", addresses=tuple(addresses))
    return _asked(directory, instance, request, DEADLINE_SECONDS, _facts_in)


Answered = TypeVar("Answered")


def _asked(
    directory: str,
    instance: str,
    request: Request,
    deadline_seconds: float,
    read: Callable[[bytes], Answered],
) -> Answered:
    path = socket_path(directory, instance)
    try:
        return read(_exchange(path, request, deadline_seconds))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotRunning(_not_there(directory, instance, path)) from error
    except ConnectionRefusedError as error:
        raise NotRunning(
            f"instance {instance} is not running; it ended without removing {path}"
        ) from error
    except PermissionError as error:
        raise NoPermission(
            f"instance {instance}: {path} may not be used by this user: {_SUDO}"
        ) from error
    except (TimeoutError, BlockingIOError) as error:
        raise NoAnswer(
            f"instance {instance} did not answer within {deadline_seconds:g} s:"
            " its supervisor hangs or the host is overloaded"
        ) from error
    except OSError as error:
        raise NoAnswer(f"instance {instance} cannot be asked: {error.strerror}: {path}") from error
    except (NoAnswer, NoPermission) as error:
        raise type(error)(f"instance {instance}: {error}") from error


_SUDO = "run gateway-ctl as root (sudo)"


def _report_in(answer: bytes) -> Report:
    raw = bytes(_decoded(answer).status)
    if raw == bytes(_NULL):
        raise NoAnswer("its answer holds no status")
    return Report(_decode_status(raw), raw)


def _facts_in(answer: bytes) -> ClientFacts:
    found = _decoded(answer).client
    if found is None:
        raise NoAnswer("its answer says nothing of a client: use the gateway-ctl of its version")
    return found


def _decoded(answer: bytes) -> _RawAnswer:
    if not answer:
        raise NoAnswer("it closed the connection without an answer")
    try:
        decoded = msgspec.json.decode(answer, type=_RawAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoAnswer(
            f"its answer of {len(answer)} bytes was cut off or is no answer: {error}"
        ) from error
    if decoded.kind == "permission":
        raise NoPermission(f"it says: {decoded.error}: {_SUDO}")
    if decoded.kind == "no-server":
        raise NoServer(f"it says: {decoded.error}")
    if decoded.error:
        raise NoAnswer(f"it says: {decoded.error}")
    return decoded


def _decode_status(raw: bytes) -> Status:
    try:
        schema = msgspec.json.decode(raw, type=_Schema).schema
        if schema == STATUS_SCHEMA:
            return msgspec.json.decode(raw, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoAnswer(f"its status makes no sense: {error}") from error
    raise NoAnswer(
        f"it speaks status schema {schema} and this gateway-ctl {STATUS_SCHEMA}:"
        " use the gateway-ctl of its version"
    )


def _exchange(path: str, request: Request, deadline_seconds: float) -> bytes:
    """Sends the request and returns what came until the other side closed. Raises OSError."""
    deadline = time.monotonic() + deadline_seconds
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        # A blocking connect waits for a place in the listener's backlog, for as long as
        # SO_SNDTIMEO says; a non-blocking one fails at once with EAGAIN (unix(7), connect(2)).
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(deadline_seconds))
        connection.connect(path)
        connection.settimeout(_left(deadline))
        # Whoever answers before it has read may have closed already: the answer still counts.
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(msgspec.json.encode(request) + b"\n")
        return _received(connection, deadline)


def _received(connection: socket.socket, deadline: float) -> bytes:
    answer = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(1 << 18):
            answer += chunk
            if len(answer) > ANSWER_LIMIT:
                raise NoAnswer(f"its answer is longer than {ANSWER_LIMIT >> 20} MiB")
            connection.settimeout(_left(deadline))
    return bytes(answer)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _timeval(seconds: float) -> bytes:
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))


def _not_there(directory: str, instance: str, path: str) -> str:
    sentence = f"instance {instance} is not running: there is no {path}"
    others = list_instances(directory)
    return f"{sentence}; known here: {', '.join(others)}" if others else sentence
