"""RedisQueues by the hundred, and the messages that they get."""

from __future__ import annotations

import contextlib
import json
import random
import time
from typing import TYPE_CHECKING, Any

import redis
from tests.support.waiting import beside

from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    from tests.support.operator_process import Cluster

AT_ONCE = 200
MOST_WORKERS = 20
MESSAGES_PER_WORKER = 5


def create(cluster: Cluster, objects: Sequence[dict[str, Any]], *command: str) -> None:
    """`kubectl create` of many, or another command that takes a file."""
    for start in range(0, len(objects), AT_ONCE):
        items = {"apiVersion": "v1", "kind": "List", "items": objects[start : start + AT_ONCE]}
        cluster.run(*(command or ("create",)), "-f", "-", stdin=json.dumps(items))


def redis_queue(name: str, url: str, *, namespace: str = "default", **scaling: Any) -> dict[str, Any]:
    """A RedisQueue that has 20 workers at most and goes to sleep as soon as it may."""
    down = {"idleSeconds": 0, "stabilizationSeconds": 0, "minRunSeconds": 0}
    bounds = {"maxReplicas": MOST_WORKERS, "backlogPerSlot": MESSAGES_PER_WORKER}
    return {
        "apiVersion": "redisqueue.dev/v1alpha1",
        "kind": "RedisQueue",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "redis": {"url": url},
            "worker": {"handler": "app:handle"},
            "scaling": {**bounds, "scaleDown": down, **scaling},
        },
    }


def push(client: redis.Redis, names: Sequence[str], messages: int) -> float:
    """So many messages into each queue; when the first was sent."""
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.lpush(QueueKeys(name).pending, *(f"message {number}" for number in range(messages)))
    at = time.time()
    pipeline.execute()
    return at


def empty(client: redis.Redis, names: Sequence[str]) -> None:
    """Take all that waits, as workers would."""
    client.delete(*(QueueKeys(name).pending for name in names))


@contextlib.contextmanager
def traffic(url: str, names: Sequence[str]) -> Iterator[None]:
    """Every second each queue gets a message and loses one to a claim; one to four wait in each."""

    def flow(over: threading.Event) -> None:
        with redis.Redis.from_url(url) as client:
            for turn in range(1_000_000):
                started = time.monotonic()
                pipeline = client.pipeline(transaction=False)
                for name in names:
                    keys = QueueKeys(name)
                    pipeline.lpush(keys.pending, "message")
                    pipeline.incr(keys.lease_token_counter)
                    if turn >= 2:
                        pipeline.rpop(keys.pending)
                pipeline.execute()
                if over.wait(max(0.0, started + random.uniform(0.9, 1.1) - time.monotonic())):
                    return

    with beside(flow):
        yield
