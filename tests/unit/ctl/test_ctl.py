"""The command itself: what it prints where, and its exit statuses."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from samples import CLIENT, DEGRADED, SERVER
from unit.ctl.fake_gateway import fake_gateway

from gateway import __version__
from gateway.ctl.main import main
from gateway.protocol.status import Status


def as_json(status: Status) -> dict[str, object]:
    found: dict[str, object] = json.loads(msgspec.json.encode(status))
    return found


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GATEWAY_RUN_DIR", str(tmp_path))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


@pytest.fixture
def two(run_dir: Path) -> Iterator[None]:
    with fake_gateway(run_dir, "a", SERVER), fake_gateway(run_dir, "fd00::1", DEGRADED):
        yield


def test_a_healthy_instance(run_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with fake_gateway(run_dir, "a", SERVER):
        assert main(["status"]) == 0
        out, err = capfd.readouterr()
        assert main(["status", "a"]) == 0
        assert main(["status", "--instance", "a"]) == 0
    assert out.startswith("gateway 192.168.123.1  healthy\n")
    assert capfd.readouterr().out == out * 2
    assert err == ""


def test_a_degraded_instance(run_dir: Path) -> None:
    with fake_gateway(run_dir, "a", DEGRADED):
        assert main(["status", "a"]) == 1


@pytest.mark.usefixtures("two")
def test_all_instances_and_the_worst_status(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 1
    out = capfd.readouterr().out
    assert "gateway 192.168.123.1  healthy" in out
    assert "gateway fd12:3456:789a:1::1  DEGRADED" in out


def test_nothing_runs(run_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert err == f"gateway-ctl: no gateway is running: there is no control socket in {run_dir}\n"


def test_one_left_its_socket_behind(run_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with fake_gateway(run_dir, "dead", SERVER):
        pass
    with fake_gateway(run_dir, "alive", SERVER):
        assert main(["status"]) == 3
        out, err = capfd.readouterr()
        assert main(["status", "--json"]) == 3
    assert "healthy" in out
    assert "instance dead is not running" in err
    document = json.loads(capfd.readouterr().out)
    assert [each["instance"] for each in document["instances"]] == ["192.168.123.1"]
    assert [(each["instance"], each["exit_status"]) for each in document["failures"]] == [
        ("dead", 3)
    ]


def test_json_of_one_is_the_status(run_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with fake_gateway(run_dir, "a", SERVER):
        assert main(["status", "a", "--json"]) == 0
    out = capfd.readouterr().out
    assert json.loads(out) == as_json(SERVER)
    assert list(json.loads(out)) == list(as_json(SERVER))


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (["192.168.123.3"], {"192.168.123.3"}),
        (["192.168.100.7"], {"192.168.123.2"}),
        (["203.0.113.7"], {"192.168.123.2"}),
        (["192.168.123.2/31", "10.0.0.0/8"], {"192.168.123.2", "192.168.123.3"}),
        (["10.0.0.1"], set()),
    ],
)
def test_picked_peers(
    wanted: list[str], shown: set[str], run_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["status", "a", *(f"--peer={each}" for each in wanted)]
    with fake_gateway(run_dir, "a", SERVER):
        assert main(arguments) == 0
        screen = capfd.readouterr().out
        assert main([*arguments, "--json"]) == 0
    (service,) = json.loads(capfd.readouterr().out)["services"]
    assert {peer["addresses"][0] for peer in service["peers"]} == shown
    everybody = {peer.addresses[0] for peer in SERVER.services[0].peers}
    assert f"peers: {len(shown)} of {len(everybody)}\n" in screen
    part = screen.partition("peers: ")[2].partition("\ntraffic")[0]
    assert {each for each in everybody if f"  {each} " in part} == shown


def test_json_of_all_is_an_object(run_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with fake_gateway(run_dir, "a", CLIENT):
        assert main(["status", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document == {"schema": 1, "instances": [as_json(CLIENT)], "failures": []}


def test_json_of_one_that_is_away(run_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "a", "--json"]) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1


@pytest.mark.usefixtures("two")
def test_quiet_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "a", "--quiet"]) == 0
    assert main(["status", "fd00::1", "--quiet"]) == 1
    assert main(["status", "missing", "--quiet"]) == 3
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("two")
def test_list(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "instance",
        "192.168.123.1",
        "fd12:3456:789a:1::1",
    ]


AS_NOBODY = """
import os, sys
from gateway.ctl import commands, main, render  # all that nobody might not be able to read
run = commands.run
def run_as_nobody(arguments):
    if os.getuid() == 0:
        os.setuid(65534)
    return run(arguments)
commands.run = run_as_nobody
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("directory_mode", "socket_mode", "arguments", "sentence"),
    [
        (0o755, 0o000, ["status", "a"], b"may not be used by this user"),
        (0o755, 0o000, ["status"], b"may not be used by this user"),
        (0o000, 0o666, ["status", "a"], b"may not be used by this user"),
        (0o000, 0o666, ["status"], b"may not be read by this user"),
        (0o000, 0o666, ["list"], b"may not be read by this user"),
    ],
)
def test_no_permission(
    directory_mode: int, socket_mode: int, arguments: list[str], sentence: bytes
) -> None:
    # Not under pytest's own directory: it is closed to others.
    with tempfile.TemporaryDirectory() as name, fake_gateway(Path(name), "a", SERVER):
        Path(name, "a.sock").chmod(socket_mode)
        Path(name).chmod(directory_mode)
        ended = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, *arguments],
            env={**os.environ, "GATEWAY_RUN_DIR": name},
            capture_output=True,
            check=False,
        )
        Path(name).chmod(0o700)
    assert ended.returncode == 4
    assert ended.stdout == b""
    assert sentence in ended.stderr
    assert b"sudo" in ended.stderr
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "COMMAND"),
        (["stat"], "invalid choice"),
        (["status", "a", "b"], "unrecognized"),
        (["status", "a", "--instance", "b"], "two instances"),
        (["status", "--watch", "a"], "gateway-ctl status NAME --watch"),
        (["status", "--watch", "0"], "not a number of seconds"),
        (["status", "--watch", "nan"], "not a number of seconds"),
        (["status", "--quiet", "--json"], "--quiet prints nothing"),
        (["status", "--js"], "unrecognized"),
        (["status", "--peer", "alice"], "neither an address nor a network"),
    ],
)
def test_a_wrong_command_line(
    arguments: list[str], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert sentence in capfd.readouterr().err


def test_a_name_too_long_is_a_wrong_command_line(
    run_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "a" * 120]) == 2
    assert "bytes long" in capfd.readouterr().err


def test_a_hostile_name_is_shown_harmless(run_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "\x1b[2J"]) == 3
    assert "\x1b" not in capfd.readouterr().err


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capfd.readouterr().out == f"gateway-ctl {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--version"], ["msgspec", "rich", "socket"]),
        (["status", "--js"], ["msgspec", "rich", "socket"]),
        (["status", "missing"], ["rich", "asyncio"]),
        (["status", "missing", "--json"], ["rich", "asyncio"]),
    ],
)
def test_nothing_is_loaded_before_it_is_needed(
    arguments: list[str], absent: list[str], run_dir: Path
) -> None:
    script = (
        "import sys, atexit; from gateway.ctl.main import main;"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr));"
        "sys.exit(main(sys.argv[1:]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    loaded = set(ended.stderr.split())
    assert not loaded & {*absent, "psutil", "pyroute2", "gateway.supervisor", "gateway.fastpath"}


def _script(*arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
    # A shell's background jobs ignore Ctrl-C, and the tests may be one.
    return subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "gateway.ctl.main", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_watching_as_lines_of_json(run_dir: Path) -> None:
    with (
        fake_gateway(run_dir, "a", SERVER),
        _script("status", "a", "--json", "--watch", "0.1") as watcher,
    ):
        assert watcher.stdout is not None
        for _ in range(2):
            assert json.loads(watcher.stdout.readline())["instance"] == "192.168.123.1"
        watcher.stdout.close()
        assert watcher.wait(timeout=10) == 0
        assert watcher.stderr is not None
        assert watcher.stderr.read() == b""


def test_watching_outlives_the_instance(run_dir: Path) -> None:
    with _script("status", "a", "--watch", "0.1") as watcher:
        assert watcher.stdout is not None
        assert b"is not running" in watcher.stdout.readline()
        with fake_gateway(run_dir, "a", SERVER):
            assert any(b"healthy" in line for line in watcher.stdout)
        watcher.send_signal(signal.SIGINT)
        _, errors = watcher.communicate(timeout=10)
    assert watcher.returncode in (0, 3)
    assert errors == b""


def test_a_reader_who_left(run_dir: Path) -> None:
    with fake_gateway(run_dir, "a", SERVER), _script("status") as asking:
        assert asking.stdout is not None
        asking.stdout.close()
        assert asking.wait(timeout=10) == 0
        assert asking.stderr is not None
        assert asking.stderr.read() == b""


def _ended(words: str, **streams: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "gateway.ctl.main", *words.split()],
        check=False,
        text=True,
        timeout=10,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},  # type: ignore[call-overload]
    )


@pytest.mark.parametrize("words", ["status", "status a --json", "status --watch 0.1", "list"])
def test_a_full_disk_is_not_called_degraded(words: str, run_dir: Path) -> None:
    with fake_gateway(run_dir, "a", SERVER), Path("/dev/full").open("wb") as full:
        told = _ended(words, stdout=full)
        untold = _ended(words, stdout=full, stderr=full)
    assert told.stderr == (
        "gateway-ctl: standard output cannot be written: No space left on device\n"
    )
    assert (told.returncode, untold.returncode) == (3, 3)


@pytest.mark.parametrize("words", ["--help", "status --help", "--version"])
def test_help_for_a_full_disk(words: str) -> None:
    with Path("/dev/full").open("wb") as full:
        told = _ended(words, stdout=full)
    assert "standard output cannot be written" in told.stderr
    assert told.returncode == 3


def test_what_cannot_be_said_leaves_the_exit_status(run_dir: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        assert _ended("status", stderr=full).returncode == 3
        with fake_gateway(run_dir, "a", SERVER):
            assert _ended("status a b", stderr=full).returncode == 2


def test_closed_streams(run_dir: Path) -> None:
    shell = ["sh", "-c", '"$0" -m gateway.ctl.main status a >&- 2>&-', sys.executable]
    with fake_gateway(run_dir, "a", SERVER):
        assert subprocess.run(shell, check=False, timeout=10).returncode == 0
    assert subprocess.run(shell, check=False, timeout=10).returncode == 3


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"LC_ALL": "", "LANG": "C"}, {"LC_ALL": ""}])
def test_a_posix_locale_gets_ascii(run_dir: Path, locale: dict[str, str]) -> None:
    environment = {"LC_CTYPE": "", "LANG": "", **locale}
    with fake_gateway(run_dir, "a", SERVER), _script("status", **environment) as asking:
        out, err = asking.communicate(timeout=10)
    assert asking.returncode == 0
    assert out.isascii()
    assert b"###" in out
    assert err == b""
