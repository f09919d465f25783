"""What needs waiting for: names, credential sources, plugins. The supervisor never waits.

One asyncio loop. Queries go on side by side, each look-up in a daemon thread, so that
neither a silent name server nor a slow plugin holds up another query, a source or the
stop. Forked only where a target is a name or an auther has sources.
"""

import asyncio
import encodings.idna  # noqa: F401  (imported lazily else, when root's files are out of reach)
import socket
from collections.abc import Callable, Coroutine, Iterable
from ipaddress import ip_address

from gateway.linux.channel import ChannelClosedError
from gateway.protocol.messages import (
    AskAuth,
    AskRoute,
    AuthVerdict,
    FromChild,
    Refresh,
    Resolve,
    Resolved,
    RouteVerdict,
    Stop,
    ToChild,
)
from gateway.protocol.packet import pack_address, unpack_address
from gateway.sources.errors import SourceError
from gateway.sources.keeper import Deliver
from gateway.sources.run import Sources
from gateway.sources.threads import Hand
from gateway.workers.base import TURN_SECONDS, Child, Place

QUERY_SECONDS = 10.0
HANDS = 64
"""Names whose look-up may be under way."""


class Resolver(Child):
    """Answers `Resolve` with `Resolved` and `AskAuth` with `AuthVerdict`; tells of sources."""

    def __init__(
        self,
        place: Place,
        descriptors: Iterable[int] = (),
        sources: Callable[[Deliver], Sources] | None = None,
    ) -> None:
        """`sources` makes them in the child, so that no other has copies of their secrets."""
        super().__init__(place, descriptors)
        self._make = sources
        self._sources: Sources | None = None

    def work(self) -> None:
        """Serve until told to stop."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._hands: dict[str, Hand] = {}
        self._turn = asyncio.Lock()
        loop = asyncio.get_running_loop()
        loop.add_reader(self.channel.fileno(), self._on_channel)
        if self._make is not None:
            self._sources = self._make(self._deliver)
            self._begin(self._sources.run())
        while not self.stopping:
            self.page.beat()
            await asyncio.sleep(TURN_SECONDS)
        loop.remove_reader(self.channel.fileno())
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=1.0) if tasks else None
        if self._failure is not None:
            raise self._failure

    def _on_channel(self) -> None:
        try:
            while (message := self.receive()) is not None:
                self._on_message(message)
        except ChannelClosedError:
            self.stopping = True
            asyncio.get_running_loop().remove_reader(self.channel.fileno())

    def _on_message(self, message: ToChild) -> None:
        if isinstance(message, Stop):
            self.stopping = True
        elif isinstance(message, Resolve):
            self._begin(self._resolve(message))
        elif isinstance(message, AskAuth):
            self._begin(self._ask_auth(message))
        elif isinstance(message, AskRoute):
            self._begin(self._ask_route(message))
        elif isinstance(message, Refresh) and self._sources is not None:
            self._sources.refresh()

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.stopping = True  # what is not foreseen ends the child, with its traceback
            self._failure = task.exception()

    async def _deliver(self, message: FromChild) -> None:
        """Send, and let the others work while the supervisor has no room for it."""
        async with self._turn:
            try:
                while not self.channel.send(message):
                    await self._room()
            except ChannelClosedError:
                self.stopping = True

    async def _room(self) -> None:
        loop = asyncio.get_running_loop()
        room = asyncio.Event()
        loop.add_writer(self.channel.fileno(), room.set)
        try:
            await room.wait()
        finally:
            loop.remove_writer(self.channel.fileno())

    async def _resolve(self, query: Resolve) -> None:
        try:
            async with asyncio.timeout(QUERY_SECONDS):
                found = await self._hand(query.host).do(lambda: _look_up(query.host, query.port))
        except SourceError as error:
            await self._deliver(Resolved(query.query, error=str(error)))
            return
        except TimeoutError:
            error_text = "the name server did not answer in time"
            await self._deliver(Resolved(query.query, error=error_text))
            return
        await self._deliver(Resolved(query.query, found))

    def _hand(self, host: str) -> Hand:
        """One thread a name: a name server that hangs gets no more than that."""
        hand = self._hands.get(host)
        if hand is None:
            while len(self._hands) >= HANDS:
                del self._hands[next(iter(self._hands))]
            hand = self._hands[host] = Hand("name-query")
        return hand

    async def _ask_auth(self, question: AskAuth) -> None:
        """Every address needs the yes of one plugin; a no is one that all of them agree on."""
        answers = await asyncio.gather(
            *(self._ask_address(question, address) for address in question.addresses)
        )
        if all(answers):
            await self._deliver(AuthVerdict(question.query, "yes"))
        elif any(answer is False for answer in answers):
            await self._deliver(AuthVerdict(question.query, "no"))
        else:
            await self._deliver(AuthVerdict(question.query, "unknown"))

    async def _ask_route(self, question: AskRoute) -> None:
        answer = None
        if self._sources is not None:
            answer = await self._sources.ask_route(question.router, question.destination)
        row = answer or None
        await self._deliver(RouteVerdict(question.query, row, known=answer is not None))

    async def _ask_address(self, question: AskAuth, address: bytes) -> bool | None:
        if self._sources is None:
            return False
        sources, username = self._sources, str(unpack_address(address))
        answers = await asyncio.gather(
            *(
                sources.ask_auth(
                    auther, question.service, username, question.password, question.client
                )
                for auther in question.authers
            )
        )
        if any(answers):
            return True
        return None if None in answers else False


def _look_up(host: str, port: int) -> tuple[tuple[bytes, int], ...]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP)
    except socket.gaierror as error:
        raise SourceError(str(error.strerror)) from None
    return tuple(dict.fromkeys(_packed(address) for _, _, _, _, address in found))


def _packed(
    address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],
) -> tuple[bytes, int]:
    host = str(address[0]).partition("%")[0]
    scope = address[3] if len(address) == 4 else 0
    return pack_address(ip_address(host)), scope
