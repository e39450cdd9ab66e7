"""A replica in the master's place, no connection left in the pool: waited out, and done once."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio
from tests.support.faces import FACES, until
from tests.support.fault_bench import KEYS
from tests.support.servers import Server

from redisqueue_operator.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.faces import Face


def face_on(name: str, server: EmbeddedRedis) -> Face:
    """A face whose clients reach this server."""
    clients = (partial(kind.from_url, server.url) for kind in (redis.Redis, redis.asyncio.Redis))
    return FACES[name](Server(server.binary, server.url, *clients))


@pytest.fixture(params=sorted(FACES))
async def face(
    request: pytest.FixtureRequest, redis_server: EmbeddedRedis, redis_url: str
) -> AsyncIterator[Face]:
    face = face_on(request.param, redis_server)
    yield face
    await face.close()


def in_background(face: Face, function: Callable[..., Any], *args: Any) -> asyncio.Task[Any]:
    """Call a method of the face without waiting for it."""
    if face.name == "sync":
        return asyncio.create_task(asyncio.to_thread(function, *args))
    return asyncio.create_task(function(*args))


@pytest.mark.parametrize("name", sorted(FACES))
async def test_a_publish_waits_for_a_replica_to_be_promoted(
    name: str, redis_server: EmbeddedRedis, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = ("--replicaof", "127.0.0.1", str(redis_server.port))
    with EmbeddedRedis(arguments=arguments) as replica, redis.Redis.from_url(replica.url) as direct:
        face = face_on(name, replica)
        publishing = in_background(face, face.queue("jobs").publish, "a")
        await until(lambda: "failed: You can't write against a read only replica" in caplog.text)
        direct.replicaof("NO", "ONE")
        assert await publishing is True
        assert direct.llen(KEYS.pending) == 1
        await face.close()


async def test_a_publish_waits_for_a_connection(
    face: Face, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    client = face.client(max_connections=1, retry=None)
    taken = await face.call(client.connection_pool.get_connection)
    publishing = in_background(face, face.queue("jobs", client=client).publish, "a")
    await until(lambda: "failed: Too many connections" in caplog.text)
    await face.call(client.connection_pool.release, taken)
    assert await publishing is True
    assert redis_client.llen(KEYS.pending) == 1


async def test_a_consumer_without_a_connection_may_try_again(face: Face, redis_client: redis.Redis) -> None:
    await face.call(face.queue("jobs").publish, "a")
    client = face.client(max_connections=1, retry=None)
    consumer = face.consumer("jobs", client=client)
    taken = await face.call(client.connection_pool.get_connection)
    with pytest.raises(redis.ConnectionError, match="Too many connections"):
        await face.call(consumer.claim, 1)
    await face.call(client.connection_pool.release, taken)
    (claim,) = (await face.call(consumer.claim, 1)).claims
    assert (claim.payload, claim.delivery_count) == (b"a", 1)
