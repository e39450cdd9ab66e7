"""The chart with every optional part, and leaving: nothing stays behind, and no namespace hangs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.conftest import HELM, VALUES
from tests.e2e.conftest import NAMESPACE as OTHER
from tests.support import monitors
from tests.support.cluster import REPOSITORY, Cluster, CommandFailed, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMESPACE = "redisqueue-trial"
CHART = HELM / "redis-queue-operator"
EVERYTHING = REPOSITORY / "tests" / "golden" / "charts" / "everything.values.yaml"
INSTANCE = "app.kubernetes.io/instance"
HANDLER = "import time\n\ndef handle(payload: str) -> None:\n    time.sleep(0.05)\n"


@pytest.fixture(scope="session")
def with_monitors(installed: Cluster) -> Iterator[Cluster]:
    """With the kinds of prometheus-operator: those that the cluster has, or ours, which go in the end."""
    there = installed.kubectl("get", "crd", "--output=name")
    ours = [each for each in monitors.definitions() if f"/{each['metadata']['name']}\n" not in there]
    if ours:
        installed.apply(*ours)
        wait_until(lambda: _serves_monitors(installed), 60, "the kinds of prometheus-operator are served")
    yield installed
    for each in ours:
        installed.kubectl("delete", "crd", each["metadata"]["name"], "--wait=false")


def _serves_monitors(cluster: Cluster) -> bool:
    try:
        cluster.kubectl("get", ",".join(monitors.RESOURCES), "-A")
    except CommandFailed:
        return False
    return True


@pytest.fixture
def trial(with_monitors: Cluster) -> Iterator[Cluster]:
    """A second release beside the first, with all that is optional, in a namespace of its own."""
    installed = with_monitors
    installed.helm(
        *("install", "trial", CHART, "--values", EVERYTHING, "--values", monitors.VALUES, "--values", VALUES),
        *("--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "120s"),
    )
    yield installed
    installed.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false")


def kubectl(cluster: Cluster, *arguments: str) -> str:
    return cluster.kubectl("-n", NAMESPACE, *arguments)


def start_worker(trial: Cluster, **spec: Any) -> None:
    """A RedisQueue on the chart's Valkey, with a worker that is ready."""
    (valkey,) = [one for one in trial.list("services", NAMESPACE) if "valkey" in one["metadata"]["name"]]
    trial.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "handler", "namespace": NAMESPACE},
            "data": {"handler.py": HANDLER},
        },
        {
            "apiVersion": "redisqueue.dev/v1alpha1",
            "kind": "RedisQueue",
            "metadata": {"name": "jobs", "namespace": NAMESPACE},
            "spec": {
                "redis": {"url": f"redis://{valkey['metadata']['name']}:6379/0"},
                "worker": {"handler": "handler:handle", "source": {"configMapRef": {"name": "handler"}}},
                "scaling": {"minReplicas": 1},
                **spec,
            },
        },
    )
    kubectl(trial, "wait", "--for=condition=Ready", "rq/jobs", "--timeout=60s")
    kubectl(trial, "rollout", "status", "deployment/jobs-worker", "--timeout=60s")


def helm(trial: Cluster, *arguments: str | Path) -> str:
    """helm in the namespace of the trial; it waits until the objects are as they are to be."""
    return trial.helm(*arguments, "--namespace", NAMESPACE, "--wait", "--timeout", "120s")


def operators(trial: Cluster) -> Any:
    """How many operators are ready, of how many that are wanted."""
    (deployment,) = trial.list("deployments", NAMESPACE, "app.kubernetes.io/name=redis-queue-operator")
    return deployment["status"].get("readyReplicas"), deployment["spec"]["replicas"]


def test_upgrade_and_rollback_and_nothing_is_left(trial: Cluster) -> None:
    start_worker(trial)
    wait_until(lambda: operators(trial) == (2, 2), 60, "two operators are ready")
    for release, namespace in (("trial", NAMESPACE), ("redisqueue", OTHER)):
        told = trial.helm("test", release, "--namespace", namespace, "--timeout", "120s")
        assert "Succeeded" in told
    wait_until(lambda: "Pod/trial-operator-test" not in _left(trial), 60, "its pod is gone")
    _check_network_policy(trial)

    helm(
        trial,
        "upgrade",
        "trial",
        CHART,
        "--reset-then-reuse-values",
        "--set",
        "replicas=1,networkPolicy.enabled=false",
    )
    wait_until(lambda: operators(trial) == (1, 1), 60, "one operator is there")
    assert not trial.list("networkpolicies", NAMESPACE)
    helm(trial, "rollback", "trial", "1")
    wait_until(lambda: operators(trial) == (2, 2), 60, "two operators are ready again")
    assert len(trial.list("networkpolicies", NAMESPACE)) == 1
    kubectl(trial, "wait", "--for=condition=Ready", "rq/jobs", "--timeout=60s")

    kubectl(trial, "delete", "rq", "jobs", "--timeout=60s")
    wait_until(lambda: not _owned(trial), 90, "the children of the RedisQueue are gone")
    trial.helm("uninstall", "trial", "--namespace", NAMESPACE, "--wait", "--timeout", "60s")
    kept = ["ConfigMap/handler", "Lease/trial-operator"]  # the Lease is the operator's, not the release's
    wait_until(lambda: _left(trial) == kept, 60, "only what the user made is left, and the Lease")
    assert _of_the_release(trial, "trial") == []
    assert "deployment.apps/redisqueue-operator" in _of_the_release(trial, "redisqueue")
    trial.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")


def _check_network_policy(trial: Cluster) -> None:
    """It is the operators', it accepts at their ports, and they send to no port that it does not name."""
    (policy,) = trial.list("networkpolicies", NAMESPACE)
    selector = ",".join(
        f"{key}={value}" for key, value in policy["spec"]["podSelector"]["matchLabels"].items()
    )
    pods = trial.list("pods", NAMESPACE, selector)
    assert len(pods) == 2
    accepted, sent = (
        {each["port"] for rule in policy["spec"][way] for each in rule["ports"]}
        for way in ("ingress", "egress")
    )
    seen = set()
    for pod in pods:
        (container,) = pod["spec"]["containers"]
        listening = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert accepted == {*listening}
        connections = _connections(trial, pod["metadata"]["name"])
        seen |= {theirs for ours, theirs in connections if ours not in listening.values()}
    assert {443, 6379} <= seen <= sent, "the API server and Redis, and nothing else"


def _connections(trial: Cluster, pod: str) -> list[tuple[int, int]]:
    """The ports at both ends of each connection of that pod, those that listen left out."""
    tables = kubectl(trial, "exec", pod, "--", "cat", "/proc/net/tcp", "/proc/net/tcp6")
    rows = [line.split() for line in tables.splitlines() if "local_address" not in line]
    ends = [[int(end.rpartition(":")[2], 16) for end in row[1:3]] for row in rows]
    return [(ours, theirs) for ours, theirs in ends if theirs]


def test_namespace_deleted_while_the_operator_is_away(trial: Cluster) -> None:
    """The default policy needs no operator: there is no finalizer that could hang."""
    # Kubernetes looks at the namespace again after half of its pods' longest grace period.
    start_worker(trial, drain={"timeoutSeconds": 15})
    (operator,) = trial.list("deployments", NAMESPACE, "app.kubernetes.io/name=redis-queue-operator")
    kubectl(trial, "scale", f"deployment/{operator['metadata']['name']}", "--replicas=0")
    selector = ("-l", "app.kubernetes.io/name=redis-queue-operator")
    kubectl(trial, "wait", "--for=delete", "pods", *selector, "--timeout=60s")

    trial.kubectl("delete", "namespace", NAMESPACE, "--timeout=90s")


def _owned(cluster: Cluster) -> list[str]:
    kinds = "deployments,replicasets,pods,configmaps,pdb"
    items = cluster.list(kinds, NAMESPACE, "redisqueue.dev/queue")
    return [f"{one['kind']}/{one['metadata']['name']}" for one in items]


def _left(cluster: Cluster) -> list[str]:
    """What is in the namespace beyond what Kubernetes itself puts into each."""
    items = cluster.list(_kinds(cluster, "--namespaced"), NAMESPACE)
    names = [f"{one['kind']}/{one['metadata']['name']}" for one in items]
    return [name for name in names if name not in ("ConfigMap/kube-root-ca.crt", "ServiceAccount/default")]


def _of_the_release(cluster: Cluster, release: str) -> list[str]:
    """All that bears its labels, of every kind and in every namespace."""
    kinds = _kinds(cluster)
    return cluster.kubectl("get", kinds, "-A", "-l", f"{INSTANCE}={release}", "-o", "name").split()


def _kinds(cluster: Cluster, *which: str) -> str:
    """All kinds that can be listed; Events are about what was."""
    names = cluster.kubectl("api-resources", "--verbs=list", "-o", "name", *which).split()
    return ",".join(name for name in names if name.partition(".")[0] != "events")
