"""`make test`: hand every Python of this machine to tox, run the list, say what was tested.

    matrix.py              the whole list of tox.ini
    matrix.py ENV...       these environments only

The run fails when a check failed, and when a Python that was found did not really run the
tests: its version must stand in the report its tests wrote. The last lines are

    1234 passed, 5 skipped
    tested: 3.11.7 3.12.1 3.13.0; not installed: 3.14
"""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import interpreters
from interpreters import Found, Interpreter

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".tox"
RESULTS = WORK / "results"
OUTCOMES = ("passed", "failed", "skipped")

BEFORE = ("lint", "types", "netns-1", "netns-2")
AFTER = ("packaging", "sanitizers", "bench")
"""The checks besides the tests on each Python. The longest begins early."""


def env_name(interpreter: Interpreter) -> str:
    """`py311` for 3.11."""
    return "py" + interpreter.minor.replace(".", "")


def environments(found: Found) -> dict[str, Interpreter]:
    """The tox environments of this run, in order, each with its interpreter."""
    first = found.usable[0]
    wanted = dict.fromkeys(BEFORE, first)
    wanted |= {env_name(python): python for python in found.usable}
    wanted |= dict.fromkeys(AFTER, first)
    return wanted


def run_tox(wanted: dict[str, Interpreter]) -> dict[str, bool]:
    """Run these environments, some side by side; did each succeed?"""
    keep_others_out()
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir()
    forget_stale_builds()
    part_builds(wanted)
    report = RESULTS / "tox.json"
    command = [sys.executable, "-m", "tox", "run-parallel", "--result-json", str(report)]
    command += ["--parallel", str(slots()), "--parallel-no-spinner"]
    command += ["-e", ",".join(wanted), "--discover"]
    command += dict.fromkeys(str(python.executable) for python in wanted.values())
    for name, python in wanted.items():
        command += ["-x", f"testenv:{name}.base_python={python.executable}"]
    environment = dict(os.environ)
    environment.setdefault("PIP_CACHE_DIR", str(WORK / "cache"))
    environment.setdefault("VIRTUALENV_OVERRIDE_APP_DATA", str(WORK / "virtualenv"))
    subprocess.run(command, check=False, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL)
    ran = json.loads(report.read_text())["testenvs"] if report.exists() else {}
    return {name: succeeded(ran.get(name, {}).get("result", {})) for name in wanted}


def keep_others_out() -> None:
    """Tox empties a folder of its own that more accounts can change than the checkout."""
    os.umask(0o022)
    WORK.mkdir(exist_ok=True)
    mode = WORK.stat().st_mode
    if mode & 0o022:
        WORK.chmod(stat.S_IMODE(mode) & ~0o022)


def slots() -> int:
    """How many environments at a time: more than half of the tests' time is waiting."""
    return max(3, min(4, len(os.sched_getaffinity(0))))


def part_builds(wanted: dict[str, Interpreter]) -> None:
    """Each Python builds the wheel in a folder of its own: they do it at the same time.

    The build environments are called what tox calls them; tox.ini hands them these files.
    """
    others = {f".pkg-cpython{python.minor.replace('.', '')}" for python in wanted.values()}
    for name in (".pkg", *others):
        folder = WORK / "build" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "build.cfg").write_text(
            f"[build]\nbuild_base = {folder}\n[egg_info]\negg_base = {folder}\n"
        )


def succeeded(result: dict[str, object]) -> bool:
    """Tox calls an environment that it skipped a success; here it is none."""
    return result.get("success") is True and not result.get("skipped")


def forget_stale_builds() -> None:
    """Drop what was built when a setting may have changed; setuptools would not notice."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "requirements/lock.txt"):
        digest.update((ROOT / name).read_bytes())
    stamp = WORK / "built-with"
    if not stamp.exists() or stamp.read_text() != digest.hexdigest():
        shutil.rmtree(WORK / "build", ignore_errors=True)
        stamp.write_text(digest.hexdigest())
    for file in (WORK / "build").glob("*/lib*/**/*"):
        if file.is_file() and file.suffix != ".so":
            file.unlink()


def read_report(file: Path) -> tuple[Counter[str], str]:
    """Count the outcomes in a JUnit file, and give the version of the Python that wrote it."""
    try:
        suite = ET.parse(file).getroot().find("testsuite")
    except (ET.ParseError, OSError):
        suite = None
    if suite is None:
        return Counter(), ""
    total, failures, errors, skipped = (
        int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    counts = Counter(passed=total - failed - skipped, failed=failed, skipped=skipped)
    python = suite.find("properties/property[@name='python']")
    return counts, "" if python is None else python.get("value", "")


def tally(name: str, *, success: bool) -> tuple[Counter[str], set[str]]:
    """What one environment counts for. One without tests is one check, passed or failed."""
    counts: Counter[str] = Counter()
    versions: set[str] = set()
    for file in sorted([*RESULTS.glob(f"{name}.xml"), *RESULTS.glob(f"{name}-*.xml")]):
        of_file, version = read_report(file)
        counts += of_file
        versions.add(version)
    if success and not counts:
        counts["passed"] += 1
    if not success and not counts["failed"]:
        counts["failed"] += 1
    return counts, versions


def text(counts: Counter[str]) -> str:
    """`12 passed, 1 skipped`; zero failures are said too."""
    return ", ".join(
        f"{counts[word]} {word}" for word in OUTCOMES if counts[word] or word != "skipped"
    )


def give_back() -> None:
    """Make what root wrote into somebody's checkout theirs."""
    owner = ROOT.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for name in (".tox", ".venv", "build", "tun_gateway.egg-info", ".ruff_cache", ".mypy_cache"):
        for folder, _, files in os.walk(ROOT / name):
            for path in [folder, *(os.path.join(folder, file) for file in files)]:  # noqa: PTH118
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def describe(found: Found) -> None:
    """Say what will run where."""
    for python in found.usable:
        print(f"matrix: {python.version} at {python.executable}")
    for python in found.unusable:
        print(f"matrix: {python.version} at {python.executable} cannot build: no {python.lacks}")
    for path in found.broken:
        print(f"matrix: {path} does not start")
    sys.stdout.flush()


def summary(wanted: dict[str, Interpreter], good: dict[str, bool]) -> tuple[str, set[str]]:
    """Print a line per environment; give the totals and the versions that really ran tests."""
    total: Counter[str] = Counter()
    tested: set[str] = set()
    print()
    for name, python in wanted.items():
        counts, versions = tally(name, success=good[name])
        total += counts
        if name.startswith("py3") and counts["passed"]:
            tested |= versions & {python.version}
        mark = "ok  " if good[name] else "FAIL"
        print(f"{mark} {name:<10} {python.version:<8} {text(counts)}")
    return text(total), tested


def closing_line(found: Found, tested: set[str]) -> str:
    """`tested: ...; not installed: ...`, and what was found but not used."""
    order = [python.version for python in found.usable if python.version in tested]
    line = f"tested: {' '.join(order) or 'none'}; not installed: {' '.join(found.absent) or 'none'}"
    if found.unusable:
        line += f"; cannot build: {' '.join(python.version for python in found.unusable)}"
    missed = [python.version for python in found.usable if python.version not in tested]
    if missed:
        line += f"; found but not run: {' '.join(missed)}"
    return line


def main() -> int:
    """Run the matrix, or the environments named; give the exit status."""
    started = time.monotonic()
    found = interpreters.find()
    describe(found)
    if not found.usable:
        print("matrix: no Python here can build the gateway", file=sys.stderr)
        return 1
    named = sys.argv[1:]
    wanted = environments(found)
    if named:
        wanted = {name: wanted.get(name, found.usable[0]) for name in named}
    try:
        good = run_tox(wanted)
        totals, tested = summary(wanted, good)
        (RESULTS / "totals").write_text(totals + "\n")
    finally:
        give_back()
    print(f"\n{totals} in {time.monotonic() - started:.0f} s")
    complete = tested == {python.version for python in found.usable}
    if not named:
        print(closing_line(found, tested))
    return 0 if all(good.values()) and (complete or named) else 1


if __name__ == "__main__":
    sys.exit(main())
