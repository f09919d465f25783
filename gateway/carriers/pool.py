"""Sessions that were dialled, shared by whoever dials the same place in the same way.

GOST keeps one session for an address for ever. Here a session that is full, or has not been
heard of lately, gets a younger one beside it, and one without streams is closed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

from gateway.carriers.stream import CarrierError, Remote, Stream

S_co = TypeVar("S_co", bound=Stream, covariant=True)


class Shared(Protocol[S_co]):
    """A session with streams: a trunk, or what else can be shared."""

    carrier: str

    @property
    def remote(self) -> Remote:
        """Who is at the other end."""

    @property
    def usable(self) -> bool:
        """A new stream may be opened here."""

    def open(self) -> S_co:
        """A new stream."""

    def close(self) -> None:
        """End it."""


Connect = Callable[[], Awaitable[Shared[S_co]]]
"""Makes a session that is ready; CarrierError if it cannot."""


@dataclass(slots=True)
class _Place:
    """Where to: what was asked for, who dials there just now, and the newest session."""

    key: object
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    trunk: Shared[Any] | None = None


_places: WeakKeyDictionary[asyncio.AbstractEventLoop, list[_Place]] = WeakKeyDictionary()


async def share(key: object, connect: Connect[S_co]) -> S_co:
    """A stream to the place that `key` names (compared by ==).

    Raises:
        CarrierError: There was no session, and none could be had.
    """
    places = _places.setdefault(asyncio.get_running_loop(), [])
    places[:] = [place for place in places if _is_of_use(place)]
    place = next((place for place in places if place.key == key), None)
    if place is None:
        place = _Place(key)
        places.append(place)
    async with place.lock:
        if place.trunk is None or not place.trunk.usable:
            place.trunk = await connect()
        stream: S_co = open_on(place.trunk)
        return stream


def open_on(trunk: Shared[S_co]) -> S_co:
    """A stream on a session that is ready; CarrierError if it takes none."""
    if trunk.usable:
        return trunk.open()
    trunk.close()
    raise CarrierError(f"{trunk.carrier} {trunk.remote}: takes no streams", "no-streams")


def _is_of_use(place: _Place) -> bool:
    return place.lock.locked() or (place.trunk is not None and place.trunk.usable)
