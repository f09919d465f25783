"""Find the Pythons of this machine by starting them.

A name on the PATH proves nothing: a version manager's shim can exist and still fail. So
every candidate runs `probe.py`, and what it says of itself counts. Of each minor version
the newest that can build the gateway is kept.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MINORS = ("3.11", "3.12", "3.13", "3.14")
"""What the gateway supports, oldest first. The same list is in pyproject.toml and tox.ini."""

PROBE = Path(__file__).with_name("probe.py")


@dataclass(frozen=True)
class Interpreter:
    """A Python that starts. `lacks` names what keeps it from building the gateway."""

    executable: Path
    version: str
    minor: str
    lacks: str

    @property
    def order(self) -> tuple[bool, list[int]]:
        """The best of one minor version: usable before unusable, then the newest."""
        return not self.lacks, [int(part) for part in self.version.split(".")]


@dataclass(frozen=True)
class Found:
    """The best interpreter of each supported minor version, and what did not start."""

    best: dict[str, Interpreter]
    broken: tuple[Path, ...]

    @property
    def usable(self) -> list[Interpreter]:
        """What the tests run on, oldest first."""
        return [
            self.best[minor]
            for minor in MINORS
            if minor in self.best and not self.best[minor].lacks
        ]

    @property
    def unusable(self) -> list[Interpreter]:
        """What starts but cannot build the gateway."""
        return [found for found in self.best.values() if found.lacks]

    @property
    def absent(self) -> list[str]:
        """The minor versions nobody has here."""
        return [minor for minor in MINORS if minor not in self.best]


def candidates() -> Iterator[Path]:
    """Every place a Python may be: the PATH, /usr/bin, the versions of pyenv."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/local/bin"]
    for folder in filter(None, folders):
        for minor in MINORS:
            yield Path(folder, f"python{minor}")
        yield Path(folder, "python3")
    roots = {os.environ.get("PYENV_ROOT", ""), str(Path("~/.pyenv").expanduser())}
    for root in filter(None, sorted(roots)):
        yield from sorted(Path(root, "versions").glob("3.*/bin/python"))


def start(candidate: Path) -> Interpreter | None:
    """Run the probe in `candidate`. None: it does not start, or is no CPython with a GIL."""
    try:
        answer = subprocess.run(
            [candidate, "-E", PROBE],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    facts = dict(line.split(" ", 1) for line in answer.stdout.splitlines() if " " in line)
    if facts.get("kind") != "cpython":
        return None
    minor = facts["minor"]
    needed = {
        "headers": f"Python.h (python{minor}-dev)",
        "venv": f"venv (python{minor}-venv)",
        "ssl": "ssl",
    }
    lacks = ", ".join(text for word, text in needed.items() if facts.get(word) != "yes")
    return Interpreter(Path(facts["executable"]), facts["version"], minor, lacks)


def find() -> Found:
    """Start everything that might be a supported Python."""
    best: dict[str, Interpreter] = {}
    broken: list[Path] = []
    seen: set[Path] = set()
    for candidate in candidates():
        if candidate in seen or not shutil.which(candidate):
            continue
        seen.add(candidate)
        interpreter = start(candidate)
        if interpreter is None:
            broken.append(candidate)
        elif interpreter.minor in MINORS:
            known = best.get(interpreter.minor)
            if known is None or interpreter.order > known.order:
                best[interpreter.minor] = interpreter
    return Found(best, tuple(broken))
