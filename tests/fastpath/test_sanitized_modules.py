"""What Cython makes of our sources, under AddressSanitizer: the KCP modules and the glue.

The headers alone are fuzzed by test_sanitizers.py. Here the modules are built as they ship,
in a copy of the package, and tests that feed them are run again. Every object lies in memory
of its own from malloc, so a step outside is reported.
"""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from fastpath.sanitized import MODULES, Outcome, compile_module, copy_sources, run_tests
from needs import need

TWINS = "-knot verdicts and not runTest and not between_processes"
"""What takes long because Python compares much of it; the headers' fuzzers go there too."""

RUNS = {
    "kcp": ("unit/protocol/test_kcp_hostile.py", "unit/protocol/test_fec.py"),
    "tables": (
        "fastpath/test_frames.py",
        "fastpath/test_counters.py",
        "fastpath/test_fib.py",
        "fastpath/test_ring.py",
        TWINS,
    ),
    "pump": (
        "fastpath/test_pump_in.py",
        "fastpath/test_pump_out.py",
        "fastpath/test_pump_rings.py",
    ),
}
"""Tests that share a process."""

HOSTILE = "unit/protocol/test_kcp_hostile.py"
BENT = {
    "gateway.protocol.kcp": (
        "while at + _HEAD <= end:",
        "while at < end:",
        f"{HOSTILE}::test_no_packet_is_taken_for_more_than_it_is",
    ),
    "gateway.protocol.kcp_bursts": (
        " or end > len(opened)",
        "",
        f"{HOSTILE}::test_a_burst_of_any_datagrams_is_cut_and_checked_as_it_is",
    ),
    "gateway.protocol.fec": (
        "_words(bytes(longest))",
        "_words(bytes(8))",
        f"{HOSTILE}::test_shards_of_any_lengths_make_the_same_packets",
    ),
    "gateway.fastpath.fib": (
        "n = len(a16s) // 16",
        "n = len(a16s) // 16 + 1",
        "fastpath/test_fib.py::test_a_large_table_that_is_halved_and_filled_again",
    ),
    "gateway.fastpath.frames": (
        "frames_room(size, segment) if size else 0",
        "size",
        "fastpath/test_frames.py::test_a_burst_is_cut_into_frames",
    ),
}
"""What stands in a module, what leads outside in its place, and a test that goes there."""

pytestmark = pytest.mark.timeout(400)


def bend(tree: Path) -> None:
    for name, (right, wrong, _) in BENT.items():
        file = tree / MODULES[name]["sources"][0]
        source = file.read_text()
        assert source.count(right) == 1, f"{file.name} has changed: {right}"
        file.write_text(source.replace(right, wrong))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[Outcome]]:
    """All of it, as many processes side by side as there are CPUs."""
    need("asan")
    sound = copy_sources(tmp_path_factory.mktemp("sound"))
    folder = tmp_path_factory.mktemp("runs")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        all_of(pool, lambda name: compile_module(sound, name), MODULES)
        bent = Path(shutil.copytree(sound, tmp_path_factory.mktemp("bent"), dirs_exist_ok=True))
        begun = {
            name: pool.submit(run_tests, sound, folder / name, tests)
            for name, tests in RUNS.items()
        }
        bend(bent)
        all_of(pool, lambda name: compile_module(bent, name), BENT)
        begun |= {
            name: pool.submit(run_tests, bent, folder / name, [test])
            for name, (_, _, test) in BENT.items()
        }
    return begun


def all_of(pool: ThreadPoolExecutor, work: Callable[[str], None], names: dict[str, object]) -> None:
    for done in [pool.submit(work, name) for name in names]:
        done.result()


@pytest.mark.parametrize("name", RUNS)
def test_nothing_outside_is_read_or_written(outcomes, name):
    outcome = outcomes[name].result()

    assert "AddressSanitizer" not in outcome.text, outcome.text[-6000:]
    assert outcome.status == 0, outcome.text[-6000:]
    assert "sound0/gateway" in outcome.text


@pytest.mark.parametrize("name", BENT)
def test_a_step_outside_is_reported(outcomes, name):
    outcome = outcomes[name].result()

    assert "AddressSanitizer: heap-buffer-overflow" in outcome.text, outcome.text[-6000:]
    assert outcome.status != 0
