"""A master goes away in the middle of the work, and its replica takes over."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support.faces import FACES, Face
from tests.support.servers import (
    QUICK_MS,
    STEADY_MS,
    behind_sentinel,
    reached_by_url,
    sentinel_pair,
    switch_master,
)
from tests.support.waiting import until

from redis_message_queue import RetryBudgetExhaustedError
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from tests.support.servers import Server


BEFORE, DURING = 300, 30


class Work:
    """Consumes until told to stop; where it runs, nothing else of the test does."""

    def __init__(self, face: Face) -> None:
        self._queue = face.queue(visibility_timeout_seconds=4)
        self._face = face
        self.handled: list[str] = []

    async def run(self) -> None:
        """Handle messages until the queue drains."""
        while not (self._queue.is_draining or self._queue.is_drained):
            async with self._face.process(self._queue) as payload:
                if payload is not None:
                    self.handled.append(payload.decode())

    def start(self) -> asyncio.Future[None]:
        """In a thread for the face that blocks, else in a task."""
        if self._face.name == "sync":
            return asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(self.run())))
        return asyncio.ensure_future(self.run())

    async def stop(self) -> None:
        await self._face.call(self._queue.drain, timeout=0)


@pytest.mark.parametrize("planned", [False, True], ids=["killed", "switched"])
@pytest.mark.parametrize("name", sorted(FACES))
async def test_a_failover_loses_nothing_that_the_replica_had(
    name: str, planned: bool, server: Server
) -> None:
    patience = STEADY_MS if planned else QUICK_MS
    with ExitStack() as stack:
        master, replica, address = stack.enter_context(
            sentinel_pair(lambda: server.binary, patience_ms=patience)
        )
        face = FACES[name](behind_sentinel(master, address))
        producer = face.queue()  # deduplication makes a publish repeatable
        expected = {f"before {number}" for number in range(BEFORE)}
        await face.call(producer.publish_many, sorted(expected))
        with redis.Redis.from_url(master.url) as client:
            assert client.wait(1, 60_000) == 1  # the quiet moment: the replica has them all
        work = Work(face)
        running = work.start()
        await until(lambda: len(work.handled) >= BEFORE // 3)
        await _fail_over(master, replica, address, planned=planned)
        for number in range(DURING):
            expected.add(f"during {number}")
            await _publish(face, producer, f"during {number}")
        with redis.Redis.from_url(replica.url) as client:
            await until(lambda: expected <= set(work.handled))
            await until(lambda: client.exists("{jobs}::pending", "{jobs}::processing") == 0)
        await work.stop()
        await running
        await face.close()


@pytest.mark.parametrize("name", sorted(FACES))
async def test_a_demoted_master_is_not_taken_for_a_full_one(name: str, server: Server) -> None:
    with EmbeddedRedis(binary=server.binary) as master, redis.Redis.from_url(master.url) as admin:
        face = FACES[name](reached_by_url(master.binary, master.url))
        gateway = face.gateway(retry_budget_seconds=0, message_wait_interval_seconds=0)
        queue = face.queue(gateway=gateway)
        await face.call(queue.publish, "x")
        admin.replicaof("127.0.0.1", 1)
        with pytest.raises(redis.exceptions.ReadOnlyError):
            await face.call(queue.publish, "y")
        with pytest.raises(RetryBudgetExhaustedError):
            async with face.process(queue):
                pass
        await face.close()


async def _publish(face: Face, queue: Any, message: str) -> None:
    """Publish; in a thread where the face blocks, since the call waits for the new master."""
    if face.name == "sync":
        assert await asyncio.to_thread(queue.publish, message) is True
    else:
        assert await queue.publish(message) is True


async def _fail_over(
    master: EmbeddedRedis, replica: EmbeddedRedis, address: tuple[str, int], *, planned: bool
) -> None:
    """Kill the master; or let the Sentinel switch, and make the old master follow the new one.

    Until it follows, the old master takes writes that the new one never sees: nobody can promise those.
    """
    if not planned:
        master.stop(kill=True)
        return
    await asyncio.to_thread(switch_master, replica, address)
    # What the Sentinel does too, ten seconds later.
    with redis.Redis.from_url(master.url) as old, old.pipeline() as demotion:
        demotion.replicaof("127.0.0.1", replica.port)
        demotion.client_kill_filter(_type="normal", skipme=True)
        demotion.execute()
