"""The command line of `gateway`: GOST's flags, read as Go's flag package reads them.

`-L v`, `-L=v` and `--L v` are the same; a flag's value may begin with `-`. Nothing is
started before everything that was said has been read and found good.
"""

import contextlib
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from gateway import __version__
from gateway.config import render
from gateway.config.build import build
from gateway.config.environment import with_environment
from gateway.config.model import Config
from gateway.config.option import nearest
from gateway.config.sources import default_file, read_tree
from gateway.config.tree import Node, Report, one_line, plain
from gateway.config.url import without_userinfo
from gateway.config.values import BadValueError, boolean, shown
from gateway.errors import ConfigError, GatewayError, HostError

STANDARD_ERROR = 2
INTERRUPTED = 130

USAGE = """\
usage: gateway -L URL [-L URL]... [-C FILE]... [flags]

  gateway -L "tun://:8421?net=192.168.123.1/24"
  gateway -L "tun://:0/SERVER:8421?net=192.168.123.2/24&keepAlive=true&route=192.168.100.0/24"

  -L, --listen URL      a service; may be repeated
  -F, --forward URL     a hop of the clients' chain: relay+wss://HOST:PORT; may be repeated
  -C, --config FILE     a configuration, YAML or JSON, - for standard input; may be repeated
  -O, --output FORMAT   print the configuration as yaml or json, secrets included, and exit
  -t, --check           check the configuration, print what is in effect, and exit
  -D, --debug           log more
      --ignore-unsupported   run what this program does of a configuration of GOST's
      --instance NAME   the name of this instance (default: its first net address)
  -V, --version         print the version and exit
  -h, --help            print this and exit

Without -L and -C: gateway.yaml, .yml or .json, or gost.*, in /etc/gateway, /etc/gost,
$HOME/.gost or here.
"""

_FLAGS = {
    "L": "listen",
    "C": "config",
    "O": "output",
    "D": "debug",
    "DD": "debug",
    "V": "version",
    "t": "check",
    "h": "help",
    "F": "forward",
    "R": "reload",
}
_LONG = frozenset({*_FLAGS.values(), "instance", "api", "metrics", "ignore_unsupported"})
_SWITCHES = frozenset({"debug", "version", "check", "help", "ignore_unsupported"})
_UNSUPPORTED = {
    "reload": "reading the configuration again now and then",
    "api": "the web API (gateway-ctl looks inside)",
    "metrics": "metrics for Prometheus (gateway-ctl status shows the counters)",
}


@dataclass(slots=True)
class Command:
    """What the command line asks for."""

    listen: list[str] = field(default_factory=list)
    config: list[str] = field(default_factory=list)
    forward: list[str] = field(default_factory=list)
    output: str = ""
    instance: str | None = None
    unsupported: set[str] = field(default_factory=set)
    ignore_unsupported: bool = False
    debug: bool = False
    version: bool = False
    check: bool = False
    help: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gateway`; the exit status (see `errors`)."""
    _open_standard_streams()
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    except GatewayError as error:
        for line in str(error).splitlines():
            _say("error", line)
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED  # the supervisor, once it runs, has its own way to stop
    finally:
        try:
            sys.stderr.flush()
        except OSError:
            _discard(sys.stderr)


def _open_standard_streams() -> None:
    """Where a stream was closed its number must not become a socket's: open /dev/null."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= STANDARD_ERROR:
        os.set_inheritable(fd, True)
    os.close(fd)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _main(argv: Sequence[str]) -> int:
    command = parse(argv)
    if command.help:
        _print(USAGE)
        return 0
    if command.version:
        system = f"{platform.system().lower()}/{platform.machine()}"
        _print(f"gateway {__version__} (Python {platform.python_version()} {system})\n")
        return 0
    if not (command.listen or command.config or command.forward):
        path = default_file()
        if path is not None:
            command.config.append(str(path))
        elif not command.unsupported:
            _complain(USAGE)
            return 2
    tree, config, report = _configuration(command)
    for line in config.warnings:
        _say("warning", line)
    if command.output:
        _print(render.render(plain(tree), command.output))
        return 0
    if command.check:
        from gateway.check import look  # noqa: PLC0415 (only a check needs the sources)

        for line in look(config):
            _say("warning", line)
        _complain("configuration is good\n")
        cpus = len(os.sched_getaffinity(0))
        _print(render.explained(config, report.origins, cpus))
        return 0
    from gateway.supervisor.run import run  # noqa: PLC0415 (checks must not need the data plane)

    del argv, command, tree, report  # they hold secrets, and children inherit this memory
    return run(config)


def _print(text: str) -> None:
    """To standard output, of which somebody may read the beginning only. Raises HostError."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
    except OSError as error:
        _discard(sys.stdout)
        raise HostError(f"standard output cannot be written: {error.strerror}") from None


def _say(level: str, line: str) -> None:
    _complain(f"gateway: {level}: {line}\n")


def _complain(text: str) -> None:
    """To standard error. Where that takes nothing, the exit status has to tell."""
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _discard(stream: TextIO) -> None:
    """What is still buffered must not fail once more when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _configuration(command: Command) -> tuple[Node, Config, Report]:
    """What was said, and what it means. Raises ConfigError with every problem."""
    report = Report(ignore_unsupported=command.ignore_unsupported)
    for flag, advice in _UNSUPPORTED.items():
        if flag in command.unsupported:
            report.refuse(f"flag {_dashed(flag)}", advice)
    tree = read_tree(command.listen, command.config, report, command.forward)
    config = build(
        with_environment(tree, os.environ, report),
        report,
        instance=command.instance,
        debug=command.debug,
    )
    return tree, config, report


def parse(argv: Sequence[str]) -> Command:
    """Read the flags. Raises ConfigError with every problem."""
    command = Command()
    problems: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if len(word) < 2 or not word.startswith("-") or word == "--":
            problems.append(_unexpected(word))
            break
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        flag = _FLAGS.get(name, name.replace("-", "_"))
        if flag not in _LONG:
            problems.append(_unknown(name))
            break
        if flag not in _SWITCHES and not equals:
            if not rest:
                problems.append(f"flag {_dashed(name)} needs a value")
                break
            value = rest.pop(0)
        problem = _apply(command, flag, name, value if equals or flag not in _SWITCHES else "true")
        if problem:
            problems.append(problem)
    if problems:
        raise ConfigError(*problems)
    return command


def _apply(command: Command, flag: str, name: str, value: str) -> str:
    """Note one flag; the problem, if there is one."""
    if flag in _UNSUPPORTED:
        command.unsupported.add(flag)
        return ""
    if flag in _SWITCHES:
        try:
            setattr(command, flag, boolean(value))
        except BadValueError as error:
            return f"flag {_dashed(name)}: {error}"
        return ""
    if flag in ("listen", "config", "forward"):
        getattr(command, flag).append(value)
    elif flag == "instance":
        command.instance = value
    elif value in ("yaml", "json"):
        command.output = value
    else:
        return f"flag {_dashed(name)}: {shown(value)} is no format: write yaml or json"
    return ""


def _unexpected(word: str) -> str:
    if word == "--":
        return "flag --: several processes on one command line are not supported by this program"
    if "://" in word:
        return f"unexpected argument: a service is given by -L, as in -L {_quoted(word)}"
    return f"unexpected argument {shown(word)}: every argument is a flag or a flag's value"


def _quoted(url: str) -> str:
    return '"' + without_userinfo(url) + '..."'


def _unknown(name: str) -> str:
    near = nearest(name, sorted({*_FLAGS, *(flag.replace("_", "-") for flag in _LONG)}))
    hint = f"did you mean {_dashed(near)}?" if near else "see gateway --help"
    return f"unknown flag {one_line(_dashed(name))}: {hint}"


def _dashed(name: str) -> str:
    return f"-{name}" if len(name) <= 2 else f"--{name}"
