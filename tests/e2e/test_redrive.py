"""Dead letters come back through a RedisQueueRedrive, and workers start for them: nobody touches Redis."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.support.cluster import wait_until
from tests.support.queues import payloads

from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from tests.support.story import Story


def test_redrive(story: Story) -> None:
    keys = QueueKeys(story.name)
    letters = [json.dumps({"id": f"{n}", "seconds": 0.05, "type": "ab"[n % 2]}) for n in range(40)]
    story.client.lpush(keys.dead_letter, *letters)
    story.apply(scaling={"maxReplicas": 2})
    cluster, namespace = story.cluster, story.namespace
    cluster.apply(
        {
            "apiVersion": "redisqueue.dev/v1alpha1",
            "kind": "RedisQueueRedrive",
            "metadata": {"name": story.name, "namespace": namespace},
            "spec": {
                "queueRef": {"name": story.name},
                "match": {"pattern": '"seconds": 0[.]\\d', "field": "type", "equals": "a"},
                "ratePerSecond": 10,
                "ttlSecondsAfterFinished": 30,
            },
        }
    )
    wait = ("wait", f"rqr/{story.name}", "--for=condition=Complete", "--timeout=60s")
    cluster.kubectl("-n", namespace, *wait)
    story.wait_for_ends(20, seconds=60)
    assert sorted(int(entry.id) for entry in story.starts()) == list(range(0, 40, 2))
    assert payloads(story.client, keys.dead_letter) == letters[1::2]

    def removed() -> bool:
        return cluster.kubectl("-n", namespace, "get", "rqr", "-o", "name") == ""

    wait_until(removed, 120, "the redrive is removed when its time is over")
