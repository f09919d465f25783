"""What relay listeners and chains have in common: their bridges, as children.

What a bridge needs of files and low ports is opened here as root; what it holds when it
dies are streams, whose clients come back by themselves.
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.carriers.stream import CarrierError
from gateway.errors import HostError
from gateway.fastpath.counters import Page
from gateway.linux.belongings import Owner, acting_as
from gateway.linux.channel import ChannelClosedError
from gateway.linux.shared import Arena
from gateway.log import event, get_logger
from gateway.protocol.bridge_messages import BridgeFigures
from gateway.protocol.messages import FromChild, ToChild
from gateway.supervisor.children import Children, Member, Spec
from gateway.workers.base import Child, Place

if TYPE_CHECKING:
    from gateway.carriers.certificates import Kept

GAUGES = ("streams", "strangers")
"""What a bridge counts that a dead one has none of."""

_log = get_logger("bridges")


class Certificate:
    """The instance's own certificate: made when a listener needs one, and kept."""

    def __init__(self, directory: Path, owner: Owner | None) -> None:
        self._directory = directory
        self._owner = owner
        self._kept: Kept | None = None

    @property
    def pin(self) -> str:
        """What clients can pin, "" while nobody needed it."""
        return self._kept.fingerprint if self._kept is not None else ""

    def file(self) -> Path:
        """Where it is, with its key. Raises HostError."""
        if self._kept is None:
            from gateway.carriers.certificates import kept  # noqa: PLC0415  (not everybody's)

            try:
                with acting_as(self._owner):
                    self._kept = kept(self._directory)
            except CarrierError as error:
                raise HostError(
                    f"the certificate of its own cannot be kept: {error}; give certFile and keyFile"
                ) from None
            if self._kept.made:
                event(
                    _log, logging.WARNING, "certificate-made", file=self._kept.file,
                    text="self-signed: clients can check it by pin= alone", pin=self.pin,
                )  # fmt: skip
        return self._kept.file


class BridgeChildren:
    """The bridges of one listener or chain, and what they count together."""

    def __init__(self, service: str) -> None:
        self.members: list[Member] = []
        self._service = service
        self._counts: list[Counter[str]] = []
        self._past: Counter[str] = Counter()

    @property
    def counts(self) -> Counter[str]:
        """Sums over all bridges, and over those that died."""
        total = self._past.copy()
        for counts in self._counts:
            total += counts
        return total

    def start(
        self,
        children: Children,
        name: str,
        cpus: tuple[int, ...],
        build: Callable[[Place], Child],
        on_message: Callable[[Member, FromChild], None],
        on_end: Callable[[Member], None],
        home: contextlib.AbstractContextManager[object] | None = None,
    ) -> None:
        """Fork one more bridge. Its figures are counted here, all else is for `on_message`."""
        size, index = Page.bytes_for(1), len(self.members)
        arena = Arena([size])
        self._counts.append(Counter())

        def take(message: FromChild) -> None:
            if isinstance(message, BridgeFigures) and message.counts:
                self._counts[index] = Counter(message.counts)
            on_message(self.members[index], message)

        def ended() -> None:
            counts, self._counts[index] = self._counts[index], Counter()
            for gauge in GAUGES:
                counts.pop(gauge, None)
            self._past += counts
            on_end(self.members[index])

        spec = Spec(
            name=name,
            service=self._service,
            kind="bridge",
            cpus=cpus,
            page=Page(arena.carve(size), 1),
            arena=arena,
            build=build,
            on_message=take,
            snapshot=list,
            on_end=ended,
            home=home or contextlib.nullcontext(),
        )
        self.members.append(children.start(spec))


def answer(member: Member, message: ToChild, descriptors: Sequence[int] = ()) -> None:
    """Send to a bridge, if it lives. Descriptors go now or not at all: it will ask again."""
    if member.life is None:
        return
    if not descriptors:
        member.life.feed.put(message)
        return
    with contextlib.suppress(ChannelClosedError):
        member.life.channel.send(message, descriptors)
