"""Run a command as root where that needs no question; else as it is.

tox runs the tests that need root through this. Without root they skip, and say so. What
runs as root writes no bytecode, and the report it fills in was created by its caller.
"""

import os
import shutil
import subprocess
import sys

PASSED_ON = (
    "PATH",
    "REQUIRE",
    "TERM",
    "LANG",
    "LC_ALL",
    "PYTHONPATH",
    "PYTHONSAFEPATH",
    "TOX_ENV_NAME",
)


def sudo() -> list[str]:
    """Give the words that make a command root's, none when it is or when it cannot be."""
    name = os.environ.get("SUDO", "sudo")
    if os.geteuid() == 0 or not name or not shutil.which(name):
        return []
    asked = subprocess.run([name, "-n", "true"], check=False, capture_output=True)
    if asked.returncode != 0:
        return []
    passed = [f"{word}={os.environ[word]}" for word in PASSED_ON if word in os.environ]
    return [name, "-n", "--", "env", "PYTHONDONTWRITEBYTECODE=1", *passed]


def main() -> None:
    """Become the command."""
    command = sys.argv[1:]
    # An ordinary user's PATH lacks the folders where ip, tc and nft live.
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    found = shutil.which(command[0])
    if found is None:
        raise SystemExit(f"as_root: {command[0]} is not on the PATH")
    for word in command:
        report = word.removeprefix("--junit-xml=")
        if report != word:
            os.close(os.open(report, os.O_CREAT | os.O_WRONLY, 0o644))
    arguments = [*sudo(), found, *command[1:]]
    os.execvp(arguments[0], arguments)


if __name__ == "__main__":
    main()
