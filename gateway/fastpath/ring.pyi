"""One producer, one consumer, in shared memory (I1 to I5).

The protocol and its memory orders are in `ring.h`. The data path uses a ring
through `pump.Reader` (producer) and `pump.Worker` (consumer); this class formats
it, reads its gauges from any process, and lets tests push and pop.
"""

from typing import Any

class Ring:
    def __init__(self, memory: Any, *, create: bool) -> None:
        """`memory` is writable, aligned to 64 bytes and `bytes_for(capacity)` long.

        `create` formats it; else it must hold a ring of this version (`ValueError`).
        """

    @staticmethod
    def bytes_for(capacity: int) -> int:
        """Bytes of memory for `capacity` bytes of records, a power of two from 4096 up."""

    @property
    def capacity(self) -> int:
        """Bytes of records that fit."""

    @property
    def used(self) -> int:
        """Bytes published and not yet released; a moment's value."""

    @property
    def pushed(self) -> int:
        """Records ever committed."""

    @property
    def dropped(self) -> int:
        """Records that found the ring full."""

    def push(self, payload: Any, slot: int = 0, incarnation: int = 0) -> bool:
        """Reserve, commit and publish one record; False if the ring is full."""

    def pop(self, *, release: bool = True) -> tuple[bytes, int, int] | None:
        """A copy of the next record as (payload, slot, incarnation), or None.

        With `release=False` the record is taken but not given back: what a consumer
        that dies in mid-burst leaves behind (I3).
        """
