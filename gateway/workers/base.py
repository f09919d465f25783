"""What all children have in common: two phases and one way out.

Before the fork a child is a plain object; building it changes nothing in the process.
After the fork `run` makes the process its own, in this order: close every descriptor
that is not on the list, forget the credentials that came along with the memory, give
up all privileges, tie the life to the supervisor's (last of the privileges, as a change
of those may clear the signal), then name, CPU and memory. Then it gets what it works with, and
only then does it say Ready: who is Ready listens.

A child ends in one of these ways: the supervisor says Stop or closes the channel (exit
0); an error it cannot handle (a traceback and exit 1); a signal. SIGTERM is the
supervisor's business: sent to the whole group it must not end the children out of order.
"""

import gc
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gateway.fastpath.counters import Page
from gateway.linux import landlock, process
from gateway.linux.channel import ChannelClosedError, ChildEnd
from gateway.linux.shared import Arena
from gateway.protocol.messages import FromChild, Ready, ToChild

TURN_SECONDS = 0.25
"""How long a child stays in compiled code at most: signals and pulses wait for it."""

STANDARD_STREAMS = (0, 1, 2)


@dataclass(frozen=True)
class Place:
    """Where a child lives. `forget` wipes what it must not know; `supervisor` is a pid."""

    name: str
    title: str
    channel: ChildEnd
    page: Page
    arena: Arena
    cpus: tuple[int, ...]
    supervisor: int
    forget: Callable[[], None]


class Child(ABC):
    """One child. `run` is the only method that is called after the fork."""

    def __init__(self, place: Place, descriptors: Iterable[int]) -> None:
        """`descriptors`: what it needs beside the channel and the standard streams."""
        self.place = place
        self.channel = place.channel
        self.page = place.page
        self.descriptors = frozenset(descriptors)
        self.stopping = False

    def run(self) -> None:
        """Become the child, work until told to stop. Called once, in the child."""
        self._settle()
        try:
            self.prepare()
            self.send(Ready(pid=os.getpid()))
            self.work()
        except ChannelClosedError:
            return

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Get what it takes to work, beating the pulse meanwhile."""

    @abstractmethod
    def work(self) -> None:
        """The loop: until `stopping`, beating the pulse at least every `TURN_SECONDS`."""

    def open_descriptors(self) -> frozenset[int]:
        """Every descriptor the child has; tests compare."""
        return self.descriptors | {self.channel.fileno(), *STANDARD_STREAMS}

    def send(self, message: FromChild) -> None:
        """Send to the supervisor, waiting for room; its messages are few."""
        while not self.channel.send(message):
            self.page.beat()
            self.channel.wait_for_room(TURN_SECONDS)

    def receive(self) -> ToChild | None:
        """The next message, None if none waits."""
        return self.channel.receive()

    def _settle(self) -> None:
        process.quiet_signals()
        process.close_all_except(self.open_descriptors())
        process.forget_standard_input()
        # The supervisor's objects live on in this memory. Collecting them would close
        # descriptors whose numbers may be somebody else's by then.
        gc.freeze()
        self.place.forget()
        process.drop_everything()
        landlock.confine()
        process.die_with(self.place.supervisor)
        process.name_process(self.place.name, self.place.title)
        process.pin(self.place.cpus)
        self.place.arena.populate()
        self.page.beat()
