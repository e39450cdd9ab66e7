"""An idle consumer wakes for a message at once, without taking turns at polling."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.faces import AsyncFace
from tests.support.waiting import PATIENCE_SECONDS, until

from redis_message_queue import RedisGateway, RedisMessageQueue
from redis_message_queue import asyncio as async_face

if TYPE_CHECKING:
    from tests.support.servers import Server


def test_a_waiting_thread_wakes_at_once(redis_client: redis.Redis) -> None:
    producer = RedisMessageQueue("{jobs}", client=redis_client)
    consumer = RedisMessageQueue("{jobs}", client=redis_client)
    waits, plain = [], []
    for number in range(8):
        threading.Timer(0.05, producer.publish, (f"m{number}",)).start()
        began = time.monotonic()
        with consumer.process_message() as payload:
            assert payload == f"m{number}".encode()
            waits.append(time.monotonic() - began)
        threading.Timer(0.05, redis_client.lpush, ("{plain}", "x")).start()
        began = time.monotonic()
        assert redis_client.blpop(["{plain}"])
        plain.append(time.monotonic() - began)
    # Polling four times a second would be late by an eighth of a second on average.
    assert sorted(waits)[4] < 0.06 + sorted(plain)[4] * 2, "much later than a plain pop on this machine"


async def test_waiting_tasks_share_the_work(server: Server, redis_client: redis.Redis) -> None:
    face = AsyncFace(server)
    queue = face.queue()
    taken: list[object] = []

    async def consume() -> None:
        while len(taken) < 40:
            async with queue.process_message() as payload:
                if payload is not None:
                    taken.append(payload)

    consumers = [asyncio.create_task(consume()) for _ in range(10)]
    for number in range(40):
        assert await queue.publish(str(number))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(taken) < 40:  # noqa: ASYNC110 - the fact is a length
            await asyncio.sleep(0.01)
    assert await queue.drain() is True
    await asyncio.gather(*consumers)
    assert sorted(taken, key=int) == [str(number).encode() for number in range(40)]
    assert redis_client.exists("{jobs}::pending", "{jobs}::processing") == 0
    await face.close()


@pytest.mark.one_node
@pytest.mark.foreign_keys("lists with names of the caller's")
def test_without_the_right_to_block_it_polls(redis_url: str, redis_client: redis.Redis) -> None:
    redis_client.acl_setuser("poller", enabled=True, nopass=True, keys="*", commands=["+@all", "-blmove"])
    try:
        with redis.Redis.from_url(redis_url, username="poller", password="any") as client:
            gateway = RedisGateway(redis_client=client, message_wait_interval_seconds=60)
            threading.Timer(0.1, redis_client.lpush, ("{jobs}::in", "raw")).start()
            assert gateway.wait_for_message_and_move("{jobs}::in", "{jobs}::work") == b"raw"
    finally:
        redis_client.acl_deluser("poller")


def test_a_short_socket_timeout_polls(server: Server) -> None:
    with server.blocking(socket_timeout=1) as client:
        assert (
            RedisGateway(redis_client=client, message_wait_interval_seconds=1)._claiming._wakeup.blocks
            is False
        )
    assert async_face.RedisGateway(redis_client=AsyncFace(server).client())._claiming._wakeup.blocks is True


@pytest.mark.one_node
@pytest.mark.parametrize("waiters", [10, 100])
async def test_one_message_wakes_one_waiter_of_a_process(
    server: Server, redis_client: redis.Redis, waiters: int
) -> None:
    face = AsyncFace(server)
    queue = face.queue()
    taken: list[object] = []

    async def consume() -> None:
        while True:
            async with queue.process_message() as payload:
                if payload is not None:
                    taken.append(payload)

    def calls() -> int:
        return int(redis_client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))

    redis_client.config_resetstat()
    consumers = [asyncio.create_task(consume()) for _ in range(waiters)]
    await until(lambda: calls() >= waiters)  # each has looked once
    await until(lambda: redis_client.info("clients")["blocked_clients"] == 1)  # all of them wait
    redis_client.config_resetstat()
    began = time.monotonic()
    assert await queue.publish("wake up")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not taken:  # noqa: ASYNC110 - the fact is a length
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)
    # The publish, the claim that succeeded and its settlement; then the one that waits next looks around, now
    # and at most twice a second.
    assert calls() <= 3 + 2 + 2 * (time.monotonic() - began - 0.5)
    for consumer in consumers:
        consumer.cancel()
    await asyncio.gather(*consumers, return_exceptions=True)
    await face.close()


@pytest.mark.one_node
def test_an_idle_consumer_asks_at_most_twice_a_second(server: Server, redis_client: redis.Redis) -> None:
    with server.blocking() as client:
        gateway = RedisGateway(redis_client=client, message_wait_interval_seconds=2)
        redis_client.config_resetstat()
        assert gateway.wait_for_message_and_move("{jobs}::pending", "{jobs}::processing") is None
        stats = redis_client.info("commandstats")
    asked = sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha", "blmove"))
    # Once more at the beginning and at the end of the wait; loading the script counts as well.
    assert asked <= 2 * 2 + 2
