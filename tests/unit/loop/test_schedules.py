"""Bounds that change with the time of day: the second of a change wakes the control loop."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from tests.support.fake_platform import FakePlatform
from tests.support.waiting import until

from redis_message_queue.keys import QueueKeys
from redisqueue_operator.loop.reconcile import Engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import redis

OPENS = datetime(2026, 6, 1, 8, 0, 0, tzinfo=UTC).timestamp()
WINDOW = {"start": "0 0 8 * * *", "end": "1 0 8 * * *", "minReplicas": 4, "maxReplicas": 6}
DOWN = {"idleSeconds": 0, "stabilizationSeconds": 0, "minRunSeconds": 0}


class Clock:
    """The time of day, which goes on when it is told to."""

    now = OPENS - 1

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def platform(redis_url: str) -> FakePlatform:
    return FakePlatform(redis_url)


@pytest.fixture
async def engine(platform: FakePlatform, clock: Clock) -> AsyncIterator[Engine]:
    stop = asyncio.Event()
    engine = Engine(platform, wall=clock)
    task = asyncio.create_task(engine.run(stop))
    yield engine
    stop.set()
    await task


async def test_a_window_that_opens_and_closes_changes_the_number_and_says_so(
    platform: FakePlatform, engine: Engine, clock: Clock
) -> None:
    key = platform.put("jobs", scaling={"schedules": [WINDOW], "scaleDown": DOWN})
    engine.notify(key)
    before = {"minReplicas": 0, "maxReplicas": 10, "inForce": "", "nextChange": "2026-06-01T08:00:00Z"}
    await until(lambda: platform.status(key).get("schedule") == before, "what holds before")
    assert platform.scales(key) == []

    clock.now = OPENS
    await until(lambda: platform.scales(key) == [4], "the window opens")
    open_now = {"minReplicas": 4, "maxReplicas": 6, "nextChange": "2026-06-01T08:00:01Z"}
    in_force = "0 0 8 * * * to 1 0 8 * * * UTC"
    await until(
        lambda: platform.status(key).get("schedule") == {**open_now, "inForce": in_force}, "it is told"
    )
    decision = lambda: platform.status(key).get("decision") or {}  # noqa: E731
    await until(lambda: decision().get("schedule") == in_force, "the decision names it")
    assert decision()["reason"] == "MinReplicas"
    assert (
        "as spec.scaling.schedules say until 2026-06-01T08:00:01Z"
        in (platform.condition(key, "ScalingActive")["message"])
    )
    assert f"4 to 6 workers until 2026-06-01T08:00:01Z, by schedule: {in_force}" in (
        engine.explain(key) or []
    )

    clock.now = OPENS + 1
    await until(lambda: platform.scales(key) == [4, 0], "the window closes")
    await until(
        lambda: platform.status(key)["schedule"]["nextChange"] == "2026-06-02T08:00:00Z", "the next one"
    )
    await until(lambda: decision().get("to") == 0 and "schedule" not in decision(), "no window names it")


async def test_a_window_that_was_open_before_the_operator_came_is_in_force(
    platform: FakePlatform, engine: Engine, clock: Clock, redis_client: redis.Redis
) -> None:
    clock.now = OPENS + 4 * 3600
    redis_client.lpush(QueueKeys("jobs").pending, *(f"m{n}" for n in range(99)))
    window = {"start": "0 8 * * *", "end": "0 18 * * *", "maxReplicas": 3}
    key = platform.put("jobs", scaling={"schedules": [window]})
    engine.notify(key)
    await until(lambda: platform.scales(key) == [3], "the bound of the window")


async def test_a_schedule_that_nobody_can_read_touches_nothing_and_names_the_way_out(
    platform: FakePlatform, engine: Engine
) -> None:
    window = {"start": "0 8 30 2 *", "end": "0 18 * * *", "minReplicas": 3}
    key = platform.put("jobs", scaling={"schedules": [window]})
    engine.notify(key)
    await until(lambda: platform.condition(key, "Ready").get("reason") == "InvalidSpec", "it is told")
    message = platform.condition(key, "Ready")["message"]
    assert message.startswith("spec.scaling.schedules[0].start: ")
    assert "change the day of the month or the month" in message
    assert platform.scales(key) == []
