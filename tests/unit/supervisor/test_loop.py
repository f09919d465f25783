import os
import signal

from gateway.supervisor.loop import Loop


def test_timers_in_order_and_cancelled() -> None:
    """By time, then by order of asking."""
    loop = Loop()
    called: list[str] = []
    loop.call_in(0.02, lambda: called.append("late"))
    loop.call_in(0.0, lambda: called.append("first"))
    loop.call_in(0.0, lambda: called.append("second"))
    loop.call_in(0.0, lambda: called.append("never")).cancel()
    loop.run_until(lambda: len(called) == 3, 5)
    loop.close()

    assert called == ["first", "second", "late"]


def test_signal_is_handled_in_a_turn() -> None:
    """And the former handler is back afterwards."""
    former = signal.getsignal(signal.SIGUSR1)
    loop = Loop()
    loop.on_signal(signal.SIGUSR1, loop.stop)
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.run()
    loop.close()

    assert loop.stopping
    assert signal.getsignal(signal.SIGUSR1) == former


def test_a_handler_may_unwatch_another() -> None:
    """Whose event of the same turn is then not delivered."""
    loop = Loop()
    pairs = [os.pipe() for _ in range(2)]
    called: list[int] = []

    def on_ready(me: int, other: int) -> None:
        called.append(me)
        loop.unwatch(other)

    (a, a_write), (b, b_write) = pairs
    loop.watch(a, lambda _: on_ready(a, b))
    loop.watch(b, lambda _: on_ready(b, a))
    os.write(a_write, b"x")
    os.write(b_write, b"x")
    loop.turn(1.0)
    loop.close()
    for fd in (a, a_write, b, b_write):
        os.close(fd)

    assert len(called) == 1


def test_run_until_gives_up() -> None:
    """And says so."""
    loop = Loop()

    assert not loop.run_until(lambda: False, 0.01)
    loop.close()
