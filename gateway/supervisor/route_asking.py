"""A router's plugin: asked for addresses that lead to nobody, never for packets.

The children note such addresses as they meet them, each once; a packet waits for nothing.
What the plugin answers counts for the whole network it names, and is asked again while it
holds: a no takes it back, silence does not. An address the plugin knows nothing of is left
alone for a while, so that neither a scan nor a busy stranger becomes a flood of questions.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gateway.config.model import PluginSpec, Service
from gateway.linux.channel import ChannelGarbledError
from gateway.protocol.messages import RouteVerdict
from gateway.protocol.packet import pack_network, unpack_address
from gateway.protocol.routes import is_prefix, prefix_of
from gateway.sources.layers import Changes
from gateway.sources.tables import Prefixed
from gateway.supervisor.resolving import Resolving

GRACE = 1.0
NO_SECONDS = 10.0
"""How long an address without an answer, or with a no, is not asked for again."""
KEPT_SECONDS = 3600.0
"""A network is forgotten then, and asked for anew if it is still in use."""
ANSWERS = 10_000
NOES = 10_000
AGAIN_AT_ONCE = 20


@dataclass
class _Answer:
    gateway: bytes
    destination: bytes
    again: float
    until: float


class RouteAsking:
    """The questions of one service. `take` makes changes count; times are CLOCK_BOOTTIME."""

    def __init__(
        self,
        router: str,
        spec: PluginSpec,
        service: Service,
        resolving: Resolving,
        take: Callable[[Changes[Prefixed]], None],
    ) -> None:
        self._router = router
        self._spec = spec
        self._nets = tuple(pack_network(net.network) for net in service.nets)
        self._resolving = resolving
        self._take = take
        self._answers: OrderedDict[Prefixed, _Answer] = OrderedDict()
        self._noes: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        """How many networks the plugin has named."""
        return len(self._answers)

    def on_asked(self, addresses: tuple[bytes, ...], now: float) -> None:
        """From a child."""
        for address in addresses:
            if self._noes.get(address, 0.0) <= now and self._may_be_asked(address):
                self._ask(address, now)

    def tick(self, now: float) -> None:
        """Forget what is old, ask again for what may have changed. About once a second."""
        old = [prefix for prefix, answer in self._answers.items() if answer.until <= now]
        self._forget(old)
        due = [answer for answer in self._answers.values() if answer.again <= now]
        for answer in due[:AGAIN_AT_ONCE]:
            answer.again = now + self._pause()
            self._ask(answer.destination, now)

    def _ask(self, destination: bytes, now: float) -> None:
        self._resolving.ask_route(
            self._router,
            destination,
            self._spec.timeout + GRACE,
            now,
            lambda verdict: self._on_verdict(destination, verdict, now),
        )

    def _on_verdict(self, destination: bytes, verdict: RouteVerdict, now: float) -> None:
        row = verdict.row
        if row is None:
            self._noes[destination] = now + NO_SECONDS
            while len(self._noes) > NOES:
                self._noes.popitem(last=False)
            if verdict.known:
                self._forget([p for p, a in self._answers.items() if a.destination == destination])
            return
        prefix = (row.prefix, row.length)
        if not is_prefix(*prefix):
            raise ChannelGarbledError
        until = now + KEPT_SECONDS
        known = self._answers.get(prefix)
        if known is not None and known.destination == destination:
            until = known.until
        self._answers[prefix] = _Answer(row.gateway, destination, now + self._pause(), until)
        if known is None or known.gateway != row.gateway:
            self._take(Changes({prefix: row.gateway}))
        while len(self._answers) > ANSWERS:
            self._forget([next(iter(self._answers))])

    def _forget(self, prefixes: list[Prefixed]) -> None:
        for prefix in prefixes:
            del self._answers[prefix]
        if prefixes:
            self._take(Changes(removed=prefixes))

    def _pause(self) -> float:
        return max(1.0, self._spec.cache)

    def _may_be_asked(self, address: bytes) -> bool:
        """A tunnel address is its peer's; what no host has is nobody's."""
        if any(prefix_of(address, length) == net for net, length in self._nets):
            return False
        host = unpack_address(address)
        return not (
            host.is_multicast
            or host.is_link_local
            or host.is_loopback
            or host.is_unspecified
            or host.is_reserved
        )
