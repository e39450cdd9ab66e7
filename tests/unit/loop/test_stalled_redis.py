"""A Redis that takes connections and answers nothing holds up its own queues, and nobody else's."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.fake_platform import FakePlatform
from tests.support.waiting import until

from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.consumer import Consumer, WorkerIdentity
from redis_message_queue.keys import QueueKeys
from redisqueue_operator.interruptible import within
from redisqueue_operator.loop.reconcile import AT_ONCE, Engine
from redisqueue_operator.observe.redis import sampler
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from redisqueue_operator.api.model import Key, RedisQueue

QUEUES = 2 * AT_ONCE


class PatientPlatform(FakePlatform):
    """Its connections wait ten minutes for an answer; `logins`: each queue may have a user of its own."""

    logins = False

    async def settings(self, rq: RedisQueue, *, fresh: bool = False) -> tuple[ConnectionSettings, float]:
        settings, age = await super().settings(rq, fresh=fresh)
        user = rq.key.name if self.logins and settings.url != self.redis_url else None
        return ConnectionSettings(url=settings.url, username=user, socket_timeout_seconds=600.0), age


@pytest.fixture
def platform(redis_url: str) -> PatientPlatform:
    return PatientPlatform(redis_url)


@pytest.fixture
async def engine(platform: PatientPlatform) -> AsyncIterator[Engine]:
    stop = asyncio.Event()
    engine = Engine(platform)
    task = asyncio.create_task(engine.run(stop))
    yield engine
    stop.set()
    await task


@pytest.fixture
def stalling() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as server:
        yield server


@contextmanager
def stalled(server: EmbeddedRedis) -> Iterator[None]:
    """The process stands still: the kernel goes on to accept connections for it."""
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


def with_idle_worker(platform: FakePlatform, client: redis.Redis, name: str, url: str) -> Key:
    key = platform.put(name, redis={"url": url}, replicas=1)
    identity = WorkerIdentity("pod", 1, pod_uid="pod", owner_uid=platform.objects[key]["metadata"]["uid"])
    Consumer(client, name, worker=identity).report(busy=0, oldest_start_age_seconds=None, draining=False)
    platform.have_pods(key, "pod")
    return key


def reads(platform: FakePlatform, key: Key) -> bool:
    return bool(platform.condition(key, "RedisReachable").get("status") == "True")


@pytest.mark.parametrize("logins", [False, True], ids=["one login", "a login each"])
async def test_shrinks_that_wait_for_it_leave_the_control_loop_to_others(
    platform: PatientPlatform,
    engine: Engine,
    redis_client: redis.Redis,
    stalling: EmbeddedRedis,
    *,
    logins: bool,
) -> None:
    platform.logins = logins
    with redis.Redis.from_url(stalling.url) as client:
        names = [f"stalled-{number}" for number in range(QUEUES)]
        for name in names:
            client.execute_command("ACL", "SETUSER", name, "reset", "on", "nopass", "~*", "+@all")
        keys = [with_idle_worker(platform, client, name, stalling.url) for name in names]
        other = platform.put("well", scaling={"maxReplicas": 3, "backlogPerSlot": 1})
        for key in (*keys, other):
            engine.notify(key)

        await until(lambda: all(reads(platform, key) for key in keys), "all are read")
        with stalled(stalling):
            for key, name in zip(keys, names, strict=True):
                platform.put(name, redis={"url": stalling.url}, replicas=0)
                engine.notify(key)
            await asyncio.sleep(0)
            for number in (1, 2, 3):
                redis_client.lpush(QueueKeys("well").pending, f"m{number}")
                await until(
                    lambda number=number: platform.scales(other)[-1:] == [number], f"{number} workers"
                )
            assert not any(platform.scales(key) for key in keys), "nobody can have refused new messages"

        def shrunk() -> bool:
            return all(platform.scales(key) == [0] for key in keys)

        await until(shrunk, "all shrink in the end")


async def test_servers_that_stall_at_once_leave_the_control_loop_to_others(
    platform: PatientPlatform, engine: Engine, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "MARK_TIMEOUT_SECONDS", 600.0)  # none of them ends as long as it stalls
    with ExitStack() as stack:
        servers = [stack.enter_context(EmbeddedRedis()) for _ in range(4)]
        urls: dict[Key, str] = {}
        for number, server in enumerate(servers):
            with redis.Redis.from_url(server.url) as client:
                for each in range(AT_ONCE // 2):
                    name = f"stalled-{number}-{each}"
                    urls[with_idle_worker(platform, client, name, server.url)] = server.url
        other = platform.put("well", scaling={"maxReplicas": 3, "backlogPerSlot": 1})
        for key in (*urls, other):
            engine.notify(key)
        await until(lambda: all(reads(platform, key) for key in urls), "all are read")
        for server in servers:
            stack.enter_context(stalled(server))
        for key, url in urls.items():
            platform.put(key.name, redis={"url": url}, replicas=0)
            engine.notify(key)
        await until(lambda: engine.vitals().loop_age_seconds > 0.5, "some looks wait for an answer")
        for number in (1, 2, 3):
            redis_client.lpush(QueueKeys("well").pending, f"m{number}")
            await until(lambda number=number: platform.scales(other)[-1:] == [number], f"{number} workers")
        assert not any(platform.scales(key) for key in urls), "nobody can have refused new messages"


async def test_a_deadline_holds_where_the_work_swallows_its_cancellation() -> None:
    asked = asyncio.Event()

    async def stubborn() -> None:
        while not asked.is_set():
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                asked.set()
        raise ValueError("too late to tell anybody")

    with pytest.raises(TimeoutError, match=r"no answer after 0\.01 s"):
        await within(0.01, stubborn())
    await until(asked.is_set, "it was asked to end")
    assert await within(60, asyncio.sleep(0, "in time")) == "in time"
