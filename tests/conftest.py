"""What holds for every test: which gateway is tested, on which Python, and what `REQUIRE` says."""

import os
import platform
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import settings
from needs import need, required

try:
    import gateway
except ModuleNotFoundError as error:
    message = "no gateway to test: use tox, or install this checkout into your environment"
    raise pytest.UsageError(message) from error

# The same inputs in every run, whatever time one takes. `--hypothesis-profile=default` searches on.
settings.register_profile("same", deadline=None, derandomize=True)
settings.load_profile("same")

CHECKOUT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--half=1` and `--half=2`: every other file, so that two runs share the work."""
    parser.addoption("--half", type=int, choices=(1, 2), help="run every other file of tests")


def pytest_configure() -> None:
    """SIGTERM and SIGHUP end a run as Ctrl-C does: it leaves no namespaces and no processes."""
    ours = os.getpid()

    def end(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != ours:  # what a test forked has nothing to put away
            os._exit(128 + number)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, end)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the files of the other half."""
    half = config.getoption("half")
    if half is None:
        return
    files = list(dict.fromkeys(item.path for item in items))
    kept = set(files[half - 1 :: 2])
    config.hook.pytest_deselected(items=[item for item in items if item.path not in kept])
    items[:] = [item for item in items if item.path in kept]


def pytest_report_header() -> list[str]:
    """Say what is tested."""
    lines = [f"gateway {gateway.__version__} from {Path(gateway.__file__).parent}"]
    if words := required():
        lines.append(f"REQUIRE: {' '.join(sorted(words))}")
    return lines


def pytest_sessionstart() -> None:
    """Under tox the installed wheel is tested, never the folder it was built from."""
    installed = not Path(gateway.__file__).resolve().is_relative_to(CHECKOUT / "gateway")
    if "TOX_ENV_NAME" in os.environ and not installed:
        message = f"tox tests the wheel, but `gateway` comes from {gateway.__file__}"
        raise pytest.UsageError(message)


@pytest.fixture(scope="session", autouse=True)
def _python_in_report(record_testsuite_property: Callable[[str, object], None]) -> None:
    """Write the version into the JUnit report: tools/matrix.py believes nothing else."""
    record_testsuite_property("python", platform.python_version())


@pytest.fixture(name="need", scope="session")
def need_fixture() -> Callable[..., None]:
    """`need(...)` for tests that prefer a fixture."""
    return need
