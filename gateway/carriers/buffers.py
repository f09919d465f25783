"""Buffers for what streams bring: borrowed for one turn, returned in the same.

A layer may be entered again before it is left, when a receiver of one stream feeds another
one; each entry gets a buffer of its own. So there are as many as the deepest nesting.
"""

SIZE = 256 * 1024

_idle: list[memoryview] = []


def borrow() -> memoryview:
    """A writable buffer of `SIZE` bytes; what it holds is nobody's."""
    return _idle.pop() if _idle else memoryview(bytearray(SIZE))


def give_back(buffer: memoryview) -> None:
    """Return what `borrow` gave. Views of it are worth nothing from here on (I5)."""
    _idle.append(buffer)
