"""Who wins, and what becomes of the others."""

import asyncio

import pytest

from gateway.carriers.stream import CarrierError
from gateway.workers.bridge_race import first_of


async def after(gate: asyncio.Event, result: str) -> str:
    await gate.wait()
    if result.startswith("no"):
        raise CarrierError(result)
    return result


def test_the_first_success_is_taken_and_the_rest_given_up() -> None:
    async def body() -> None:
        early, never, discarded = asyncio.Event(), asyncio.Event(), list[str]()
        early.set()
        attempts = [after(never, "slow"), after(early, "no"), after(early, "a"), after(early, "b")]
        found = await first_of(attempts, discarded.append)
        assert found == "a"
        await asyncio.sleep(0)
        assert discarded == ["b"], "both were there"
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(body())


def test_the_last_failure_is_told() -> None:
    async def body() -> None:
        first, second = asyncio.Event(), asyncio.Event()
        first.set()
        race = asyncio.ensure_future(
            first_of([after(second, "no 2"), after(first, "no 1")], lambda _: None)
        )
        for _ in range(10):
            await asyncio.sleep(0)
        second.set()
        with pytest.raises(CarrierError, match="no 2"):
            await race

    asyncio.run(body())


def test_a_race_that_is_given_up_leaves_nobody() -> None:
    async def body() -> None:
        never = asyncio.Event()
        race = asyncio.ensure_future(first_of([after(never, "x")], lambda _: None))
        await asyncio.sleep(0)
        race.cancel()
        with pytest.raises(asyncio.CancelledError):
            await race
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(body())


def test_a_defect_is_not_hidden() -> None:
    async def broken() -> str:
        raise ZeroDivisionError

    async def body() -> None:
        with pytest.raises(ZeroDivisionError):
            await first_of([broken(), after(asyncio.Event(), "x")], lambda _: None)

    asyncio.run(body())
