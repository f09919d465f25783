import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.linux.command import Outcome
from gateway.supervisor.loop import Loop
from gateway.supervisor.steward import Steward, Task

Make = Callable[..., tuple[Loop, Steward]]


def task(text: str, seconds: float = 10.0, **environment: str) -> Task:
    return Task("tun", text.split(maxsplit=1)[0], text, seconds, environment)


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[tuple[Loop, Steward]] = []

    def start(*tasks: Task, forget: Callable[[], None] = lambda: None) -> tuple[Loop, Steward]:
        loop = Loop()
        made.append((loop, Steward(loop, tasks, "gateway: steward of a test", forget)))
        return made[-1]

    yield start
    for loop, steward in made:
        steward.close()
        loop.close()


def test_it_runs_what_is_on_its_list(make: Make, tmp_path: Path) -> None:
    """With the environment of the task and the device's name, as itself, not as the test."""
    file = tmp_path / "noted"
    one = task(f'echo "$GATEWAY_DEVICE $MINE $PPID" > {file}', MINE="mine")
    _, steward = make(one, task("exit 3"))
    assert steward.run(one, "tun7") == Outcome(0)
    assert file.read_text() == f"tun7 mine {steward.pid}\n"


def test_one_after_the_other(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "noted"
    tasks = [task(f"sleep 0.{3 - n}; echo {n} >> {file}") for n in range(3)]
    loop, steward = make(*tasks)
    outcomes: list[Outcome] = []
    for each in tasks:
        steward.ask(each, "", outcomes.append)
    assert loop.run_until(lambda: len(outcomes) == 3, 10.0)
    assert file.read_text() == "0\n1\n2\n"


@pytest.mark.parametrize("device", ["-a", "a b", "$(id)", "a/b", "x" * 16, "a\nb"])
def test_a_name_that_is_none_runs_nothing(make: Make, tmp_path: Path, device: str) -> None:
    one = task(f"touch {tmp_path}/ran")
    _, steward = make(one)
    assert steward.run(one, device).code == 126
    assert not (tmp_path / "ran").exists()


def test_given_up_and_next(make: Make) -> None:
    """What hangs is killed; the steward goes on."""
    loop, steward = make(task("sleep 1000"), task("true"))
    first, second = task("sleep 1000"), task("true")
    assert "stopping" in steward.run(first, "", give_up=lambda: True).problem
    assert steward.run(second, "") == Outcome(0)
    assert not loop.stopping


def test_its_death_answers_everything(make: Make) -> None:
    loop, steward = make(task("sleep 1000"), task("true"))
    outcomes: list[Outcome] = []
    steward.ask(task("sleep 1000"), "", outcomes.append)
    steward.ask(task("true"), "", outcomes.append)
    os.kill(steward.pid, signal.SIGKILL)
    assert loop.run_until(lambda: len(outcomes) == 2, 5.0)
    assert all("gone" in outcome.problem for outcome in outcomes)
    assert steward.pid == 0
    assert "gone" in steward.run(task("true"), "").problem


def test_it_has_no_descriptors_and_no_secrets(make: Make, tmp_path: Path) -> None:
    """Its end and the standard streams; `forget` was called in it, not here."""
    forgotten: list[int] = []
    keep = os.open(tmp_path, os.O_RDONLY)
    one = task("true")
    _, steward = make(one, forget=lambda: forgotten.append(os.getpid()))
    steward.run(one, "")
    assert len(list(Path(f"/proc/{steward.pid}/fd").iterdir())) == 4
    assert forgotten == []
    os.close(keep)


def test_signals_of_the_terminal_are_not_its_business(make: Make) -> None:
    """But its commands have them as ever."""
    ended = task("kill -TERM $$")
    _, steward = make(ended)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(steward.pid, number)
    assert steward.run(ended, "").code == 143
