"""The operator with nothing but the rights that its chart gives it: enough, and none that it never uses."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.operator.conftest import AUDITED
from tests.support.audit import granted, requests
from tests.support.helm import MISSING, NAMES, Helm, binary
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.queues import publish
from tests.support.redisqueue_cases import budget, redis_queue, redrive, schedule
from tests.support.required import required

from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis
    from tests.support.api_server import ApiServer

NAMESPACE = "rights"
ACCOUNT = "redisqueue-operator"
RIGHTS = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount")
NEVER_USED: frozenset[str] = frozenset()
"""Rights that no story of an operator can need and that stay all the same, as `audit.Right` tells them."""
# What takes a minute, or ten, takes a second; and the first word about a redrive, a budget and a schedule
# finds that somebody else wrote to it meanwhile.
HASTE = """
import redisqueue_operator.decide.children.drift as companions
import redisqueue_operator.observe.references as references
import redisqueue_operator.redrive.controller as redrives
from redisqueue_operator.apply.writer import Writer
companions.KEEP_SECONDS = references.FRESH_SECONDS = 1.0
redrives.AGAIN_SECONDS = 0.1
write, late = Writer.status_of, {"redisqueueredrives", "redisqueuebudgets", "redisqueueschedules"}
async def status_of(self, resource, key, raw, status):
    if resource.plural in late:
        late.remove(resource.plural)
        raw = {**raw, "metadata": {**raw["metadata"], "resourceVersion": "1"}}
    return await write(self, resource, key, raw, status)
Writer.status_of = status_of
"""


@pytest.fixture(params=["one namespace", "all namespaces"])
def restricted(
    api_server: ApiServer, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[SimpleNamespace]:
    """A kubeconfig of the chart's ServiceAccount, and the flags that go with its rights."""
    one = request.param == "one namespace"
    cluster = Cluster(api_server)
    cluster.install()
    values = [f'watchNamespaces=["{NAMESPACE}"]'] if one else []
    # What both render is compared elsewhere: one of them will do.
    helm = Helm(required(binary(NAMES[0]), MISSING.format(NAMES[0])))
    manifests = helm.template("redis-queue-operator", *values, namespace=NAMESPACE)
    rights = [item for item in manifests if item["kind"] in RIGHTS]
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {**account, "metadata": {"name": "default", "namespace": NAMESPACE}},
        *rights,
    )
    token = cluster.run("create", "token", ACCOUNT, "-n", NAMESPACE).strip()
    config = yaml.safe_load(api_server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    # The server takes up rights some moments after they were made.
    places = {"redisqueues": ("-n", NAMESPACE) if one else ("-A",), "leases": ("-n", NAMESPACE)}
    for kind, where in places.items():
        may = ("auth", "can-i", "create" if kind == "leases" else "list", kind, *where, f"--as={AUDITED}")
        until(lambda may=may: api_server.kubectl(*may)[0] == 0, f"it may use {kind}")  # type: ignore[misc]
    flags = [f"--watch-namespaces={NAMESPACE}"] if one else []
    yield SimpleNamespace(kubeconfig=kubeconfig, flags=flags, granted=granted(rights, ACCOUNT))
    cluster.run("delete", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/instance=redisqueue")
    cluster.run("delete", "role,rolebinding", "-n", NAMESPACE, "-l", "app.kubernetes.io/instance=redisqueue")


def test_they_are_enough_and_no_more(
    restricted: SimpleNamespace,
    api_server: ApiServer,
    redis_url: str,
    redis_client: redis.Redis,
    tmp_path: Path,
) -> None:
    """A story in which an operator does all that it ever does; the API server's audit log tells of it."""
    began = api_server.audit_log.stat().st_size
    story = Story(Cluster(api_server), redis_client, redis_url)
    # Its type asks for a whole server; all it takes of it is the kubeconfig.
    operator = OperatorProcess(
        restricted,  # type: ignore[arg-type]
        tmp_path / "log",
        f"--namespace={NAMESPACE}",
        "--resync-seconds=2",
        *restricted.flags,
        before=HASTE,
    )
    try:
        with operator:
            story.workers_come()
            story.workers_go(operator)
            story.a_letter_comes_back()
            story.a_budget_is_shared()
            story.a_schedule_ticks()
            story.handlers_change()
            story.a_template_is_tried()
            story.no_budget_is_wanted()
            story.it_is_deleted_with_messages()
    finally:
        story.clean_up()
    made = requests(api_server.audit_log, AUDITED, began)
    refused = sorted({str(each.right) for each in made if each.status == 403})
    assert not refused, "refused: what the chart does not grant"
    used = {right for each in made for right in each.uses}
    unused = {str(each) for each in restricted.granted - used}
    assert unused == NEVER_USED, "the chart grants what its operator never uses"


class Story:
    """The life of one RedisQueue, whose pods the test plays."""

    def __init__(self, cluster: Cluster, client: redis.Redis, redis_url: str) -> None:
        self.cluster, self.client, self.redis_url = cluster, client, redis_url
        self.keys = QueueKeys("jobs")
        down = {"idleSeconds": 0, "stabilizationSeconds": 0, "minRunSeconds": 0}
        self.queue = redis_queue(
            "jobs",
            redis={"urlFrom": {"secretKeyRef": {"name": "redis"}}},
            worker={"handler": "a:b", "source": {"configMapRef": {"name": "files"}}},
            scaling={"minReplicas": 1, "scaleDown": down},
            deletionPolicy="Drain",
        )
        self.queue["metadata"]["namespace"] = NAMESPACE

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        return self.cluster.get(kind, name, NAMESPACE)

    def replicas(self, number: int) -> None:
        until(lambda: self.cluster.replicas("jobs", NAMESPACE) == number, f"{number} workers")

    def handler(self, text: str) -> dict[str, Any]:
        return in_namespace("ConfigMap", "files", data={"a.py": text})

    def snapshots(self) -> set[str]:
        listed = self.cluster.list("configmap", NAMESPACE)
        return {each["metadata"]["name"] for each in listed if "-handler-" in each["metadata"]["name"]}

    def workers_come(self) -> None:
        secret = in_namespace("Secret", "redis", stringData={"url": self.redis_url})
        self.cluster.apply(secret, self.handler("def b(payload): ..."), self.queue)
        reachable = lambda: self.cluster.condition("jobs", "RedisReachable", NAMESPACE)  # noqa: E731
        until(lambda: reachable().get("status") == "True", "Redis is sampled")
        publish(self.client, self.keys, *(str(n) for n in range(12)))
        self.replicas(3)
        until(lambda: events(self.cluster), "an Event")

    def workers_go(self, operator: OperatorProcess) -> None:
        template = (self.get("deployment", "jobs-worker") or {})["spec"]["template"]["metadata"]
        pods = [f"jobs-worker-{number}" for number in range(3)]
        containers = [{"name": "worker", "image": "example.org/worker:1"}]
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        for pod in pods:
            made = in_namespace("Pod", pod, spec={"containers": containers})
            made["metadata"] |= {"labels": template["labels"], "annotations": template["annotations"]}
            self.cluster.apply(made)
            patch = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": ready}))
            self.cluster.run("patch", "pod", pod, "-n", NAMESPACE, *patch)
        # It sees them. The status may tell of it half a minute later: counters alone wait for that.
        operator.explains("jobs", "3 of unknown state", NAMESPACE)
        self.client.delete(self.keys.pending)
        self.replicas(1)

    def a_letter_comes_back(self) -> None:
        self.client.lpush(self.keys.dead_letter, "letter")
        again = redrive(ttlSecondsAfterFinished=0)
        again["metadata"]["namespace"], again["spec"]["queueRef"]["name"] = NAMESPACE, "jobs"
        self.cluster.apply(again)
        until(lambda: self.client.llen(self.keys.dead_letter) == 0, "the letter moved")
        until(lambda: self.get("rqr", "again") is None, "the redrive is removed")

    def a_budget_is_shared(self) -> None:
        shared = budget()
        shared["metadata"]["namespace"] = NAMESPACE
        self.cluster.apply(shared)
        told = lambda: ((self.get("rqb", "shared") or {}).get("status") or {}).get("queues") == 1  # noqa: E731
        until(told, "it says who shares it")
        self.cluster.run("delete", "rqb", "shared", "-n", NAMESPACE)

    def a_schedule_ticks(self) -> None:
        ticking = schedule(schedule="* * * * * *", queueRef={"name": "jobs"})
        ticking["metadata"]["namespace"] = NAMESPACE
        self.cluster.apply(ticking)
        last = lambda: ((self.get("rqs", "nightly") or {}).get("status") or {}).get("lastScheduleTime")  # noqa: E731
        until(last, "a message is enqueued")
        self.cluster.run("delete", "rqs", "nightly", "-n", NAMESPACE)
        self.client.delete(self.keys.pending)

    def handlers_change(self) -> None:
        first = self.snapshots()
        assert len(first) == 1
        self.cluster.apply(self.handler("def b(payload): return 2"))
        until(lambda: len(now := self.snapshots()) == 1 and now != first, "a copy of the new one alone")

    def a_template_is_tried(self) -> None:
        self.queue["spec"] |= {"rollout": {"strategy": "Versioned"}}
        self.queue["spec"]["worker"] |= {"concurrency": 2}
        self.cluster.apply(self.queue)
        until(lambda: self.get("deployment", "jobs-canary"), "a canary")
        self.queue["spec"]["worker"] |= {"concurrency": 1}
        self.cluster.apply(self.queue)
        until(lambda: self.get("deployment", "jobs-canary") is None, "it is gone again")

    def no_budget_is_wanted(self) -> None:
        assert self.get("poddisruptionbudget", "jobs-worker") is not None
        self.queue["spec"] |= {"disruptionBudget": {"mode": "None"}}
        self.cluster.apply(self.queue)
        until(lambda: self.get("poddisruptionbudget", "jobs-worker") is None, "it has none any more")

    def it_is_deleted_with_messages(self) -> None:
        publish(self.client, self.keys, "last")
        self.cluster.run("delete", "rq", "jobs", "-n", NAMESPACE, "--wait=false")
        assert self.get("rq", "jobs") is not None, "held"
        self.client.delete(self.keys.pending)
        at_once = ("--force", "--grace-period=0")
        self.cluster.run("delete", "pods", "--all", "-n", NAMESPACE, *at_once)
        until(lambda: self.get("rq", "jobs") is None, "it goes with its queue empty")

    def clean_up(self) -> None:
        """The next story begins with nothing: with its own Lease, its own Events."""
        free = ("--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        self.cluster.server.kubectl("patch", "rq", "jobs", "-n", NAMESPACE, *free)
        kinds = "rq,rqr,rqb,rqs,deployment,configmap,poddisruptionbudget,lease,events"
        self.cluster.run("delete", kinds, "--all", "-n", NAMESPACE)


def in_namespace(kind: str, name: str, **content: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **content}


def events(cluster: Cluster) -> list[Any]:
    return cluster.list("event", NAMESPACE)
