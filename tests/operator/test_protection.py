"""Pods with long work are left on their nodes, as a real API server shows it, and give them back later."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.redisqueue_cases import redis_queue
from tests.support.worker_process import QUEUE, WorkerProcess, publish

from redisqueue_operator.decide.children.identity import KEEPS_NODE, PROTECTED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis
    from tests.support.api_server import ApiServer

# What takes a minute, or two, takes a second, or two.
HASTE = """
import redisqueue_operator.decide.protection as protection
protection.LONG_SECONDS, protection.RELEASE_SECONDS = 1.0, 2.0
"""
OLDER = """
import redisqueue_operator.decide.children.deployment as deployment
made, hashed = deployment.pod_template, deployment.hashed
def pod_template(*arguments, **options):
    template = made(*arguments, **options)
    metadata = template["metadata"]
    evict = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
    return hashed({**template, "metadata": {**metadata, "annotations": {**metadata["annotations"], **evict}}})
deployment.pod_template = pod_template
"""
POD = f"{QUEUE}-a"


@pytest.fixture(scope="module")
def cluster(api_server: ApiServer) -> Cluster:
    cluster = Cluster(api_server)
    cluster.install()
    account = {"name": "default", "namespace": "default"}
    cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    return cluster


@pytest.fixture
def pod(cluster: Cluster, redis_url: str, tmp_path: Path) -> Iterator[str]:
    """The ready pod of a RedisQueue with one worker; its uid."""
    spec: dict[str, Any] = {"redis": {"url": redis_url}, "replicas": 1}
    cluster.apply(redis_queue(QUEUE, **spec))
    with OperatorProcess(cluster.server, tmp_path / "first"):
        until(lambda: cluster.replicas(QUEUE) == 1, "one worker")
    template = (cluster.get("deployment", f"{QUEUE}-worker") or {})["spec"]["template"]["metadata"]
    containers = [{"name": "worker", "image": "example.org/worker:1"}]
    metadata = {**template, "name": POD, "namespace": "default"}
    cluster.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}
    )
    ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    cluster.run("patch", "pod", POD, "--subresource=status", "--type=merge", "-p", json.dumps(ready))
    yield cluster.metadata("pod", POD)["uid"]
    cluster.run("delete", "rq", QUEUE)
    cluster.run("delete", "deployment", f"{QUEUE}-worker")
    cluster.run("delete", "pod", POD, "--force")


def marks(cluster: Cluster) -> dict[str, str]:
    """By what the pod is left on its node."""
    annotations: dict[str, str] = cluster.metadata("pod", POD).get("annotations") or {}
    return {name: value for name, value in annotations.items() if name in (*KEEPS_NODE, PROTECTED)}


def test_a_pod_is_protected_while_it_works_for_long_and_no_longer(
    cluster: Cluster, pod: str, redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    all_marks = {**KEEPS_NODE, PROTECTED: "true"}
    owner = cluster.metadata("rq", QUEUE)["uid"]
    names = {"worker_id": POD, "pod_uid": pod, "owner_uid": owner}
    with WorkerProcess(tmp_path, redis_url, "gated", **names) as worker:
        with OperatorProcess(cluster.server, tmp_path / "log", before=HASTE):
            assert marks(cluster) == {}
            publish(redis_client, "long")
            until(lambda: marks(cluster) == all_marks, "it has worked for long")
            worker.open_gate("long")
            until(lambda: marks(cluster) == {}, "its node may go")
            publish(redis_client, "longer")
            until(lambda: marks(cluster) == all_marks, "the next one")
        worker.open_gate("longer")
        worker.until_noted("finished", 2)
        assert marks(cluster) == all_marks, "nobody is there to take it back"
        with OperatorProcess(cluster.server, tmp_path / "second", before=HASTE):
            until(lambda: marks(cluster) == {}, "what the operator before it left")


def test_an_upgrade_replaces_no_worker_for_this(cluster: Cluster, redis_url: str, tmp_path: Path) -> None:
    """What older operators wrote into each template stays there until it changes for another reason."""
    name = "upgraded"
    evict = next(iter(KEEPS_NODE))

    def template() -> dict[str, Any]:
        found: dict[str, Any] = (cluster.get("deployment", f"{name}-worker") or {})["spec"]["template"]
        return found

    cluster.apply(redis_queue(name, redis={"url": redis_url}))
    with OperatorProcess(cluster.server, tmp_path / "older", before=OLDER):
        until(lambda: cluster.get("deployment", f"{name}-worker"), "a Deployment")
    before = template()
    assert before["metadata"]["annotations"][evict] == "false"
    with OperatorProcess(cluster.server, tmp_path / "newer") as operator:
        operator.explains(name, "stays at 0")
        assert template() == before
        more = '{"spec":{"worker":{"env":[{"name":"A","value":"b"}]}}}'
        cluster.run("patch", "rq", name, "--type=merge", "-p", more)
        until(lambda: evict not in template()["metadata"]["annotations"], "it rolls anyway")
        cluster.run("patch", "rq", name, "--type=merge", "-p", '{"spec":{"worker":{"protect":"Always"}}}')
        until(lambda: KEEPS_NODE.items() <= template()["metadata"]["annotations"].items(), "for all")
    cluster.run("delete", "rq", name)
    cluster.run("delete", "deployment", f"{name}-worker")
