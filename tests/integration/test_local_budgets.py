"""A budget in local mode: the real engine, real worker processes, a real server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import yaml
from tests.support.redisqueue_cases import budget
from tests.support.waiting import PATIENCE_SECONDS

from redis_message_queue import RedisMessageQueue
from redisqueue_operator.api import Key
from redisqueue_operator.budget.resource import parse as parse_budget
from redisqueue_operator.budget.shares import Budgets
from redisqueue_operator.local.definitions import Definitions
from redisqueue_operator.local.platform import LocalPlatform
from redisqueue_operator.loop.reconcile import Engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import redis

WORKERS = 3
HANDLER = """
import os
import redis

client = redis.Redis.from_url(os.environ["RESULTS_URL"], socket_timeout=None)

def handle(payload: str) -> None:
    client.hincrby("begun", payload.partition("-")[0], 1)
    client.expire("begun", 3600)
    client.blpop("go", timeout=300)
"""
FOR_EVER = {"idleSeconds": 3600, "stabilizationSeconds": 3600, "minRunSeconds": 0}
"""No window lets a worker go: who goes does so for the budget alone."""


def definitions(url: str, **priorities: int) -> Definitions:
    """A queue for each of these, and a budget that they share."""
    code = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "code"},
        "data": {"work.py": HANDLER},
    }
    queues = [
        {
            "apiVersion": "redisqueue.dev/v1alpha1",
            "kind": "RedisQueue",
            "metadata": {"name": name},
            "spec": {
                "redis": {"url": "redis://not-used-in-local-mode:6379"},
                "worker": {
                    "handler": "work:handle",
                    "source": {"configMapRef": {"name": "code"}},
                    "env": [{"name": "RESULTS_URL", "value": url}],
                },
                "scaling": {"backlogPerSlot": 1, "priority": priority, "scaleDown": FOR_EVER},
                "drain": {"timeoutSeconds": 5},
            },
        }
        for name, priority in priorities.items()
    ]
    return Definitions.parse(yaml.safe_dump_all([code, budget(maxReplicas=WORKERS), *queues]))


class Local:
    """A running local mode, whose queues have never more workers than the budget."""

    def __init__(self, platform: LocalPlatform, engine: Engine, client: redis.Redis) -> None:
        self.platform, self.engine, self.client = platform, engine, client

    def replicas(self) -> dict[str, int]:
        return {group.name: group.replicas for group in self.platform.sets}

    def begun(self, queue: str) -> int:
        """How many of its messages handlers have begun with."""
        return int(self.client.hget("begun", queue) or 0)  # type: ignore[arg-type]

    def says(self, queue: str, words: str) -> bool:
        return words in "\n".join(self.engine.explain(Key("default", queue)) or ())

    def publish(self, queue: str, number: int) -> None:
        face = RedisMessageQueue(queue, client=self.client, deduplication=False)
        for n in range(number):
            assert face.publish(f"{queue}-{n}")

    def end(self, number: int) -> None:
        """Let so many handlers end."""
        self.client.rpush("go", *["now"] * number)
        self.client.expire("go", 3600)

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not reached():
                assert sum(self.replicas().values()) <= WORKERS
                await asyncio.sleep(0.02)


@asynccontextmanager
async def local(first: Definitions, url: str, client: redis.Redis) -> AsyncIterator[Local]:
    platform, budgets = LocalPlatform(first, redis_url=url), Budgets()
    for each in first.budgets.values():
        budgets.put(parse_budget(each))
    engine, stop = Engine(platform, budgets=budgets), asyncio.Event()
    platform.changed = engine.notify
    tasks: list[asyncio.Task[Any]] = [
        asyncio.create_task(engine.run(stop)),
        asyncio.create_task(budgets.run()),
    ]
    here = Local(platform, engine, client)
    try:
        yield here
    finally:
        here.end(20)  # nobody waits for a handler
        tasks[1].cancel()
        stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await platform.close()


async def test_a_higher_priority_has_the_workers_of_the_lower_one_as_they_finish(
    redis_client: redis.Redis, redis_url: str
) -> None:
    async with local(definitions(redis_url, low=0, high=1), redis_url, redis_client) as here:
        here.publish("low", WORKERS)
        await here.until(lambda: here.says("low", f"{WORKERS} ready, {WORKERS} busy"))
        here.publish("high", 2)
        await here.until(lambda: here.says("high", "once workers of others have finished"))
        assert here.replicas() == {"low": WORKERS, "high": 0}, "busy ones stay"
        assert {row.key.name: row.reason for row in here.engine.snapshot()}["high"] == "Budget shared"
        here.end(1)
        await here.until(lambda: here.begun("high") == 1)
        assert here.replicas() == {"low": 2, "high": 1}, "the idle one went, though its windows would keep it"
        assert here.says("high", "budget shared: ")
