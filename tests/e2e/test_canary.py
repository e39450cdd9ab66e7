"""A new template on trial: a bad one is rolled back by itself, a good one reaches all; nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.cluster import wait_until

if TYPE_CHECKING:
    from tests.support.cluster import Manifest
    from tests.support.story import Story

SCALING = {"minReplicas": 3, "maxReplicas": 4, "backlogPerSlot": 5}
GATE = {"minMessages": 10, "maxFailurePercent": 20, "maxDeadLetters": 0}
ROLLOUT = {"strategy": "Versioned", "canaryPercent": 25, "holdSeconds": 10, "gate": GATE}


def apply(story: Story, **variables: str) -> None:
    """The RedisQueue with these variables in its workers."""
    env = {"RECORDS_URL": story.redis_url, "STORY": story.name, **variables}
    story.apply(
        scaling=SCALING,
        rollout=ROLLOUT,
        worker={
            "retry": {"maxAttempts": 10},
            "env": [{"name": name, "value": value} for name, value in env.items()],
        },
    )


def rollout(story: Story) -> dict[str, Any]:
    return dict(story.resource().get("status", {}).get("rollout") or {})


def canary(story: Story) -> Manifest | None:
    return story.cluster.get("deployment", f"{story.name}-canary", story.namespace)


def template_hash(deployment: Manifest | None) -> str:
    assert deployment is not None
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    return str(annotations["redisqueue.dev/config-hash"])


def stable_hash(story: Story) -> str:
    return template_hash(story.cluster.get("deployment", f"{story.name}-worker", story.namespace))


def all_settled(story: Story) -> bool:
    return not any(story.client.llen(f"{story.name}::{part}") for part in ("pending", "processing"))


def test_a_version_that_fails_is_rolled_back_by_itself(story: Story) -> None:
    ids = [f"job-{number}" for number in range(400)]
    apply(story)
    wait_until(lambda: story.ready_workers() >= 3, 60, "three workers are ready")
    good = stable_hash(story)
    story.publish({"id": one, "seconds": 0.4} for one in ids)

    apply(story, BROKEN="1")
    wait_until(lambda: rollout(story).get("phase") == "RolledBack", 90, "the broken version is refused")
    told = rollout(story)
    assert told["reason"] == "Failures"
    assert told["failures"] > 2
    assert (told["deadLetters"], told["stableHash"]) == (0, good)
    assert story.condition("Progressing") == ("False", "RolledBack")
    wait_until(lambda: canary(story) is None, 60, "the canary is gone")
    assert stable_hash(story) == good
    wait_until(
        lambda: {"Canary", "RolledBack"} <= {reason for reason, _ in story.events()}, 60, "Events tell of it"
    )

    story.wait_for_ends(len(ids), seconds=180)
    wait_until(lambda: all_settled(story), 60, "all are settled")
    story.assert_each_once(ids)
    assert story.client.llen(f"{story.name}::dlq") == 0
    # Without the breaker it would have eaten hundreds; how many until it is refused is a matter of time.
    assert story.client.llen(f"e2e:{story.name}:broken") < len(ids) // 4
    assert rollout(story)["phase"] == "RolledBack", "it is not tried again"
    assert canary(story) is None


def test_a_version_that_works_reaches_all_workers(story: Story) -> None:
    ids = [f"job-{number}" for number in range(400)]
    apply(story)
    wait_until(lambda: story.ready_workers() >= 3, 60, "three workers are ready")
    old = stable_hash(story)
    story.publish({"id": one, "seconds": 0.4} for one in ids)

    apply(story, COLOUR="blue")
    wait_until(lambda: canary(story) is not None, 60, "a canary")
    new = template_hash(canary(story))
    assert stable_hash(story) == old, "the others keep their template meanwhile"
    wait_until(lambda: stable_hash(story) == new, 90, "promoted")
    wait_until(lambda: rollout(story).get("phase") == "Promoted", 120, "all workers have it")
    wait_until(lambda: canary(story) is None, 60, "the canary is gone")
    told = rollout(story)
    assert (told["hash"], told["failures"], told["reason"]) == (new, 0, "GatePassed")
    assert told["successes"] >= GATE["minMessages"]

    story.wait_for_ends(len(ids), seconds=180)
    wait_until(lambda: all_settled(story), 60, "all are settled")
    story.assert_each_once(ids)
    wait_until(
        lambda: (
            {pod["metadata"]["annotations"]["redisqueue.dev/config-hash"] for pod in story.pods()} == {new}
        ),
        60,
        "only the new version is left",
    )
    wait_until(lambda: "Promoted" in {reason for reason, _ in story.events()}, 60, "an Event tells of it")
