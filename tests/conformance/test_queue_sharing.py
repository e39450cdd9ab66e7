"""One queue object in many threads, and queues on several event loops."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.support.faces import AsyncFace

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    import redis
    from tests.support.servers import Server


def test_threads_share_a_queue(redis_client: redis.Redis) -> None:
    queue = RedisMessageQueue(
        "{jobs}", client=redis_client, enable_completed_queue=True, heartbeat_interval_seconds=10
    )
    handled: Counter[bytes] = Counter()
    lock = threading.Lock()

    def publish(worker: int) -> list[bool]:
        return [queue.publish(f"{worker}-{number}") for number in range(25)]

    def handle() -> None:
        while not (queue.is_draining or queue.is_drained):
            with queue.process_message() as payload:
                if payload is not None:
                    with lock:
                        handled[payload] += 1

    with ThreadPoolExecutor(16) as pool:
        consumers = [pool.submit(handle) for _ in range(8)]
        published = [flag for flags in pool.map(publish, range(8)) for flag in flags]
        while handled.total() < 200:
            time.sleep(0.01)
        assert queue.drain(60) is True
        for consumer in consumers:
            consumer.result(60)
    assert published == [True] * 200
    assert set(handled.values()) == {1}
    assert redis_client.llen("{jobs}::completed") == 200
    assert not redis_client.exists("{jobs}::processing", "{jobs}::pending")


def test_one_of_many_equal_publishes_wins(redis_client: redis.Redis) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    with ThreadPoolExecutor(16) as pool:
        assert sorted(pool.map(queue.publish, ["same"] * 64)) == [False] * 63 + [True]


def test_a_drain_waits_for_the_publishes_of_other_threads(redis_client: redis.Redis) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    inside, go_on = threading.Event(), threading.Event()
    add = queue._gateway.publish_message

    def slow(*args: Any) -> bool:
        inside.set()
        assert go_on.wait(60)
        return bool(add(*args))

    queue._gateway.publish_message = slow  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        publishing = pool.submit(queue.publish, "x")
        assert inside.wait(60)
        assert queue.drain(0.05) is False
        draining = pool.submit(queue.drain)
        go_on.set()
        assert (publishing.result(60), draining.result(60)) == (True, True)


def test_event_loops_in_several_threads_each_with_its_own_queue(
    server: Server, redis_client: redis.Redis
) -> None:
    async def one(worker: int) -> list[bytes]:
        face = AsyncFace(server)
        queue = face.queue()
        taken = []
        for number in range(10):
            assert await queue.publish(f"{worker}-{number}")
        while len(taken) < 10:
            async with queue.process_message() as payload:
                if payload is not None:
                    taken.append(payload)
        await queue.drain()
        await face.close()
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [payload for part in pool.map(lambda n: asyncio.run(one(n)), range(4)) for payload in part]
    assert sorted(taken) == sorted(f"{w}-{n}".encode() for w in range(4) for n in range(10))
    assert not redis_client.exists("{jobs}::processing", "{jobs}::pending")


def test_an_asyncio_queue_keeps_nothing_of_a_loop(server: Server) -> None:
    """The client belongs to a loop; the queue's own state does not."""
    face = AsyncFace(server)
    queue = face.queue(deduplication=False)

    async def use() -> bool:
        queue._gateway._sender.client = client = server.asyncio()
        await queue.publish("x")
        async with queue.process_message() as payload:
            handled = payload == b"x"
        await client.aclose()
        return handled

    assert [asyncio.run(use()) for _ in range(2)] == [True, True]
