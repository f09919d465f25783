import contextlib
import gc
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.errors import GatewayError
from gateway.protocol.status import Answer, ClientFacts, Status
from gateway.supervisor import control
from gateway.supervisor.control import CLIENTS, Control, NoServer
from gateway.supervisor.loop import Loop


def nothing(*_: object) -> ClientFacts:
    raise GatewayError("nobody is known")


def no_status() -> Status:
    raise AssertionError("nobody asked")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Loop, Path]]:
    path = tmp_path / "run" / "a.sock"
    loop = Loop()
    served = Control(loop, control.listen(path, None), path, no_status, nothing)
    yield loop, path
    served.close()
    loop.close()


def asker(stack: contextlib.ExitStack, path: Path) -> socket.socket:
    sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    sock.connect(str(path))
    sock.setblocking(False)
    return sock


def answer_to(loop: Loop, sock: socket.socket) -> Answer:
    """Turn the loop until it is there and the connection closed."""
    received = b""

    def ended() -> bool:
        nonlocal received
        try:
            data = sock.recv(65536)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        received += data
        return not data

    assert loop.run_until(ended, 5.0)
    return msgspec.json.decode(received, type=Answer)


def test_one_too_many_is_told_so(served: tuple[Loop, Path]) -> None:
    """Those before him are served as if nothing had been."""
    loop, path = served
    with contextlib.ExitStack() as stack:
        first = [asker(stack, path) for _ in range(CLIENTS)]
        for _ in range(CLIENTS):
            loop.turn(0.0)
        late = asker(stack, path)
        late.send(b'{"command":"status"}')
        answer = answer_to(loop, late)
        assert answer.kind == "busy"
        assert "ask again" in answer.error
        first[0].send(b'{"command":"client","addresses":["192.168.123.2"]}\n')
        assert answer_to(loop, first[0]).error == "nobody is known"


def test_who_was_answered_is_freed_with_his_answer(served: tuple[Loop, Path]) -> None:
    """One of a thousand peers is some 400 KB: it waits for no collector."""
    loop, path = served
    gc.collect()
    gc.disable()
    try:
        with contextlib.ExitStack() as stack:
            first = asker(stack, path)
            first.send(b'{"command":"client","addresses":["192.168.123.2"]}\n')
            answer_to(loop, first)
        assert not [each for each in gc.get_objects() if isinstance(each, control._Client)]
    finally:
        gc.enable()


def test_a_stranger_is_told_so(served: tuple[Loop, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    loop, path = served
    monkeypatch.setattr(control, "allowed", lambda _: False)
    with contextlib.ExitStack() as stack:
        assert answer_to(loop, asker(stack, path)).kind == "permission"


def test_who_is_no_server_says_so(tmp_path: Path) -> None:
    def no_server(*_: object) -> ClientFacts:
        raise NoServer("this instance is no server")

    path, loop = tmp_path / "run" / "a.sock", Loop()
    served = Control(loop, control.listen(path, None), path, no_status, no_server)
    try:
        with contextlib.ExitStack() as stack:
            sock = asker(stack, path)
            sock.send(b'{"command":"client","addresses":["192.168.123.2"]}\n')
            assert answer_to(loop, sock) == Answer(
                error="this instance is no server", kind="no-server"
            )
    finally:
        served.close()
        loop.close()


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """As many as are open now may be."""
    free = os.dup(0)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows with every look at who wants to be let in."""
    looks: list[None] = []
    look = Control._on_connect

    def count(self: Control) -> None:
        looks.append(None)
        look(self)

    monkeypatch.setattr(Control, "_on_connect", count)
    return looks


def test_without_descriptors_nobody_keeps_the_loop_turning(
    served: tuple[Loop, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits at the door would wake it again at once."""
    loop, path = served
    looks = counted(monkeypatch)
    with contextlib.ExitStack() as stack:
        asker(stack, path)
        with no_descriptors():
            for _ in range(5):
                loop.turn(0.0)
    assert len(looks) == 1


def test_who_waited_for_a_descriptor_is_answered(
    served: tuple[Loop, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, path = served
    monkeypatch.setattr(control, "PAUSE", 0.01)
    looks = counted(monkeypatch)
    with contextlib.ExitStack() as stack:
        sock = asker(stack, path)
        sock.send(b'{"command":"client","addresses":["192.168.123.2"]}\n')
        with no_descriptors():
            assert loop.run_until(lambda: len(looks) > 1, 5.0)
        assert answer_to(loop, sock).error == "nobody is known"


def test_nobody_is_let_in_after_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even when the pause is over."""
    monkeypatch.setattr(control, "PAUSE", 0.0)
    path, loop = tmp_path / "run" / "a.sock", Loop()
    served = Control(loop, control.listen(path, None), path, no_status, nothing)
    with contextlib.closing(loop), contextlib.ExitStack() as stack:
        asker(stack, path)
        with no_descriptors():
            served._on_connect()
        served.close()
        loop.turn(0.0)
        assert not path.exists()
