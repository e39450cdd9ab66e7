"""A HorizontalPodAutoscaler over a RedisQueue with `scaling.mode: External`: to zero and back."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.api_server import KUBERNETES
from tests.support.controllers import AUTOSCALER, NAMES, PROGRAM, Controllers
from tests.support.external_metrics import ExternalMetrics, register
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.redisqueue_cases import redis_queue
from tests.support.required import required
from tests.support.worker_process import QUEUE, WorkerProcess, publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis
    from tests.support.api_server import ApiServer

pytestmark = pytest.mark.skipif(
    KUBERNETES == "1.34", reason="since Kubernetes 1.37 a HorizontalPodAutoscaler goes to zero unasked"
)
AT_ONCE = {"idleSeconds": 0, "stabilizationSeconds": 0, "minRunSeconds": 0}
SCALING = {"mode": "External", "maxReplicas": 3, "backlogPerSlot": 1, "scaleDown": AT_ONCE}


def wanted(page: str, name: str) -> float | None:
    samples = (sample for family in text_string_to_metric_families(page) for sample in family.samples)
    ours = (each for each in samples if each.name == "redisqueue_workers_wanted")
    return next((each.value for each in ours if each.labels["name"] == name), None)


def autoscaler() -> dict[str, Any]:
    metric = {"name": "redisqueue_workers_wanted", "selector": {"matchLabels": {"name": QUEUE}}}
    target = {"type": "AverageValue", "averageValue": "1"}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": QUEUE, "namespace": "default"},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "redisqueue.dev/v1alpha1",
                "kind": "RedisQueue",
                "name": QUEUE,
            },
            "minReplicas": 0,
            "maxReplicas": 3,
            "metrics": [{"type": "External", "external": {"metric": metric, "target": target}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    }


@pytest.fixture
def cluster(empty_api_server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    """With controllers, an operator, and the operator's metrics as external ones."""
    found = (empty_api_server.folder / PROGRAM).is_file()
    required(found or None, f"{PROGRAM} not found: make cluster-up builds it")
    cluster = Cluster(empty_api_server)
    cluster.install()
    account = {"name": "default", "namespace": "default"}
    cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    with ExitStack() as stack:
        operator = stack.enter_context(OperatorProcess(empty_api_server, tmp_path / "log"))
        metrics = ExternalMetrics(tmp_path, lambda name: wanted(operator.read("/metrics"), name))
        register(cluster, stack.enter_context(metrics).port)
        often = "--horizontal-pod-autoscaler-sync-period=1s"
        log = tmp_path / "controllers"
        stack.enter_context(Controllers(empty_api_server, log, often, names=(*NAMES, AUTOSCALER)))
        yield cluster


def pods(cluster: Cluster) -> list[dict[str, Any]]:
    return [pod for pod in cluster.list("pod") if "deletionTimestamp" not in pod["metadata"]]


def condition(cluster: Cluster, kind: str) -> tuple[str, str] | None:
    """Status and reason of a condition of the autoscaler."""
    _, text = cluster.server.read(f"apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/{QUEUE}")
    conditions = (json.loads(text).get("status") or {}).get("conditions") or []
    return next(((each["status"], each["reason"]) for each in conditions if each["type"] == kind), None)


def asleep(cluster: Cluster) -> bool:
    """The autoscaler has put it to sleep, and the workers are gone."""
    slept = condition(cluster, "ScaledToZero") == ("True", "ScaledToZero")
    return slept and cluster.replicas(QUEUE) == 0 and not pods(cluster)


def test_it_wakes_the_queue_and_the_busy_worker_stays_until_it_is_done(
    cluster: Cluster, redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    cluster.apply(redis_queue(QUEUE, redis={"url": redis_url}, scaling=SCALING, replicas=0), autoscaler())
    disabled = ("False", "ScalingDisabled")
    until(lambda: condition(cluster, "ScalingActive") == disabled, "it wakes none but what it put to sleep")
    cluster.run("scale", f"rq/{QUEUE}", "--replicas=1")
    until(lambda: asleep(cluster), "no worker for no messages")

    publish(redis_client, "short", "long")
    until(lambda: len(pods(cluster)) == 2, "a worker for each message")
    owner = cluster.metadata("rq", QUEUE)["uid"]
    ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    with ExitStack() as stack:
        workers: dict[str, WorkerProcess] = {}
        for number, pod in enumerate(pods(cluster)):
            name = pod["metadata"]["name"]
            folder = tmp_path / str(number)
            folder.mkdir()
            names = {"worker_id": name, "pod_uid": pod["metadata"]["uid"], "owner_uid": owner}
            here = {"run_dir": folder / "run", "concurrency": 1}
            worker = WorkerProcess(folder, redis_url, "gated", **names, **here)
            workers[name] = stack.enter_context(worker)
            cluster.run("patch", "pod", name, "--subresource=status", "--type=merge", "-p", json.dumps(ready))
            workers[name].until_noted("started", 1)
        [busy] = [name for name, worker in workers.items() if worker.noted("started") == ["long"]]
        [idle] = {*workers} - {busy}
        workers[idle].open_gate("short")
        until(lambda: len(pods(cluster)) == 1, "one worker for one message")
        assert [pod["metadata"]["name"] for pod in pods(cluster)] == [busy]
        workers[busy].open_gate("long")
        workers[busy].until_noted("finished", 1)
        until(lambda: asleep(cluster), "no worker for no messages")
