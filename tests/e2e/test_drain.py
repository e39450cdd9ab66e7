"""No handler is interrupted by a new template or a scale-down: workers leave only when they hold nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.cluster import wait_until

from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.story import Story

SECONDS = 10  # of each handler


@pytest.fixture
def followers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """What follows logs; none outlives the test."""
    begun: list[subprocess.Popen[bytes]] = []
    yield begun
    for one in begun:
        one.kill()
        one.wait()


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = {one["type"]: one["status"] for one in pod.get("status", {}).get("conditions", [])}
    return conditions.get("Ready") == "True"


def follow(story: Story, logs: Path) -> list[subprocess.Popen[bytes]]:
    """Follow the log of every worker, once all are ready: before that there is no log to follow."""

    def all_ready() -> list[dict[str, Any]]:
        pods = story.pods()
        return pods if all(map(is_ready, pods)) else []

    names = [pod["metadata"]["name"] for pod in wait_until(all_ready, 60, "every worker is ready")]
    return [story.cluster.follow_log(story.namespace, name, logs / f"{name}.log") for name in names]


def messages(log: Path) -> list[str]:
    """The message of each line; lines that are not JSON are left out."""
    lines = (line for line in log.read_text().splitlines() if line.startswith("{"))
    return [str(json.loads(line).get("message")) for line in lines]


def assert_drained_by_hook(log: Path) -> None:
    """The hook drained the worker first; SIGTERM found it with nothing in hand."""
    said = messages(log)
    order = [
        "drain started by command",
        "nothing in flight, staying until SIGTERM or resume",
        "SIGTERM received",
    ]
    places = [said.index(one) if one in said else -1 for one in order]
    assert -1 not in places, f"{log.name} lacks {order[places.index(-1)]!r}: {said}"
    assert places == sorted(places), f"{log.name}: {said}"


def test_new_template_and_scale_down(
    story: Story, followers: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    ids = [f"job-{number}" for number in range(12)]
    scaling = {"maxReplicas": 4, "backlogPerSlot": 1}
    story.apply(scaling=scaling)
    story.publish({"id": one, "seconds": SECONDS} for one in ids)
    story.wait_for_starts(4, seconds=60)
    old = {pod["metadata"]["name"] for pod in story.pods()}
    followers += follow(story, tmp_path)

    story.apply(scaling=scaling, worker={"template": {"metadata": {"labels": {"generation": "two"}}}})
    wait_until(
        lambda: not old & {pod["metadata"]["name"] for pod in story.pods()}, 90, "every old worker left"
    )

    def two_at_work() -> bool:
        if not story.client.llen(QueueKeys(story.name).pending):  # all done before the last of the old left
            more = [f"job-{len(ids) + number}" for number in range(2)]
            ids.extend(more)
            story.publish({"id": one, "seconds": SECONDS} for one in more)
        return len(story.starts()) - len(story.ends()) >= 2

    wait_until(two_at_work, 60, "new workers are at work")
    followers += follow(story, tmp_path)
    story.cluster.kubectl("-n", story.namespace, "scale", f"rq/{story.name}", "--replicas=1")
    story.wait_for_ends(len(ids), seconds=150)

    story.assert_each_once(ids)
    wait_until(lambda: len(story.pods()) == 1, 60, "one worker is left")
    story.cluster.kubectl("-n", story.namespace, "scale", f"rq/{story.name}", "--replicas=0")
    wait_until(lambda: not story.pods(), 60, "no worker is left")
    for follower in followers:
        follower.wait(timeout=60)
    written = sorted(tmp_path.glob("*.log"))
    assert len(written) > len(old)
    for log in written:
        assert_drained_by_hook(log)
    failed = [message for reason, message in story.events() if reason == "FailedPreStopHook"]
    assert not failed
