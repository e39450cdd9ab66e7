"""The operator with nothing but the rights that its chart gives it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.queues import publish
from tests.support.redisqueue_cases import redis_queue, redrive

from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis
    from tests.support.api_server import ApiServer
    from tests.support.helm import Helm

NAMESPACE = "rights"
RIGHTS = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount")


@pytest.fixture(params=["one namespace", "all namespaces"])
def restricted(
    api_server: ApiServer, helm: Helm, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[SimpleNamespace]:
    """A kubeconfig of the chart's ServiceAccount, and the flags that go with its rights."""
    one = request.param == "one namespace"
    cluster = Cluster(api_server)
    cluster.install()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    values = [f'watchNamespaces=["{NAMESPACE}"]'] if one else []
    manifests = helm.template("redis-queue-operator", *values, namespace=NAMESPACE)
    cluster.apply(namespace, *(item for item in manifests if item["kind"] in RIGHTS))
    token = cluster.run("create", "token", "redisqueue-operator", "-n", NAMESPACE).strip()
    config = yaml.safe_load(api_server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    # The server takes up rights some moments after they were made.
    places = {"redisqueues": ("-n", NAMESPACE) if one else ("-A",), "leases": ("-n", NAMESPACE)}
    ours = f"--as=system:serviceaccount:{NAMESPACE}:redisqueue-operator"
    for kind, where in places.items():
        may = ("auth", "can-i", "create" if kind == "leases" else "list", kind, *where, ours)
        until(lambda may=may: api_server.kubectl(*may)[0] == 0, f"it may use {kind}")  # type: ignore[misc]
    yield SimpleNamespace(kubeconfig=kubeconfig, flags=[f"--watch-namespaces={NAMESPACE}"] if one else [])
    cluster.run("delete", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/instance=redisqueue")
    cluster.run("delete", "role,rolebinding", "-n", NAMESPACE, "-l", "app.kubernetes.io/instance=redisqueue")


def test_they_are_enough(
    restricted: SimpleNamespace,
    api_server: ApiServer,
    redis_url: str,
    redis_client: redis.Redis,
    tmp_path: Path,
) -> None:
    cluster = Cluster(api_server)
    queue = redis_queue("jobs", redis={"urlFrom": {"secretKeyRef": {"name": "redis"}}})
    queue["metadata"]["namespace"] = NAMESPACE
    queue["spec"]["worker"] = {"handler": "a:b", "source": {"configMapRef": {"name": "files"}}}
    cluster.apply(
        in_namespace("Secret", "redis", stringData={"url": redis_url}),
        in_namespace("ConfigMap", "files", data={"a.py": "def b(payload): ..."}),
        queue,
    )
    log = tmp_path / "log"
    # Its type asks for a whole server; all it takes of it is the kubeconfig.
    operator = OperatorProcess(
        restricted,  # type: ignore[arg-type]
        log,
        f"--namespace={NAMESPACE}",
        *restricted.flags,
    )
    try:
        with operator:
            reachable = lambda: cluster.condition("jobs", "RedisReachable", NAMESPACE).get("status")  # noqa: E731
            until(lambda: reachable() == "True", "Redis is sampled")
            publish(redis_client, QueueKeys("jobs"), *(str(n) for n in range(12)))
            until(lambda: cluster.replicas("jobs", NAMESPACE) == 3, "3 workers")
            until(lambda: events(cluster), "an Event")
            redis_client.lpush(QueueKeys("jobs").dead_letter, "letter")
            again = redrive(ttlSecondsAfterFinished=0)
            again["metadata"]["namespace"], again["spec"]["queueRef"]["name"] = NAMESPACE, "jobs"
            cluster.apply(again)
            until(lambda: redis_client.llen(QueueKeys("jobs").dead_letter) == 0, "the letter moved")
            until(lambda: cluster.get("rqr", "again", NAMESPACE) is None, "the redrive is removed")
            queue["spec"] |= {"rollout": {"strategy": "Versioned"}}
            queue["spec"]["worker"] |= {"concurrency": 2}
            cluster.apply(queue)
            until(lambda: cluster.get("deployment", "jobs-canary", NAMESPACE), "a canary")
            queue["spec"]["worker"] |= {"concurrency": 1}
            cluster.apply(queue)
            until(lambda: cluster.get("deployment", "jobs-canary", NAMESPACE) is None, "it is gone again")
    finally:
        cluster.run("delete", "rq/jobs", "deployment/jobs-worker", "-n", NAMESPACE)
        cluster.run("delete", "events", "--all", "-n", NAMESPACE)  # the next one writes its own
    lines = log.read_text()
    assert "orbidden" not in lines, lines[-3000:]


def in_namespace(kind: str, name: str, **content: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **content}


def events(cluster: Cluster) -> list[Any]:
    listed = json.loads(cluster.run("get", "events.events.k8s.io", "-n", NAMESPACE, "-o", "json"))
    found: list[Any] = listed["items"]
    return found
