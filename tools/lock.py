"""`make lock`: resolve everything in a fresh environment and write down the versions.

The file is used as a constraint, so a line too many does no harm and one file serves
every Python.
"""

import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "lock.txt"
HEAD = "# The exact versions `make setup` and `make test` install. Written by `make lock`.\n"


def wanted() -> list[str]:
    """Every requirement by name: of the package and its extras, of building it, of testing it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = [*project["project"]["dependencies"], *project["build-system"]["requires"], "pip"]
    for extra in project["project"]["optional-dependencies"].values():
        names += [line for line in extra if not line.startswith("tun-gateway")]
    for file in sorted(LOCK.parent.glob("*.txt")):
        if file != LOCK:
            lines = file.read_text().splitlines()
            names += [line for line in lines if line and line[0] not in "#-"]
    return names


def main() -> None:
    """Write `requirements/lock.txt`."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [f"{folder}/bin/python", "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", "--upgrade", *wanted()], check=True)
        frozen = subprocess.run(
            [*pip, "freeze", "--all"], check=True, text=True, stdout=subprocess.PIPE
        ).stdout
    LOCK.write_text(HEAD + frozen)
    sys.stdout.write(frozen)


if __name__ == "__main__":
    main()
