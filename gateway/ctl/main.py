"""`gateway-ctl`: its command line. What it does is in `commands`.

Only argparse is imported at once: `--version`, `--help` and a wrong command line answer
before anything else is loaded.
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from gateway import __version__
from gateway.protocol.instances import DEFAULT_RUN_DIRECTORY

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

MISUSED = 2
INTERRUPTED = 130
WATCH_SECONDS = 2.0
SHORTEST_WATCH_SECONDS = 0.1
CODES = ("url", "yaml")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    from gateway.ctl import printing  # noqa: PLC0415

    printing.open_standard_streams()
    try:
        arguments = _parse(argv)
    except SystemExit as ended:
        raise SystemExit(printing.end(int(ended.code or 0))) from None
    except OSError:  # the complaint could not be written: Python 3.11.0 does not pass over that
        raise SystemExit(printing.end(MISUSED)) from None
    # msgspec takes longer than all before
    from gateway.ctl import commands  # noqa: PLC0415

    try:
        return commands.run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gateway-ctl",
        description="Ask a running gateway how it is.",
        epilog="Exit status: 0 healthy, 1 degraded or no answer, 2 wrong command line,"
        " 3 not running or nothing can be written, 4 no permission; of several instances,"
        " the worst.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"gateway-ctl {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    status = commands.add_parser(
        "status",
        help="show services, processes, peers, traffic and drops",
        description="Show an instance, or all of this host"
        f" (control sockets in {DEFAULT_RUN_DIRECTORY}, or in GATEWAY_RUN_DIR).",
        allow_abbrev=False,
    )
    status.add_argument("name", nargs="?", metavar="NAME", help="the instance (default: all)")
    status.add_argument("--instance", metavar="NAME", help="the same, for names that begin with -")
    status.add_argument(
        "--json",
        action="store_true",
        help='print JSON: the status of NAME, without NAME {"instances": [...]}',
    )
    status.add_argument(
        "--watch",
        nargs="?",
        type=_seconds,
        const=WATCH_SECONDS,
        metavar="SECONDS",
        help=f"again every SECONDS (default {WATCH_SECONDS:g}) until Ctrl-C; with --json a"
        " line each time",
    )
    status.add_argument(
        "--peer",
        action="append",
        type=_network,
        default=[],
        metavar="ADDRESS[/LENGTH]",
        help="only peers with a tunnel address, a network or a remote address in it; repeatable",
    )
    status.add_argument("--quiet", action="store_true", help="print nothing: exit status only")
    commands.add_parser("list", help="one line per instance", allow_abbrev=False)
    _add_client(commands)
    arguments = parser.parse_args(_spelled(argv), argparse.Namespace(quiet=False))
    if arguments.command == "status":
        _settle(status, arguments)
    return arguments


def _add_client(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    client = commands.add_parser(
        "client",
        help="show what to run on a client",
        description="Print the command line and the YAML for the client with a tunnel address,"
        " for this program and for stock GOST.",
        allow_abbrev=False,
    )
    client.add_argument(
        "addresses",
        nargs="+",
        metavar="ADDRESS",
        help="its tunnel address; of both families, if it has two",
    )
    client.add_argument(
        "--host",
        default="",
        metavar="HOST[:PORT]",
        help="the server as clients reach it (default: the address that present ones use)",
    )
    client.add_argument(
        "--passphrase-file",
        metavar="FILE",
        help="its first line is the passphrase (default: a placeholder; nobody else knows it)",
    )
    client.add_argument(
        "--qr",
        nargs="?",
        const="url",
        choices=CODES,
        help="a QR code instead, of the URL or of the YAML",
    )
    client.add_argument("--instance", metavar="NAME", help="the server (default: any that fits)")


def _spelled(argv: Sequence[str] | None) -> list[str]:
    """The words, where `--qr` before an address means what it means behind it."""
    words = list(sys.argv[1:] if argv is None else argv)
    for at, (word, after) in enumerate(pairwise(words)):
        if word == "--qr" and after not in CODES:
            words[at] = f"--qr={CODES[0]}"
    return words


def _settle(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if arguments.quiet and (arguments.json or arguments.watch is not None):
        parser.error("--quiet prints nothing: leave out --json and --watch")
    if arguments.instance is None:
        arguments.instance = arguments.name
    elif arguments.name not in (None, arguments.instance):
        parser.error(f"two instances: {arguments.instance} and {arguments.name}; name one or none")


def _network(text: str) -> "IPv4Network | IPv6Network":
    from ipaddress import ip_network  # noqa: PLC0415

    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither an address nor a network: write ADDRESS or ADDRESS/LENGTH"
        ) from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if SHORTEST_WATCH_SECONDS <= seconds <= 86400:
        return seconds
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a number of seconds from {SHORTEST_WATCH_SECONDS} to 86400;"
        " an instance comes before it: gateway-ctl status NAME --watch"
    )


if __name__ == "__main__":
    sys.exit(main())
