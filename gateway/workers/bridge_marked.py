"""Sockets with a firewall mark, which only the supervisor may make, for a node's carrier.

They come with the answer to `Dialling` and wait here for the carrier to connect. One may be
left over, as a dial can end in a session that is there already.
"""

import socket

MOST = 16
"""Of one kind: a leg has at most so many dials under way."""


class MarkedSockets:
    """The stock of one node."""

    def __init__(self) -> None:
        self._stock: list[socket.socket] = []

    def put(self, fd: int) -> None:
        """Take the descriptor over; the oldest of its kind goes if there are many."""
        new = socket.socket(fileno=fd)
        alike = [each for each in self._stock if _kind(each) == _kind(new)]
        if len(alike) >= MOST:
            self._stock.remove(alike[0])
            alike[0].close()
        self._stock.append(new)

    def take(self, family: int, kind: int) -> int:
        """A descriptor, the taker's from now on. Raises OSError if there is none."""
        for each in self._stock:
            if _kind(each) == (family, kind):
                self._stock.remove(each)
                return each.detach()
        raise OSError("so_mark: there is no socket with the mark")


def _kind(sock: socket.socket) -> tuple[int, int]:
    return sock.family, sock.type
