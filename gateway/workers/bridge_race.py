"""Several ways tried at once: the first that succeeds is taken, the others are given up."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TypeVar

from gateway.carriers.stream import CarrierError

Found = TypeVar("Found")


async def first_of(
    attempts: Sequence[Coroutine[object, object, Found]], discard: Callable[[Found], None]
) -> Found:
    """What the first attempt to succeed returns; `discard` gets what another had by then.

    Nobody waits for those that are given up. What is no CarrierError is nobody's to catch.

    Raises:
        CarrierError: All failed; the last one's.
    """
    tasks = [asyncio.ensure_future(attempt) for attempt in attempts]
    winner: asyncio.Future[Found] | None = None
    reason = CarrierError("there is no way to try")
    try:
        for task in asyncio.as_completed(tasks):
            try:
                await task
            except CarrierError as error:
                reason = error
                continue
            winner = next(each for each in tasks if _succeeded(each))
            return winner.result()
        raise reason
    finally:
        for each in tasks:
            if each is not winner:
                each.cancel()
                each.add_done_callback(lambda done: _give_up(done, discard))


def _succeeded(task: asyncio.Future[Found]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _give_up(task: asyncio.Future[Found], discard: Callable[[Found], None]) -> None:
    if task.cancelled():
        return
    error = task.exception()
    if error is None:
        discard(task.result())
    elif not isinstance(error, CarrierError):
        context = {"message": "an attempt that was given up failed", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
