"""Starts that fail: what they leave behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import gateway

NOWHERE = "tun://:0/203.0.113.1:8421?net=192.168.123.2/24&netns=/nonexistent"


def start(room: Path) -> int:
    """The status of a start that fails once its directories are there."""
    environment = {
        **os.environ,
        "GATEWAY_RUN_DIR": str(room / "deep" / "run"),
        "GATEWAY_STATE_DIR": str(room / "state"),
        "PYTHONPATH": str(Path(gateway.__file__).parents[1]),
    }
    command = [sys.executable, "-m", "gateway", "-L", NOWHERE]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert found.stderr.count("no network namespace") == 1, found.stderr
    return found.returncode


def test_directories_it_made_are_gone(room: Path) -> None:
    assert start(room) == 3
    assert list(room.iterdir()) == []


@pytest.mark.parametrize("there", ["deep", "deep/run", "state"])
def test_what_was_there_stays(room: Path, there: str) -> None:
    (room / there).mkdir(parents=True)

    assert start(room) == 3
    left = [path for path in room.rglob("*") if path not in (room / there).parents]
    assert left == [room / there]
