"""How often queues are sampled, on a real Valkey."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.keys import QueueKeys
from redisqueue_operator.sampler import Sampler, Watched

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
    async with asyncio.timeout(30):
        for number in range(count):
            sampler.watch(f"q{number}", Watched(QueueKeys(f"q{number}"), settings, wake=False))
            assert await changed.get() == f"q{number}"
    assert scripts(redis_client) - before <= count * (2 + len(times_all)), "its own sample, and those of all"
    await sampler.close()
