"""The CronJob of the page about schedules: once for each tick, however often its Job is tried."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import yaml
from tests.support.cluster import REPOSITORY, wait_until
from tests.support.readmes import blocks

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    from tests.support.story import Story

PAGE = REPOSITORY / "worker" / "docs" / "cron.md"


def test_a_tick_enqueues_once(story: Story) -> None:
    (text,) = [block.text for block in blocks(PAGE.relative_to(REPOSITORY)) if "kind: CronJob" in block.text]
    cron = yaml.safe_load(text)
    cron["metadata"]["namespace"] = story.namespace
    cron["spec"] |= {"suspend": True}  # the test says when
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    container["image"] = "localhost/redisqueue-operator:test"
    container["args"][-1] = f"--redis-url={story.redis_url}"
    queue = RedisMessageQueue("reports", client=story.client)
    story.cluster.apply(cron)

    def tick(name: str) -> str:
        """Run it, as Kubernetes would under this name; what its pod said."""
        story.cluster.kubectl("-n", story.namespace, "create", "job", name, "--from=cronjob/daily-report")
        wait_until(lambda: succeeded(name), 60, f"the Job {name} has ended well")
        told = story.cluster.kubectl("-n", story.namespace, "logs", f"job/{name}")
        story.cluster.kubectl("-n", story.namespace, "delete", "job", name, "--wait=true", "--timeout=60s")
        return told

    def succeeded(name: str) -> bool:
        job = story.cluster.get("job", name, story.namespace) or {}
        return bool(job.get("status", {}).get("succeeded"))

    try:
        assert tick("tick-1").strip() == "published 1 to reports"
        assert tick("tick-1").strip() == "published 0 to reports, skipped 1 duplicates"
        assert tick("tick-2").strip() == "published 1 to reports"
        found = queue.peek(10)
        assert [json.loads(one) for one in found] == [{"type": "daily"}] * 2
    finally:
        story.cluster.kubectl("-n", story.namespace, "delete", "cronjob", "daily-report")
        queue.purge(target="pending")
