"""How often queues are sampled, on a real Valkey."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import PATIENCE_SECONDS, until

from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.keys import QueueKeys
from redisqueue_operator.observe.redis.endpoint import Watched
from redisqueue_operator.observe.redis.sampler import Sampler, interval_seconds, patience

if TYPE_CHECKING:
    import redis


def scripts(client: redis.Redis) -> int:
    """Scripts that the server has run so far: one for each sample of a queue."""
    stats: dict[str, dict[str, int]] = client.info("commandstats")
    return stats.get("cmdstat_evalsha", {"calls": 0})["calls"]


async def test_a_new_queue_is_sampled_alone(redis_url: str, redis_client: redis.Redis) -> None:
    changed: asyncio.Queue[str] = asyncio.Queue()
    times_all: list[float] = []
    sampler: Sampler[str] = Sampler(changed.put_nowait, times_all.append)
    settings = ConnectionSettings(url=redis_url, client_name="sampler")
    count, before = 100, scripts(redis_client)
    async with asyncio.timeout(PATIENCE_SECONDS):
        for number in range(count):
            sampler.watch(f"q{number}", Watched(QueueKeys(f"q{number}"), settings, wake=False))
            assert await changed.get() == f"q{number}"
    assert scripts(redis_client) - before <= count * (2 + len(times_all)), "its own sample, and those of all"
    await sampler.close()


async def test_queues_at_rest_with_a_login_each_are_sampled_seldom(
    redis_url: str, redis_client: redis.Redis
) -> None:
    """And the one with news as often as if there was one login."""
    taken: dict[int, int] = {}
    sampler: Sampler[int] = Sampler(lambda key: taken.update({key: taken.get(key, 0) + 1}))
    count = 100
    for number in range(count):
        redis_client.acl_setuser(f"u{number}", enabled=True, nopass=True, keys=["*"], commands=["+@all"])
        settings = ConnectionSettings(url=redis_url, username=f"u{number}")
        sampler.watch(number, Watched(QueueKeys(f"q{number}"), settings, wake=False))
    await until(lambda: len(taken) == count, "a sample of each")
    seldom = interval_seconds(count) * patience(count, count)
    await asyncio.sleep(seldom)  # the first pauses are those of fewer endpoints
    before, began = scripts(redis_client), time.monotonic()
    await asyncio.sleep(seldom)
    assert scripts(redis_client) - before < 2 * count * (time.monotonic() - began) / seldom

    async def told() -> None:
        seen = taken[7]
        redis_client.lpush(QueueKeys("q7").pending, "m")
        await until(lambda: taken[7] > seen, "the message is seen")

    await told()
    before = scripts(redis_client)
    for _ in range(5):
        await told()
    assert scripts(redis_client) - before < 5 * count, "the others are still at rest"
    await sampler.close()


@pytest.mark.parametrize("queues", [1, 20, 100, 300, 2000])
def test_one_login_is_sampled_as_before_and_many_seldom(queues: int) -> None:
    assert patience(queues, 1) == 1.0
    assert 0.2 <= interval_seconds(queues) <= 1.0
    if queues > 20:
        spread = queues + 10 * (queues - 1)
        assert spread / patience(queues, queues) == pytest.approx(2 * queues)
