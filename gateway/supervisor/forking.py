"""One more process, or nothing: what a fork that failed has opened is given back.

The standard library's fork forgets the pipes it has made when it finds no room for the
second one, or for the process. A supervisor that tries again for hours would lose four
descriptors each time, and so become the one who has none left.
"""

import contextlib
import multiprocessing
import multiprocessing.popen_fork  # imported lazily else, when root's files are out of reach
import os
from collections.abc import Callable
from multiprocessing.context import ForkProcess

_context = multiprocessing.get_context("fork")


def fork(
    run: Callable[[], None], name: str, home: contextlib.AbstractContextManager[object]
) -> tuple[ForkProcess, int]:
    """Call `run` in a new process, forked inside `home`. The process, and its pidfd.

    Raises OSError. Then there is no process and no descriptor more than before.
    """
    process = _context.Process(target=run, name=name, daemon=True)
    try:
        with home:
            _start(process)
        return process, os.pidfd_open(process.pid or 0)
    except OSError:
        if process.pid is not None:
            process.kill()
            process.join()  # at once: nothing holds it up
            process.close()
        raise


def _start(process: ForkProcess) -> None:
    ends = _next_descriptors()
    try:
        process.start()
    except OSError:
        for fd in ends:
            with contextlib.suppress(OSError):
                os.close(fd)
        raise


def _next_descriptors() -> list[int]:
    """The numbers that the ends of the next two pipes will have: always the lowest free ones.

    This process has one thread (I8), so nobody else takes them meanwhile.
    """
    ends: list[int] = []
    try:
        for _ in range(2):
            ends += os.pipe()
    finally:
        for fd in ends:
            os.close(fd)
    return ends
