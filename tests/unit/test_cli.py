"""The command line: flags as Go reads them, exit statuses, what goes where."""

import io
import json
import os
import subprocess
import sys
import types
from functools import partial
from pathlib import Path

import pytest
import yaml

from gateway import __version__, cli
from gateway.errors import HostError

HUB = "tun://:8421?net=192.168.123.1/24"
SITE = "tun://:0/hub:8421?net=192.168.124.2/24&passphrase=geheim"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    for name in ("GOST_LOGGER_LEVEL", "GOST_API", "GOST_METRICS", "GOST_PROFILING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(cli, "default_file", partial(cli.default_file, etc=tmp_path / "etc"))


@pytest.fixture
def ran(monkeypatch):
    """What was handed to the supervisor."""
    configs = []
    module = types.ModuleType("gateway.supervisor.run")
    module.run = lambda config: configs.append(config) or 0
    monkeypatch.setitem(sys.modules, "gateway.supervisor.run", module)
    return configs


@pytest.mark.parametrize(
    "argv",
    [
        ["-L", HUB],
        [f"-L={HUB}"],
        ["--L", HUB],
        [f"--L={HUB}"],
        ["--listen", HUB],
        [f"--listen={HUB}"],
        ["-listen", HUB],
    ],
)
def test_every_way_to_write_a_flag(ran, argv):
    assert cli.main(argv) == 0
    assert ran[0].instance == "192.168.123.1"


def test_flags_can_be_repeated(ran):
    assert cli.main(["-D", "-L", HUB, "--instance", "office", "-L", SITE]) == 0
    config = ran[0]
    assert [s.name for s in config.services] == ["service-0", "service-1"]
    assert (config.instance, config.log_level) == ("office", "debug")


def test_the_command_line_beats_nothing_but_the_log_level(ran, tmp_path):
    (tmp_path / "a.yaml").write_text("log: {level: error}\n")
    assert cli.main(["-C", "a.yaml", "-L", HUB]) == 0
    assert cli.main(["-C", "a.yaml", "-L", HUB, "-D"]) == 0
    assert cli.main(["-C", "a.yaml", "-L", HUB, "-DD", "-D=false"]) == 0
    assert [config.log_level for config in ran] == ["error", "debug", "error"]


def test_the_supervisors_status_is_ours(ran, monkeypatch, capsys):
    def run(config):
        raise HostError("no /dev/net/tun: load the module tun")

    assert cli.main(["-L", HUB]) == 0
    monkeypatch.setattr(sys.modules["gateway.supervisor.run"], "run", run)
    assert cli.main(["-L", HUB]) == 3
    assert capsys.readouterr().err == "gateway: error: no /dev/net/tun: load the module tun\n"


def test_warnings_go_to_standard_error(ran, capsys):
    assert cli.main(["-L", HUB + "&guid=1"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "gateway: warning: -L #1: guid: has no use here and is ignored\n"
    assert captured.out == ""


def test_check(capsys):
    assert cli.main(["-t", "-L", SITE]) == 0
    captured = capsys.readouterr()
    assert captured.err == "configuration is good\n"
    document = yaml.safe_load(captured.out)
    assert document["services"][0]["handler"]["metadata"]["passphrase"] == "***"
    assert "geheim" not in captured.out


def test_check_shows_where_and_what_is_amiss(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / "people").write_text("192.168.123.2 geheim\nbob geheim\n")
    (tmp_path / "a.yaml").write_text(
        "services: [{name: hub, addr: ':1', handler: {type: tun, auther: x}, "
        "listener: {type: tun, metadata: {net: 192.168.123.1/24}}}]\n"
        "authers: [{name: x, file: {path: people}}]\n"
    )
    assert cli.main(["-t", "-C", "a.yaml"]) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        f"gateway: warning: {tmp_path}/people:2: the username is not an IP address",
        "configuration is good",
    ]
    assert "- name: hub " in captured.out
    assert "# a.yaml:1:19" in captured.out
    assert "geheim" not in captured.out


def test_the_environment_counts_and_flags_beat_it(ran, monkeypatch, capsys):
    monkeypatch.setenv("GOST_LOGGER_LEVEL", "error")
    monkeypatch.setenv("GOST_METRICS", ":9000")
    assert cli.main(["-L", HUB]) == 0
    assert cli.main(["-L", HUB, "-D"]) == 0
    assert [config.log_level for config in ran] == ["error", "debug"]
    line = "gateway: warning: environment: GOST_METRICS has no use here"
    assert capsys.readouterr().err.splitlines() == [line] * 2


@pytest.mark.parametrize("flag", ["--ignore-unsupported", "-ignore-unsupported=true"])
def test_the_rest_of_a_gost_command_line(ran, capsys, flag):
    argv = ["-L", "socks5://:1080", "-L", HUB, "-api", ":18080"]
    assert cli.main(argv) == 2
    assert capsys.readouterr().err.splitlines() == [
        (
            "gateway: error: 2 things here are not supported by this program: leave them out, or "
            "run the rest with --ignore-unsupported"
        ),
        "gateway: error:   flag --api: the web API (gateway-ctl looks inside)",
        'gateway: error:   -L #1: a service of "socks5"',
    ]
    assert cli.main([*argv, flag]) == 0
    assert [s.place for s in ran[0].services] == ["-L #2"]
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize(("form", "parse"), [("yaml", yaml.safe_load), ("json", json.loads)])
def test_convert(capsys, form, parse):
    assert cli.main(["-O", form, "-L", SITE]) == 0
    captured = capsys.readouterr()
    document = parse(captured.out)
    assert document["services"][0]["handler"]["metadata"]["passphrase"] == "geheim"
    assert captured.err == ""


def test_a_file_from_standard_input(ran, monkeypatch, capsys):
    assert cli.main(["-O", "yaml", "-L", HUB]) == 0
    text = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert cli.main(["-C", "-"]) == 0
    assert ran[0].services[0].port == 8421


def test_standard_input_that_is_closed_is_an_empty_file():
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m gateway -t -C - <&-', sys.executable],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    line = "gateway: error: <stdin>: services: there is none: write one, or give -L\n"
    assert (done.returncode, done.stderr) == (2, line)


@pytest.mark.parametrize("words", [["-h"], ["-V"], ["-t", "-L", HUB], ["-O", "yaml", "-L", HUB]])
def test_a_full_disk_is_said_in_one_line(words):
    command = [sys.executable, "-m", "gateway", *words]
    with Path("/dev/full").open("wb") as full:
        told = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        untold = subprocess.run(command, stdout=full, stderr=full, check=False)
    line = "gateway: error: standard output cannot be written: No space left on device\n"
    assert told.stderr.removeprefix("configuration is good\n").endswith(line)
    assert "Traceback" not in told.stderr
    assert (told.returncode, untold.returncode) == (3, 3)


@pytest.mark.parametrize(("words", "status"), [(["-x"], 2), ([], 2), (["-t", "-L", HUB], 0)])
def test_what_cannot_be_said_leaves_the_exit_status(words, status):
    command = [sys.executable, "-m", "gateway", *words]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=full, check=False)
    assert done.returncode == status


def test_version(capsys):
    assert cli.main(["-V"]) == 0
    assert capsys.readouterr().out.startswith(f"gateway {__version__} (Python 3.")


@pytest.mark.parametrize("flag", ["-h", "-help", "--help"])
def test_help(capsys, flag):
    assert cli.main([flag]) == 0
    assert capsys.readouterr().out == cli.USAGE


def test_nothing_said_prints_the_flags(capsys):
    assert cli.main([]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", cli.USAGE)


def test_nothing_said_with_a_file_in_a_usual_place(ran, tmp_path):
    text = "services: [{addr: ':1', handler: {type: tun}, listener: {type: tun, "
    (tmp_path / "gost.yaml").write_text(text + "metadata: {net: 10.0.0.1/24}}}]")
    assert cli.main([]) == 0
    assert cli.main(["-D"]) == 0
    assert [config.services[0].place for config in ran] == ["gost.yaml:1:12"] * 2


@pytest.mark.parametrize(
    ("argv", "lines"),
    [
        (["-L"], ["flag -L needs a value"]),
        (["-Q"], ["unknown flag -Q: see gateway --help"]),
        (["--lisen", "x"], ["unknown flag --lisen: did you mean --listen?"]),
        (["--configs=x"], ["unknown flag --configs: did you mean --config?"]),
        (["--a\nb"], ["unknown flag --a\\nb: see gateway --help"]),
        (
            ["foo"],
            ['unexpected argument "foo": every argument is a flag or a flag\'s value'],
        ),
        (
            ["tun://u:geheim@:8421?passphrase=geheim"],
            ['unexpected argument: a service is given by -L, as in -L "tun://:8421..."'],
        ),
        (
            ["-L", HUB, "--", "-L", HUB],
            [("flag --: several processes on one command line are not supported by this program")],
        ),
        (["-D=maybe"], ['flag -D: "maybe" is not a boolean: write true or false']),
        (["-O", "toml"], ['flag -O: "toml" is no format: write yaml or json']),
        (
            ["-R", "10s", "-api", ":80", "-metrics=:90"],
            [
                (
                    "3 things here are not supported by this program: leave them out, or run the "
                    "rest with --ignore-unsupported"
                ),
                "  flag --reload: reading the configuration again now and then",
                "  flag --api: the web API (gateway-ctl looks inside)",
                "  flag --metrics: metrics for Prometheus (gateway-ctl status shows the counters)",
            ],
        ),
        (
            [
                "-L",
                "tun://:0/:8421?net=192.168.123.2/24&keepAlive=true&route=192.168.101.0/24",
                "-F",
                "relay+wss://u:geheim@1.2.3.4:443?x=geheim",
            ],
            [
                (
                    "-F #1: unknown option x: wss has handshakeTimeout, keepalive.idle, "
                    "keepalive.count, path, host, ttl, keepalive, enableCompression"
                )
            ],
        ),
        (
            ["-L", "tun://:8421", "-L", "tunn://:1", "--instance", "a/b"],
            [
                '-L #2: unknown scheme "tunn": did you mean tun?',
                (
                    "-L #1: net: missing: write this host's address in the tunnel, for example "
                    "net=192.168.123.1/24"
                ),
                (
                    "--instance: \"a/b\" is no name: write up to 64 letters, digits, '.', '_', "
                    "':', '@' or '-'"
                ),
            ],
        ),
    ],
)
def test_errors(capsys, argv, lines):
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [f"gateway: error: {line}" for line in lines]
    assert captured.out == ""


@pytest.mark.parametrize("argv", [["-L", HUB, "-t"], ["-L", "tun://\u00e9:1", "-t"]])
def test_as_a_program_in_a_posix_locale(argv):
    environment = {**os.environ, "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *argv],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 2)
    assert "Traceback" not in done.stderr
    assert done.stderr


def test_a_check_loads_nothing_of_the_data_plane():
    code = (
        "import sys; from gateway.cli import main; main(['-t', '-L', sys.argv[1]]); "
        "print([m for m in sys.modules if m.startswith(('gateway.supervisor', "
        "'gateway.fastpath', 'gateway.linux', 'pyroute2'))], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, HUB], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize("flags", [["-t"], ["-O", "yaml"], ["-h"], ["-V"]])
def test_who_reads_the_beginning_only_sees_no_error(flags):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "-L", HUB, *flags],
        stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writing)
    assert done.returncode == 0
    assert "Error" not in done.stderr


def test_an_interruption_before_the_start_is_no_crash(ran, monkeypatch):
    def interrupted(_config):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["gateway.supervisor.run"], "run", interrupted)
    assert cli.main(["-L", HUB]) == 130
