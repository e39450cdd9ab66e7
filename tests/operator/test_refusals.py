"""What the cluster's own rules refuse to the operator is told, hides nothing else, and is tried again."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.acl import PASSWORD, grant
from tests.support.api_server import GATED
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.queues import publish
from tests.support.redisqueue_cases import redis_queue
from tests.support.reports import reporting
from tests.support.waiting import quiet

from redis_message_queue.consumer import Consumer, WorkerIdentity
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis
    from tests.support.api_server import ApiServer

DOWN = {"idleSeconds": 0, "stabilizationSeconds": 0, "minRunSeconds": 0}


@pytest.fixture(scope="module")
def cluster(api_server: ApiServer) -> Cluster:
    cluster = Cluster(api_server)
    cluster.install()
    return cluster


@pytest.fixture
def operator(cluster: Cluster, tmp_path: Path) -> Iterator[OperatorProcess]:
    with OperatorProcess(cluster.server, tmp_path / "log", "--worker-image=example.org/worker:1") as process:
        yield process


class Rule:
    """An admission policy: `expression` must hold for what it matches; a context manager."""

    def __init__(
        self, cluster: Cluster, name: str, *, groups: str, resource: str, expression: str, words: str
    ) -> None:
        self._cluster, self._name, self._words = cluster, name, words
        rule = {
            "apiGroups": [groups],
            "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE"],
            "resources": [resource],
        }
        kinds = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
        self._objects: list[dict[str, Any]] = [
            {
                **kinds,
                "kind": "ValidatingAdmissionPolicy",
                "spec": {
                    "failurePolicy": "Fail",
                    "matchConstraints": {"resourceRules": [rule]},
                    "validations": [{"expression": expression, "message": words}],
                },
            },
            {
                **kinds,
                "kind": "ValidatingAdmissionPolicyBinding",
                "spec": {"policyName": name, "validationActions": ["Deny"]},
            },
        ]

    def __enter__(self) -> Rule:
        self._cluster.apply(*self._objects)
        return self

    def __exit__(self, *_: object) -> None:
        self.lift()

    def in_force(self, *dry_run: str) -> None:
        """Wait until the server refuses that: it takes up a policy some moments after it was made."""
        until(lambda: self._words in self._cluster.server.kubectl(*dry_run)[1], "the rule is in force")

    def lift(self) -> None:
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            self._cluster.run("delete", kind, self._name, "--ignore-not-found")


def queue_of(name: str, redis_url: str, **spec: Any) -> dict[str, Any]:
    scaling = {"maxReplicas": 10, "backlogPerSlot": 5, "scaleDown": DOWN}
    return redis_queue(name, **{"redis": {"url": redis_url}, "scaling": scaling, **spec})


def test_a_refused_scale_is_told_and_goes_on_when_the_rule_is_gone(
    cluster: Cluster, operator: OperatorProcess, redis_url: str, redis_client: redis.Redis
) -> None:
    cluster.apply(queue_of("capped", redis_url))
    until(lambda: cluster.condition("capped", "RedisReachable").get("status") == "True", "Redis is sampled")
    words = "this team has no budget for workers"
    rule = Rule(
        cluster,
        "no-budget",
        groups="apps",
        resource="deployments/scale",
        expression="object.metadata.name != 'capped-worker' || object.spec.replicas == 0",
        words=words,
    )
    with rule:
        rule.in_force("scale", "deployment", "capped-worker", "--replicas=1", "--dry-run=server")
        publish(redis_client, QueueKeys("capped"), *(str(n) for n in range(20)))
        refused = until(
            lambda: (
                cluster.condition("capped", "ScalingActive").get("reason") == "ScaleRefused"
                and cluster.condition("capped", "ScalingActive")
            ),
            "it is told",
        )
        assert refused["status"] == "False"
        assert words in refused["message"]
        until(lambda: cluster.pending("capped") == 20, "the counters go on")
        assert words in until(lambda: cluster.events("capped").get("ScaleRefused"), "an Event")
        operator.explains("capped", words)
        rule.lift()
        lifted = time.monotonic()
    until(lambda: cluster.replicas("capped") == 4, "workers, now that they may be")
    print(f"went on after {time.monotonic() - lifted:.1f} s")
    until(
        lambda: cluster.condition("capped", "ScalingActive").get("status") == "True", "and that is told, too"
    )
    cluster.run("delete", "rq", "capped")


def two_workers(
    cluster: Cluster, redis_url: str, redis_client: redis.Redis, name: str, **spec: Any
) -> list[Consumer]:
    """Those of the ready pods NAME-a and NAME-b."""
    cluster.apply(queue_of(name, redis_url, **{"replicas": 2, **spec}))
    until(lambda: cluster.replicas(name) == 2, "two workers")
    deployment = cluster.get("deployment", f"{name}-worker")
    assert deployment is not None
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}})
    containers = [{"name": "worker", "image": "example.org/worker:1"}]
    owner = cluster.metadata("rq", name)["uid"]
    consumers = []
    for pod in (f"{name}-a", f"{name}-b"):
        metadata = {"name": pod, "namespace": "default", "labels": labels}
        cluster.apply(
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}
        )
        ready = '{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}'
        cluster.run("patch", "pod", pod, "--subresource=status", "--type=merge", "-p", ready)
        uid = cluster.metadata("pod", pod)["uid"]
        identity = WorkerIdentity(pod, 1, pod_uid=uid, owner_uid=owner)
        consumers.append(Consumer(redis_client, name, worker=identity))
    return consumers


def test_pods_that_may_not_be_marked_hold_up_no_shrink(
    cluster: Cluster, operator: OperatorProcess, redis_url: str, redis_client: redis.Redis
) -> None:
    """A partial one: the mark is there so that the right ones go, and is no condition."""
    consumers = two_workers(cluster, redis_url, redis_client, "unmarked")
    words = "pods stay as they were made"
    rule = Rule(
        cluster,
        "stay",
        groups="",
        resource="pods",
        expression="!object.metadata.name.startsWith('unmarked-') || oldObject == null",
        words=words,
    )
    with rule:
        rule.in_force("annotate", "pod", "unmarked-a", "a=b", "--dry-run=server")
        publish(redis_client, QueueKeys("unmarked"), "work")
        assert consumers[0].claim(1).claims
        with reporting(dict(zip(consumers, (1, 0), strict=True))):
            cluster.run("patch", "rq", "unmarked", "--type=merge", "-p", '{"spec":{"replicas":1}}')
            until(lambda: cluster.replicas("unmarked") == 1, "one worker less")
    cluster.run("delete", "rq", "unmarked")
    cluster.run("delete", "pods", "-l", "redisqueue.dev/queue=unmarked", "--force")


def test_pods_that_may_not_be_protected_are_told_of_and_hold_up_nothing(
    cluster: Cluster, operator: OperatorProcess, redis_url: str, redis_client: redis.Redis
) -> None:
    consumers = two_workers(cluster, redis_url, redis_client, "exposed")
    words = "pods are left as they were made"
    rule = Rule(
        cluster,
        "exposed-stay",
        groups="",
        resource="pods",
        expression="!object.metadata.name.startsWith('exposed-') || oldObject == null",
        words=words,
    )
    with rule:
        rule.in_force("annotate", "pod", "exposed-a", "a=b", "--dry-run=server")
        publish(redis_client, QueueKeys("exposed"), "work")
        assert consumers[0].claim(1).claims
        with reporting(dict(zip(consumers, (1, 0), strict=True)), age_seconds=61.0):
            told = until(lambda: cluster.events("exposed").get("ProtectionRefused"), "an Event")
            assert words in told
            cluster.run("patch", "rq", "exposed", "--type=merge", "-p", '{"spec":{"replicas":3}}')
            until(lambda: cluster.replicas("exposed") == 3, "the number of workers goes on")
    assert "ProtectionRefused" not in json.dumps(cluster.status("exposed")), "it is a help that is missing"
    cluster.run("delete", "rq", "exposed")
    cluster.run("delete", "pods", "-l", "redisqueue.dev/queue=exposed", "--force")


def test_a_shrink_that_is_refused_leaves_no_pod_marked(
    cluster: Cluster, operator: OperatorProcess, redis_url: str, redis_client: redis.Redis
) -> None:
    """Or a later shrink would take the pod, whatever it does by then. No mark of another leader stays."""
    busy, idle = two_workers(cluster, redis_url, redis_client, "spared")

    def cost(pod: str) -> str | None:
        annotations: dict[str, str] = cluster.metadata("pod", pod).get("annotations") or {}
        return annotations.get("controller.kubernetes.io/pod-deletion-cost")

    cluster.run("annotate", "pod", "spared-a", "controller.kubernetes.io/pod-deletion-cost=-1000")
    words = "two workers are the least"
    rule = Rule(
        cluster,
        "two-at-least",
        groups="apps",
        resource="deployments/scale",
        expression="object.metadata.name != 'spared-worker' || object.spec.replicas >= 2",
        words=words,
    )
    with rule:
        rule.in_force("scale", "deployment", "spared-worker", "--replicas=1", "--dry-run=server")
        publish(redis_client, QueueKeys("spared"), "work")
        assert busy.claim(1).claims
        with reporting({busy: 1, idle: 0}):
            cluster.run("patch", "rq", "spared", "--type=merge", "-p", '{"spec":{"replicas":1}}')
            told = until(lambda: cluster.events("spared").get("ScaleRefused"), "the refusal is told")
            assert words in told
            until(lambda: (cost("spared-a"), cost("spared-b")) == (None, None), "no pod is marked")
    cluster.run("delete", "rq", "spared")
    cluster.run("delete", "pods", "-l", "redisqueue.dev/queue=spared", "--force")


def test_a_worker_that_cannot_be_told_to_stop_is_told_of_and_stays(
    cluster: Cluster, operator: OperatorProcess, redis_url: str, redis_client: redis.Redis
) -> None:
    """The operator's login may read the queue, and nothing else: an idle worker could claim while it goes."""
    grant(redis_client, "reader", "operator", queue="untold")
    redis_client.execute_command("ACL", "SETUSER", "reader", "+client|setname", "-hset")
    metadata = {"name": "reader", "namespace": "default"}
    login = {"url": redis_url.replace("//", f"//reader:{PASSWORD}@")}
    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": login})
    by_secret = {"urlFrom": {"secretKeyRef": {"name": "reader", "key": "url"}}}
    consumers = two_workers(cluster, redis_url, redis_client, "untold", redis=by_secret)
    with reporting(dict.fromkeys(consumers, 0)):
        until(lambda: "unknown state" not in operator.read("/explain/default/untold"), "the reports are read")
        cluster.run("patch", "rq", "untold", "--type=merge", "-p", '{"spec":{"replicas":1}}')
        active = until(
            lambda: (
                cluster.condition("untold", "ScalingActive").get("reason") == "RetireRefused"
                and cluster.condition("untold", "ScalingActive")
            ),
            "it is told",
        )
        assert active["status"] == "False"
        assert "cannot be told to stop claiming" in active["message"]
        assert "lacks a permission" in active["message"]
        assert "cannot be told" in until(lambda: cluster.events("untold").get("RetireRefused"), "an Event")
        assert cluster.condition("untold", "Stalled").get("reason") == "RetireRefused"
        operator.explains("untold", "RetireRefused: ")
        assert cluster.replicas("untold") == 2, "nobody goes who may claim"
        publish(redis_client, QueueKeys("untold"), *(str(n) for n in range(7)))
        until(lambda: cluster.pending("untold") == 7, "the counters go on")
        redis_client.execute_command("ACL", "SETUSER", "reader", "+hset")
        until(lambda: cluster.replicas("untold") == 1, "it goes on once it may")
        until(lambda: cluster.events("untold").get("ScalingResumed"), "and that is told, too")
    redis_client.execute_command("ACL", "DELUSER", "reader")
    cluster.run("delete", "rq", "untold")
    cluster.run("delete", "pods", "-l", "redisqueue.dev/queue=untold", "--force")


def no_finalizers(cluster: Cluster, name: str, expression: str) -> Rule:
    """A rule about the RedisQueue of this name."""
    return Rule(
        cluster,
        f"{name}-finalizers",
        groups="redisqueue.dev",
        resource="redisqueues",
        expression=f"object.metadata.name != '{name}' || ({expression})",
        words="finalizers are for the platform team",
    )


def test_a_refused_finalizer_hides_nothing(
    cluster: Cluster, operator: OperatorProcess, redis_url: str, redis_client: redis.Redis
) -> None:
    words = "finalizers are for the platform team"
    with no_finalizers(cluster, "unheld", "!has(object.metadata.finalizers)") as rule:
        probe = redis_queue("unheld")
        probe["metadata"]["finalizers"] = ["example.org/try"]
        apply = ("apply", "--server-side", "--dry-run=server", "-f", "-")
        until(lambda: words in cluster.server.kubectl(*apply, stdin=json.dumps(probe))[1], "it is in force")
        cluster.apply(queue_of("unheld", redis_url, deletionPolicy="Drain"))
        told = until(
            lambda: (
                cluster.condition("unheld", "Ready").get("reason") == "FinalizerRefused"
                and cluster.condition("unheld", "Ready")
            ),
            "it is told",
        )
        assert told["status"] == "False"
        assert words in told["message"]
        assert cluster.condition("unheld", "Stalled").get("status") == "True"
        assert words in until(lambda: cluster.events("unheld").get("FinalizerRefused"), "an Event")
        operator.explains("unheld", words)
        publish(redis_client, QueueKeys("unheld"), *(str(n) for n in range(20)))
        until(lambda: cluster.replicas("unheld") == 4, "it is scaled")
        until(lambda: cluster.pending("unheld") == 20, "the counters go on")
        rule.lift()
    until(lambda: cluster.metadata("rq", "unheld").get("finalizers"), "the finalizer, once it may be")
    until(lambda: cluster.condition("unheld", "Ready").get("reason") != "FinalizerRefused", "that is told")
    redis_client.delete(QueueKeys("unheld").pending)

    # Nor may it be taken off: then the deletion hangs, and says why.
    with no_finalizers(cluster, "unheld", "has(object.metadata.finalizers)"):
        patch = ("patch", "rq", "unheld", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        until(lambda: words in cluster.server.kubectl(*patch, "--dry-run=server")[1], "it is in force")
        cluster.run("delete", "rq", "unheld", "--wait=false")
        until(lambda: cluster.condition("unheld", "Ready").get("reason") == "FinalizerRefused", "it is told")
        assert words in cluster.condition("unheld", "Ready")["message"]
    until(lambda: cluster.get("rq", "unheld") is None, "and it goes, once it may")


def test_a_refused_status_slows_nothing_and_is_an_event(
    cluster: Cluster, operator: OperatorProcess, redis_url: str, redis_client: redis.Redis
) -> None:
    cluster.apply(queue_of("silent", redis_url))
    until(lambda: cluster.condition("silent", "RedisReachable").get("status") == "True", "it is sampled")
    words = "nobody writes here"
    rule = Rule(
        cluster,
        "silence",
        groups="redisqueue.dev",
        resource="redisqueues/status",
        expression="object.metadata.name != 'silent'",
        words=words,
    )
    with rule:
        patch = ("patch", "rq", "silent", "--subresource=status", "--type=merge", "-p")
        try_it = (*patch, '{"status":{"state":"X"}}', "--dry-run=server")
        rule.in_force(*try_it)
        for number in range(1, 6):  # each step is told to nobody, and done at once all the same
            publish(redis_client, QueueKeys("silent"), *(f"{number}-{n}" for n in range(5)))
            until(lambda number=number: cluster.replicas("silent") == number, f"{number} workers")
        assert words in until(lambda: cluster.events("silent").get("StatusRefused"), "an Event")
    until(lambda: cluster.decision("silent").get("to") == 5, "it is written once it may be")
    cluster.run("delete", "rq", "silent")


def test_a_field_that_the_server_drops_is_named_and_not_written_for_ever(
    cluster: Cluster, operator: OperatorProcess, redis_url: str
) -> None:
    """Strict validation knows the field; the feature gate behind it is off, and nobody says a word."""
    (gated,) = GATED
    template: dict[str, Any] = {"spec": {**GATED, "containers": [{"name": "worker", "tty": True}]}}
    worker = {"handler": "tasks:handle", "template": template}
    cluster.apply(queue_of("gated", redis_url, worker=worker))
    ready = until(
        lambda: (
            cluster.condition("gated", "Ready").get("reason") == "FieldsDropped"
            and cluster.condition("gated", "Ready")
        ),
        "it is told",
    )
    assert ready["status"] == "False"
    assert f"spec.template.spec.{gated}" in ready["message"]
    assert "tty" not in ready["message"]
    assert gated in until(lambda: cluster.events("gated").get("FieldsDropped"), "an Event")
    operator.explains("gated", gated)
    quiet(cluster.writes, "no write", 5.0)

    del template["spec"][gated]
    cluster.apply(queue_of("gated", redis_url, worker=worker))
    until(lambda: cluster.condition("gated", "Ready").get("status") == "True", "well again without it")
    cluster.run("delete", "rq", "gated")
