"""`deletionPolicy: Drain` against every order of deletion that Kubernetes has, with its garbage collector."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.controllers import PROGRAM, Controllers
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.redisqueue_cases import redis_queue
from tests.support.required import required

from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis
    from tests.support.api_server import ApiServer

NAMESPACE = "drains"
FLAGS = (f"--namespace={NAMESPACE}", f"--watch-namespaces={NAMESPACE}")
FINALIZER = "redisqueue.dev/drain"
CHILDREN = (("deployment", "slow-worker"), ("poddisruptionbudget", "slow-worker"))


@pytest.fixture
def cluster(api_server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    """With the garbage collector and a running operator."""
    found = (api_server.folder / PROGRAM).is_file()
    required(found or None, f"{PROGRAM} not found: make cluster-up builds it")
    cluster = Cluster(api_server)
    cluster.install()
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    log = tmp_path / "log"
    with Controllers(api_server, tmp_path / "controllers"), OperatorProcess(api_server, log, *FLAGS):
        yield cluster
        cluster.run("delete", "rq", "--all", "-n", NAMESPACE, "--wait=false")
        cluster.run("delete", "deployment,poddisruptionbudget,configmap", "--all", "-n", NAMESPACE)
        until(lambda: cluster.get("rq", "slow", NAMESPACE) is None, "it is gone")


def queue(redis_url: str, **spec: Any) -> dict[str, Any]:
    made = redis_queue("slow", redis={"url": redis_url}, **{"deletionPolicy": "Drain", **spec})
    made["metadata"]["namespace"] = NAMESPACE
    return made


def finalizers(cluster: Cluster) -> list[str]:
    found = cluster.get("rq", "slow", NAMESPACE) or {"metadata": {}}
    return found["metadata"].get("finalizers") or []


def owners(cluster: Cluster) -> list[list[str]]:
    """Of each child the kinds of its owners; of one that is not there, that."""
    found = [cluster.get(kind, name, NAMESPACE) for kind, name in CHILDREN]
    return [
        ["missing"] if each is None else [o["kind"] for o in each["metadata"].get("ownerReferences") or ()]
        for each in found
    ]


def filled(cluster: Cluster, redis_url: str, redis_client: redis.Redis) -> str:
    """A held RedisQueue with a worker and two messages; the key of its pending list."""
    pending: str = QueueKeys("slow").pending
    redis_client.lpush(pending, "one", "two")
    cluster.apply(queue(redis_url))
    until(lambda: finalizers(cluster) == [FINALIZER], "held")
    until(lambda: owners(cluster) == [[], []], "its children go with nobody")
    until(lambda: cluster.replicas("slow", NAMESPACE), "a worker is wanted")
    return pending


@pytest.mark.parametrize("cascade", ["foreground", "background", "orphan"])
def test_workers_stay_until_the_queue_is_empty_however_it_is_deleted(
    cluster: Cluster, redis_url: str, redis_client: redis.Redis, cascade: str
) -> None:
    pending = filled(cluster, redis_url, redis_client)
    cluster.run("delete", "rq", "slow", "-n", NAMESPACE, f"--cascade={cascade}", "--wait=false")
    until(lambda: finalizers(cluster) == [FINALIZER], "garbage collection did what it wants to do")
    workers = cluster.metadata("deployment", "slow-worker", NAMESPACE)
    assert "deletionTimestamp" not in workers, "the workers go with messages pending"
    until(lambda: cluster.replicas("slow", NAMESPACE), "and are wanted as long as there are any")

    redis_client.delete(pending)
    until(lambda: cluster.get("rq", "slow", NAMESPACE) is None, "it goes with its queue empty")
    until(lambda: owners(cluster) == [["missing"], ["missing"]], "and its children with it")


def test_children_follow_a_change_of_the_policy(
    cluster: Cluster, redis_url: str, redis_client: redis.Redis
) -> None:
    filled(cluster, redis_url, redis_client)
    for policy, owned, held in (
        ("Delete", ["RedisQueue"], []),
        ("Drain", [], [FINALIZER]),
        ("Orphan", [], []),
        ("Delete", ["RedisQueue"], []),
    ):
        cluster.apply(queue(redis_url, deletionPolicy=policy))
        until(lambda held=held: finalizers(cluster) == held, f"held as {policy} says")  # type: ignore[misc]
        until(lambda owned=owned: owners(cluster) == [owned, owned], f"owned as {policy} says")  # type: ignore[misc]


def test_workers_that_are_deleted_under_a_drain_are_told_of(
    cluster: Cluster, redis_url: str, redis_client: redis.Redis
) -> None:
    filled(cluster, redis_url, redis_client)
    cluster.run("delete", "rq", "slow", "-n", NAMESPACE, "--wait=false")
    cluster.run("label", "deployment", "slow-worker", "-n", NAMESPACE, "redisqueue.dev/queue-")
    cluster.run("annotate", "rq", "slow", "-n", NAMESPACE, "look=again")
    until(lambda: cluster.replicas("slow", NAMESPACE), "workers that no watch tells of are not gone")
    assert finalizers(cluster) == [FINALIZER]

    cluster.run("delete", "deployment", "slow-worker", "-n", NAMESPACE)
    until(lambda: cluster.get("rq", "slow", NAMESPACE) is None, "there is nothing to wait for")
    listed = json.loads(cluster.run("get", "events", "-n", NAMESPACE, "-o", "json"))["items"]
    told = [each["message"] for each in listed if each["reason"] == "WorkersVanished"]
    assert len(told) == 1
    assert "2 messages" in told[0]
