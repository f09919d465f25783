"""Blocking calls away from the loop, at most one per source.

The loop's own executor would not do: its few threads are everyone's, and the end of the
process waits for them. A file on a dead network mount, or a name server that is silent,
would then hold up other sources and the stop. A hand's thread is a daemon, and a hand
that still waits for its last call refuses the next.
"""

import asyncio
import encodings.idna  # noqa: F401  (imported lazily else, when root's files are out of reach)
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from gateway.sources.errors import SourceError

T = TypeVar("T")


class Hand:
    """Does one blocking call at a time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._busy = False

    async def do(self, call: Callable[[], T]) -> T:
        """The call's result or error. SourceError while the last call has not returned."""
        if self._busy:
            raise SourceError("the last attempt has not come back yet")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def settle(result: tuple[T] | None, error: BaseException | None) -> None:
            self._busy = False
            if answer.cancelled():
                return
            if result is not None:
                answer.set_result(result[0])
            elif error is not None:
                answer.set_exception(error)

        def work() -> None:
            result, failure = None, None
            try:
                result = (call(),)
            except BaseException as error:  # noqa: BLE001  handed on to who waits, as it is
                failure = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, result, failure)

        self._busy = True
        threading.Thread(target=work, name=self._name, daemon=True).start()
        return await answer


async def look_up(hand: Hand, host: str, port: int) -> list[tuple[str, int]]:
    """The addresses of a TCP service, in the C library's order. SourceError if there are none."""
    return await hand.do(lambda: _addresses(host, port))


def _addresses(host: str, port: int) -> list[tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise SourceError(f"the name {host} has no address: {error.strerror}") from None
    except (ValueError, OverflowError, OSError):
        raise SourceError(f"{host} is not a host name") from None
    return [(str(address[0]), port) for _, _, _, _, address in found]
