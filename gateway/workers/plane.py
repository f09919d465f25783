"""The half that tun-reader and udp-worker share: a replica, a device, one loop.

The compiled loop comes back when something needs the interpreter. A device that was
deleted is reported until the supervisor has attached a new one to the same descriptor;
the child waits on its channel and tries four times a second (no spinning). Reported
once it could be lost: the new one may be deleted before this child has seen it.
"""

from abc import abstractmethod

from gateway.fastpath import pump
from gateway.fastpath.fib import Fib
from gateway.protocol.messages import Asked, Snapshot, Stop, Trouble, Update
from gateway.workers.base import TURN_SECONDS, Child
from gateway.workers.replica import Replica

ASK_SECONDS = 0.05


class DataChild(Child):
    """A child on the data path. `asking`: addresses that lead to nobody are told."""

    asking = False

    def prepare(self) -> None:
        """Wait for the first snapshot, then take over."""
        fib = Fib(self.page.peers)
        self.replica = Replica(fib)
        if self.asking:
            fib.watch()
        while not (self.stopping or self.replica.complete):
            self._wait()
        self.attach(fib)

    def work(self) -> None:
        """Run bursts."""
        while not self.stopping:
            self._turn()
        self.finish()

    @abstractmethod
    def attach(self, fib: Fib) -> None:
        """Take over the rings and build the compiled loop (I1: the former owner is reaped)."""

    @abstractmethod
    def turns(self, timeout: float) -> int:
        """Run the compiled loop for at most `timeout` seconds; its bits."""

    def on_bits(self, bits: int) -> None:
        """What only this kind of child handles."""

    def finish(self) -> None:
        """A last turn before the end: what is already here is not thrown away."""
        self.turns(0.0)

    def _turn(self) -> None:
        bits = self.turns(ASK_SECONDS if self.asking else TURN_SECONDS)
        if bits & pump.CHANNEL:
            self._drain_channel()
        self.on_bits(bits)
        if self.asking and (asked := self.replica.fib.asked()):
            self.channel.send(Asked(tuple(asked)))  # or not: they will come again
        if bits & pump.DEVICE_GONE:
            self.send(Trouble("device-gone"))
            self._wait()

    def _wait(self) -> None:
        self.page.beat()
        if self.channel.wait(TURN_SECONDS):
            self._drain_channel()

    def _drain_channel(self) -> None:
        while (message := self.receive()) is not None:
            if isinstance(message, Stop):
                self.stopping = True
                return
            if isinstance(message, Update | Snapshot):
                request = self.replica.apply(message)
                if request is not None:
                    self.send(request)
