"""The main job: workers appear for messages, handle each of them, and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import v7
from tests.support.cluster import wait_until

if TYPE_CHECKING:
    from tests.support.story import Story

    from redisqueue_worker.embedded_redis import EmbeddedRedis


def test_two_thousand_messages_from_both_producers(story: Story, redis_on_host: EmbeddedRedis) -> None:
    v7.require_v7()
    story.apply(scaling={"maxReplicas": 6})
    story.cluster.kubectl(
        "-n", story.namespace, "wait", "--for=condition=Ready", f"redisqueue/{story.name}", "--timeout=60s"
    )
    assert story.replicas() == 0, "an empty queue needs no worker"

    ours = [{"id": f"ours-{number}", "seconds": 0.05} for number in range(1000)]
    theirs = [{"id": f"v7-{number}", "seconds": 0.05} for number in range(1000)]
    with v7.Peer("v7", redis_on_host.url) as process:
        assert all(process.queue(story.name).publish(*theirs))
    story.publish(ours)

    wait_until(lambda: (story.replicas() or 0) >= 4, 90, "at least four workers are asked for")
    story.wait_for_ends(2000, seconds=180)
    story.wait_for_zero(seconds=90)

    story.assert_each_once(job["id"] for job in ours + theirs)
    pods = {entry.pod for entry in story.starts()}
    assert len(pods) >= 4, f"only {len(pods)} workers shared the work"
