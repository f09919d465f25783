"""What malloc keeps of what was freed, and gives back when it is asked."""

import subprocess
import sys

PROGRAM = """
import re
from pathlib import Path
from gateway.linux import memory

def own():
    return int(re.search(r"Anonymous: +([0-9]+)", Path("/proc/self/smaps_rollup").read_text())[1])

memory.keep_freed()
before = own()
pieces = [bytes(2000) for _ in range(20_000)]
full = own()
left = pieces[::100]
del pieces
kept = own()
memory.give_back()
print(full - before, kept - before, own() - before, len(left))
"""


def test_what_lies_between_pieces_that_stay_is_given_back() -> None:
    """40 MB of small pieces, of which every hundredth stays: no end of the heap is free."""
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, check=True, text=True, timeout=60
    )
    full, kept, left, _ = map(int, found.stdout.split())

    assert kept > full * 0.9
    assert left < full * 0.1
