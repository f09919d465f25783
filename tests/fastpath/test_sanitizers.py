"""The C headers under clang's sanitizers: orders of the ring, and every parser on any bytes.

Each program runs a fixed number of inputs from a fixed seed. `FUZZ_SECONDS=300` looks for
new ones instead, and keeps what it finds in the folder named by `FUZZ_CORPUS`.
"""

import os
import re
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from needs import need

ROOT = Path(__file__).resolve().parents[2]
HEADERS = ROOT / "gateway" / "fastpath"
SOURCES = Path(__file__).resolve().parent / "c"
COMMON = ("-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-g", "-O1")
THREAD = ("-fsanitize=thread", "-pthread")
FUZZ = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined")

ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")

ORDERS = ("RING_TAIL_STORE", "RING_TAIL_LOAD", "RING_HEAD_STORE", "RING_HEAD_LOAD")
RUNS = {
    "ring": 30_000,
    "fib": 6_000,
    "split": 20_000,
    "merge": 6_000,
    "worker": 40_000,
    "reader": 20_000,
    "answer": 60_000,
    "frames": 20_000,
    "receive": 2_000,
    "punts": 5_000,
}
"""Fuzz targets, and inputs for each: some 10 s in all."""


SCENES = ("refusals", "bridge", "corners")
"""Programs of cases, each the name of a function and an argument."""
CASES = [
    (program, case)
    for program in SCENES
    for case in re.findall(r"CASE\((\w+)\),", (SOURCES / f"{program}.c").read_text())
]


def compile_program(target: Path, source: str, *options: str) -> Path:
    """Build one program; the compiler's complaint is the test's failure."""
    command = ["clang", *COMMON, *options, "-I", str(HEADERS), "-I", str(SOURCES)]
    command += [str(SOURCES / source), "-o", str(target)]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
    return target


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """All programs, compiled side by side."""
    need("clang")
    folder = tmp_path_factory.mktemp("programs")
    made: dict[str, Future[Path]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for target in RUNS:
            made[target] = pool.submit(compile_program, folder / target, f"fuzz_{target}.c", *FUZZ)
        for scene in SCENES:
            made[scene] = pool.submit(compile_program, folder / scene, f"{scene}.c", *ADDRESS)
        for order in ("", *ORDERS):
            weak = (f"-D{order}=memory_order_relaxed",) if order else ()
            name = f"tsan{order}"
            made[name] = pool.submit(compile_program, folder / name, "ring_tsan.c", *THREAD, *weak)
    return made


def run(program: Future[Path], *arguments: str, seconds: float = 100):
    return subprocess.run(
        [str(program.result()), *arguments],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        cwd=program.result().parent,
    )


def test_the_rings_orders_satisfy_the_thread_sanitizer(programs):
    result = run(programs["tsan"])

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "all records came in order\n"


@pytest.mark.parametrize("order", ORDERS)
def test_each_order_is_needed(programs, order):
    """Weakened alone it is a data race: nothing else hides it (I2)."""
    result = run(programs[f"tsan{order}"])

    assert "WARNING: ThreadSanitizer: data race" in result.stderr
    assert result.returncode != 0


@pytest.mark.parametrize("target", RUNS)
def test_no_input_breaks(programs, target):
    """No read or write outside, no undefined behaviour, and what each target checks."""
    seconds = int(os.environ.get("FUZZ_SECONDS", "0"))
    bound = f"-max_total_time={seconds}" if seconds else f"-runs={RUNS[target]}"
    options = ["-max_len=4096", "-len_control=0", "-use_value_profile=1", "-print_final_stats=1"]
    if not seconds:
        options.append("-seed=8421")
    corpus = []
    if "FUZZ_CORPUS" in os.environ:
        folder = Path(os.environ["FUZZ_CORPUS"], target)
        folder.mkdir(parents=True, exist_ok=True)
        corpus = [str(folder)]

    result = run(programs[target], bound, *options, *corpus, seconds=seconds + 100)

    assert result.returncode == 0, result.stderr[-4000:]


@pytest.mark.parametrize(("program", "case"), CASES)
def test_what_seldom_happens_is_as_it_should_be(programs, program, case):
    """A kernel that says no, by doubles of its calls; and values that random input misses."""
    result = run(programs[program], case)

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "as it should be\n"
