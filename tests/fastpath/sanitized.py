"""The extension modules under AddressSanitizer: how they are built, and tests run with them.

A tree is a copy of the package with its modules compiled in it, from the list of
pyproject.toml. Not optimised: what the source reads is read, even where nobody needs it.
"""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
SOURCES = frozenset({".py", ".pyi", ".pyx", ".pxd", ".h"})
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = {each["name"]: each for each in PROJECT["tool"]["setuptools"]["ext-modules"]}

SANITIZER = ("-fsanitize=address", "-shared-libasan", "-fno-omit-frame-pointer")
SHARED = ("-shared", "-fPIC", "-fwrapv", "-g1", "-I", sysconfig.get_paths()["include"])


@dataclass(frozen=True)
class Outcome:
    """What became of tests that ran in a process of their own."""

    status: int
    text: str
    """All that was printed, and what the sanitizer reports of any process of theirs."""


@cache
def library() -> str:
    """The sanitizer's library, which must be loaded before anything else; empty if none."""
    for name in (f"libclang_rt.asan-{platform.machine()}.so", "libclang_rt.asan.so"):
        command = ["clang", f"-print-file-name={name}"]
        result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        if Path(result.stdout.strip()).is_absolute():
            return result.stdout.strip()
    return ""


def copy_sources(tree: Path) -> Path:
    """Copy the package, without anything compiled."""
    for file in (ROOT / "gateway").rglob("*"):
        if file.suffix in SOURCES:
            target = tree / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
    return tree


def compile_module(tree: Path, name: str) -> None:
    """Put a module beside its source; a compiler's complaint is the test's failure."""
    settings = MODULES[name]
    source = settings["sources"][0]
    stem = source.rpartition(".")[0]
    made = stem + ".c"
    run(tree, sys.executable, "-m", "cython", "--module-name", name, "-o", made, source)
    options = [each for each in settings["extra-compile-args"] if not each.startswith("-O")]
    for folder in settings.get("include-dirs", ()):
        options += ["-I", folder]
    target = stem + sysconfig.get_config_var("EXT_SUFFIX")
    run(tree, "clang", *SANITIZER, *SHARED, *options, "-O0", made, "-o", target)


def run(tree: Path, *command: str) -> None:
    result = subprocess.run(
        command, check=False, cwd=tree, capture_output=True, text=True, timeout=200
    )
    assert result.returncode == 0, result.stderr


def run_tests(tree: Path, folder: Path, tests: Iterable[str]) -> Outcome:
    """Run tests, by their paths under `tests`, on the modules of this tree."""
    folder.mkdir()
    path = [str(tree), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "LD_PRELOAD": library(),
        "ASAN_OPTIONS": f"detect_leaks=0:log_path='{folder / 'report'}'",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONSAFEPATH": "1",
    }
    # The fault handler's watchdog is a thread, and who forks beside one may inherit a lock of
    # the sanitizer's that nobody will open.
    options = ["-p", "no:cacheprovider", "-o", "faulthandler_timeout=0"]
    options.append("--hypothesis-profile=ci")  # the same inputs each time, and no deadlines
    words = [word if word.startswith("-") else str(TESTS / word) for word in tests]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *words],
        check=False,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=250,
    )
    reports = [file.read_text(errors="replace") for file in sorted(folder.glob("report.*"))]
    return Outcome(result.returncode, "\n".join([result.stdout, *reports]))
