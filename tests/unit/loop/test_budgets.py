"""What counts in a budget after another operator has begun to lead."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.fake_platform import FakePlatform
from tests.support.queues import publish
from tests.support.redisqueue_cases import budget, redis_queue
from tests.support.waiting import until

from redis_message_queue.consumer import Consumer, WorkerIdentity
from redis_message_queue.keys import QueueKeys
from redisqueue_operator.api import parse as parse_queue
from redisqueue_operator.budget.resource import parse
from redisqueue_operator.budget.shares import Budgets
from redisqueue_operator.errors import PlatformError
from redisqueue_operator.loop.reconcile import Engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import redis

    from redisqueue_operator.api.model import Key, RedisQueue
    from redisqueue_operator.platform import World

BIG = {"requests": {"cpu": "2"}}
SMALL = {"requests": {"cpu": "1"}}


@pytest.mark.parametrize("broken", [{"handler": 5}, {"handler": "a:b", "concurrency": {}}])
async def test_workers_of_a_spec_that_cannot_be_read_count(
    redis_url: str, redis_client: redis.Redis, broken: dict[str, Any]
) -> None:
    platform, budgets = FakePlatform(redis_url), Budgets(lambda: 0.0)  # it waits for all looks
    odd = platform.put("odd", worker={**broken, "resources": BIG})
    platform.have_pods(odd, "one", "two", "three")
    platform.objects[odd]["status"] = {"workers": {"desired": 3, "ready": 3}}
    jobs = platform.put(
        "jobs",
        worker={"handler": "a:b", "resources": SMALL},
        scaling={"maxReplicas": 50, "backlogPerSlot": 1},
    )
    publish(redis_client, QueueKeys("jobs"), *map(str, range(50)))
    shared = parse(budget(maxReplicas=None, cpu="10"))
    budgets.put(shared)

    async with running(Engine(platform, budgets=budgets), budgets):
        await until(lambda: platform.scales(jobs), "it grows")
        assert platform.scales(jobs) == [4]
        assert has(budgets, shared.key) == {"odd": (3, 3), "jobs": (50, 4)}
        await until(lambda: platform.condition(odd, "Ready").get("reason") == "InvalidSpec", "it says so")
        assert not platform.scales(odd)


async def test_who_may_not_touch_its_queue_takes_no_part_of_the_budget(
    redis_url: str, redis_client: redis.Redis
) -> None:
    platform, budgets = FakePlatform(redis_url), Budgets()
    scaling = {"maxReplicas": 50, "backlogPerSlot": 1}
    old = platform.put("old", queue={"name": "shared"}, replicas=0)
    uid = platform.objects[old]["metadata"]["uid"]
    at_work = Consumer(redis_client, "shared", worker=WorkerIdentity("w", 1, pod_uid="w", owner_uid=uid))

    def yields() -> bool:
        at_work.report(busy=0, oldest_start_age_seconds=None, draining=False)  # as it does every other second
        return platform.condition(new, "Ready").get("reason") == "Conflict"

    new = platform.put("new", queue={"name": "shared"}, scaling={**scaling, "priority": 5})
    platform.put("jobs", scaling=scaling)
    for name in ("shared", "jobs"):
        publish(redis_client, QueueKeys(name), *map(str, range(50)))
    shared = parse(budget(maxReplicas=10))
    budgets.put(shared)
    async with running(Engine(platform, budgets=budgets), budgets):
        await until(yields, "it yields")
        await until(lambda: has(budgets, shared.key).get("jobs") == (50, 10), "the others have all of it")
        assert has(budgets, shared.key)["new"] == (0, 0)


async def test_workers_of_a_queue_at_which_every_look_fails_count(
    redis_url: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform, budgets = FakePlatform(redis_url), Budgets(lambda: 0.0)  # it waits for all looks
    unread = platform.put("unread")
    platform.objects[unread]["status"] = {"workers": {"desired": 3, "ready": 3}}
    jobs = platform.put("jobs", scaling={"maxReplicas": 50, "backlogPerSlot": 1})
    publish(redis_client, QueueKeys("jobs"), *map(str, range(50)))
    shared = parse(budget(maxReplicas=10))
    budgets.put(shared)
    observe = platform.observe

    async def without_secrets(rq: RedisQueue) -> World:
        if rq.key == unread:
            raise PlatformError("secrets cannot be read: the KMS does not answer")
        return await observe(rq)

    monkeypatch.setattr(platform, "observe", without_secrets)
    async with running(Engine(platform, budgets=budgets), budgets):
        await until(lambda: platform.scales(jobs), "it grows")
        assert platform.scales(jobs) == [7]
        assert has(budgets, shared.key) == {"unread": (3, 3), "jobs": (50, 7)}


@contextlib.asynccontextmanager
async def running(engine: Engine, budgets: Budgets) -> AsyncIterator[None]:
    """Both at work inside of the block."""
    stop = asyncio.Event()
    tasks: list[asyncio.Task[Any]] = [
        asyncio.create_task(engine.run(stop)),
        asyncio.create_task(budgets.run()),
    ]
    try:
        yield
    finally:
        tasks[1].cancel()
        stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_a_younger_budget_says_whose_a_queue_is_that_came_later() -> None:
    budgets = Budgets(lambda: 0.0)
    older, younger = (
        parse({**budget(), "metadata": {"name": name, "creationTimestamp": f"2026-01-0{day}T00:00:00Z"}})
        for day, name in enumerate(("older", "younger"), 1)
    )
    for each in (older, younger):
        budgets.put(each)
    assert budgets.share_out() == {older.key, younger.key}
    jobs = redis_queue()
    for queue in (jobs, {**jobs, "metadata": {**jobs["metadata"], "labels": {"team": "shop"}}}):
        budgets.hold(parse_queue(queue))
        budgets.looked(parse_queue(queue).key)
        budgets.share_out()
        assert budgets.sharings[older.key].won == (("emails", "younger"),)
        assert budgets.sharings[younger.key].lost == (("emails", "older"),)
    budgets.forget(parse_queue(jobs).key)
    budgets.share_out()
    assert (budgets.sharings[older.key].won, budgets.sharings[younger.key].lost) == ((), ())


def has(budgets: Budgets, key: Key) -> dict[str, tuple[int, int]]:
    """What each wants, and may have."""
    return {name: (each.wanted, each.ceiling) for name, each in budgets.sharings[key].shares.items()}
