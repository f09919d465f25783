"""The last step of `make run`, `make demo` and the benches: start the program, as root if we may.

Nothing is left between make and the program: this process becomes it (or sudo), so Ctrl-C
and the exit status pass straight through. A program that runs as root is told to write no
bytecode, so that nothing in the checkout becomes root's.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECIPE_SERVER = '-L "tun://:8421?net=192.168.123.1/24"'

BENCHES = {"bench": "bench/run.py", "carriers": "bench/carriers.py"}
USAGE = "usage: launch.py run|demo|bench|carriers"


def command(what: str, arguments: str) -> list[str]:
    """Give the argument vector of one of them; `arguments` is quoted as in a shell."""
    given = shlex.split(arguments)
    if what == "run":
        return [".venv/bin/gateway", *(given or shlex.split(RECIPE_SERVER))]
    if what == "demo":
        return [".venv/bin/python", "bench/demo.py", *given]
    if what in BENCHES:
        return [".venv/bin/python", BENCHES[what], *given]
    raise SystemExit(USAGE)


def as_root(arguments: list[str], extra: dict[str, str], sudo: str) -> list[str]:
    """Put sudo in front where it is needed and there; the program itself says what it lacks."""
    if os.geteuid() == 0:
        return arguments
    if not sudo or not shutil.which(sudo):
        print("launch: not root and no sudo, so it is started as it is", file=sys.stderr)
        return arguments
    return [sudo, "--", "env", *(f"{name}={value}" for name, value in extra.items()), *arguments]


def main() -> None:
    """Become the program."""
    os.chdir(ROOT)
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        arguments = command(what, os.environ.get("ARGS", ""))
    except ValueError as error:
        raise SystemExit(f"launch: ARGS cannot be read: {error}") from None
    extra = {"PYTHONDONTWRITEBYTECODE": "1"}
    if what != "run":
        # sudo's own PATH would hide a `gost` of the user's; ip and tc are in sbin.
        extra["PATH"] = os.environ["PATH"] + ":/usr/sbin:/sbin"
    os.environ.update(extra)
    print("+", shlex.join(arguments), flush=True)
    started = as_root(arguments, extra, os.environ.get("SUDO", "sudo"))
    try:
        os.execvp(started[0], started)
    except OSError as error:
        raise SystemExit(f"launch: {started[0]} cannot be started: {error.strerror}") from None


if __name__ == "__main__":
    main()
