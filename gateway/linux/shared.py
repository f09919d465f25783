"""Memory that the supervisor and its children share: one anonymous mapping.

It has no name, so nothing is left behind by any kind of death, it does not count
against /dev/shm, and every fork inherits it at the same place.
"""

import mmap
from typing import Final

CACHE_LINE: Final = 64
MADV_POPULATE_WRITE: Final = 23  # linux/mman.h, Linux 5.14; Python has no name for it


class Arena:
    """A mapping that is carved into cache-line aligned areas and held for life."""

    def __init__(self, sizes: list[int]) -> None:
        self._free = 0
        self._mapping = mmap.mmap(-1, max(mmap.PAGESIZE, sum(aligned(size) for size in sizes)))
        self._view = memoryview(self._mapping)

    def carve(self, size: int) -> memoryview:
        """The next `size` bytes, zeroed, aligned to a cache line. Borrowed for life (I5).

        Raises ValueError when the sizes announced at the start are exceeded.
        """
        start, end = self._free, self._free + size
        if end > len(self._view):
            raise ValueError(f"arena exhausted: {end} of {len(self._view)} bytes")
        self._free += aligned(size)
        return self._view[start:end]

    def populate(self) -> None:
        """Fault every page in, in the calling process, so that no burst pays for it.

        Kernels before 5.14 do not know the request; pages then come one by one.
        """
        try:
            self._mapping.madvise(MADV_POPULATE_WRITE)
        except OSError:
            return


def aligned(size: int) -> int:
    """`size` rounded up to whole cache lines."""
    return (size + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE
