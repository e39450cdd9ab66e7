"""The cluster of the stories: started once, the charts installed once, everything removed at the end."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from tests.conftest import side_by_side
from tests.support.cluster import PROVIDER, REPOSITORY, Cluster, CommandFailed, provider
from tests.support.story import Story

from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMESPACE = "redisqueue-e2e"
TENANT = "redisqueue-e2e-tenant"
"""Another one that the operator serves."""
HELM = REPOSITORY / "helm"
VALUES = PROVIDER.parent / "values.yaml"
WANTED = bool(os.environ.get("CLUSTER")) or os.environ.get("CI") == "true"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(900))  # the first one also builds and starts the cluster
    # The newcomer's story comes first here, on a cluster where nothing is installed. They come after other
    # folders, for the cluster is up only then; side by side with them they come first, for they take longest.
    first = side_by_side(config)
    items.sort(key=lambda item: ((here in item.path.parents) != first, item.path != here / "test_readme.py"))


@pytest.fixture(scope="session", autouse=True)
def _asked_for() -> None:
    if not WANTED:
        pytest.skip(
            "stories on a real cluster: run them with CLUSTER=native|kind|current, e.g. make test-cluster"
        )


@pytest.fixture(scope="session")
def cluster(_asked_for: None) -> Iterator[Cluster]:
    """A running cluster with our images. KEEP=1 takes over one that is up, and leaves it up."""
    keep = bool(os.environ.get("KEEP"))
    try:
        if not (keep and _is_up()):
            subprocess.run(["make", "-C", REPOSITORY, "cluster-up"], check=True)
        yield Cluster(provider("kubeconfig"), provider("tools"))
    finally:
        if not keep:
            provider("down")


def _is_up() -> bool:
    try:
        return bool(provider("kubeconfig"))
    except CommandFailed:
        return False


@pytest.fixture(scope="session")
def redis_host(cluster: Cluster) -> str:
    """The address at which pods reach this machine."""
    return provider("host")


@pytest.fixture(scope="session")
def redis_on_host(redis_host: str) -> Iterator[EmbeddedRedis]:
    """A Redis of this machine that pods reach; stopping it is the outage of a story."""
    with EmbeddedRedis(arguments=("--bind", "127.0.0.1", redis_host, "--protected-mode", "no")) as server:
        yield server


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> Iterator[Cluster]:
    """The operator, installed by its charts as a user would, and the stories' handler."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TENANT}})
    cluster.helm("upgrade", "--install", "redisqueue-crds", HELM / "redis-queue-crds")
    cluster.helm(
        *("upgrade", "--install", "redisqueue", HELM / "redis-queue-operator", "--values", VALUES),
        *("--set", f"watchNamespaces={{{NAMESPACE},{TENANT}}}"),
        *("--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "120s"),
    )
    handler = {"handler.py": (Path(__file__).parent / "handler.py").read_text()}
    for namespace in (NAMESPACE, TENANT):
        metadata = {"name": "e2e-handler", "namespace": namespace}
        cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": handler})
    yield cluster
    if os.environ.get("KEEP") or os.environ.get("CLUSTER") == "current":
        for namespace in (NAMESPACE, TENANT):
            cluster.kubectl("-n", namespace, "delete", "redisqueues", "--all", "--wait=true", "--timeout=60s")
        cluster.helm("uninstall", "redisqueue", "--namespace", NAMESPACE)
        cluster.kubectl("delete", "namespace", NAMESPACE, TENANT, "--timeout=120s")


@pytest.fixture
def story(
    installed: Cluster, redis_on_host: EmbeddedRedis, redis_host: str, request: pytest.FixtureRequest
) -> Iterator[Story]:
    """A RedisQueue's world of its own, named after the test; what it made is deleted afterwards."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:40].strip("-")
    with redis.Redis(port=redis_on_host.port) as client:
        story = Story(installed, NAMESPACE, name, client, f"redis://{redis_host}:{redis_on_host.port}/0")
        yield story
        installed.kubectl("-n", NAMESPACE, "delete", "redisqueue", name, "--ignore-not-found", "--wait=false")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failed story shows what the cluster looked like."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("installed") or getattr(item, "funcargs", {}).get("cluster")
    if call.when == "call" and report.failed and isinstance(cluster, Cluster):
        for title, look in _looks(cluster).items():
            report.sections.append((title, look()))
    return report


def _looks(cluster: Cluster) -> dict[str, Callable[[], str]]:
    def kubectl(*arguments: str) -> Callable[[], str]:
        def look() -> str:
            try:
                return cluster.kubectl("-n", NAMESPACE, *arguments)
            except CommandFailed as error:
                return str(error)

        return look

    return {
        "objects": kubectl(
            "get", "redisqueues,redisqueueredrives,deployments,replicasets,pods", "-o", "wide"
        ),
        "redisqueues": kubectl("get", "redisqueues", "-o", "yaml"),
        "events": kubectl("get", "events", "--sort-by=.lastTimestamp"),
        "operator": kubectl("logs", "-l", "app.kubernetes.io/name=redis-queue-operator", "--tail=60"),
        "workers": kubectl("logs", "-l", "app.kubernetes.io/name=redisqueue-worker", "--tail=20", "--prefix"),
    }
