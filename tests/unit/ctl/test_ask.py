import socket
from pathlib import Path

import msgspec
import pytest
from samples import CLIENT, SERVER
from unit.ctl.fake_gateway import answer_of, fake_gateway

from gateway.ctl.ask import NoAnswer, NoPermission, NotRunning, ask_status, list_instances
from gateway.errors import ConfigError
from gateway.protocol.instances import socket_path
from gateway.protocol.status import Request


def test_the_status_comes_back(tmp_path: Path) -> None:
    with fake_gateway(tmp_path, "a", SERVER) as gateway:
        report = ask_status(str(tmp_path), "a")
    assert report.status == SERVER
    assert report.raw == msgspec.json.encode(SERVER)
    assert gateway.requests == [Request("status")]


def test_an_answer_in_small_pieces(tmp_path: Path) -> None:
    with fake_gateway(tmp_path, "a", CLIENT, piece=7):
        assert ask_status(str(tmp_path), "a").status == CLIENT


def test_fields_of_a_newer_gateway_are_kept(tmp_path: Path) -> None:
    answer = msgspec.json.decode(answer_of(SERVER))
    answer["status"]["moon_phase"] = "full"
    with fake_gateway(tmp_path, "a", msgspec.json.encode(answer)):
        report = ask_status(str(tmp_path), "a")
    assert report.status == SERVER
    assert b'"moon_phase":"full"' in report.raw


WHOLE = answer_of(SERVER)
NONSENSE = [
    (b"", "closed the connection without an answer"),
    (WHOLE[: len(WHOLE) // 2], "cut off"),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no answer"),
    (b"\xff\xfe\x00", "no answer"),
    (b"[1]", "no answer"),
    (b"{}", "holds no status"),
    (b'{"status":null}', "holds no status"),
    (b'{"error":"too many ask"}', "it says: too many ask"),
    (b'{"error":"too many ask","kind":"busy"}', "it says: too many ask"),
    (b'{"error":"of a later version","kind":"new"}', "it says: of a later version"),
    (b'{"status":{}}', "makes no sense"),
    (b'{"status":{"schema":1}}', "makes no sense"),
    (b'{"status":{"schema":2}}', "speaks status schema 2"),
    (b'{"status":{"schema":"\xff"}}', "no answer|no sense"),
]


@pytest.mark.parametrize(("answer", "sentence"), NONSENSE)
def test_nonsense_is_one_sentence(tmp_path: Path, answer: bytes, sentence: str) -> None:
    with fake_gateway(tmp_path, "a", answer), pytest.raises(NoAnswer, match=sentence) as caught:
        ask_status(str(tmp_path), "a")
    assert str(caught.value).startswith("instance a: ")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 1


def test_who_may_not_ask_is_told_so(tmp_path: Path) -> None:
    answer = b'{"error":"only root may ask","kind":"permission"}'
    with fake_gateway(tmp_path, "a", answer), pytest.raises(NoPermission) as caught:
        ask_status(str(tmp_path), "a")
    assert str(caught.value).startswith("instance a: it says: only root may ask")
    assert caught.value.exit_status == 4


def test_an_answer_cut_anywhere_is_no_answer(tmp_path: Path) -> None:
    for length in range(1, len(WHOLE), 997):
        with fake_gateway(tmp_path, str(length), WHOLE[:length]), pytest.raises(NoAnswer):
            ask_status(str(tmp_path), str(length))


def test_silence_ends_at_the_deadline(tmp_path: Path) -> None:
    with fake_gateway(tmp_path, "a", None), pytest.raises(NoAnswer, match=r"within 0\.1 s"):
        ask_status(str(tmp_path), "a", deadline_seconds=0.1)


def test_a_full_backlog_ends_at_the_deadline(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(socket_path(str(tmp_path), "a"))
        listener.listen(0)
        first.connect(socket_path(str(tmp_path), "a"))
        with pytest.raises(NoAnswer, match=r"within 0\.1 s"):
            ask_status(str(tmp_path), "a", deadline_seconds=0.1)


def test_an_answer_before_the_question_was_read(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(socket_path(str(tmp_path), "a"))
        listener.listen(1)
        # Connected, answered and closed by the kernel's hands: nobody reads the request.
        with pytest.MonkeyPatch.context() as patch:
            connect = socket.socket.connect

            def connect_and_answer(self: socket.socket, path: str) -> None:
                connect(self, path)
                server, _ = listener.accept()
                server.sendall(WHOLE)
                server.close()

            patch.setattr(socket.socket, "connect", connect_and_answer)
            assert ask_status(str(tmp_path), "a").status == SERVER


def test_no_socket_names_the_others(tmp_path: Path) -> None:
    with fake_gateway(tmp_path, "fd00::1", SERVER), pytest.raises(NotRunning) as caught:
        ask_status(str(tmp_path), "a")
    assert "there is no" in str(caught.value)
    assert "known here: fd00::1" in str(caught.value)
    assert caught.value.exit_status == 3


def test_no_directory(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    assert list_instances(missing) == []
    with pytest.raises(NotRunning):
        ask_status(missing, "a")


def test_a_socket_left_behind(tmp_path: Path) -> None:
    with fake_gateway(tmp_path, "a", SERVER):
        pass
    assert list_instances(str(tmp_path)) == ["a"]
    with pytest.raises(NotRunning, match="ended without removing"):
        ask_status(str(tmp_path), "a")


def test_a_file_that_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "a.sock").write_text("")
    with pytest.raises(NotRunning):
        ask_status(str(tmp_path), "a")


def test_a_name_too_long(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bytes long"):
        ask_status(str(tmp_path), "a" * 200)
