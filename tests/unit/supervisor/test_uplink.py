"""The uplink's driver: whose acks count, what is asked from where, what stays outside."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_interface
from types import SimpleNamespace

import pytest
from strategies import a16

from gateway.config.model import Selector, Service, Target
from gateway.linux import udp
from gateway.log import setup
from gateway.protocol.forwarding import Role
from gateway.protocol.messages import PuntedDatagram, Resolved, Trouble
from gateway.protocol.packet import ANY, Endpoint
from gateway.protocol.uplink import State
from gateway.supervisor.loop import Loop
from gateway.supervisor.lost import (
    NEVER_ANSWERED,
    REFUSED,
    SILENT,
    UNHEARD,
    UNHEARD_KEPT,
    Reasons,
)
from gateway.supervisor.uplink import TOLD_AT_ONCE, Ask, UplinkDriver

ACK = b"GOST" + bytes(10) + b"\xff\xff\x7f\0\0\1"
LOOPBACK = a16("127.0.0.1")


class Stage:
    """A driver between two servers that only listen. `outside`: what was kept out last."""

    def __init__(
        self,
        strategy: str,
        stack: ExitStack,
        *,
        listening: bool = True,
        ttl: float = 1.0,
        hosts: tuple[str, str] = ("127.0.0.1", "127.0.0.1"),
        ask: Ask | None = None,
    ) -> None:
        self.loop = Loop()
        stack.callback(self.loop.close)
        self.servers = [stack.enter_context(_server()) for _ in range(2)]
        self.ports = [server.getsockname()[1] for server in self.servers]
        self.outside: tuple[Endpoint, ...] = ()
        self.measured: list[Endpoint] = []
        sock = stack.enter_context(udp.open_client(gro=False))
        spare = stack.enter_context(udp.open_client(gro=False))
        service = Service(
            "tun", Role.CLIENT, "", 0,
            targets=tuple(map(Target, hosts, self.ports)),
            nets=(ip_interface("192.168.123.2/24"),),
            keepalive=True, ttl=ttl, selector=Selector(strategy),  # type: ignore[arg-type]
        )  # fmt: skip
        self.driver = UplinkDriver(
            service, sock, self.loop, ask,
            SimpleNamespace(keep_outside=self._keep),  # type: ignore[arg-type]
            SimpleNamespace(tell=lambda _: None),  # type: ignore[arg-type]
            SimpleNamespace(measure=self.measured.append),  # type: ignore[arg-type]
            spare,
        )  # fmt: skip
        self.driver.start()
        if listening and ask is None:
            self.listen()

    def listen(self) -> None:
        """A worker is there."""
        self.driver.listening()
        assert self.loop.run_until(lambda: self.driver.machine.endpoint is not None, 10.0)

    def ack(self, number: int) -> None:
        """The worker passes on an ack of this server's."""
        punted = PuntedDatagram(LOOPBACK, self.ports[number], 0, ANY, ACK)
        self.driver.on_punts([punted], self.loop.boot)

    def endpoint(self, number: int) -> Endpoint:
        return Endpoint(LOOPBACK, self.ports[number])

    def heard(self, number: int) -> tuple[bytes, tuple]:
        """A heartbeat that came to this server while the loop turned, and from where."""
        found: list[tuple[bytes, tuple]] = []

        def look() -> bool:
            try:
                found.append(self.servers[number].recvfrom(2000, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return False
            return True

        assert self.loop.run_until(look, 10.0)
        return found[0]

    def _keep(self, *endpoints: Endpoint) -> None:
        self.outside = endpoints


def _server() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


@pytest.fixture
def stage() -> Iterator:
    with ExitStack() as stack:
        yield lambda strategy, **options: Stage(strategy, stack, **options)


def test_an_ack_of_another_server_is_none(stage):
    """It waited in the socket while that was connected anew."""
    it = stage("fifo")
    it.heard(0)
    it.ack(1)
    assert it.driver.machine.state is State.REGISTERING
    it.ack(0)
    assert it.driver.machine.state is State.UP
    assert it.measured == [it.endpoint(0)]


def test_the_spare_socket_asks_the_others(stage):
    """And an ack to it is that server's, whatever the one in use does."""
    it = stage("parallel")
    _, used = it.heard(0)
    heartbeat, spare = it.heard(1)
    assert used != spare
    assert heartbeat[:4] == b"GOST"
    assert set(it.outside) == {it.endpoint(0), it.endpoint(1)}

    it.servers[1].sendto(ACK, spare)
    _, moved = it.heard(1)

    assert it.driver.machine.endpoint == it.endpoint(1)
    assert moved not in (used, spare)
    it.ack(1)
    assert [standing.state for standing in it.driver.machine.standings()] == ["unknown", "used"]


def test_only_a_new_way_to_the_server_in_use_counts(stage):
    it = stage("fifo")
    _, before = it.heard(0)
    it.ack(0)
    it.driver.register(it.ports[1])
    assert it.driver.machine.state is State.UP

    it.driver.register(it.ports[0])
    _, after = it.heard(0)
    assert after != before
    assert it.driver.machine.state is State.REGISTERING


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EPERM])
def test_a_host_without_a_way_is_told_of_once(stage, monkeypatch, capfd, number):
    """That the heartbeat cannot leave either is no news. It goes on trying."""
    setup("info")

    def connect(sock: socket.socket, *_: object) -> None:
        udp.disconnect(sock)
        tried.append(number)
        raise OSError(number, "no way")

    tried: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr("gateway.supervisor.uplink.udp.connect", connect)
        it = stage("fifo")
        assert it.driver.machine.state is State.LOST
        assert it.loop.run_until(lambda: len(tried) > 2, 10.0)
    heartbeat, _ = it.heard(0)
    assert heartbeat[:4] == b"GOST"
    lines = [line for line in capfd.readouterr().err.splitlines() if "event=uplink-error" in line]
    assert len(lines) == 1
    assert 'error="no way"' in lines[0]


def test_nothing_is_sent_before_a_worker_listens(stage):
    """The ack would wait in the socket, and the round trip be the time of the worker's start."""
    it = stage("fifo", listening=False)
    machine = it.driver.machine
    assert not it.loop.run_until(lambda: machine.endpoint is not None, 0.2)
    assert not it.driver.searching, "nobody looked yet"

    it.listen()
    it.heard(0)
    it.ack(0)
    assert machine.state is State.UP
    assert machine.rtt is not None


def test_a_round_trip_is_not_measured_within_one_turn(stage):
    """One that begins and ends between two looks at the clock would take no time."""
    it = stage("fifo", listening=False)
    it.driver.listening()
    assert it.driver.machine.heartbeats == 0
    before = it.loop.boot
    it.heard(0)
    assert it.loop.boot > before


def test_what_was_asked_while_no_worker_listened_tells_no_round_trip(stage):
    it = stage("fifo")
    it.heard(0)
    it.driver.deaf()
    it.driver.listening()
    it.ack(0)
    assert it.driver.machine.rtt is None

    it.driver.deaf()
    it.heard(0)
    it.driver.listening()
    it.ack(0)
    assert it.driver.machine.rtt is None

    it.heard(0)
    it.ack(0)
    assert it.driver.machine.rtt is not None


def lines(capfd, name: str) -> list[str]:
    return [line for line in capfd.readouterr().err.splitlines() if f"event={name}" in line]


def test_a_refusal_is_the_reason(stage, capfd):
    setup("info")
    it = stage("fifo")
    it.heard(0)
    it.driver.on_trouble(Trouble("refused"))
    assert "nobody listens on that UDP port" in it.driver.reason
    (line,) = lines(capfd, "uplink-lost")
    assert f'reason="{it.driver.reason}"' in line

    it.heard(0)
    it.ack(0)
    assert it.driver.machine.state is State.UP
    assert it.driver.reason == ""


def test_a_host_without_a_way_is_the_reason_and_sends_nothing(stage, monkeypatch, capfd):
    setup("info")
    tried = []

    def connect(sock: socket.socket, *_: object) -> None:
        tried.append(sock)
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr("gateway.supervisor.uplink.udp.connect", connect)
    it = stage("fifo")
    assert it.loop.run_until(lambda: len(tried) > 2, 10.0)
    assert it.driver.reason == "it cannot be reached: Network is unreachable"
    assert it.driver.machine.heartbeats == 0
    (line,) = lines(capfd, "uplink-lost")
    assert 'reason="it cannot be reached: Network is unreachable"' in line


def test_silence_is_the_reason_where_nothing_was_said(stage, capfd):
    """A wrong passphrase looks like that; who answered once has none."""
    setup("info")
    it = stage("fifo", ttl=0.1)
    machine = it.driver.machine
    lost = lambda: machine.state is State.LOST  # noqa: E731
    assert it.loop.run_until(lost, 10.0)
    assert it.driver.reason == NEVER_ANSWERED
    (line,) = lines(capfd, "uplink-lost")
    assert "passphrase" in line

    it.driver.on_trouble(Trouble("refused"))
    assert it.driver.reason == REFUSED
    it.driver.register(machine.endpoint.port)
    it.ack(it.ports.index(machine.endpoint.port))
    assert it.loop.run_until(lost, 10.0)
    assert it.driver.reason == SILENT


def test_a_name_without_an_address_is_the_reason(stage):
    answers = []
    it = stage("fifo", hosts=("no.example", "nor.example"), ask=lambda *each: answers.append(each))
    it.driver.listening()
    assert it.loop.run_until(lambda: bool(answers), 10.0)
    assert it.driver.searching
    assert it.driver.reason == ""

    host, _, answer = answers[0]
    assert host == "no.example"
    answer(Resolved(1, error="Name or service not known"))
    assert it.driver.machine.target.host == host
    assert it.driver.reason == "Name or service not known"


def test_losses_in_a_hail_are_a_few_lines(stage, capfd):
    """And each that is told of is told to be over."""
    setup("info")
    it = stage("fifo")
    for _ in range(50):
        it.ack(it.ports.index(it.driver.machine.endpoint.port))
        it.driver.on_trouble(Trouble("refused"))
        it.loop.turn(0.0)
        it.driver.machine.renewed(it.loop.boot)
    it.ack(it.ports.index(it.driver.machine.endpoint.port))
    told = [line for line in capfd.readouterr().err.splitlines() if "event=uplink-" in line]
    assert sum("event=uplink-lost" in line for line in told) == TOLD_AT_ONCE
    assert len(told) <= 3 * TOLD_AT_ONCE
    assert "event=uplink-lost" not in told[-1]


def test_a_return_is_told_after_a_told_loss_whatever_was_held_back_between(stage, capfd):
    """Registering with another server is told as seldom as losses are, each of them apart."""
    setup("info")
    it = stage("parallel")
    current = lambda: it.ports.index(it.driver.machine.endpoint.port)  # noqa: E731
    for _ in range(TOLD_AT_ONCE + 1):
        it.ack(current())
        it.driver.register(it.ports[current()])
    it.ack(current())
    assert lines(capfd, "uplink-up")

    it.driver.on_trouble(Trouble("refused"))
    it.driver.machine.checked(it.loop.boot, it.endpoint(1 - current()))
    it.driver.on_punts([], it.loop.boot)
    assert it.driver.machine.state is State.REGISTERING
    it.ack(current())

    told = [line for line in capfd.readouterr().err.splitlines() if "event=uplink-" in line]
    assert [line.partition("event=")[2].split()[0] for line in told] == ["uplink-lost", "uplink-up"]


def test_while_our_own_worker_is_away_that_is_the_reason(stage, capfd):
    """Nobody listened, so nobody knows that the server is silent. It is asked all the same."""
    setup("info")
    it = stage("fifo", ttl=0.1)
    machine = it.driver.machine
    it.ack(it.ports.index(machine.endpoint.port))
    it.driver.deaf()
    before = machine.heartbeats
    assert it.loop.run_until(lambda: machine.state is State.LOST, 10.0)
    assert it.driver.reason == UNHEARD
    (line,) = lines(capfd, "uplink-lost")
    assert f'reason="{UNHEARD}"' in line
    asked = machine.heartbeats
    assert asked > before
    assert it.loop.run_until(lambda: machine.heartbeats > asked, 10.0)

    it.driver.listening()
    assert it.driver.reason == UNHEARD, "no question has had its time yet"
    it.ack(it.ports.index(machine.endpoint.port))
    assert machine.state is State.UP


def test_what_the_kernel_says_is_a_reason_without_a_worker_too(stage):
    it = stage("fifo")
    it.driver.on_trouble(Trouble("refused"))
    it.driver.deaf()
    assert it.driver.reason == REFUSED


def test_a_worker_that_is_back_hears_the_silence() -> None:
    reasons = Reasons()
    reasons.left(10.0, heard=False)
    reasons.left(30.0, heard=False)
    assert reasons.lost(answered=True, heard=True) == UNHEARD
    reasons.left(30.0 + UNHEARD_KEPT, heard=True)
    assert reasons.lost(answered=True, heard=True) == UNHEARD
    reasons.left(30.1 + UNHEARD_KEPT, heard=True)
    assert reasons.lost(answered=True, heard=True) == SILENT
    assert reasons.lost(answered=False, heard=True) == NEVER_ANSWERED
    assert reasons.lost(answered=True, heard=False) == UNHEARD
