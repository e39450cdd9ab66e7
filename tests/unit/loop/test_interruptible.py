"""What runs is ended, also where it swallows its first cancellation, as calls to Redis do."""

from __future__ import annotations

import asyncio

import pytest

from redisqueue_operator.interruptible import ended, finished, first_ended


async def test_what_swallows_its_cancellation_is_cancelled_again() -> None:
    asked: list[str] = []

    async def swallowing() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            asked.append("once")
        await asyncio.sleep(3600)

    async def failing() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise LookupError

    tasks = [asyncio.create_task(each()) for each in (swallowing, failing, swallowing)]
    await asyncio.sleep(0)  # they have begun
    await ended(tasks)
    assert all(task.done() for task in tasks)
    assert asked == ["once", "once"]
    await ended(tasks)  # harmless when repeated
    await ended(())


async def test_a_clean_up_goes_on_to_its_end_where_it_is_cancelled() -> None:
    begun, cleaned = asyncio.Event(), False

    async def clean_up() -> None:
        nonlocal cleaned
        begun.set()
        await asyncio.sleep(0.05)
        cleaned = True

    task = asyncio.create_task(finished(clean_up()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned


async def test_where_one_part_ends_the_others_do_too_and_its_error_is_told() -> None:
    left: list[str] = []

    async def lasting(name: str) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            left.append(name)

    async def failing() -> None:
        await asyncio.sleep(0)
        raise LookupError("the third part")

    with pytest.raises(LookupError, match="the third part"):
        await first_ended(lasting("first"), lasting("second"), failing())
    assert left == ["first", "second"]
    await first_ended(lasting("first"), asyncio.sleep(0))
