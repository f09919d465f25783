import gc
import os
import signal
import weakref
from functools import partial

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


class Asker:
    """Somebody with a timer, whom the timer is to call."""

    def __init__(self, loop: Loop) -> None:
        self.deadline = loop.call_in(1000.0, partial(print, self))


def test_a_cancelled_timer_holds_nothing() -> None:
    """Although it is kept until its time; and the collector is not needed."""
    loop = Loop()
    gc.collect()
    gc.disable()
    try:
        asker = Asker(loop)
        known = weakref.ref(asker)
        asker.deadline.cancel()
        del asker
        assert known() is None
    finally:
        gc.enable()
        loop.close()


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


def test_run_until_begins_now_and_not_with_the_last_turn() -> None:
    loop = Loop()
    loop._now -= 100.0
    asked: list[None] = []

    def third_time() -> bool:
        asked.append(None)
        loop.call_in(0.0, lambda: None)
        return len(asked) == 3

    assert loop.run_until(third_time, 5.0)
    loop.close()


def test_run_until_gives_up() -> None:
    """And says so."""
    loop = Loop()

    assert not loop.run_until(lambda: False, 0.01)
    loop.close()


def test_what_was_to_be_called_in_time_can_be_dropped() -> None:
    loop = Loop()
    called: list[str] = []
    loop.call_every(0.001, lambda: called.append("again"))
    loop.call_in(0.01, lambda: called.append("once"))
    loop.run_until(lambda: bool(called), 5)
    loop.drop_timers()
    before = list(called)
    loop.call_in(0.02, lambda: called.append("new"))
    loop.run_until(lambda: "new" in called, 5)
    loop.close()

    assert called == [*before, "new"]


def test_callbacks_inside_a_place() -> None:
    """Whatever is registered through the view, and what it registers; nothing else."""
    loop = Loop()
    entered: list[str] = []
    called: list[tuple[str, bool]] = []

    class Place:
        def __enter__(self) -> None:
            entered.append("in")

        def __exit__(self, *_: object) -> None:
            entered.clear()

    def note(name: str) -> None:
        called.append((name, bool(entered)))

    view = loop.inside(Place())
    view.call_every(0.001, lambda: note("again"))
    view.call_in(0.0, lambda: view.call_in(0.0, lambda: note("nested")))
    loop.call_in(0.0, lambda: note("outside"))
    reading, writing = os.pipe()
    os.write(writing, b"x")
    view.watch(reading, lambda _: (note("ready"), view.unwatch(reading))[0])
    loop.run_until(lambda: len({name for name, _ in called}) == 4 and len(called) > 5, 5)
    assert view.now == loop.now
    assert view.boot == loop.boot
    for fd in (reading, writing):
        os.close(fd)
    loop.close()

    assert set(called) == {
        ("again", True), ("nested", True), ("outside", False), ("ready", True)
    }  # fmt: skip
