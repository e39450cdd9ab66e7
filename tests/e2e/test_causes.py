"""What keeps workers from starting is told in the words of whoever refused, as they are on a real cluster."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.e2e.conftest import NAMESPACE, TENANT
from tests.support.cluster import run, wait_until
from tests.support.story import Story

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster import Cluster

    from redisqueue_worker.embedded_redis import EmbeddedRedis

ENFORCE = "pod-security.kubernetes.io/enforce"
QUOTA = "no-pods"


@dataclass(frozen=True)
class Cause:
    """What a worker is told to be, and what is said of it."""

    words: tuple[str, ...]
    worker: dict[str, Any]
    namespace: str = NAMESPACE
    made: bool = True
    """Whether there is a pod at all."""


def pod(**spec: Any) -> dict[str, Any]:
    return {"template": {"spec": spec}}


MISSING_KEY = {"configMapKeyRef": {"name": "e2e-handler", "key": "absent"}}
CAUSES = {
    "image": Cause(("registry.invalid/absent:1",), {"image": "registry.invalid/absent:1"}),
    "key": Cause(
        (f"couldn't find key absent in ConfigMap {NAMESPACE}/e2e-handler",),
        {"env": [{"name": "WORD", "valueFrom": MISSING_KEY}]},
    ),
    "node": Cause(("didn't match Pod's node affinity/selector",), pod(nodeSelector={"disk": "absent"})),
    "refusal": Cause(("exit code 2", "No module named 'absent'"), {"handler": "absent:handle"}),
    "quota": Cause((f"exceeded quota: {QUOTA}",), {}, TENANT, made=False),
    "security": Cause(
        ('violates PodSecurity "restricted', "hostNetwork"), pod(hostNetwork=True), TENANT, made=False
    ),
}


@pytest.fixture
def stories(installed: Cluster, redis_on_host: EmbeddedRedis, redis_host: str) -> Iterator[dict[str, Story]]:
    """One for each cause; the tenant's namespace takes no pod, and says of some that they never may."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": QUOTA, "namespace": TENANT}}
    installed.apply({**quota, "spec": {"hard": {"pods": "0"}}})
    installed.kubectl("label", "namespace", TENANT, f"{ENFORCE}=restricted", "--overwrite")
    url = f"redis://{redis_host}:{redis_on_host.port}/0"
    with redis.Redis(port=redis_on_host.port) as client:
        yield {
            name: Story(installed, cause.namespace, f"cause-{name}", client, url)
            for name, cause in CAUSES.items()
        }
    for namespace in (NAMESPACE, TENANT):
        names = [f"cause-{name}" for name, cause in CAUSES.items() if cause.namespace == namespace]
        installed.kubectl("-n", namespace, "delete", "rq", *names, "--ignore-not-found", "--wait=false")
    installed.kubectl("label", "namespace", TENANT, f"{ENFORCE}-")
    installed.kubectl("-n", TENANT, "delete", "resourcequota", QUOTA)


def untold(story: Story, words: tuple[str, ...]) -> list[str]:
    """Where these words are missing."""
    conditions = story.resource().get("status", {}).get("conditions", [])
    ready: dict[str, Any] = next((each for each in conditions if each["type"] == "Ready"), {})
    events = [
        each.get("message", "")
        for each in story.cluster.list("events", story.namespace)
        if (each["involvedObject"]["kind"], each["involvedObject"]["name"]) == ("RedisQueue", story.name)
    ]
    command = ("redisqueue_operator.cli", "explain", story.name, "-n", story.namespace)
    told = {
        "condition": [ready.get("message", "")] if ready.get("status") == "False" else [],
        "Event": events,
        "explain": [run(sys.executable, "-m", *command, environment=story.cluster.environment)],
    }
    return [
        f"{story.name}: {where}: {texts}"
        for where, texts in told.items()
        if not any(all(word in text for word in words) for text in texts)
    ]


def test_the_cause_is_told_in_the_clusters_words(stories: dict[str, Story]) -> None:
    for name, story in stories.items():
        story.apply(worker=CAUSES[name].worker, scaling={"maxReplicas": 10, "backlogPerSlot": 1})
        story.publish([{"id": "first", "seconds": 0}])

    left = dict(stories)

    def all_told() -> bool:
        for name, story in tuple(left.items()):
            missing[name] = untold(story, CAUSES[name].words)
            if not missing[name]:
                del left[name]
        return not left

    missing: dict[str, list[str]] = {}
    try:
        wait_until(all_told, 60, "all causes are told")
    except AssertionError as error:
        raise AssertionError(f"{error}: {[missing[name] for name in left]}") from None

    never_made = [story for name, story in stories.items() if not CAUSES[name].made]
    for story in never_made:
        assert story.replicas() == 1
        story.publish({"id": f"more-{number}", "seconds": 0} for number in range(30))
    for story in never_made:
        wait_until(
            lambda story=story: story.decision().get("blockedBy") == "ReplicaFailure",
            60,
            f"the decision about {story.name} says what holds it back",
        )
        assert story.replicas() == 1, "more would not come either"
