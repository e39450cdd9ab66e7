"""Trying it out with the chart's own Valkey, and leaving: nothing stays behind, and no namespace hangs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.conftest import HELM, VALUES
from tests.support.cluster import Cluster, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMESPACE = "redisqueue-trial"
HANDLER = "import time\n\ndef handle(payload: str) -> None:\n    time.sleep(0.05)\n"


@pytest.fixture
def trial(installed: Cluster) -> Iterator[Cluster]:
    """A second operator with the in-cluster Valkey, in a namespace of its own."""
    installed.helm(
        *(
            "install",
            "trial",
            HELM / "redis-queue-operator",
            "--values",
            VALUES,
            "--set",
            "valkey.enabled=true",
        ),
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


def test_nothing_is_left(trial: Cluster) -> None:
    start_worker(trial)

    kubectl(trial, "delete", "rq", "jobs", "--timeout=60s")
    wait_until(lambda: not _owned(trial), 90, "the children of the RedisQueue are gone")
    trial.helm("uninstall", "trial", "--namespace", NAMESPACE, "--wait", "--timeout", "60s")
    kept = ["ConfigMap/handler", "Lease/trial-operator"]  # the Lease is the operator's, not the release's
    wait_until(lambda: _left(trial) == kept, 60, "only what the user made is left, and the Lease")
    cluster_wide = json.loads(trial.kubectl("get", "clusterroles,clusterrolebindings", "-o", "json"))["items"]
    assert not [one for one in cluster_wide if "trial" in one["metadata"]["name"]]
    trial.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")


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
    kinds = "all,configmaps,secrets,serviceaccounts,roles,rolebindings,leases,networkpolicies,pdb"
    text = cluster.kubectl("-n", NAMESPACE, "get", kinds, "-o", "json")
    names = [f"{one['kind']}/{one['metadata']['name']}" for one in json.loads(text)["items"]]
    return [name for name in names if name not in ("ConfigMap/kube-root-ca.crt", "ServiceAccount/default")]
