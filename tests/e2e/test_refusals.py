"""Bad input is refused by the API server itself, in words that name the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.cluster import CommandFailed

if TYPE_CHECKING:
    from tests.support.story import Story

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "min above max": ({"scaling": {"minReplicas": 5, "maxReplicas": 2}}, "spec.scaling.minReplicas"),
    "cluster without hash tag": (
        {"redis": {"mode": "Cluster", "url": "redis://redis:6379"}, "queue": {"name": "emails"}},
        "spec.queue.name needs a hash tag",
    ),
    "neither handler nor command": ({"worker": {"handler": None, "source": None}}, "spec.worker.handler"),
    "password in the url": (
        {"redis": {"url": "redis://:hunter2@redis:6379/0"}},
        "spec.redis.url must not contain",
    ),
    "slow heartbeat": (
        {"queue": {"visibilityTimeoutSeconds": 10, "heartbeatSeconds": 5}},
        "spec.queue.heartbeatSeconds must be less than half",
    ),
    "more attempts than deliveries": (
        {"queue": {"maxDeliveryCount": 2}, "worker": {"retry": {"maxAttempts": 3}}},
        "spec.worker.retry.maxAttempts",
    ),
    "unknown field": ({"scaling": {"maxReplica": 3}}, "spec.scaling.maxReplica"),
    "zero concurrency": ({"worker": {"concurrency": 0}}, "spec.worker.concurrency"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(story: Story, case: str) -> None:
    spec, words = REFUSED[case]
    with pytest.raises(CommandFailed) as refusal:
        story.apply(**spec)
    assert words in str(refusal.value)
    assert story.cluster.get("redisqueue", story.name, story.namespace) is None


def test_name_of_the_queue_stays(story: Story) -> None:
    story.apply()
    with pytest.raises(CommandFailed, match=r"spec\.queue\.name is immutable"):
        story.apply(queue={"name": "another"})
