"""Names to addresses, away from the supervisor, which must never wait for a name server.

One asyncio loop; any number of queries at a time, each in a thread of the C library's
resolver. Forked only where a target is a name.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401  (see below)
import encodings.idna  # noqa: F401  (imported lazily else, when root's files are out of reach)
import socket
from ipaddress import ip_address

from gateway.protocol.messages import Resolve, Resolved, Stop
from gateway.protocol.packet import pack_address
from gateway.workers.base import TURN_SECONDS, Child

QUERY_SECONDS = 10.0


class Resolver(Child):
    """Answers `Resolve` with `Resolved`."""

    def work(self) -> None:
        """Serve until told to stop."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        loop.add_reader(self.channel.fileno(), self._on_channel)
        while not self.stopping:
            self.page.beat()
            await asyncio.sleep(TURN_SECONDS)
        loop.remove_reader(self.channel.fileno())
        for task in self._tasks:
            task.cancel()
        if self._failure is not None:
            raise self._failure

    def _on_channel(self) -> None:
        while (message := self.receive()) is not None:
            if isinstance(message, Stop):
                self.stopping = True
                return
            if isinstance(message, Resolve):
                task = asyncio.get_running_loop().create_task(self._resolve(message))
                self._tasks.add(task)
                task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.stopping = True  # what is not foreseen ends the child, with its traceback
            self._failure = task.exception()

    async def _resolve(self, query: Resolve) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(QUERY_SECONDS):
                found = await loop.getaddrinfo(
                    query.host, query.port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP
                )
        except socket.gaierror as error:
            self.send(Resolved(query.query, error=str(error.strerror)))
            return
        except TimeoutError:
            self.send(Resolved(query.query, error="the name server did not answer in time"))
            return
        addresses = tuple(dict.fromkeys(_packed(address) for _, _, _, _, address in found))
        self.send(Resolved(query.query, addresses))


def _packed(
    address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],
) -> tuple[bytes, int]:
    host = str(address[0]).partition("%")[0]
    scope = address[3] if len(address) == 4 else 0
    return pack_address(ip_address(host)), scope
