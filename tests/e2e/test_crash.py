"""A worker killed in mid-message costs that message its visibility timeout, and nothing else anything."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.support.cluster import provider

if TYPE_CHECKING:
    from tests.support.story import Story

VISIBILITY_TIMEOUT_SECONDS = 8
HEARTBEAT_SECONDS = 2


def test_killed_worker(story: Story) -> None:
    queue = {"visibilityTimeoutSeconds": VISIBILITY_TIMEOUT_SECONDS, "heartbeatSeconds": HEARTBEAT_SECONDS}
    story.apply(queue=queue, scaling={"minReplicas": 1, "maxReplicas": 2, "backlogPerSlot": 1})
    story.publish([{"id": "long", "seconds": 600, "seconds_again": 0.05}])
    story.publish({"id": f"short-{number}", "seconds": 0.05} for number in range(50))
    story.wait_for_ends(50, seconds=60)
    (first,) = [entry for entry in story.starts() if entry.id == "long"]
    (victim,) = [pod for pod in story.pods() if pod["metadata"]["name"] == first.pod]

    killed_at = story.client.time()[0]
    provider("kill", victim["metadata"]["uid"])
    story.wait_for_ends(51, seconds=60)

    second = [entry for entry in story.starts() if entry.id == "long"][-1]
    waited = second.at - killed_at
    assert waited >= VISIBILITY_TIMEOUT_SECONDS - HEARTBEAT_SECONDS - 1, f"the lease had {waited} s"
    assert waited <= VISIBILITY_TIMEOUT_SECONDS + 5, f"waited {waited} s for the message"
    attempts = Counter(entry.id for entry in story.starts())
    assert attempts.pop("long") == 2
    assert set(attempts.values()) == {1}, "only the interrupted message may repeat"
