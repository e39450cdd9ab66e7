"""What is away is unknown, and unknown is never zero: workers stay, and work goes on afterwards.

With LONG=1 a schedule is followed for a minute.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.support.cluster import provider, wait_until

from redis_message_queue import envelope
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.story import Story

    from redisqueue_worker.embedded_redis import EmbeddedRedis

OUTAGE_SECONDS = 60
STEP = timedelta(seconds=2)
TICKS = 30 if os.environ.get("LONG") else 10


def test_redis_away(story: Story, redis_on_host: EmbeddedRedis) -> None:
    story.apply(scaling={"minReplicas": 2, "maxReplicas": 4})
    wait_until(lambda: story.ready_workers() == 2, 60, "two workers are ready")
    before = {pod["metadata"]["uid"] for pod in story.pods()}
    wait_until(lambda: story.condition("RedisReachable")[0] == "True", 60, "Redis is read")

    redis_on_host.stop()
    ends_at = time.monotonic() + OUTAGE_SECONDS
    wait_until(lambda: story.condition("RedisReachable")[0] == "False", 60, "RedisReachable says False")
    assert story.condition("RedisReachable")[1] not in ("", "Connected")
    while time.monotonic() < ends_at:
        assert story.replicas() == 2
        time.sleep(1)
    redis_on_host.start()

    wait_until(lambda: story.condition("RedisReachable")[0] == "True", 60, "RedisReachable says True again")
    assert {pod["metadata"]["uid"] for pod in story.pods()} == before, "a worker was replaced"
    assert all(
        status["restartCount"] == 0 for pod in story.pods() for status in pod["status"]["containerStatuses"]
    )
    ids = [f"after-{number}" for number in range(100)]
    story.publish({"id": one, "seconds": 0.05} for one in ids)
    story.wait_for_ends(100, seconds=60)
    story.assert_each_once(ids)


def test_operator_killed_twice(story: Story) -> None:
    """Nothing of the work and no tick of a schedule is lost or done twice."""
    story.apply(scaling={"minReplicas": 1, "maxReplicas": 3})
    wait_until(lambda: story.ready_workers() == 1, 60, "a worker is ready")
    before = {pod["metadata"]["uid"] for pod in story.pods()}
    ids = [f"meanwhile-{number}" for number in range(200)]

    with beats(story) as queue:
        wait_until(lambda: len(ticks(story, queue)) >= 2, 60, "the schedule ticks")
        kill_leader(story)
        story.publish({"id": one, "seconds": 0.2} for one in ids)
        wait_until(lambda: story.replicas() == 3, 90, "the next operator caught up")
        assert before <= {pod["metadata"]["uid"] for pod in story.pods()}, "a worker was touched"
        kill_leader(story)
        missed = len(ticks(story, queue)) + 3
        story.wait_for_ends(200, seconds=90)
        story.assert_each_once(ids)
        wait_until(lambda: len(ticks(story, queue)) >= max(missed, TICKS), 120, "its ticks are made up for")
    found = ticks(story, queue)

    assert found == [found[0] + number * STEP for number in range(len(found))]


def kill_leader(story: Story) -> None:
    """End the operator that leads as a crash would: its Lease ends by itself."""
    lease = story.cluster.get("lease", "redisqueue-operator", story.namespace)
    assert lease is not None
    pod = story.cluster.get("pod", lease["spec"]["holderIdentity"].rpartition("_")[0], story.namespace)
    assert pod is not None
    provider("kill", pod["metadata"]["uid"])


@contextmanager
def beats(story: Story) -> Iterator[str]:
    """A schedule that enqueues every two seconds; yields the name of a queue that nobody works at."""
    metadata = {"name": story.name, "namespace": story.namespace}
    queue = f"{story.name}-beats"
    spec = {
        "schedule": "*/2 * * * * *",
        "missedTicks": "All",
        "redis": {"url": story.redis_url},
        "queue": {"name": queue},
        "payload": "beat",
    }
    kind = {"apiVersion": "redisqueue.dev/v1alpha1", "kind": "RedisQueueSchedule"}
    story.cluster.apply({**kind, "metadata": metadata, "spec": spec})
    try:
        yield queue
    finally:
        story.cluster.kubectl("-n", story.namespace, "delete", "rqs", story.name)


def ticks(story: Story, queue: str) -> list[datetime]:
    """Those whose messages wait, in the order of these."""
    stored: Any = story.client.lrange(QueueKeys(queue).pending, 0, -1)
    identities = [str(envelope.decode(each).id) for each in reversed(stored)]
    return [datetime.strptime(each[-16:], "%Y%m%dT%H%M%S%z") for each in identities]
