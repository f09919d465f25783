import os

import pytest

from gateway.linux.shared import CACHE_LINE, Arena, aligned


def test_areas_are_aligned_and_apart() -> None:
    """Each begins on a cache line of its own."""
    arena = Arena([100, 1, 64])
    areas = [arena.carve(size) for size in (100, 1, 64)]
    for index, area in enumerate(areas):
        area[:] = bytes([index + 1]) * len(area)

    assert [bytes(area) for area in areas] == [b"\1" * 100, b"\2", b"\3" * 64]
    assert [aligned(size) for size in (1, 64, 65)] == [CACHE_LINE, CACHE_LINE, 2 * CACHE_LINE]


def test_exhausted() -> None:
    """More than announced is a defect, not more memory."""
    arena = Arena([4096])
    arena.carve(4096)
    with pytest.raises(ValueError, match="exhausted"):
        arena.carve(1)


def test_shared_with_a_fork() -> None:
    """What the child writes the parent reads."""
    arena = Arena([64])
    arena.populate()
    area = arena.carve(64)
    pid = os.fork()
    if pid == 0:
        area[0] = 42
        os._exit(0)
    os.waitpid(pid, 0)

    assert area[0] == 42
