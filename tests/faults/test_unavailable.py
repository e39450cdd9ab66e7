"""A replica in the master's place, no connection left in the pool: waited out, and done once."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio
from tests.support import server_binaries as binaries
from tests.support.faces import FACES
from tests.support.fault_bench import KEYS
from tests.support.servers import Server
from tests.support.waiting import until

from redis_message_queue import RetryBudgetExhaustedError
from redisqueue_operator.observe.redis.errors import classify
from redisqueue_worker.embedded_redis import EmbeddedRedis

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


def set_replicas(client: redis.Redis, least: int) -> None:
    client.config_set("min-replicas-to-write", least)


@pytest.mark.parametrize("find", [binaries.valkey, binaries.redis_6_2], ids=["valkey", "redis-6.2"])
@pytest.mark.parametrize("name", sorted(FACES))
async def test_what_too_few_replicas_refuse_is_repeated(
    name: str, find: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    with EmbeddedRedis(binary=find()) as server, redis.Redis.from_url(server.url) as direct:
        face = face_on(name, server)
        queues = [face.queue("jobs", deduplication=flag) for flag in (True, False)]
        publishing = [queues[0].publish, queues[1].publish]
        set_replicas(direct, 1)
        waiting = [in_background(face, function, "a") for function in publishing]
        waiting.append(in_background(face, queues[0].publish_many, ["b", "c"]))
        for call in ("publish on", "lpush on", "publish_many on"):
            await until(lambda call=call: refused(caplog, call))
        assert direct.llen(KEYS.pending) == 0
        set_replicas(direct, 0)
        assert [*await asyncio.gather(*waiting)] == [True, True, [True, True]]
        assert direct.llen(KEYS.pending) == 4
        await face.close()


def refused(caplog: pytest.LogCaptureFixture, call: str) -> bool:
    return any(call in text and "NOREPLICAS" in text for text in caplog.messages)


@pytest.mark.parametrize("name", sorted(FACES))
async def test_what_was_handled_is_settled_when_replicas_are_in_step_again(
    name: str, redis_server: EmbeddedRedis, redis_client: redis.Redis
) -> None:
    face = face_on(name, redis_server)
    queue = face.queue("jobs", visibility_timeout_seconds=30)
    await face.call(queue.publish, "a")
    timer = threading.Timer(0.5, set_replicas, (redis_client, 0))
    async with face.process(queue) as payload:
        assert payload == b"a"
        set_replicas(redis_client, 1)
        timer.start()
    timer.join()
    assert redis_client.exists(KEYS.pending, KEYS.processing) == 0
    await face.close()


async def test_the_first_word_stands_in_the_error_when_the_budget_is_spent(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = face.queue("jobs", gateway=face.gateway(retry_budget_seconds=1))
    at_once = face.queue("jobs", gateway=face.gateway(retry_budget_seconds=0))
    set_replicas(redis_client, 1)
    try:
        with pytest.raises(RetryBudgetExhaustedError, match="NOREPLICAS") as caught:
            await face.call(queue.publish, "a")
        assert classify(caught.value)[0] == "NoReplicas"
        with pytest.raises(redis.ResponseError, match=r"^NOREPLICAS ") as caught:
            await face.call(at_once.publish, "a")
        assert classify(caught.value)[0] == "NoReplicas"
    finally:
        set_replicas(redis_client, 0)


async def test_a_server_that_is_busy_with_a_script_is_waited_for(
    face: Face, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    queue = face.queue("jobs")
    await face.call(queue.publish, "before")
    redis_client.config_set("lua-time-limit", 20)
    hog = asyncio.create_task(asyncio.to_thread(run_for_ever, redis_client))
    await until(lambda: busy(redis_client))
    publishing = in_background(face, queue.publish, "a")
    await until(lambda: any("BUSY" in text for text in caplog.messages))
    redis_client.script_kill()
    assert await publishing is True
    await hog
    assert redis_client.llen(KEYS.pending) == 2


def run_for_ever(client: redis.Redis) -> None:
    with contextlib.suppress(redis.ResponseError):
        client.eval("while true do end", 0)


def busy(client: redis.Redis) -> bool:
    try:
        client.ping()
    except redis.ResponseError as error:
        return str(error).startswith("BUSY")
    return False
