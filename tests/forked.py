"""Small children, and how a test has them started."""

import os

from gateway.fastpath.counters import Page
from gateway.linux.shared import Arena
from gateway.protocol.messages import FromChild
from gateway.supervisor.children import Children, Member, Spec
from gateway.supervisor.loop import Loop
from gateway.workers.base import Child, Place


class Babbling(Child):
    """Sends what is no message, and goes on as if nothing had been."""

    def __init__(self, place: Place, said: bytes = b"\xc1 is no message") -> None:
        super().__init__(place, ())
        self._said = said

    def work(self) -> None:
        os.write(self.channel.fileno(), self._said)
        while True:
            self.channel.wait(1.0)
            self.channel.receive()


class Quiet(Child):
    """Does nothing but beat its pulse."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, ())

    def work(self) -> None:
        while not self.stopping:
            self.page.beat()
            self.channel.wait(0.01)
            self.stopping = self.receive() is not None


def spec(heard: list[FromChild]) -> Spec:
    arena = Arena([Page.bytes_for(1)])
    page = Page(arena.carve(Page.bytes_for(1)), 1)
    cpus = tuple(os.sched_getaffinity(0))
    return Spec("babbler", "tun", "resolver", cpus, page, arena, Babbling, heard.append, list)


def running(loop: Loop, found: Children, child: Spec) -> Member:
    member = found.start(child)
    assert loop.run_until(lambda: member.state(loop.now) == "running", 10.0)
    return member
