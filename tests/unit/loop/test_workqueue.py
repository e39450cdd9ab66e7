"""The work queue: one look for many reasons, never two at once, patience with what fails."""

from __future__ import annotations

import asyncio

import pytest

from redisqueue_operator.loop.workqueue import HEAD_START_SECONDS, LAST_BACKOFF_SECONDS, WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue[str]:
    return WorkQueue(clock=clock, jitter=lambda: 1.0)


async def taken(queue: WorkQueue[str]) -> str | None:
    """The next key, or None when none is due now."""
    try:
        async with asyncio.timeout(0.01):
            return await queue.get()
    except TimeoutError:
        return None


async def test_many_reasons_are_one_look(queue: WorkQueue[str]) -> None:
    for _ in range(100):
        queue.add("a")
    assert await taken(queue) == "a"
    queue.done("a")
    assert await taken(queue) is None


async def test_keys_are_served_in_the_order_they_became_due(queue: WorkQueue[str]) -> None:
    for key in "cab":
        queue.add(key)
    assert [await taken(queue) for _ in range(3)] == ["c", "a", "b"]


async def test_what_is_urgent_goes_first_and_nobody_waits_for_it_without_end(
    queue: WorkQueue[str], clock: Clock
) -> None:
    for key in "abc":
        queue.add(key)
    clock.now += HEAD_START_SECONDS / 2
    for key in "xyb":
        queue.add(key, urgent=True)
    assert [await taken(queue) for _ in range(4)] == ["x", "y", "b", "a"], "in their own order, each once"
    clock.now += HEAD_START_SECONDS
    queue.add("z", urgent=True)
    assert [await taken(queue) for _ in range(3)] == ["c", "z", None]


async def test_what_is_urgent_waits_for_its_backoff(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("a")
    await taken(queue)
    seconds = queue.failed("a")
    queue.add("a", urgent=True)
    assert await taken(queue) is None
    clock.now += seconds
    assert await taken(queue) == "a"


async def test_a_key_is_never_worked_on_twice_at_once(queue: WorkQueue[str]) -> None:
    queue.add("a")
    assert await taken(queue) == "a"
    queue.add("a")
    assert await taken(queue) is None
    queue.done("a")
    assert await taken(queue) == "a"


async def test_a_key_at_work_does_not_hold_up_others(queue: WorkQueue[str]) -> None:
    queue.add("a")
    await taken(queue)
    queue.add("a")
    queue.add("b")
    assert await taken(queue) == "b"


async def test_the_earliest_of_several_times_counts(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("a", after_seconds=60)
    queue.add("a", after_seconds=5)
    queue.add("a", after_seconds=30)
    assert await taken(queue) is None
    clock.now += 5
    assert await taken(queue) == "a"
    queue.done("a")
    clock.now += 100
    assert await taken(queue) is None


async def test_who_waits_is_woken_by_a_new_key(queue: WorkQueue[str]) -> None:
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    assert await asyncio.wait_for(waiting, 60) == "a"


async def test_failures_back_off_ever_longer_up_to_a_limit(queue: WorkQueue[str], clock: Clock) -> None:
    waits = []
    queue.add("a")
    for _ in range(12):
        assert await taken(queue) == "a"
        waits.append(queue.failed("a"))
        assert await taken(queue) is None
        clock.now += waits[-1]
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-1] == LAST_BACKOFF_SECONDS


async def test_an_ordinary_reason_waits_for_the_backoff_and_a_new_spec_does_not(
    queue: WorkQueue[str], clock: Clock
) -> None:
    queue.add("a")
    await taken(queue)
    queue.failed("a")
    queue.add("a")
    assert await taken(queue) is None
    queue.add("a", skip_backoff=True)
    assert await taken(queue) == "a"


async def test_success_starts_the_backoff_anew(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("a")
    for _ in range(5):
        await taken(queue)
        clock.now += queue.failed("a")
    await taken(queue)
    queue.done("a")
    queue.add("a")
    await taken(queue)
    assert queue.failed("a") == 0.1


async def test_jitter_spreads_retries_below_the_backoff(clock: Clock) -> None:
    queue: WorkQueue[str] = WorkQueue(clock=clock, jitter=lambda: 0.0)
    queue.add("a")
    await taken(queue)
    assert queue.failed("a") == 0.05


async def test_a_forgotten_key_is_not_served(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("a", after_seconds=1)
    queue.forget("a")
    clock.now += 2
    assert await taken(queue) is None


async def test_how_many_wait_and_how_long_nothing_moved(queue: WorkQueue[str], clock: Clock) -> None:
    clock.now += 50
    assert (queue.waiting(), queue.stuck_seconds(), queue.is_behind()) == (0, 0, False)
    queue.add("a")
    queue.add("b")
    queue.add("later", after_seconds=30)
    clock.now += 5
    assert (queue.waiting(), queue.stuck_seconds()) == (2, 5), "due, and nobody takes it"
    assert queue.is_behind()
    assert await taken(queue) == "a"
    clock.now += 7
    assert (queue.waiting(), queue.stuck_seconds()) == (1, 7), "the work on one takes long"
    queue.done("a")
    assert await taken(queue) == "b"
    clock.now += 2
    assert queue.stuck_seconds() == 2, "a long queue that moves is not stuck"
    queue.done("b")
    clock.now += 1
    assert (queue.waiting(), queue.stuck_seconds(), queue.is_behind()) == (0, 0, False)


async def test_news_that_come_while_work_fails_are_looked_at_at_once(
    queue: WorkQueue[str], clock: Clock
) -> None:
    queue.add("a")
    for _ in range(12):
        await taken(queue)
        clock.now += queue.failed("a")
    await taken(queue)
    queue.add("a")  # an ordinary reason waits with the failure
    queue.add("a", skip_backoff=True)
    assert queue.failed("a") == 0
    assert await taken(queue) == "a"
    assert queue.failed("a") == LAST_BACKOFF_SECONDS, "they are news once, and the backoff goes on as it was"
    assert await taken(queue) is None


async def test_news_that_come_while_work_succeeds_are_one_more_look(queue: WorkQueue[str]) -> None:
    queue.add("a")
    await taken(queue)
    queue.add("a", skip_backoff=True)
    queue.done("a")
    assert await taken(queue) == "a"
    assert queue.failed("a") == 0.1
    assert await taken(queue) is None


async def test_timers_do_not_pile_up(queue: WorkQueue[str], clock: Clock) -> None:
    for n in range(10_000):
        queue.add("late", after_seconds=1e6 - n)
        queue.add(f"k{n % 50}", after_seconds=300)
        queue.add(f"k{n % 50}")
        key = await taken(queue)
        assert key is not None
        queue.done(key)
    assert len(queue._timers) < 500
    clock.now += 1e6
    assert await taken(queue) == "late"
