"""An API server without image volumes is asked before anything is written; one that has them gets all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.operator.conftest import NO_SERVER
from tests.support.api_server import KUBERNETES, ApiServer, binaries
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.redisqueue_cases import redis_queue
from tests.support.required import required

if TYPE_CHECKING:
    from pathlib import Path

# What takes half a minute takes a second.
HASTE = """
import redisqueue_operator.decide.children.plan as plan
plan.RETRY_REFUSED_SECONDS = 1.0
"""
REFERENCE = "registry.example.com/shop/handlers:1"
PLAIN = {"handler": "tasks:handle"}
WITH_IMAGE = {**PLAIN, "source": {"image": {"reference": REFERENCE}}}


def pod_of(cluster: Cluster, name: str) -> dict[str, Any] | None:
    deployment = cluster.get("deployment", f"{name}-worker")
    return None if deployment is None else deployment["spec"]["template"]["spec"]


def mounts_the_image(cluster: Cluster, name: str) -> bool:
    pod = pod_of(cluster, name) or {"volumes": [], "containers": [{"volumeMounts": []}]}
    volumes = [each for each in pod["volumes"] if (each.get("image") or {}).get("reference") == REFERENCE]
    mounts = [each for each in pod["containers"][0]["volumeMounts"] if each["mountPath"] == "/handler"]
    return bool(volumes and mounts)


@pytest.mark.skipif(
    KUBERNETES != "1.34",
    reason=f"Kubernetes {KUBERNETES} always has image volumes: only 1.34 can switch them on",
)
def test_nothing_is_written_until_the_api_server_has_image_volumes(tmp_path: Path, redis_url: str) -> None:
    with ApiServer(required(binaries(), NO_SERVER)) as server:
        cluster = Cluster(server)
        cluster.install()
        running = redis_queue("running", redis={"url": redis_url}, worker=PLAIN)
        cluster.apply(running)
        arguments = ("--worker-image=example.org/worker:1", "--resync-seconds=2")
        with OperatorProcess(server, tmp_path / "log", *arguments, before=HASTE):
            before = until(lambda: pod_of(cluster, "running"), "a Deployment")
            cluster.apply(
                redis_queue("running", redis={"url": redis_url}, worker=WITH_IMAGE),
                redis_queue("new", redis={"url": redis_url}, worker=WITH_IMAGE),
            )
            for name in ("running", "new"):
                until(
                    lambda name=name: cluster.condition(name, "Stalled").get("reason") == "SourceUnsupported",
                    f"it is told of {name}",
                )
                ready = cluster.condition(name, "Ready")
                assert (ready["status"], ready["reason"]) == ("False", "SourceUnsupported")
                assert "spec.worker.source.image" in ready["message"]
                until(lambda name=name: cluster.events(name).get("SourceUnsupported"), "an Event")
            assert pod_of(cluster, "running") == before
            assert pod_of(cluster, "new") is None

            server.kill("kube-apiserver")
            server.start_again("kube-apiserver", "--feature-gates=ImageVolume=true")
            for name in ("running", "new"):
                until(lambda name=name: mounts_the_image(cluster, name), f"{name} has its files")
                until(
                    lambda name=name: cluster.condition(name, "Stalled").get("status") == "False",
                    f"{name} is well again",
                )


@pytest.mark.skipif(
    KUBERNETES == "1.34", reason="Kubernetes 1.34 has no image volumes unasked: see the test above"
)
def test_a_newer_api_server_has_image_volumes(api_server: ApiServer, tmp_path: Path, redis_url: str) -> None:
    cluster = Cluster(api_server)
    cluster.install()
    cluster.apply(redis_queue("files", redis={"url": redis_url}, worker=WITH_IMAGE))
    with OperatorProcess(api_server, tmp_path / "log", "--worker-image=example.org/worker:1"):
        until(lambda: mounts_the_image(cluster, "files"), "it has its files")
        assert cluster.condition("files", "Ready").get("reason") != "SourceUnsupported"
    cluster.run("delete", "rq", "files")
