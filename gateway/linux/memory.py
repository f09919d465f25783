"""What malloc does with pieces of some 100 KB that come and go thousands of times a second.

glibc takes each from the kernel and gives it back, so that every page of every piece is a
page fault and a page to be cleared. Told to keep some, it takes them from its own heap.

What many small pieces leave behind is another matter: free memory between the few that stay.
Only when asked does glibc look for whole pages there, and give them back.
"""

import ctypes

KEPT = 16 << 20

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def keep_freed(size: int = KEPT) -> None:
    """Keep up to `size` bytes that were freed. Does nothing where there is no mallopt(3)."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(_M_MMAP_THRESHOLD, size)
    libc.mallopt(_M_TRIM_THRESHOLD, size)
    libc.mallopt(_M_TOP_PAD, size // 16)


def give_back() -> None:
    """Give the kernel every page that holds nothing. Takes some 2 ms for a heap of 30 MB."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
