"""Children among those of others: refused and second budgets, a pause, rewritten labels, another release."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.queues import publish
from tests.support.redisqueue_cases import redis_queue
from tests.support.reports import reporting
from tests.support.waiting import quiet

from redis_message_queue.consumer import Consumer, WorkerIdentity
from redis_message_queue.keys import QueueKeys
from redis_message_queue.stats import sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis
    from tests.support.api_server import ApiServer

NAMESPACE = "neighbours"
FLAGS = (f"--namespace={NAMESPACE}", f"--watch-namespaces={NAMESPACE}", "--resync-seconds=2")
BUDGET = ("poddisruptionbudget", "jobs-worker")
# What takes half a minute takes a second.
HASTE = """
import redisqueue_operator.decide.children.plan as plan
plan.RETRY_REFUSED_SECONDS = 1.0
"""
REFUSING = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": "no-budgets"},
    "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": ["policy"],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": ["poddisruptionbudgets"],
                }
            ]
        },
        "validations": [{"expression": "false", "message": "budgets are for the platform team"}],
    },
}
BINDING = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicyBinding",
    "metadata": {"name": "no-budgets"},
    "spec": {
        "policyName": "no-budgets",
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}},
    },
}


@pytest.fixture
def cluster(api_server: ApiServer) -> Iterator[Cluster]:
    cluster = Cluster(api_server)
    cluster.install()
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    yield cluster
    cluster.run("delete", "rq,deployment,poddisruptionbudget", "--all", "-n", NAMESPACE)


def queue(redis_url: str, **spec: Any) -> dict[str, Any]:
    made = redis_queue("jobs", redis={"url": redis_url}, **spec)
    made["metadata"]["namespace"] = NAMESPACE
    return made


def budget(name: str) -> dict[str, Any]:
    """Of one who wants to be sure, for the pods of the queue."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "minAvailable": 1,
            "selector": {"matchExpressions": [{"key": "redisqueue.dev/queue", "operator": "Exists"}]},
        },
    }


def ready(cluster: Cluster) -> tuple[str, str]:
    found = cluster.condition("jobs", "Ready", NAMESPACE)
    return found.get("status", ""), found.get("reason", "")


def test_a_refused_budget_holds_up_no_worker_and_is_told(
    cluster: Cluster, redis_url: str, tmp_path: Path
) -> None:
    cluster.apply(REFUSING, BINDING)
    dry = ("apply", "--server-side", "--dry-run=server", "-f", "-")
    until(lambda: cluster.server.kubectl(*dry, stdin=json.dumps(budget("try")))[0] != 0, "it is refused")
    try:
        cluster.apply(queue(redis_url, replicas=2))
        with OperatorProcess(cluster.server, tmp_path / "log", *FLAGS, before=HASTE):
            until(lambda: cluster.replicas("jobs", NAMESPACE) == 2, "the workers")
            until(lambda: ready(cluster) == ("True", "DisruptionBudgetRefused"), "it is told")
            assert "platform team" in cluster.condition("jobs", "Ready", NAMESPACE)["message"]
            told = until(lambda: cluster.events("jobs", NAMESPACE).get("DisruptionBudgetRefused"), "an Event")
            assert "platform team" in told
            cluster.run("delete", "validatingadmissionpolicybinding", "no-budgets")
            until(lambda: cluster.get(*BUDGET, NAMESPACE), "the budget, once it may be made")
            until(lambda: ready(cluster) == ("True", "Applied"), "and all is well")
    finally:
        cluster.run("delete", "validatingadmissionpolicybinding", "no-budgets", "--ignore-not-found")
        cluster.run("delete", "validatingadmissionpolicy", "no-budgets")


def test_a_second_budget_is_told_and_ours_can_be_left_out(
    cluster: Cluster, redis_url: str, tmp_path: Path
) -> None:
    share = {"maxUnavailable": "20%"}
    cluster.apply(queue(redis_url, disruptionBudget=share))
    with OperatorProcess(cluster.server, tmp_path / "log", *FLAGS):
        made = until(lambda: cluster.get(*BUDGET, NAMESPACE), "our budget")
        assert made["spec"]["maxUnavailable"] == "20%"
        cluster.apply(budget("policy-engine"))
        until(lambda: ready(cluster) == ("True", "SecondDisruptionBudget"), "it is told")
        assert "policy-engine" in cluster.condition("jobs", "Ready", NAMESPACE)["message"]
        told = until(lambda: cluster.events("jobs", NAMESPACE).get("SecondDisruptionBudget"), "an Event")
        assert "policy-engine" in told

        cluster.apply(queue(redis_url, disruptionBudget={"mode": "None"}))
        until(lambda: cluster.get(*BUDGET, NAMESPACE) is None, "ours goes")
        until(lambda: ready(cluster) == ("True", "Applied"), "and all is well")
        assert cluster.get("poddisruptionbudget", "policy-engine", NAMESPACE), "somebody else's was deleted"


def test_a_pause_and_rewritten_labels_change_nothing(
    cluster: Cluster, redis_url: str, tmp_path: Path
) -> None:
    cluster.apply(queue(redis_url, replicas=1))
    deployment = ("deployment", "jobs-worker", "-n", NAMESPACE)
    with OperatorProcess(cluster.server, tmp_path / "log", *FLAGS):
        until(lambda: cluster.replicas("jobs", NAMESPACE) == 1, "a worker")
        cluster.run("label", *deployment, "app.kubernetes.io/managed-by=Helm", "--overwrite")
        cluster.run("patch", *deployment, "--type=merge", "-p", '{"spec":{"paused":true}}')
        worker = {"handler": "a:b", "image": "example.org/mine:2"}
        cluster.apply(queue(redis_url, replicas=3, worker=worker))
        until(lambda: cluster.replicas("jobs", NAMESPACE) == 3, "it is scaled on")

        def rolls() -> bool:
            spec = (cluster.get("deployment", "jobs-worker", NAMESPACE) or {})["spec"]
            image: str = spec["template"]["spec"]["containers"][0]["image"]
            return image == "example.org/mine:2" and not spec.get("paused")

        until(rolls, "and the new image rolls out")


def test_all_is_exactly_as_wanted_after_a_start_and_nothing_is_written_when_it_was(
    cluster: Cluster, redis_url: str, tmp_path: Path
) -> None:
    worker = {"handler": "a:b", "resources": {"limits": {"cpu": "1.5", "memory": "1024Mi"}}}
    cluster.apply(queue(redis_url, replicas=1, worker=worker))
    kinds = ("deployment", "poddisruptionbudget")

    def owned() -> list[bool]:
        found = [cluster.metadata(kind, "jobs-worker", NAMESPACE) for kind in kinds]
        return [bool(each.get("ownerReferences")) for each in found]

    with OperatorProcess(cluster.server, tmp_path / "first", *FLAGS):
        until(lambda: ready(cluster)[0] == "True", "all is applied")
        assert owned() == [True, True]
    cluster.apply(queue(redis_url, replicas=1, worker=worker, deletionPolicy="Orphan"))
    with OperatorProcess(cluster.server, tmp_path / "second", *FLAGS):
        until(lambda: owned() == [False, False], "nothing goes with it any more")
        until(lambda: cluster.status("jobs", NAMESPACE)["observedGeneration"] == 2, "it is told")
        quiet(cluster.writes, "nothing is left to be told", 2)
    before = cluster.writes()
    with OperatorProcess(cluster.server, tmp_path / "third", *FLAGS) as operator:
        looked = 'redisqueue_operator_reconciles_total{outcome="ok"}'
        until(lambda: f"{looked} 0.0" not in (text := operator.read("/metrics")) and looked in text, "a look")
        assert cluster.writes() == before


def test_of_two_releases_one_works_until_it_is_gone(cluster: Cluster, redis_url: str, tmp_path: Path) -> None:
    # It asks again soon, and gives the other one long to answer.
    haste = "import redisqueue_operator.decide.version_skew as precedence\n"
    haste += "precedence.YIELD_SECONDS, precedence.ANSWER_SECONDS = 1.0, 15.0\n"
    cluster.apply(queue(redis_url, replicas=1))

    def release(name: str) -> OperatorProcess:
        own = (f"--lease-name={name}", f"--worker-image=registry.example.org/{name}:1")
        return OperatorProcess(cluster.server, tmp_path / name, *FLAGS, *own, before=haste)

    def image() -> str:
        spec = (cluster.get("deployment", "jobs-worker", NAMESPACE) or {})["spec"]["template"]["spec"]
        found: str = spec["containers"][0]["image"]
        return found

    with release("one") as one:
        until(lambda: ready(cluster) == ("True", "Applied"), "the first has made it")
        generation = cluster.metadata("deployment", "jobs-worker", NAMESPACE)["generation"]
        with release("two"):
            until(lambda: ready(cluster)[1] == "ForeignOperator", "the second says so")
            until(lambda: ready(cluster)[1] == "Applied", "the first corrects that")
            until(lambda: ready(cluster)[1] == "ForeignOperator", "the second asks again after a while")
            assert image() == "registry.example.org/one:1"
            assert cluster.metadata("deployment", "jobs-worker", NAMESPACE)["generation"] == generation
            one.stop()
            until(lambda: image() == "registry.example.org/two:1", "the second takes over")


def test_a_strangers_pod_with_our_labels_is_neither_counted_nor_retired_nor_marked(
    cluster: Cluster, redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    """Somebody copied a pod, environment and all, into a StatefulSet: no shrink of ours takes it."""
    down = {"idleSeconds": 0, "stabilizationSeconds": 0, "minRunSeconds": 0}
    cluster.apply(queue(redis_url, replicas=2, scaling={"scaleDown": down}))
    with OperatorProcess(cluster.server, tmp_path / "log", *FLAGS) as operator:
        until(lambda: cluster.replicas("jobs", NAMESPACE) == 2, "two workers")
        consumers = {
            "busy": worker_of(cluster, redis_client, "busy", "ReplicaSet", "jobs-worker-5c"),
            "idle": worker_of(cluster, redis_client, "idle", "ReplicaSet", "jobs-worker-5c"),
            "guest": worker_of(cluster, redis_client, "guest", "StatefulSet", "jobs-worker"),
        }
        publish(redis_client, QueueKeys("jobs"), "work")
        assert consumers["busy"].claim(1).claims
        with reporting({consumer: int(name == "busy") for name, consumer in consumers.items()}):
            until(lambda: cluster.status("jobs", NAMESPACE).get("replicas") == 2, "two are counted")
            said = f"/explain/{NAMESPACE}/jobs"
            until(lambda: "unknown state" not in operator.read(said), "the reports are read")
            scaled = {"spec": {"replicas": 1}}
            cluster.run("patch", "rq", "jobs", "-n", NAMESPACE, "--type=merge", "-p", json.dumps(scaled))
            until(lambda: cluster.replicas("jobs", NAMESPACE) == 1, "one worker less")
            assert [name for name in consumers if marked(cluster, name)] == ["idle"]
            [seen] = sample(redis_client, [QueueKeys("jobs")])
            assert not isinstance(seen, Exception)
            assert [worker.id for worker in seen.workers if worker.retired] == ["idle"]
    cluster.run("delete", "pods", "--all", "-n", NAMESPACE, "--force")


def worker_of(cluster: Cluster, client: redis.Redis, pod: str, kind: str, controller: str) -> Consumer:
    """The worker of a ready pod that has the labels of the queue, and this controller."""
    deployment = cluster.get("deployment", "jobs-worker", NAMESPACE) or {}
    account = {"name": "default", "namespace": NAMESPACE}
    cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    owner = {"apiVersion": "apps/v1", "kind": kind, "name": controller, "uid": controller, "controller": True}
    metadata = {
        "name": pod,
        "namespace": NAMESPACE,
        "labels": deployment["spec"]["template"]["metadata"]["labels"],
        "ownerReferences": [owner],
    }
    containers = [{"name": "worker", "image": "example.org/worker:1"}]
    cluster.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}
    )
    ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    where = ("pod", pod, "-n", NAMESPACE, "--subresource=status", "--type=merge")
    cluster.run("patch", *where, "-p", json.dumps(ready))
    uid, owner_uid = (
        cluster.metadata(kind, name, NAMESPACE)["uid"] for kind, name in (("pod", pod), ("rq", "jobs"))
    )
    return Consumer(client, "jobs", worker=WorkerIdentity(pod, 1, pod_uid=uid, owner_uid=owner_uid))


def marked(cluster: Cluster, pod: str) -> bool:
    """Whether a shrink shall take it first."""
    annotations = cluster.metadata("pod", pod, NAMESPACE).get("annotations") or {}
    return "controller.kubernetes.io/pod-deletion-cost" in annotations
