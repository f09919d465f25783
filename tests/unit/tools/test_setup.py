"""What tools/setup.sh says when it cannot go on: one sentence that names the remedy.

It runs in a copy of the checkout's few files that it reads, and finds nothing but the programs
put there for it: so no package is installed and no network is asked.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TOOLS = (
    "cat", "chmod", "cp", "cut", "dirname", "echo", "find", "grep", "head", "mkdir", "mktemp",
    "readlink", "rm", "sed", "sh", "sha256sum", "sort", "stat", "tail", "tr", "xargs",
)  # fmt: skip
FACTS = {
    "version": "3.12.1",
    "minor": "3.12",
    "kind": "cpython",
    "headers": "yes",
    "venv": "yes",
    "ensurepip": "yes",
    "ssl": "yes",
}
NEEDED = "ca-certificates gcc libc6-dev libcap-dev iperf3 iproute2 iputils-ping"
VENV, DEV = "python3-venv (python3.12-venv)", "python3-dev (python3.12-dev)"
NO_PYTHON = "install one, or name it with PYTHON=."
SHIM = "a version manager's shim whose version is not active?"
FULL = "ERROR: Could not install packages due to an OSError: No space left on device"
PAGE = """\
WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after \
connection broken by 'NewConnectionError("<Connection object>: Failed to establish a new \
connection: [Errno -2] Name or service not known")': /simple/pip/
ERROR: No matching distribution found for pip
"""
UNREACHABLE = (
    "pip cannot reach the package index (Name or service not known): look at the network and"
    " its proxy, or name another index with PIP_INDEX_URL=."
)


@dataclass
class Host:
    """A machine that has what it was given."""

    path: Path
    checkout: Path

    def has(self, name: str, script: str) -> Path:
        """A program of this name."""
        file = self.path / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        return file

    def has_python(self, name: str = "python3", then: str = "exit 1", **facts: str) -> None:
        """An interpreter that says this of itself, and does `then` whatever else it is told."""
        said = FACTS | {"executable": f"{self.path}/{name}"} | facts
        lines = "\n".join(f"{word} {value}" for word, value in said.items())
        self.has(name, f'case "$1" in\n-E) echo "{lines}" ;;\n*) {then} ;;\nesac')

    def has_apt(self, *known: str, get: str = "exit 0", akin: str = "") -> None:
        """Debian, with none of the packages installed and these to be had.

        Where it has none of that name it finds `akin`. It speaks German, unless told not to.
        """
        self.has("apt-get", get)
        self.has("dpkg-query", "exit 1")
        names = "|".join(known) or "-"
        other = f"*) found={akin} ;;" if akin else "*) exit ;;"
        self.has(
            "apt-cache",
            f'case "$2" in\n{names}) found=$2 ;;\n{other}\nesac\n'
            '[ "${LC_ALL:-}" = C ] && word=Candidate || word=Installationskandidat\n'
            'printf "%s:\\n  Installed: (none)\\n  %s: 1.0\\n" "$found" "$word"',
        )

    def has_compiler(self, *missing: str) -> None:
        """A compiler that finds all headers but these."""
        names = "".join(f"*{name}*) exit 1 ;;\n" for name in missing)
        self.has("cc", f'case "$(cat)" in\n{names}*) ;;\nesac')

    def set_up(self, *arguments: str, **environment: str) -> tuple[int, list[str]]:
        """Run it: the exit status and what it said, without `setup: `."""
        done = subprocess.run(
            [self.path / "sh", "tools/setup.sh", *arguments],
            check=False,
            cwd=self.checkout,
            env={"PATH": str(self.path), "HOME": str(self.path), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, [
            line.removeprefix("setup: ") for line in done.stdout.splitlines() if line
        ]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Without a Python, a compiler, packages, sudo; whoever is there is no root."""
    path, checkout = tmp_path / "bin", tmp_path / "a checkout"
    for folder in (path, checkout / "tools", checkout / "requirements", checkout / "gateway"):
        folder.mkdir(parents=True)
    for name in TOOLS:
        (path / name).symlink_to(str(shutil.which(name)))
    for name in ("setup.sh", "apt.sh", "install-packages.sh", "probe.py"):
        text = (ROOT / "tools" / name).read_text()
        # Two places that are not found by PATH: the distribution's own, which a test must not see.
        text = text.replace("/usr/bin/python3", f"{path}/none/python3")
        text = text.replace("/usr/sbin/policy-rc.d", f"{path}/policy-rc.d")
        (checkout / "tools" / name).write_text(text)
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements/lock.txt"):
        (checkout / name).write_text("")
    (checkout / "requirements/build.txt").write_text("")
    made = Host(path, checkout)
    made.has("id", "echo 1000")
    return made


def test_without_a_python(host: Host) -> None:
    status, lines = host.set_up()
    assert status == 1
    assert lines == [
        "system packages, by their Debian names (no apt here, install what is missing): " + NEEDED,
        f"no Python 3.11 or newer was found: {NO_PYTHON}",
    ]


def test_with_pythons_that_will_not_do(host: Host) -> None:
    host.has_python("python3", version="3.9.2", minor="3.9")
    host.has("python3.12", "echo no such version >&2; exit 127")
    status, lines = host.set_up()
    why = "python3 is 3.9.2, python3.12 does not start"
    assert (status, lines[-1]) == (1, f"no Python 3.11 or newer was found ({why}): {NO_PYTHON}")


def test_a_python_that_this_release_has(host: Host) -> None:
    host.has_apt("python3.11", "python3.12")
    status, lines = host.set_up()
    assert status == 1
    packages = "python3.12 python3.12-dev python3.12-venv"
    assert f"there is no sudo here; as root: apt-get install {packages}" in lines
    assert lines[-1] == f"no Python 3.11 or newer was found: {NO_PYTHON}"


def test_a_package_whose_name_is_much_like_a_python(host: Host) -> None:
    """Ubuntu has a postgresql-plpython3-14."""
    host.has_apt("gcc", akin="plpython3-14", get='case "$*" in *install*) echo "$*" >&2 ;; esac')
    host.has("sudo", 'shift; exec "$@"')
    status, lines = host.set_up()
    assert status == 1
    assert lines[2:] == [
        *(f"this system has no package {name}" for name in NEEDED.split() if name != "gcc"),
        "installing gcc",
        f"no Python 3.11 or newer was found: {NO_PYTHON}",
    ]


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("", "PYTHON=mine: there is no such program."),
        ("exit 127", f"PYTHON=mine: {{}} does not start ({SHIM}); name one that does."),
        (
            "echo version 3.10.4; echo minor 3.10",
            "PYTHON=mine is Python 3.10.4, which is too old: the gateway needs 3.11 or newer.",
        ),
    ],
)
def test_a_python_that_was_named(host: Host, script: str, sentence: str) -> None:
    """And no other is taken instead."""
    host.has_python()
    path = host.has("mine", script) if script else ""
    assert host.set_up(PYTHON="mine") == (1, [sentence.format(path)])


def test_without_sudo(host: Host) -> None:
    host.has_python()
    host.has_apt()
    status, lines = host.set_up()
    assert status == 1
    assert lines == [
        f"system packages: {NEEDED}",
        f"missing: {NEEDED}",
        f"there is no sudo here; as root: apt-get install {NEEDED}",
        "there is no C compiler: install gcc.",
    ]


def test_told_to_install_nothing(host: Host) -> None:
    """Of two names it is the one that this release has; sudo is not asked."""
    host.has_python()
    host.has_apt("libclang-rt-14-dev")
    host.has("sudo", "echo asked for a password")
    status, lines = host.set_up("--test", NO_INSTALL="1")
    assert status == 1
    assert lines[2].startswith("NO_INSTALL is set, so they are left to you: apt-get install ca-")
    assert lines[2].endswith("redis-server tcpdump libclang-rt-14-dev")
    assert "asked for a password" not in lines


def test_packages_that_cannot_be_had(host: Host) -> None:
    """Each reason is one line, whatever apt-get printed."""
    refused = (
        'case "$*" in *update*) echo "W: Failed to fetch x" >&2 ;;\n*) cat >&2 <<END; exit 100'
    )
    host.has_apt("gcc", get=f"{refused}\nReading\nE: Could not get lock\nE: More\nEND\nesac")
    host.has("sudo", 'shift; exec "$@"')
    host.has_python()
    status, lines = host.set_up()
    assert status == 1
    assert "the package lists could not be refreshed: W: Failed to fetch x" in lines
    assert "this system has no package libcap-dev" in lines
    assert lines[-4:] == [
        "installing gcc",
        "apt-get could not install them: E: Could not get lock",
        "not all of them could be installed",
        "there is no C compiler: install gcc.",
    ]
    assert not (host.path / "policy-rc.d").exists()


def test_interrupted_under_sudo(host: Host) -> None:
    """Ctrl-C is heard there only: what follows would go on without it."""
    host.has_apt()
    host.has("sudo", "exit 130")
    host.has_python()
    status, lines = host.set_up()
    assert (status, lines) == (130, [f"system packages: {NEEDED}", f"missing: {NEEDED}"])


@pytest.mark.parametrize(
    ("fact", "sentence"),
    [
        ("ensurepip", f"cannot make environments: install {VENV}, or name another with PYTHON=."),
        ("headers", f"has no headers: install {DEV}, or name another with PYTHON=."),
        ("ssl", "was built without ssl, so pip cannot download: name another with PYTHON=."),
    ],
)
def test_a_python_that_lacks_something(host: Host, fact: str, sentence: str) -> None:
    host.has_python(**{fact: "no"})
    host.has_compiler()
    status, lines = host.set_up()
    assert (status, lines[-1]) == (1, f"{host.path}/python3 {sentence}")


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("stdio.h", "the C compiler finds no stdio.h: install libc6-dev (glibc-devel)."),
        (
            "sys/capability.h",
            "the header sys/capability.h is missing: install libcap-dev (libcap-devel).",
        ),
    ],
)
def test_a_header_that_is_missing(host: Host, header: str, sentence: str) -> None:
    host.has_python()
    host.has_compiler(header)
    assert host.set_up()[1][-1] == sentence


@pytest.mark.parametrize(
    ("page", "lines"),
    [
        (PAGE, [UNREACHABLE]),
        (FULL, [FULL, "pip could not be brought up to date; its reason is above."]),
    ],
)
def test_pip_that_fails(host: Host, page: str, lines: list[str]) -> None:
    """A page about a network that is not there is one sentence. Nothing is taken for ready."""
    (host.path / "page").write_text(page)
    pip = host.has("new-python", f"cat {host.path}/page; exit 1")
    venv = (
        f'shift 2; while [ $# -gt 1 ]; do shift; done; mkdir -p "$1/bin"; cp {pip} "$1/bin/python"'
    )
    host.has_python(then=venv)
    host.has_compiler()
    status, said = host.set_up()
    assert status == 1
    assert said[1:] == [f"making .venv with Python 3.12.1 ({host.path}/python3)", *lines]
    assert not (host.checkout / ".venv/ready").exists()
