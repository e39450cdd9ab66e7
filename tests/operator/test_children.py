"""Children over time: made again, pruned, and rolled over a few at a time by a newer operator."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.redisqueue_cases import redis_queue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.api_server import ApiServer

NAMESPACE = "children"
FLAGS = (f"--namespace={NAMESPACE}", f"--watch-namespaces={NAMESPACE}", "--resync-seconds=2")
# What takes a minute, or ten, takes a second.
HASTE = """
import redisqueue_operator.decide.children.drift as companions
import redisqueue_operator.observe.references as references
companions.KEEP_SECONDS = references.FRESH_SECONDS = 1.0
"""
OLDER = """
import redisqueue_operator.main as main_module
import redisqueue_operator.decide.children.pod_template as pods
main_module.version, pods.USER_ID = lambda _: "0.0.1", 4711
"""


@pytest.fixture
def cluster(api_server: ApiServer) -> Iterator[Cluster]:
    cluster = Cluster(api_server)
    cluster.install()
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    yield cluster
    cluster.run("delete", "rq,deployment,replicaset,poddisruptionbudget,configmap", "--all", "-n", NAMESPACE)


def queue(name: str, redis_url: str, **spec: Any) -> dict[str, Any]:
    made = redis_queue(name, redis={"url": redis_url}, **spec)
    made["metadata"]["namespace"] = NAMESPACE
    return made


def handler(text: str) -> dict[str, Any]:
    metadata = {"name": "files", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a.py": text}}


SOURCED = {"handler": "a:b", "source": {"configMapRef": {"name": "files"}}}


def snapshots(cluster: Cluster) -> set[str]:
    listed = cluster.list("configmap", NAMESPACE)
    return {each["metadata"]["name"] for each in listed if "-handler-" in each["metadata"]["name"]}


def mounted(cluster: Cluster) -> str:
    """The snapshot that the Deployment's pods mount."""
    deployment = cluster.get("deployment", "jobs-worker", NAMESPACE) or {}
    volumes = deployment.get("spec", {}).get("template", {}).get("spec", {}).get("volumes") or ()
    return next((each["configMap"]["name"] for each in volumes if "configMap" in each), "")


def test_what_is_deleted_or_edited_is_mended_at_the_next_resync(
    cluster: Cluster, redis_url: str, tmp_path: Path
) -> None:
    cluster.apply(handler("one"), queue("jobs", redis_url, worker=SOURCED))
    budget = ("poddisruptionbudget", "jobs-worker")
    with OperatorProcess(cluster.server, tmp_path / "log", *FLAGS):
        until(lambda: snapshots(cluster) and cluster.get(*budget, NAMESPACE), "all children")
        (name,) = snapshots(cluster)
        cluster.run("delete", *budget, "-n", NAMESPACE)
        cluster.run("delete", "configmap", name, "-n", NAMESPACE)
        until(lambda: cluster.get(*budget, NAMESPACE), "another budget")
        until(lambda: snapshots(cluster) == {name}, "the snapshot again")

        cluster.run("patch", *budget, "-n", NAMESPACE, "--type=merge", "-p", '{"spec":{"maxUnavailable":9}}')
        until(lambda: cluster.get(*budget, NAMESPACE)["spec"]["maxUnavailable"] == 1, "our number again")  # type: ignore[index]


def test_a_snapshot_stays_as_long_as_a_rollback_may_need_it(
    cluster: Cluster, redis_url: str, tmp_path: Path
) -> None:
    cluster.apply(handler("one"), queue("jobs", redis_url, worker=SOURCED))
    with OperatorProcess(cluster.server, tmp_path / "log", *FLAGS, before=HASTE):
        first = until(lambda: mounted(cluster), "a Deployment with the first files")
        cluster.apply(revision_of(cluster))
        cluster.apply(handler("two"))
        second = until(lambda: (name := mounted(cluster)) != first and name, "the second files")
        cluster.apply(handler("three"))
        third = until(lambda: (name := mounted(cluster)) not in (first, second) and name, "the third files")
        until(lambda: snapshots(cluster) == {first, third}, "the second snapshot goes, which nobody mounts")

        cluster.run("delete", "replicaset", "jobs-worker-1", "-n", NAMESPACE)
        until(lambda: snapshots(cluster) == {third}, "the first goes with its ReplicaSet")
        files = cluster.get("configmap", "files", NAMESPACE)
        assert files is not None, "somebody's own ConfigMap was deleted"


def test_binary_files_are_mounted_and_a_change_of_them_alone_rolls_out(
    cluster: Cluster, redis_url: str, tmp_path: Path
) -> None:
    def files(model: bytes) -> dict[str, Any]:
        return {**handler("one"), "binaryData": {"model.bin": base64.b64encode(model).decode()}}

    def copied() -> dict[str, Any]:
        return cluster.get("configmap", mounted(cluster), NAMESPACE) or {}

    first, second = files(b"\x00\xff\xfe one"), files(b"\x00\xff\xfe two")
    cluster.apply(first, queue("jobs", redis_url, worker=SOURCED))
    with OperatorProcess(cluster.server, tmp_path / "log", *FLAGS, before=HASTE):
        name = until(lambda: mounted(cluster), "a Deployment with the files")
        assert copied()["immutable"] is True
        assert {part: copied()[part] for part in ("data", "binaryData")} == {
            part: first[part] for part in ("data", "binaryData")
        }
        cluster.apply(second)
        until(lambda: mounted(cluster) not in ("", name), "the other bytes are mounted")
        assert copied()["binaryData"] == second["binaryData"]

        del second["data"]
        second["metadata"]["name"] = "bytes"
        worker = {"handler": "a:b", "source": {"configMapRef": {"name": "bytes"}}}
        cluster.apply(second, queue("jobs", redis_url, worker=worker))
        until(lambda: copied() and "data" not in copied(), "no text is needed beside them")
        assert copied()["binaryData"] == second["binaryData"]


def revision_of(cluster: Cluster) -> dict[str, Any]:
    """The ReplicaSet that the Deployment's controller, which does not run here, would keep."""
    deployment = cluster.get("deployment", "jobs-worker", NAMESPACE)
    assert deployment is not None
    template = deployment["spec"]["template"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": "jobs-worker-1",
            "namespace": NAMESPACE,
            "labels": template["metadata"]["labels"],
        },
        "spec": {"replicas": 0, "selector": deployment["spec"]["selector"], "template": template},
    }


def test_a_newer_operator_rolls_five_at_a_time(cluster: Cluster, redis_url: str, tmp_path: Path) -> None:
    names = [f"q{number}" for number in range(8)]
    cluster.apply(*(queue(name, redis_url, replicas=1) for name in names))
    with OperatorProcess(cluster.server, tmp_path / "older", *FLAGS, before=OLDER):
        until(lambda: all(cluster.replicas(name, NAMESPACE) == 1 for name in names), "a worker for each")
    with OperatorProcess(cluster.server, tmp_path / "newer", *FLAGS):
        until(lambda: len(rolled(cluster)) == 5, "five roll")
        waiting = sorted(set(names) - rolled(cluster))
        for name in waiting:
            ready = lambda name=name: cluster.condition(name, "Ready", NAMESPACE).get("reason")  # noqa: E731
            until(lambda ready=ready: ready() == "RolloutQueued", f"{name} says that it waits")
        assert len(rolled(cluster)) == 5

        image = {"handler": "a:b", "image": "example.org/mine:2"}
        cluster.apply(queue(waiting[0], redis_url, replicas=1, worker=image))
        until(lambda: waiting[0] in rolled(cluster), "what people change does not wait")
        assert len(rolled(cluster)) == 6
        for name in sorted(rolled(cluster))[:2]:
            complete(cluster, name)
        until(lambda: len(rolled(cluster)) == 7, "and the next one takes the turn that is free")


def rolled(cluster: Cluster) -> set[str]:
    """The queues whose Deployment has the newer operator's template."""
    listed = cluster.list("deployment", NAMESPACE)
    return {
        each["metadata"]["labels"]["redisqueue.dev/queue"]
        for each in listed
        if each["spec"]["template"]["spec"]["securityContext"]["runAsUser"] != 4711
    }


def complete(cluster: Cluster, name: str) -> None:
    """Say what the controller, which does not run here, would say after the rollout."""
    generation = cluster.metadata("deployment", f"{name}-worker", NAMESPACE)["generation"]
    status = {"observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
    patch = json.dumps({"status": status})
    cluster.run(
        *("patch", "deployment", f"{name}-worker", "-n", NAMESPACE),
        *("--subresource=status", "--type=merge", "-p", patch),
    )
