"""The server dies and comes back in mid-work: all that was published is handled, and acknowledged once."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio
from tests.support.fault_bench import KEYS
from tests.support.waiting import until

import redis_message_queue.asyncio
import redis_message_queue.asyncio.consumer
from redis_message_queue import RedisMessageQueue
from redis_message_queue.consumer import Consumer, Outcome, Settlement
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Callable

EACH = 150
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
QUICK = {"retry_max_delay_seconds": 0.05, "message_wait_interval_seconds": 1}


def gateway(package: Any, client: Any) -> Any:
    """Leases that outlast the test, and repeats that follow each other quickly."""
    return package.RedisGateway(redis_client=client, message_visibility_timeout_seconds=60, **QUICK)


class Work:
    """Publishers and consumers of every kind, each in a thread of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.handled: list[str] = []
        self.failures: list[BaseException] = []
        self.over = threading.Event()
        kinds = (self.publish, self.publish_many, self.process, self.consume, self.use_asyncio)
        self._threads = [threading.Thread(target=self._run, args=(kind,)) for kind in kinds]

    def __enter__(self) -> Work:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, kind: Callable[[redis.Redis], None]) -> None:
        try:
            with redis.Redis.from_url(self.url, retry=None) as client:
                kind(client)
        except BaseException as error:
            self.failures.append(error)

    def publish(self, client: redis.Redis) -> None:
        """One message after another, with deduplication."""
        queue = RedisMessageQueue("jobs", gateway=gateway(redis_message_queue, client))
        assert all(queue.publish(f"one {number}") for number in range(EACH))

    def publish_many(self, client: redis.Redis) -> None:
        """Many at once, without deduplication."""
        queue = RedisMessageQueue("jobs", gateway=gateway(redis_message_queue, client), deduplication=False)
        for start in range(0, EACH, 5):
            queue.publish_many([f"many {number}" for number in range(start, start + 5)])

    def process(self, client: redis.Redis) -> None:
        """One message at a time."""
        queue = RedisMessageQueue(
            "jobs",
            gateway=gateway(redis_message_queue, client),
            enable_completed_queue=True,
            max_completed_length=None,
        )
        while not self.over.is_set():
            try:
                with queue.process_message() as payload:
                    if payload is not None:
                        self.handled.append(payload.decode())
            except redis.RedisError:
                continue

    def consume(self, client: redis.Redis) -> None:
        """Batches; what failed is repeated."""
        consumer = Consumer(client, "jobs", keep_completed=10_000)
        ends: list[Settlement] = []
        while not self.over.is_set():
            try:
                if not ends:
                    consumer.wait(0.02)
                reply = consumer.settle(ends, claim=5)
            except redis.RedisError:
                continue
            ends = self._ends(ends, reply)

    def _ends(self, ends: list[Settlement], reply: Any) -> list[Settlement]:
        assert reply.applied == (True,) * len(ends)
        self.handled += [claim.payload.decode() for claim in reply.claimed.claims]
        return [Settlement(claim, Outcome.DONE) for claim in reply.claimed.claims]

    def use_asyncio(self, _: redis.Redis) -> None:
        """Publish and consume in one event loop."""
        asyncio.run(self._use_asyncio())

    async def _use_asyncio(self) -> None:
        async with (
            redis.asyncio.Redis.from_url(self.url, retry=None) as client,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self._publish(client))
            tasks.create_task(self._consume(client))

    async def _publish(self, client: redis.asyncio.Redis) -> None:
        own = gateway(redis_message_queue.asyncio, client)
        queue = redis_message_queue.asyncio.RedisMessageQueue("jobs", gateway=own)
        for number in range(EACH):
            assert await queue.publish(f"async {number}")

    async def _consume(self, client: redis.asyncio.Redis) -> None:
        consumer = redis_message_queue.asyncio.consumer.Consumer(client, "jobs", keep_completed=10_000)
        ends: list[Settlement] = []
        while not self.over.is_set():
            try:
                if not ends:
                    await consumer.wait(0.02)
                reply = await consumer.settle(ends, claim=5)
            except redis.RedisError:
                await asyncio.sleep(0.01)
                continue
            ends = self._ends(ends, reply)


async def test_all_is_handled_and_acknowledged_once() -> None:
    published = {f"{kind} {number}" for kind in ("one", "many", "async") for number in range(EACH)}
    with (
        EmbeddedRedis(arguments=DURABLE) as server,
        redis.Redis.from_url(server.url) as client,
        Work(server.url) as work,
    ):
        for killed, handled in enumerate((50, 150, 250, 350)):
            await until(lambda handled=handled: len(work.handled) >= handled or work.failures)
            server.stop(kill=killed % 2 == 0)
            server.start()
        await until(lambda: client.llen(KEYS.completed) >= len(published) or work.failures)
        assert work.failures == []
        assert Counter(work.handled) == Counter(published)
        assert Counter(value.decode() for value in client.lrange(KEYS.completed, 0, -1)) == Counter(published)
        assert not client.exists(KEYS.pending, KEYS.processing, KEYS.lease_deadlines, KEYS.lease_tokens)
