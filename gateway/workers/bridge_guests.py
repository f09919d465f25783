"""How many streams of a relay listener may lead somewhere, in all and for each client.

A client is a user, or without auth a remote host. It has half of the places at most, so that
one password, or one host, never keeps everybody else out.
"""

from collections import Counter

from gateway.workers.bridge_entrance import Entrance

SHARE = 4
"""The part of our descriptors that may lead somewhere: most streams need two."""


class Guests:
    """Who has which place, of at most `most`."""

    def __init__(self, most: int) -> None:
        self._most = max(1, most)
        self._clients: dict[Entrance, str] = {}
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._clients)

    def lacks(self, client: str) -> str:
        """What keeps one more of this client out: `full`, `client-full`, or nothing."""
        if len(self._clients) >= self._most:
            return "full"
        return "client-full" if self._counts[client] >= (self._most + 1) // 2 else ""

    def enter(self, entrance: Entrance, client: str) -> None:
        """It leads somewhere."""
        self._clients[entrance] = client
        self._counts[client] += 1

    def leave(self, entrance: Entrance) -> None:
        """Its place is free. Safe to repeat."""
        client = self._clients.pop(entrance, None)
        if client is None:
            return
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]

    def client_of(self, entrance: Entrance) -> str | None:
        """Whose place it has."""
        return self._clients.get(entrance)
