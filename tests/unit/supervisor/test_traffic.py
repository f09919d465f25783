from math import inf

from gateway.supervisor.traffic import Traffic


class Rows:
    """A page as far as `Traffic` looks at it."""

    def __init__(self) -> None:
        self.rows = {0: [0] * 6, 1: [0] * 6}

    def peer(self, slot: int) -> tuple[int, ...]:
        return tuple(self.rows[slot])


def test_sums_since_the_user_came() -> None:
    """Two writers are added, a former user's counts are not."""
    one, two = Rows(), Rows()
    one.rows[0][0] = 5
    traffic = Traffic([one, two])  # type: ignore[list-item]
    traffic.begin(0)
    one.rows[0][0] += 2
    two.rows[0][0] += 3
    two.rows[0][5] = 1

    assert traffic.row(0) == (5, 0, 0, 0, 0, 1)


def test_moved_once_per_movement() -> None:
    """A lease is renewed by what came since it was last looked at."""
    page = Rows()
    traffic = Traffic([page])  # type: ignore[list-item]
    traffic.begin(0)
    assert not traffic.moved(0)
    page.rows[0][0] += 1
    assert traffic.moved(0)
    assert not traffic.moved(0)


def test_last_moved() -> None:
    """Sweeping finds it, asking too."""
    page = Rows()
    traffic = Traffic([page])  # type: ignore[list-item]
    traffic.begin(0)
    traffic.begin(1)
    assert traffic.last_moved(0, 10.0) == -inf
    page.rows[1][0] += 1
    for _ in range(4):
        traffic.sweep(20.0)

    assert traffic.last_moved(1, 30.0) == 20.0
    assert traffic.last_moved(0, 30.0) == -inf
