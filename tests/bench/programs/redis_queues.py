"""Contestants on plain lists: this library, redis-message-queue 7 and 11, and bare redis-py as the limit."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import uuid
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio
from measure import PAYLOAD, Meter, Waking, repeat, repeat_async

if TYPE_CHECKING:
    from collections.abc import Callable

QUEUE = "bench"
PENDING = f"{QUEUE}::pending"
BATCH = 16
MANY = 500


def stored(number: int) -> str:
    """One message in the stored form that all versions share."""
    return f'\x1eRMQ1:{{"id":"{uuid.UUID(int=number).hex}","payload":"{PAYLOAD}"}}'


def fill(client: redis.Redis, seconds: float, per_second: int) -> None:
    """Make more messages pending than any contestant can handle in the time."""
    for start in range(0, int(seconds * per_second) + BATCH, 1000):
        client.lpush(PENDING, *(stored(number) for number in range(start, start + 1000)))


class RedisPy:
    """Bare redis-py: one LPUSH, or one BLMOVE and one LREM, without any of the guarantees."""

    def __init__(self, url: str, meter: Meter, seconds: float) -> None:
        self.meter, self.seconds, self.url = meter, seconds, url
        self.client = redis.Redis.from_url(url)

    def publish(self) -> dict[str, float]:
        """LPUSH."""
        return repeat(self.meter, self.seconds, lambda: self.client.lpush(PENDING, PAYLOAD) and 1)

    def process(self) -> dict[str, float]:
        """BLMOVE and LREM."""
        fill(self.client, self.seconds, 12_000)

        def step() -> int:
            message = self.client.blmove(PENDING, "working", 1, "RIGHT", "LEFT")
            return int(self.client.lrem("working", 1, message))

        return repeat(self.meter, self.seconds, step)

    def publish_many(self) -> dict[str, float]:
        """A pipeline of LPUSH."""

        def step() -> int:
            with self.client.pipeline(transaction=False) as pipeline:
                for _ in range(MANY):
                    pipeline.lpush(PENDING, PAYLOAD)
                return len(pipeline.execute())

        return repeat(self.meter, self.seconds, step)

    def idle(self) -> None:
        """BLMOVE."""
        sender = redis.Redis.from_url(self.url)
        handle = Waking(self.meter, int(self.seconds), lambda text: sender.lpush(PENDING, text))
        while True:
            message = self.client.blmove(PENDING, "working", 1, "RIGHT", "LEFT")
            if message is not None:
                handle(message.decode())

    async def _async(self, step_of: Callable[[Any], Any]) -> dict[str, float]:
        client = redis.asyncio.Redis.from_url(self.url)
        return await repeat_async(self.meter, self.seconds, step_of(client))

    def async_publish(self) -> dict[str, float]:
        """LPUSH."""

        def step_of(client: redis.asyncio.Redis) -> Any:
            async def step() -> int:
                return min(1, await client.lpush(PENDING, PAYLOAD))

            return step

        return asyncio.run(self._async(step_of))

    def async_process(self) -> dict[str, float]:
        """BLMOVE and LREM."""
        fill(self.client, self.seconds, 12_000)

        def step_of(client: redis.asyncio.Redis) -> Any:
            async def step() -> int:
                message = await client.blmove(PENDING, "working", 1, "RIGHT", "LEFT")
                return int(await client.lrem("working", 1, message))

            return step

        return asyncio.run(self._async(step_of))


class MessageQueue:
    """What redis-message-queue 7, 11 and this library have in common."""

    def __init__(self, url: str, meter: Meter, seconds: float) -> None:
        import redis_message_queue
        import redis_message_queue.asyncio

        self.package: Any = redis_message_queue
        self.meter, self.seconds, self.url = meter, seconds, url
        self.client = redis.Redis.from_url(url)
        self._published = 0

    def _options(self, *, deduplicating: bool) -> dict[str, Any]:
        """Version 11 deduplicates by a key function, where it is given one, and has no switch."""
        if "deduplication" in inspect.signature(self.package.RedisMessageQueue).parameters:
            return {"deduplication": deduplicating}
        return {"get_deduplication_key": str} if deduplicating else {}

    def _queue(self, **options: Any) -> Any:
        return self.package.RedisMessageQueue(QUEUE, client=self.client, **options)

    def _message(self) -> str:
        self._published += 1
        return f"{self._published:0100}"

    def publish_dedup(self) -> dict[str, float]:
        """publish() of different messages."""
        queue = self._queue(**self._options(deduplicating=True))
        return repeat(self.meter, self.seconds, lambda: int(queue.publish(self._message())))

    def publish(self) -> dict[str, float]:
        """publish() without deduplication."""
        queue = self._queue(**self._options(deduplicating=False))
        return repeat(self.meter, self.seconds, lambda: int(queue.publish(PAYLOAD)))

    def process(self) -> dict[str, float]:
        """process_message() with an empty block."""
        fill(self.client, self.seconds, 8_000)
        queue = self._queue()

        def step() -> int:
            with queue.process_message() as message:
                return int(message is not None)

        return repeat(self.meter, self.seconds, step)

    def idle(self) -> None:
        """process_message() on an empty queue."""
        queue = self._queue(**self._options(deduplicating=False))
        sender = redis.Redis.from_url(self.url)
        producer = self.package.RedisMessageQueue(QUEUE, client=sender, **self._options(deduplicating=False))
        handle = Waking(self.meter, int(self.seconds), producer.publish)
        while True:
            with queue.process_message() as message:
                if message is not None:
                    handle(message.decode())

    def _async_queue(self, **options: Any) -> Any:
        client = redis.asyncio.Redis.from_url(self.url)
        return self.package.asyncio.RedisMessageQueue(QUEUE, client=client, **options)

    async def _async_publish(self, **options: Any) -> dict[str, float]:
        queue = self._async_queue(**options)

        async def step() -> int:
            return int(await queue.publish(self._message()))

        return await repeat_async(self.meter, self.seconds, step)

    def async_publish_dedup(self) -> dict[str, float]:
        """await publish() of different messages."""
        return asyncio.run(self._async_publish(**self._options(deduplicating=True)))

    def async_publish(self) -> dict[str, float]:
        """await publish() without deduplication."""
        return asyncio.run(self._async_publish(**self._options(deduplicating=False)))

    def async_process(self) -> dict[str, float]:
        """process_message() with an empty block."""

        async def main() -> dict[str, float]:
            queue = self._async_queue()

            async def step() -> int:
                async with queue.process_message() as message:
                    return int(message is not None)

            return await repeat_async(self.meter, self.seconds, step)

        fill(self.client, self.seconds, 8_000)
        return asyncio.run(main())


class Ours(MessageQueue):
    """This library: also batches, and settling and claiming in one round trip."""

    def publish_many(self) -> dict[str, float]:
        """publish_many() of 500 different messages."""
        queue = self._queue()
        return repeat(
            self.meter,
            self.seconds,
            lambda: sum(queue.publish_many(self._message() for _ in range(MANY))),
        )

    def async_publish_many(self) -> dict[str, float]:
        """await publish_many() of 500 different messages."""

        async def main() -> dict[str, float]:
            queue = self._async_queue()

            async def step() -> int:
                return sum(await queue.publish_many(self._message() for _ in range(MANY)))

            return await repeat_async(self.meter, self.seconds, step)

        return asyncio.run(main())

    def _loop(self, count: int) -> dict[str, float]:
        from redis_message_queue import consumer

        fill(self.client, self.seconds, 12_000 if count == 1 else 90_000)
        worker = consumer.Consumer(self.client, QUEUE)
        claims = worker.claim(count).claims

        def step() -> int:
            nonlocal claims
            done = [consumer.Settlement(claim, consumer.Outcome.DONE) for claim in claims]
            claims = worker.settle(done, claim=count).claimed.claims
            return len(done)

        return repeat(self.meter, self.seconds, step)

    async def _async_loop(self, count: int) -> dict[str, float]:
        from redis_message_queue.asyncio import consumer

        fill(self.client, self.seconds, 12_000 if count == 1 else 90_000)
        worker = consumer.Consumer(redis.asyncio.Redis.from_url(self.url), QUEUE)
        claims = (await worker.claim(count)).claims

        async def step() -> int:
            nonlocal claims
            done = [consumer.Settlement(claim, consumer.Outcome.DONE) for claim in claims]
            claims = (await worker.settle(done, claim=count)).claimed.claims
            return len(done)

        return await repeat_async(self.meter, self.seconds, step)

    def loop(self) -> dict[str, float]:
        """Settle one and claim one, again and again."""
        return self._loop(1)

    def batches(self) -> dict[str, float]:
        """Settle 16 and claim 16, again and again."""
        return self._loop(BATCH)

    def async_loop(self) -> dict[str, float]:
        """Settle one and claim one, again and again."""
        return asyncio.run(self._async_loop(1))

    def async_batches(self) -> dict[str, float]:
        """Settle 16 and claim 16, again and again."""
        return asyncio.run(self._async_loop(BATCH))

    @staticmethod
    def _sample() -> Callable[..., Any]:
        """A release to compare with may have it in its former place."""
        places = (f"redis_message_queue.{name}" for name in ("stats", "sample"))
        place = next(filter(importlib.util.find_spec, places))
        sample: Callable[..., Any] = importlib.import_module(place).sample
        return sample

    def sampling(self) -> dict[str, float]:
        """What the operator does: the numbers of 1,000 queues in one pipeline; a message is a queue here."""
        from redis_message_queue.keys import QueueKeys

        sample = self._sample()
        queues = [QueueKeys(f"queue-{number}") for number in range(1000)]
        for keys in queues:
            self.client.lpush(keys.pending, PAYLOAD)
            self.client.hset(
                keys.workers, "worker", '{"v":1,"slots":4,"busy":0,"draining":false,"at":9999999999999}'
            )
        return repeat(self.meter, self.seconds, lambda: len(sample(self.client, queues)))


class InFlight:
    """What messages in flight cost the server, for redis-message-queue 7 and this library."""

    def __init__(self, url: str, meter: Meter, seconds: float) -> None:
        import redis_message_queue

        self.client = redis.Redis.from_url(url)
        self.count = int(seconds)
        self.processing = f"{QUEUE}::processing"
        self.gateway = redis_message_queue.RedisGateway(
            redis_client=self.client,
            message_visibility_timeout_seconds=300,
            message_wait_interval_seconds=0,
            max_delivery_count=10,
            dead_letter_queue=f"{QUEUE}::dlq",
        )

    def _claimed(self, deadline_ms: int) -> None:
        """Leave `count` claims as a crashed fleet leaves them, the first claimed at the tail."""
        step = 500
        for start in range(1, self.count + 1, step):
            messages = {stored(number): number for number in range(start, start + step)}
            with self.client.pipeline(transaction=False) as pipeline:
                pipeline.lpush(self.processing, *messages)
                pipeline.zadd(
                    f"{self.processing}:lease_deadlines",
                    {text: deadline_ms + n for text, n in messages.items()},
                )
                pipeline.hset(f"{self.processing}:lease_tokens", mapping=messages)
                pipeline.hset(f"{self.processing}:delivery_counts", mapping=dict.fromkeys(messages, 1))
                pipeline.execute()
        self.client.set(f"{self.processing}:lease_token_counter", self.count)

    def _script_us(self) -> float:
        stats = self.client.info("commandstats")
        return sum(stats[name]["usec"] for name in ("cmdstat_eval", "cmdstat_evalsha") if name in stats)

    def _scripts_ms(self, action: Callable[[], object]) -> float:
        before = self._script_us()
        action()
        return (self._script_us() - before) / 1000

    def oldest(self) -> dict[str, float]:
        """Server µs for the acknowledgement of the oldest message in flight."""
        self._claimed(deadline_ms=9_000_000_000_000)
        # The first call loads the script where scripts are loaded.
        self.gateway.remove_message(self.processing, stored(1), lease_token="1")
        took = [
            self._scripts_ms(
                lambda n=n: self.gateway.remove_message(self.processing, stored(n), lease_token=str(n))
            )
            for n in range(2, 12)
        ]
        return {"server_us": sorted(took)[len(took) // 2] * 1000}

    def expired(self) -> dict[str, float]:
        """Milliseconds for which a claim that meets only expired leases blocks the server."""
        claim = self._claim
        claim()
        self._claimed(deadline_ms=1_000_000_000_000)
        return {"blocked_ms": self._scripts_ms(claim)}

    def memory(self) -> dict[str, float]:
        """Bytes of the server for one message in flight, beyond its payload."""
        self.client.lpush(PENDING, *(stored(number) for number in range(self.count)))
        first = self._claim()
        self.gateway.remove_message(self.processing, first.stored_message, lease_token=first.lease_token)
        self.client.lpush(PENDING, stored(self.count))
        pending = self.client.info("memory")["used_memory"]
        for _ in range(self.count):
            self._claim()
        claimed = self.client.info("memory")["used_memory"]
        return {"bytes": (claimed - pending) / self.count}

    def _claim(self) -> Any:
        return self.gateway.wait_for_message_and_move(PENDING, self.processing)
