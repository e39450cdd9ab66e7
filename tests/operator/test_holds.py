"""What keeps a fleet from growing on a real API server, and that its owner reads it in the status."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.queues import publish

from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis
    from tests.support.api_server import ApiServer

QUOTA = 'pods "held-worker-5d" is forbidden: exceeded quota: two-pods'


@pytest.fixture(scope="module")
def cluster(api_server: ApiServer) -> Cluster:
    cluster = Cluster(api_server)
    cluster.install()
    return cluster


@pytest.fixture
def operator(cluster: Cluster, tmp_path: Path) -> Iterator[OperatorProcess]:
    with OperatorProcess(cluster.server, tmp_path / "log") as process:
        yield process


def queue_of(name: str, redis_url: str, **scale_up: Any) -> dict[str, Any]:
    spec = {
        "redis": {"url": redis_url},
        "worker": {"handler": "app:handle"},
        "scaling": {"backlogPerSlot": 5, "scaleUp": scale_up},
    }
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "redisqueue.dev/v1alpha1", "kind": "RedisQueue", "metadata": metadata, "spec": spec}


def test_no_growth_while_the_cluster_refuses_pods(
    cluster: Cluster, operator: OperatorProcess, redis_client: redis.Redis, redis_url: str
) -> None:
    cluster.apply(queue_of("refused", redis_url))
    publish(redis_client, QueueKeys("refused"), *(f"m{n}" for n in range(10)))
    until(lambda: cluster.replicas("refused") == 2, "two workers")
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": QUOTA}
    patch = json.dumps({"status": {"conditions": [condition]}})
    cluster.run("patch", "deployment", "refused-worker", "--subresource=status", "--type=merge", "-p", patch)
    operator.explains("refused", QUOTA)
    publish(redis_client, QueueKeys("refused"), *(f"n{n}" for n in range(40)))
    until(lambda: cluster.decision("refused").get("blockedBy") == "ReplicaFailure", "told in status")
    assert cluster.replicas("refused") == 2
    operator.explains("refused", QUOTA)
    well = json.dumps({"status": {"conditions": []}})
    cluster.run("patch", "deployment", "refused-worker", "--subresource=status", "--type=merge", "-p", well)
    until(lambda: cluster.replicas("refused") == 10, "it goes on")


@pytest.mark.parametrize(("word", "to"), [("Grow", 10), ("Hold", 2)])
def test_a_pod_without_a_node_holds_growth_where_it_shall(
    cluster: Cluster, operator: OperatorProcess, redis_client: redis.Redis, redis_url: str, word: str, to: int
) -> None:
    name = word.lower()
    cluster.apply(queue_of(name, redis_url, whenUnschedulable=word))
    publish(redis_client, QueueKeys(name), *(f"m{n}" for n in range(10)))
    until(lambda: cluster.replicas(name) == 2, "two workers")
    template = (cluster.get("deployment", f"{name}-worker") or {})["spec"]["template"]["metadata"]
    account = {"name": "default", "namespace": "default"}
    cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    metadata = {**template, "name": f"{name}-0", "namespace": "default"}
    pod = {"containers": [{"name": "worker", "image": "example.org/worker:1"}]}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod})
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}
    patch = json.dumps({"status": {"conditions": [condition]}})
    cluster.run("patch", "pod", f"{name}-0", "--subresource=status", "--type=merge", "-p", patch)
    until(lambda: cluster.condition(name, "Progressing").get("reason") == "UnschedulablePods", "seen")
    until(lambda: _old_enough(cluster, f"{name}-0"), "no new pod any more")
    publish(redis_client, QueueKeys(name), *(f"n{n}" for n in range(40)))
    if word == "Hold":
        until(lambda: cluster.decision(name).get("blockedBy") == "UnschedulablePods", "told in status")
    until(lambda: cluster.replicas(name) == to, "as it was asked for")
    cluster.run("delete", "pod", f"{name}-0", "--force")


def _old_enough(cluster: Cluster, pod: str) -> bool:
    """Older than a pod that may still find a node, by the server's clock."""
    created = datetime.fromisoformat(cluster.metadata("pod", pod)["creationTimestamp"])
    return (datetime.now(UTC) - created).total_seconds() > 7
