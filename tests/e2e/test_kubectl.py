"""kubectl does with a RedisQueue what people expect of it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from tests.support.cluster import run, wait_until

if TYPE_CHECKING:
    from tests.support.story import Story


def test_scale_get_explain_wait_describe(story: Story) -> None:
    def kubectl(*arguments: str) -> str:
        return story.cluster.kubectl("-n", story.namespace, *arguments)

    story.apply()
    kubectl("wait", "--for=condition=Ready", f"rq/{story.name}", "--timeout=60s")

    kubectl("scale", f"redisqueue/{story.name}", "--replicas=3")
    wait_until(lambda: story.ready_workers() == 3, 60, "three workers are ready")
    assert story.replicas() == 3

    header, row = kubectl("get", "rq", story.name).splitlines()
    assert header.split() == ["NAME", "PENDING", "INFLIGHT", "DLQ", "READY", "DESIRED", "STATE", "AGE"]
    columns = dict(zip(header.split(), row.split(), strict=True))
    assert (columns["PENDING"], columns["READY"], columns["DESIRED"]) == ("0", "3", "3")

    explained = kubectl("explain", "rq.spec.scaling")
    assert "maxReplicas" in explained
    assert "scaleDown" in explained

    wait_until(
        lambda: "Scaled" in kubectl("describe", "rq", story.name), 60, "describe shows the scaling's Event"
    )
    assert f"{story.name}" in kubectl("get", "all")

    for words in ("3 workers wanted, 3 ready", "stays at 3 (ManualReplicas)"):
        wait_until(lambda words=words: words in redisqueue(story, "explain"), 60, words)

    def a_handler_is_shown() -> bool:
        story.publish([{"id": f"shown-{time.time()}", "seconds": 3}])  # whatever has ended since
        return "in handle" in redisqueue(story, "stacks")

    wait_until(a_handler_is_shown, 60, "stacks tell where a handler stands")


def test_drain_stops_the_workers_and_resume_brings_them_back(story: Story) -> None:
    story.apply(scaling={"minReplicas": 2})
    wait_until(lambda: story.ready_workers() == 2, 60, "two workers are ready")
    story.publish({"id": f"slow-{number}", "seconds": 3} for number in range(2))
    story.wait_for_starts(2, seconds=60)

    assert "no worker is left" in redisqueue(story, "drain")
    assert len(story.ends()) == 2, "what ran has finished"
    assert not story.pods()

    redisqueue(story, "drain", "--resume")
    wait_until(lambda: story.ready_workers() == 2, 60, "two workers are ready again")


def redisqueue(story: Story, command: str, *arguments: str) -> str:
    """What `redisqueue COMMAND NAME` prints."""
    words = (command, story.name, "-n", story.namespace, *arguments)
    return run(
        *(sys.executable, "-m", "redisqueue_operator.cli", *words), environment=story.cluster.environment
    )
