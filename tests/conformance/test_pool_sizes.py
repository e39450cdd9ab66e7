"""Pools of connections: ours suffice for all who use them at once, small ones of others are named."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support.worker_process import eventually

from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.keys import QueueKeys
from redisqueue_worker.context import Publisher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.faces import Face

KEYS = QueueKeys("{jobs}")
# More than redis-py 8 gives a client that does not ask.
MANY = 130


@contextmanager
def held(node: redis.Redis, connections: int) -> Iterator[None]:
    """The server writes nothing until so many connections ask it to."""
    node.client_pause(60_000, all=False)
    try:
        yield
        eventually(lambda: node.info("clients")["connected_clients"] >= connections, "all of them ask")
    finally:
        node.client_unpause()


@pytest.mark.one_node
def test_all_handlers_of_a_worker_may_publish_at_once(
    redis_url: str, redis_client: redis.Redis, node: redis.Redis
) -> None:
    # Each waits until all have connected, which takes a while with TLS.
    patient = f"{redis_url}{'&' if '?' in redis_url else '?'}socket_timeout=60"
    publisher = Publisher(ConnectionSettings(url=patient).connect, KEYS.name, "::")
    with ThreadPoolExecutor(MANY) as threads:
        with held(node, MANY):
            sent = [threads.submit(publisher.publish, f"message {number}") for number in range(MANY)]
        for each in sent:
            each.result(60)
    assert redis_client.llen(KEYS.pending) == MANY


@pytest.mark.one_node  # a cluster's client may have no connection left to look for its nodes with
@pytest.mark.parametrize("deduplication", [True, False])
async def test_who_finds_no_free_connection_waits_for_one(
    face: Face, redis_client: redis.Redis, deduplication: bool
) -> None:
    queue = face.queue(client=face.client(max_connections=2), deduplication=deduplication)
    count = 40
    if face.name == "sync":
        with ThreadPoolExecutor(count) as threads:
            ready = threading.Barrier(count)

            def publish(number: int) -> bool:
                ready.wait()
                return bool(queue.publish(f"message {number}"))

            assert all(threads.map(publish, range(count)))
    else:
        assert all(await asyncio.gather(*(queue.publish(f"message {number}") for number in range(count))))
    assert redis_client.llen(KEYS.pending) == count


@pytest.mark.one_node
async def test_what_does_not_help_by_waiting_says_what_to_do(
    face: Face, caplog: pytest.LogCaptureFixture
) -> None:
    client = face.client(max_connections=1)
    taken = client.connection_pool.get_connection()
    if face.name == "async":
        taken = await taken
    gateway = face.gateway(redis_client=client, retry_budget_seconds=1)
    with pytest.raises(redis.RedisError, match=r"max_connections as many as those and a few more"):
        await face.call(gateway.publish_message, KEYS.pending, "x", f"{KEYS.name}:mark")
    assert "max_connections" in caplog.text
    released: Any = client.connection_pool.release(taken)
    if face.name == "async":
        await released


@pytest.mark.one_node
async def test_a_client_too_small_for_a_heartbeat_is_named(
    face: Face, caplog: pytest.LogCaptureFixture
) -> None:
    small = face.client(max_connections=1)
    with pytest.warns(RuntimeWarning, match=r"max_connections=1 is less than the 2 connections"):
        face.queue(client=small, heartbeat_interval_seconds=1)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    face.queue(client=small)
    face.queue(client=face.client(max_connections=2), heartbeat_interval_seconds=1)
