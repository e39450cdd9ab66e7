"""Cluster clients against a server in cluster mode that holds all slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
import redis.asyncio
from tests.support.waiting import eventually

from redis_message_queue.asyncio.consumer import Consumer as AsyncConsumer
from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.consumer import Consumer, Outcome, Settlement
from redis_message_queue.exceptions import ConfigurationError
from redis_message_queue.keys import QueueKeys
from redis_message_queue.stats import QueueSample, sample, sample_async
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = [QueueKeys("{a}"), QueueKeys("jobs{b}")]


@pytest.fixture(scope="module")
def settings() -> Iterator[ConnectionSettings]:
    with EmbeddedRedis(arguments=("--cluster-enabled", "yes")) as server:
        with redis.Redis.from_url(server.url) as node:
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            eventually(lambda: node.cluster("INFO")["cluster_state"] == "ok", "it has all slots")
        yield ConnectionSettings(url=server.url.removesuffix("/0"), mode="Cluster")


def test_a_queue_without_hash_tag_is_refused(settings: ConnectionSettings) -> None:
    with settings.connect() as client, pytest.raises(ConfigurationError, match=r"hash tag.*'\{jobs\}'"):
        Consumer(client, "jobs")


def test_blocking_client(settings: ConnectionSettings) -> None:
    with settings.connect() as client:
        client.flushall()
        client.lpush(KEYS[0].pending, "x")
        consumer = Consumer(client, KEYS[0].name)
        assert consumer.wait(1) is True
        (claim,) = consumer.claim(1).claims
        assert consumer.renew([claim]) == (True,)
        client.set(KEYS[1].pending, "alien")
        first, second = sample(client, KEYS)
        assert isinstance(first, QueueSample)
        assert first.in_flight == 1
        assert isinstance(second, redis.ResponseError)
        assert consumer.settle([Settlement(claim, Outcome.DONE)]).applied == (True,)


async def test_asyncio_client(settings: ConnectionSettings) -> None:
    async with settings.connect_async() as client:
        await client.flushall()
        await client.lpush(KEYS[0].pending, "x")
        consumer = AsyncConsumer(client, KEYS[0].name)
        assert await consumer.wait(1) is True
        (claim,) = (await consumer.claim(1)).claims
        assert await consumer.renew([claim]) == (True,)
        found = await sample_async(client, KEYS)
        assert [isinstance(each, QueueSample) for each in found] == [True, True]
        assert (await consumer.settle([Settlement(claim, Outcome.RELEASE)])).applied == (True,)
