"""The library over a fork, on a node of a cluster, and while Redis is away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
import redis.asyncio
from tests.support.waiting import PATIENCE_SECONDS

import redis_message_queue
import redis_message_queue.asyncio as async_face
from redis_message_queue import RedisGateway, RedisMessageQueue
from redisqueue_worker.embedded_redis import EmbeddedRedis, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_FORK = """
import os, sys, threading
import redis
from redis_message_queue import RedisMessageQueue

client = redis.Redis.from_url(sys.argv[1])
queue = RedisMessageQueue("{jobs}", client=client, heartbeat_interval_seconds=5)
queue.publish("before")

# The worst moment: other threads are inside the queue, and hold every lock it has.
queue._gate._lock.acquire()
queue._gateway._claiming.unanswered._lock.acquire()
queue._gate.enter(-1)
queue._gateway._claiming.unanswered.add("{jobs}::pending", "{jobs}::processing", "unknown")
child = os.fork()
if child == 0:
    ok = False
    def work():
        global ok
        assert queue.publish("child")
        for expected in (b"before", b"child"):
            with queue.process_message() as payload:
                assert payload == expected, payload
        assert queue._gateway._claiming.unanswered.waiting("{jobs}::processing") == ()
        assert queue.drain(5)
        ok = True
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    os._exit(0 if ok else 1)
status = os.waitpid(child, 0)[1]
queue._gate._lock.release()
queue._gateway._claiming.unanswered._lock.release()
assert queue._gateway._claiming.unanswered.waiting("{jobs}::processing") == ("unknown",)
assert not queue.is_draining
assert queue.publish("parent")
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_child_goes_on_with_the_queue(redis_url: str, redis_client: redis.Redis) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _FORK, redis_url],
        capture_output=True,
        check=False,
        text=True,
        timeout=2 * PATIENCE_SECONDS,
        env={**os.environ, "PYTHONPATH": str(Path(redis_message_queue.__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr
    assert redis_client.llen("{jobs}::pending") == 1
    assert not redis_client.exists("{jobs}::processing")


@pytest.fixture(scope="module")
def cluster_node() -> Iterator[str]:
    """The URL of a server in cluster mode."""
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with EmbeddedRedis(arguments=options) as server:
        yield server.url


def test_a_plain_client_on_a_cluster_node_is_refused(cluster_node: str) -> None:
    with redis.Redis.from_url(cluster_node) as client, pytest.raises(TypeError, match="RedisCluster client"):
        RedisMessageQueue("{jobs}", client=client)


async def test_a_plain_asyncio_client_on_a_cluster_node_is_refused_at_its_first_use(
    cluster_node: str,
) -> None:
    client = redis.asyncio.Redis.from_url(cluster_node)
    queue = async_face.RedisMessageQueue("{jobs}", client=client)
    for _ in range(2):
        with pytest.raises(TypeError, match="RedisCluster client"):
            await queue.publish("x")
        with pytest.raises(TypeError, match="RedisCluster client"):
            await queue.publish_many(["x"])
        with pytest.raises(TypeError, match="RedisCluster client"):
            async with queue.process_message():
                raise AssertionError("never runs")
    await client.aclose()


def test_building_a_queue_does_not_wait_for_a_redis_that_is_away(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis.Redis(port=1) as away:
        assert RedisGateway(redis_client=away)._sender.unprobed
    asked: list[str] = []
    monkeypatch.setattr(redis.Redis, "info", lambda self, section: asked.append(section) or {})
    with redis.Redis(port=1) as late:
        gateway = RedisGateway(redis_client=late, message_wait_interval_seconds=0)
        gateway._sender.client = redis_client
        assert gateway.wait_for_message_and_move("{jobs}::pending", "{jobs}::processing") is None
        assert gateway.wait_for_message_and_move("{jobs}::pending", "{jobs}::processing") is None
    assert asked == ["cluster"]
