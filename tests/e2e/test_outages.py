"""What is away is unknown, and unknown is never zero: workers stay, and work goes on afterwards."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.support.cluster import wait_until

if TYPE_CHECKING:
    from tests.support.story import Story

    from redisqueue_worker.embedded_redis import EmbeddedRedis

OUTAGE_SECONDS = 60


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


def test_operator_away(story: Story) -> None:
    story.apply(scaling={"minReplicas": 1, "maxReplicas": 3})
    wait_until(lambda: story.ready_workers() == 1, 60, "a worker is ready")
    before = {pod["metadata"]["uid"] for pod in story.pods()}

    story.cluster.kubectl(
        *("-n", story.namespace, "delete", "pods", "-l", "app.kubernetes.io/name=redis-queue-operator"),
        *("--grace-period=0", "--force"),
    )
    ids = [f"meanwhile-{number}" for number in range(200)]
    story.publish({"id": one, "seconds": 0.2} for one in ids)
    wait_until(lambda: story.replicas() == 3, 90, "the next operator caught up")
    assert before <= {pod["metadata"]["uid"] for pod in story.pods()}, "a worker was touched"
    story.wait_for_ends(200, seconds=90)

    story.assert_each_once(ids)
