import mmap
import struct
from math import inf

from gateway.fastpath.counters import PEER_NAMES, Page
from gateway.supervisor.traffic import Traffic

SLOTS = 2
ROW_BYTES = 64


class Counted:
    """A page that the test writes as a child would."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, Page.bytes_for(SLOTS))
        self.page = Page(memoryview(self._memory)[: Page.bytes_for(SLOTS)], SLOTS)

    def add(self, slot: int, name: str, number: int) -> None:
        at = Page.bytes_for(0) + slot * ROW_BYTES + 8 * PEER_NAMES.index(name)
        (value,) = struct.unpack_from("Q", self._memory, at)
        struct.pack_into("Q", self._memory, at, value + number)


def test_sums_since_the_user_came() -> None:
    """Two writers are added, a former user's counts are not."""
    one, two = Counted(), Counted()
    one.add(0, "rx_packets", 5)
    traffic = Traffic([one.page, two.page])
    traffic.begin(0)
    one.add(0, "rx_packets", 2)
    two.add(0, "rx_packets", 3)
    two.add(0, "single_sends", 1)

    assert traffic.row(0) == (5, 0, 0, 0, 0, 1)


def test_how_it_is_sent_to_is_no_count() -> None:
    """A former user's single sends are the present one's, until his own path is known."""
    one = Counted()
    one.add(0, "single_sends", 1)
    one.add(0, "tx_packets", 7)
    traffic = Traffic([one.page])
    traffic.begin(0)

    assert traffic.row(0) == (0, 0, 0, 0, 0, 1)


def test_a_look_gives_both_and_a_row_notes_nothing() -> None:
    counted = Counted()
    traffic = Traffic([counted.page])
    traffic.begin(0)
    counted.add(0, "rx_packets", 3)

    assert traffic.row(0)[0] == 3
    assert traffic.look(0, 50.0) == ((3, 0, 0, 0, 0, 0), 50.0)
    assert traffic.look(0, 60.0) == ((3, 0, 0, 0, 0, 0), 50.0)
    assert traffic.last_moved(0, 70.0) == 50.0


def test_moved_once_per_movement() -> None:
    """A lease is renewed by what came since it was last looked at."""
    counted = Counted()
    traffic = Traffic([counted.page])
    traffic.begin(0)
    assert not traffic.moved(0)
    counted.add(0, "rx_packets", 1)
    assert traffic.moved(0)
    assert not traffic.moved(0)


def test_last_moved() -> None:
    """Sweeping finds it, asking too."""
    counted = Counted()
    traffic = Traffic([counted.page])
    traffic.begin(0)
    traffic.begin(1)
    assert traffic.last_moved(0, 10.0) == -inf
    counted.add(1, "rx_packets", 1)
    for _ in range(4):
        traffic.sweep(20.0)

    assert traffic.last_moved(1, 30.0) == 20.0
    assert traffic.last_moved(0, 30.0) == -inf
